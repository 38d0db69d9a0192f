"""The explaining job: a fine-tuned model and some molecules -> shares, atoms, attention and maps, and their files.

n molecules, t targets, M modalities, k fingerprints.
    ExplainConfig  ->  Explanation, and in the output folder
    shares.csv         target, modality, share, mean |phi|, mean phi
    molecules.csv      one row a molecule: label, prediction and each modality's phi by target, framework, map places
    atoms.jsonl        one line a molecule: its atoms' values by target
    attention.jsonl    one line a molecule: what each fingerprint reads of it
    explanation.json   the summary, written last: a folder that has one is whole
A part that the model cannot have is left out, with a sentence that says why.
"""

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from finetune.config import Fusion, Task
from finetune.explain import files
from finetune.explain.atoms import atom_values
from finetune.explain.attention import Reading, readings, reads
from finetune.explain.choice import Drawn, choose
from finetune.explain.config import ExplainConfig
from finetune.explain.shares import modalities, shapley, shares
from finetune.explain.space import Map, frameworks, fused, has_umap, maps
from finetune.explain.subject import Subject, subject
from sharding.errors import UserError
from sharding.files import write_json

SUMMARY = "explanation.json"
DOMINATES = 0.9
"""The share above which one modality makes the others decoration."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Everything that the page shows. None and {}: left out, see `left_out`."""

    subject: Subject
    targets: list[str]
    """Whose atoms are explained."""
    drawn: dict[str, list[Drawn]]
    modalities: list[str]
    values: Float64[NDArray, "n t M"] | None
    shares: Float64[NDArray, "t M"] | None
    atoms: dict[str, list[Float64[NDArray, " a"]]]
    """{target: molecule by molecule}"""
    readings: list[Reading] | None
    maps: dict[str, Map]
    scaffolds: list[str]
    """Their frameworks: rings and linkers, whatever the atoms and bonds are."""
    left_out: list[str]
    seconds: float

    def dominated(self) -> list[tuple[str, str, float]]:
        """(target, modality, share) of each target that one modality decides nearly alone."""
        if self.shares is None:
            return []
        names = self.subject.model.design.targets
        found = np.argwhere(self.shares > DOMINATES)
        return [(names[target], self.modalities[m], float(self.shares[target, m])) for target, m in found]


def explain(config: ExplainConfig) -> Explanation:
    """Choose the molecules, compute all parts and write their files."""
    output = Path(config.output)
    _check_output(output, overwrite=config.overwrite)
    made = parts_of(subject(config), config)
    _write(made, config, output)
    return made


def parts_of(about: Subject, config: ExplainConfig) -> Explanation:
    """All parts that the model can have."""
    begun, left_out = time.monotonic(), list[str]()
    targets = config.targets or about.model.design.targets[:1]
    values = _values(about, config, left_out)
    atoms, read = _atoms(about, targets, left_out), _readings(about, left_out)
    drawn_maps = maps(fused(about.model, about.molecules), config.seed)
    if not has_umap():
        left_out.append("UMAP is left out: umap-learn is not installed (pip install umap-learn).")
    return Explanation(
        subject=about,
        targets=targets,
        drawn={target: _drawn(about, target, config) for target in targets},
        modalities=modalities(about.model),
        values=values,
        shares=None if values is None else shares(values),
        atoms=atoms,
        readings=read,
        maps=drawn_maps,
        scaffolds=frameworks(about.molecules.smiles),
        left_out=left_out,
        seconds=round(time.monotonic() - begun, 1),
    )


def _values(about: Subject, config: ExplainConfig, left_out: list[str]) -> Float64[NDArray, "n t M"] | None:
    names = modalities(about.model)
    if len(names) == 1:
        left_out.append(f"Shares are left out: this model reads one modality, the {names[0]}.")
        return None
    return shapley(about.model, about.molecules, about.background, config.background, config.seed)


def _atoms(
    about: Subject, targets: list[str], left_out: list[str]
) -> dict[str, list[Float64[NDArray, " a"]]]:
    if not about.model.design.of("graph"):
        left_out.append("Atoms are left out: this model reads no graph.")
        return {}
    ends = np.cumsum(about.molecules.molecules.n_atoms.astype(np.int64))[:-1]
    return {
        target: np.split(atom_values(about.model, about.molecules, about.target(target)), ends)
        for target in targets
    }


def _readings(about: Subject, left_out: list[str]) -> list[Reading] | None:
    if reads(about.model):
        return readings(about.model, about.molecules)
    design = about.model.design
    why = "has no fingerprint" if design.fusion == Fusion.cross_attention else f"has fusion={design.fusion}"
    if design.fusion == Fusion.cross_attention and design.fingerprint:
        why = "has nothing that the fingerprint could read"
    left_out.append(f"Attention is left out: this model {why}, so no fingerprint reads atoms or words.")
    return None


def _drawn(about: Subject, target: str, config: ExplainConfig) -> list[Drawn]:
    if config.rows:
        place_of = {int(row): place for place, row in enumerate(about.rows)}
        return [Drawn(place_of[row], f"row {row}") for row in config.rows]
    place = about.target(target)
    task = Task(about.model.design.task)
    return choose(about.labels[:, place], about.predicted[:, place], task, config.draw)


def _check_output(output: Path, *, overwrite: bool) -> None:
    if output.is_file():
        raise UserError(f"output={output} is a file. Give a new folder.")
    if not output.is_dir() or not any(output.iterdir()):
        return
    if not (output / SUMMARY).is_file():
        raise UserError(f"output={output} holds something else than an explanation. Give a new folder.")
    if not overwrite:
        raise UserError(f"output={output} holds an explanation. Give a new folder, or overwrite=true.")


def _write(made: Explanation, config: ExplainConfig, output: Path) -> None:
    for name in (*files.NAMES, "report.html"):  # an earlier one may have had parts that this one has not
        (output / name).unlink(missing_ok=True)
    shutil.rmtree(output / "pictures", ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
    files.write(made, output)
    write_json(output / SUMMARY, summary(made) | {"options": asdict(config)})


def summary(made: Explanation) -> dict[str, Any]:
    """The content of explanation.json."""
    by_target: dict[str, dict[str, float]] = {}
    if made.shares is not None:
        for target, row in zip(made.subject.model.design.targets, made.shares.tolist(), strict=True):
            by_target[target] = dict(zip(made.modalities, row, strict=True))
    return {
        "explained": made.subject.told,
        "molecules": len(made.subject.rows),
        "background": len(made.subject.background.molecules),
        "shares": by_target,
        "maps": {
            name: {"trustworthiness": one.trustworthiness, "continuity": one.continuity}
            for name, one in made.maps.items()
        },
        "left_out": made.left_out,
        "seconds": made.seconds,
    }
