"""MoleculeNet's sets by name: which file of a folder, which columns, what kind of labels, which score.

    (folder of CSVs in their public form, name)  ->  file, SMILES column, targets, task, metric
Wu et al. 2018 (Chem. Sci. 9, 513). Files and columns are known under the names that DeepChem, chemprop and the
original publications gave them; nothing is downloaded. Metrics are those of MoleculeNet's table 1, but for MUV,
where the tables that followed report ROC-AUC (there PR-AUC; both are always in metrics.json).

Rows that RDKit rejects, repeated molecules and contradicting labels stay as published: they are counted and said,
and a scaffold split's shares are of the molecules that are left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finetune.config import FinetuneConfig, Metric, Task
from finetune.tasks import PARQUET, TABLES, column_names
from sharding.errors import UserError, did_you_mean

SMILES = ("smiles", "mol", "SMILES", "canonical_smiles")
"""Columns that hold the molecule, the first that is there."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One set, as it is published."""

    about: str
    """What is predicted, in a chemist's words."""
    task: Task
    metric: Metric
    files: tuple[str, ...]
    """Names of the file without ending, case ignored."""
    targets: tuple[tuple[str, ...], ...] = ()
    """The labels' columns, each under all its names; none: every column but `others` and the SMILES."""
    others: tuple[str, ...] = ()
    """Columns that are no labels."""
    quirk: str = ""
    """What surprises a user who counts."""


def _columns(*names: str) -> tuple[tuple[str, ...], ...]:
    return tuple((name,) for name in names)


