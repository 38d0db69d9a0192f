"""What fine-tuning and prediction can be told. Light on purpose: `--help` imports this, and no torch."""

import math
from dataclasses import dataclass, field
from enum import StrEnum

from omegaconf import MISSING

from pretrain.config import Device
from sharding.errors import UserError


class Task(StrEnum):
    """What a label is: a number, or 0 / 1; auto is that of the named data set."""

    auto = "auto"
    regression = "regression"
    classification = "classification"


class Metric(StrEnum):
    """The score on the validation part that chooses the epoch; auto is RMSE, ROC-AUC or that of the named data set."""

    auto = "auto"
    rmse = "rmse"
    mae = "mae"
    roc_auc = "roc_auc"
    pr_auc = "pr_auc"


METRICS = {
    Task.regression: (Metric.rmse, Metric.mae),
    Task.classification: (Metric.roc_auc, Metric.pr_auc),
}
"""Those that fit the task, its default first."""


class SplitKind(StrEnum):
    """Who decides which molecule trains, which validates and which tests."""

    scaffold = "scaffold"
    balanced_scaffold = "balanced_scaffold"
    cluster = "cluster"
    random = "random"
    time = "time"
    column = "column"
    file = "file"


class Duplicates(StrEnum):
    """Which rows of a molecule that stands more than once are used."""

    keep = "keep"
    first = "first"
    agreeing = "agreeing"
    refuse = "refuse"


class SystemName(StrEnum):
    """Which system reads the encoder's views."""

    lgm_cl = "lgm_cl"


class Modality(StrEnum):
    """What a molecule is told as: its graph, its SMILES and description, its fingerprints."""

    graph = "graph"
    text = "text"
    fingerprint = "fingerprint"


class Pretrained(StrEnum):
    """Streams that take the encoder's weights; the others keep random ones."""

    none = "none"
    graph = "graph"
    text = "text"
    both = "both"


class Fusion(StrEnum):
    """How modalities become one vector."""

    sum = "sum"
    concatenation = "concatenation"
    cross_attention = "cross_attention"


