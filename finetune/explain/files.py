"""The numbers behind an explanation's pictures, as files that other programs read.

Explanation  ->  shares.csv, molecules.csv, atoms.jsonl, attention.jsonl; see finetune/explain/job.py
Atoms are in the order of the canonical SMILES that stands beside them; rows are those of the table.
"""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune.explain.attention import Reading, Word, spelled
from finetune.tasks import number, predicted_name, write_table
from sharding.files import write_bytes

if TYPE_CHECKING:
    from finetune.explain.job import Explanation

NAMES = ("shares.csv", "molecules.csv", "atoms.jsonl", "attention.jsonl", "explanation.json")
DIGITS = 6


def write(made: "Explanation", output: Path) -> None:
    """Those of the parts that are there."""
    if made.shares is not None and made.values is not None:
        header = ["target", "modality", "share", "mean_absolute_phi", "mean_phi"]
        write_table(output / "shares.csv", header, _shares(made))
    columns = _columns(made)
    write_table(output / "molecules.csv", list(columns), zip(*columns.values(), strict=True))
    if made.atoms:
        _write_lines(output / "atoms.jsonl", _atoms(made))
    if made.readings is not None:
        _write_lines(output / "attention.jsonl", _attention(made, made.readings))


def strings_of(made: "Explanation", place: int) -> dict[str, str]:
    """The SMILES and the description of one molecule, of those that the model reads."""
    molecules = made.subject.molecules
    known = {"smiles": molecules.smiles, "text": molecules.texts}
    return {view: known[view][place] for view in made.subject.model.design.of("text")}


def words_of(made: "Explanation", view: str, place: int) -> list[Word]:
    """What is read of the view `smiles` or `text` of one molecule, word by word."""
    assert made.readings is not None
    tokenizers, text = made.subject.model.encoder.tokenizers, strings_of(made, place)[view]
    weights = made.readings[place].weights[view]
    if view == "smiles":
        return spelled(text, tokenizers.smiles, weights, symbols=True)
    return spelled(text, tokenizers.text, weights)


def _shares(made: "Explanation") -> Iterator[list[str]]:
    assert made.shares is not None and made.values is not None
    sizes, means = np.abs(made.values).mean(0), made.values.mean(0)
    for place, target in enumerate(made.subject.model.design.targets):
        for m, modality in enumerate(made.modalities):
            numbers = (made.shares[place, m], sizes[place, m], means[place, m])
            yield [target, modality, *map(number, numbers)]


def _columns(made: "Explanation") -> dict[str, list[str]]:
    about = made.subject
    columns = {"row": [str(row) for row in about.rows], "smiles": list(about.molecules.smiles)}
    for place, target in enumerate(about.model.design.targets):
        columns[target] = ["" if math.isnan(label) else number(label) for label in about.labels[:, place]]
        columns[predicted_name(target)] = [number(value) for value in about.predicted[:, place]]
        if made.values is not None:
            for m, modality in enumerate(made.modalities):
                columns[f"{target}_phi_{modality}"] = [number(v) for v in made.values[:, place, m]]
    columns["framework"] = made.scaffolds
    for name, one in made.maps.items():
        for axis, places in zip("xy", one.places.T, strict=True):
            columns[f"{name.lower().replace('-', '')}_{axis}"] = [number(value) for value in places]
    return columns


def _atoms(made: "Explanation") -> Iterator[dict[str, Any]]:
    for place, head in enumerate(_heads(made)):
        yield head | {"atoms": {target: _list(found[place]) for target, found in made.atoms.items()}}


def _attention(made: "Explanation", readings: list[Reading]) -> Iterator[dict[str, Any]]:
    """Per view: what is read of the read-out, and of each atom or word, by each fingerprint."""
    names = [name.value for name in made.subject.model.design.fingerprints]
    for place, head in enumerate(_heads(made)):
        strings = strings_of(made, place)
        views = {}
        for view, weights in readings[place].weights.items():
            views[view] = {"read_out": _list(weights[:, 0])}
            if view in strings:
                words = words_of(made, view, place)
                views[view]["words"] = [strings[view][word.begin : word.end] for word in words]
                views[view]["weights"] = _list(np.array([word.weights for word in words]).T)
            else:
                views[view]["weights"] = _list(weights[:, 1:])
        said = {"description": strings["text"]} if "text" in strings else {}
        yield {**head, **said, "fingerprints": names, "views": views}


def _heads(made: "Explanation") -> Iterator[dict[str, Any]]:
    for row, smiles in zip(made.subject.rows.tolist(), made.subject.molecules.smiles, strict=True):
        yield {"row": row, "smiles": smiles}


def _list(values: NDArray[np.float64]) -> Any:
    return np.round(values, DIGITS).tolist()


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    write_bytes(path, "".join(f"{json.dumps(line)}\n" for line in lines).encode())