_QM8 = tuple(f"{which}-{method}" for method in ("CC2", "PBE0", "CAM") for which in ("E1", "E2", "f1", "f2"))
_QM9 = ("mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "cv", "u0", "u298", "h298", "g298")
_TOX21 = (
    *("NR-AR", "NR-AR-LBD", "NR-AhR", "NR-Aromatase", "NR-ER", "NR-ER-LBD", "NR-PPAR-gamma"),
    *("SR-ARE", "SR-ATAD5", "SR-HSE", "SR-MMP", "SR-p53"),
)
DATASETS = {
    "esol": Dataset(
        about="log solubility in water, mol/L (Delaney 2004)",
        task=Task.regression,
        metric=Metric.rmse,
        files=("esol", "delaney-processed", "delaney"),
        targets=(("measured log solubility in mols per litre", "log_solubility", "logSolubility"),),
        quirk="1,128 rows, 11 of them a molecule that stands twice",
    ),
    "freesolv": Dataset(
        about="hydration free energy, kcal/mol (Mobley and Guthrie 2014)",
        task=Task.regression,
        metric=Metric.rmse,
        files=("freesolv", "sampl"),
        targets=(("expt", "freesolv"),),
        quirk="642 rows; `calc` is a simulation's answer and no label",
    ),
    "lipophilicity": Dataset(
        about="log D at pH 7.4 (ChEMBL)",
        task=Task.regression,
        metric=Metric.rmse,
        files=("lipophilicity", "lipo"),
        targets=(("exp", "lipo"),),
    ),
    "bace": Dataset(
        about="inhibits human beta-secretase 1 (Subramanian et al. 2016)",
        task=Task.classification,
        metric=Metric.roc_auc,
        files=("bace",),
        targets=(("Class",),),
        quirk="1,513 rows; `Model` is another split, `pIC50` gives the answer away",
    ),
    "bbbp": Dataset(
        about="passes the blood-brain barrier (Martins et al. 2012)",
        task=Task.classification,
        metric=Metric.roc_auc,
        files=("bbbp",),
        targets=(("p_np", "BBBP"),),
        quirk="2,050 rows, 11 of which RDKit rejects, or 2,039; 64 rows repeat a molecule, 10 with the other class",
    ),
    "clintox": Dataset(
        about="approved by the FDA; failed a clinical trial for toxicity",
        task=Task.classification,
        metric=Metric.roc_auc,
        files=("clintox",),
        targets=_columns("FDA_APPROVED", "CT_TOX"),
    ),
    "tox21": Dataset(
        about="active in 12 assays of nuclear receptors and stress response",
        task=Task.classification,
        metric=Metric.roc_auc,
        files=("tox21",),
        targets=_columns(*_TOX21),
        quirk="7,831 rows, 8 of which RDKit rejects; labels are missing",
    ),
    "toxcast": Dataset(
        about="active in 617 assays of ToxCast",
        task=Task.classification,
        metric=Metric.roc_auc,
        files=("toxcast", "toxcast_data"),
        quirk="8,576 rows; most labels are missing, and some assays have one class in a part",
    ),
    "sider": Dataset(
        about="side effects in 27 organ systems (MedDRA)",
        task=Task.classification,
        metric=Metric.roc_auc,
        files=("sider",),
        quirk="1,427 rows",
    ),
    "hiv": Dataset(
        about="inhibits the replication of HIV (DTP AIDS antiviral screen)",
        task=Task.classification,
        metric=Metric.roc_auc,
        files=("hiv",),
        targets=(("HIV_active",),),
        quirk="41,127 rows, 7 of which RDKit rejects; `activity` is the label in words",
    ),
    "muv": Dataset(
        about="active in 17 assays of PubChem, actives spread in space (Rohrer and Baumann 2009)",
        task=Task.classification,
        metric=Metric.roc_auc,
        files=("muv",),
        others=("mol_id",),
        quirk="93,087 rows, about 30 actives a target; most labels are missing",
    ),
    "qm7": Dataset(
        about="atomisation energy, kcal/mol (Rupp et al. 2012)",
        task=Task.regression,
        metric=Metric.mae,
        files=("qm7",),
        targets=(("u0_atom",),),
        quirk="6,830 rows with distinct SMILES; without the 3D structures that the energies belong to",
    ),
    "qm8": Dataset(
        about="electronic spectra from three methods, atomic units (Ramakrishnan et al. 2015)",
        task=Task.regression,
        metric=Metric.mae,
        files=("qm8",),
        targets=_columns(*_QM8),
        quirk="21,786 rows; DeepChem's file has the columns of PBE0 twice, which is refused: drop one set",
    ),
    "qm9": Dataset(
        about="12 properties of small molecules, in the file's units (Ramakrishnan et al. 2014)",
        task=Task.regression,
        metric=Metric.mae,
        files=("qm9",),
        targets=_columns(*_QM9),
        quirk="133,885 rows in the whole set",
    ),
}


def named(config: FinetuneConfig) -> FinetuneConfig:
    """The configuration with file, columns, task and metric of `dataset`; itself when none is named.

    `table` is the set's file or a folder that holds it. Targets that the user names are taken of the set's.
    """
    if not config.dataset:
        return config
    if config.dataset not in DATASETS:
        raise UserError(
            f"dataset={config.dataset} is none of MoleculeNet's.{did_you_mean(config.dataset, DATASETS)} "
            f"There are: {', '.join(DATASETS)}. For a table of your own give targets= and task=."
        )
    dataset, path = DATASETS[config.dataset], _file(Path(config.table), config.dataset)
    smiles = _smiles(path, config.smiles)
    targets = _targets(dataset, path, smiles)
    strange = [target for target in config.targets if target not in targets]
    if strange:
        raise UserError(
            f"target '{strange[0]}' is none of {config.dataset}'s.{did_you_mean(strange[0], targets)}"
        )
    metric = dataset.metric if config.metric is Metric.auto else config.metric
    return replace(
        config,
        table=str(path),
        smiles=smiles,
        targets=config.targets or targets,
        task=dataset.task,
        metric=metric,
    )


def _file(table: Path, name: str) -> Path:
    """The set's file: `table` itself, or the one of a known name in the folder `table`."""
    if not table.is_dir():
        return table
    endings = [PARQUET, *(ending + packed for ending in TABLES for packed in ("", ".gz"))]
    known = {stem + ending for stem in DATASETS[name].files for ending in endings}
    found = sorted(file for file in table.iterdir() if file.name.lower() in known)
    if len(found) != 1:
        there = f"several: {', '.join(file.name for file in found)}" if found else "none"
        raise UserError(
            f"table={table} should hold one file of {name}, and has {there}. Known names: "
            f"{', '.join(f'{stem}.csv' for stem in DATASETS[name].files)} (or .tsv, .gz, .parquet; case ignored). "
            "Nothing is downloaded: fetch the set from moleculenet.org, or give the file itself as table=."
        )
    return found[0]


def _smiles(path: Path, asked: str) -> str:
    """The column of SMILES: as asked for, or where nothing is, the first of the names in use."""
    header = column_names(path)
    if asked != FinetuneConfig.smiles and asked not in header:
        raise UserError(
            f"column '{asked}' is not in {path}.{did_you_mean(asked, header)} It has: {', '.join(header)}."
        )
    found = next((name for name in (asked, *SMILES) if name in header), None)
    if found is None:
        raise UserError(
            f"{path} has none of the columns {', '.join(SMILES)}. It has: {', '.join(header)}. "
            "Name the column with the SMILES as smiles=."
        )
    return found


def _targets(dataset: Dataset, path: Path, smiles: str) -> list[str]:
    header = column_names(path)
    if not dataset.targets:
        return [name for name in header if name != smiles and name not in dataset.others]
    found = []
    for names in dataset.targets:
        present: Sequence[str] = [name for name in names if name in header]
        if not present:
            raise UserError(
                f"{path} has no column '{names[0]}'{' (or ' + ', '.join(names[1:]) + ')' if names[1:] else ''}. "
                f"It has: {', '.join(header)}. Is it the set's public form?"
            )
        found.append(present[0])
    return found