@dataclass(kw_only=True)
class FinetuneConfig:
    """An encoder and a labelled table -> a run."""

    encoder: str = MISSING
    """Folder of the encoder, made by launch/export.py."""
    table: str = MISSING
    """Table of molecules and labels: .csv or .tsv, plain or .gz, with a header, or .parquet. With dataset= also the
    folder that holds its file."""
    dataset: str = ""
    """A set of MoleculeNet, which fills in smiles, targets, task and metric: esol, freesolv, lipophilicity, bace, bbbp,
    clintox, tox21, toxcast, sider, hiv, muv, qm7, qm8 or qm9. Empty: a table of your own."""
    smiles: str = "smiles"
    """Column with the SMILES."""
    targets: list[str] = field(default_factory=list)
    """Columns with the labels, as [a,b]; required without dataset=. An empty field is a missing label."""
    task: Task = Task.auto
    """regression (numbers) or classification (0 and 1); required without dataset=."""
    metric: Metric = Metric.auto
    """Score that chooses the epoch on the validation part: rmse, mae, roc_auc or pr_auc; auto fits the task."""
    duplicates: Duplicates = Duplicates.keep
    """Rows of a molecule that stands more than once: keep all, as published protocols do; the first; the first of those
    whose labels agree (agreeing); or refuse the table. The others train and test nothing and are still predicted."""
    split: SplitKind = SplitKind.scaffold
    """scaffold (deterministic, DeepChem's definition), balanced_scaffold, cluster or random (by split_seed), time or
    column (split_column), file (split_file)."""
    split_file: str = ""
    """JSON of {train, valid, test}: lists of the table's rows, the first after the header is 0."""
    split_column: str = ""
    """Column with the time (numbers, or dates as 2024-05-31) or with the part (train, valid, test)."""
    split_seed: int = 0
    """Seeds balanced_scaffold, cluster and random."""
    split_similarity: float = 0.6
    """Tanimoto similarity from which two molecules are neighbours in a cluster."""
    fractions: list[float] = field(default_factory=lambda: [0.8, 0.1, 0.1])
    """Shares of train, valid and test; they add up to 1."""
    run: str = MISSING
    """Folder of the run; new or empty."""
    overwrite: bool = False
    """Replace a finished run in that folder (only what a run leaves there)."""
    system: SystemName = SystemName.lgm_cl
    """What reads the views."""
    modalities: list[Modality] = field(default_factory=list)
    """Any of graph, text and fingerprint, as [graph,text]; [] takes all that the encoder has, and the fingerprint."""
    views: list[str] = field(default_factory=list)
    """Those that are read of the encoder's local and global (graph), smiles and text (text); [] takes all of them."""
    fusion: Fusion = Fusion.cross_attention
    """cross_attention of atoms, tokens and fingerprints; sum or concatenation of one vector each, which is quicker."""
    freeze: bool = True
    """Keep the encoder as it is: molecules are encoded once. false trains it with the head."""
    train_layers: int = 0
    """With freeze=false: train the last so many layers of each encoder only; 0 trains all."""
    pretrained: Pretrained = Pretrained.both
    """Streams that take the encoder's weights: none, graph, text or both. Others begin with random ones (by seed)."""
    width: int = 32
    """Width in which atoms, tokens and fingerprints attend to one another; a multiple of heads."""
    heads: int = 2
    """Attention heads of the fusion."""
    hidden: int = 256
    """Width of the head's hidden layer."""
    dropout: float = 0.1
    """Probability, in the head; the encoder keeps its own."""
    epochs: int = 50
    """At most; see patience."""
    batch: int = 32
    """Molecules an optimizer step."""
    learning_rate: float = 1e-3
    """AdamW's, for the head."""
    encoder_learning_rate: float = 1e-4
    """AdamW's, for the encoder when it is not frozen."""
    weight_decay: float = 0.01
    """AdamW's; not applied to biases and norms."""
    patience: int = 10
    """Stop after so many epochs without a better validation score; the best epoch's weights are kept."""
    balanced: bool = False
    """Weigh the two classes of each target equally in the loss, by their counts in the training part."""
    seed: int = 0
    """Seeds new weights, dropout and the order of molecules."""
    members: int = 1
    """Models trained, with seeds from `seed` on; the answer is the mean of theirs, and all are saved."""
    cache_gb: float = 4.0
    """Memory for what a frozen encoder made of the molecules; above it they are encoded in every epoch again."""
    device: Device = Device.auto
    """auto, cpu or cuda."""

    def __post_init__(self) -> None:
        _at_least(self, 1, "epochs", "batch", "patience", "hidden", "width", "heads", "members")
        _at_least(self, 0, "learning_rate", "encoder_learning_rate", "weight_decay", "seed", "split_seed")
        _at_least(self, 0, "train_layers", "cache_gb")
        if self.width % self.heads:
            raise UserError(f"width={self.width} is no multiple of heads={self.heads}. Change one of them.")
        if self.freeze and self.train_layers:
            raise UserError(
                f"train_layers={self.train_layers} trains the encoder and freeze=true does not. Add freeze=false."
            )
        if self.balanced and self.task == Task.regression:
            raise UserError("balanced=true weighs classes, and task=regression has none. Leave it out.")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout={self.dropout}: give a probability, 0 or more and below 1.")
        for name in ("targets", "views", "modalities"):
            names = getattr(self, name)
            if len(set(names)) < len(names):
                raise UserError(f"{name}=[{','.join(names)}] names one twice. Name each once.")
        if not self.dataset and self.task is Task.auto:
            raise UserError(
                "option task=... is required (regression or classification), or name a set with dataset=."
            )
        if not self.dataset and not self.targets:
            raise UserError("targets=[] names no column. Give at least one, as targets=[a,b].")
        if Metric.auto is not self.metric not in METRICS.get(self.task, tuple(Metric)):
            fitting = " or ".join(METRICS[self.task])
            raise UserError(f"metric={self.metric} does not fit task={self.task}. Give {fitting}.")
        if (
            len(self.fractions) != 3
            or not all(0 < share < 1 for share in self.fractions)
            or not math.isclose(sum(self.fractions), 1, abs_tol=1e-6)
        ):
            raise UserError(
                f"fractions={self.fractions}: give three positive shares that add up to 1, as [0.8,0.1,0.1]."
            )
        for option, kinds in (
            ("split_file", (SplitKind.file,)),
            ("split_column", (SplitKind.time, SplitKind.column)),
        ):
            if (self.split in kinds) != bool(getattr(self, option)):
                raise UserError(
                    f"split={' or '.join(kinds)} and {option}=... go together: give both, or choose split=scaffold."
                )
        if not 0 < self.split_similarity <= 1:
            raise UserError(
                f"split_similarity={self.split_similarity}: give a similarity above 0 and at most 1."
            )


@dataclass(kw_only=True)
class PredictConfig:
    """A fine-tuned model and a table -> the table with predictions."""

    finetuned: str = MISSING
    """Folder of the fine-tuned model, or of the run that holds it as model/."""
    table: str = MISSING
    """Molecules: .csv, .tsv, .smi or .txt, plain or .gz, or .parquet. Labels are not needed."""
    smiles: str = "smiles"
    """Column with the SMILES, for tables."""
    output: str = MISSING
    """File to write, .csv or .parquet: the rows in order, the answers, and the reason where there is none."""
    overwrite: bool = False
    """Replace the output when it exists."""
    level: float = 0.9
    """Share of molecules, like those of the validation part, whose truth is within the interval (regression) or the set
    of classes; below 1. 0 writes neither."""
    applicability: bool = True
    """Write how near the training molecules are, and whether that is near enough."""
    batch: int = 256
    """Molecules encoded at a time."""
    device: Device = Device.auto
    """auto, cpu or cuda."""

    def __post_init__(self) -> None:
        _at_least(self, 1, "batch")
        if not 0 <= self.level < 1:
            raise UserError(
                f"level={self.level:g}: give a share below 1, as 0.9 for nine of ten, or 0 for no intervals."
            )


def _at_least(config: FinetuneConfig | PredictConfig, least: int, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not (math.isfinite(value) and value >= least):
            raise UserError(f"{name}={value}: give {least} or more.")
