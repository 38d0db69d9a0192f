"""What a pretraining run can be told. Light on purpose: `--help` imports this, and no torch."""

from dataclasses import dataclass, field
from enum import StrEnum

from omegaconf import MISSING

from sharding.errors import UserError


class Precision(StrEnum):
    """Arithmetic of the encoders; the loss is float32 in any case."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


class Device(StrEnum):
    """Where the arithmetic happens; auto takes a GPU that is there."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Negatives(StrEnum):
    """Whose molecules are negatives."""

    everyone = "everyone"
    this_rank = "this_rank"


class SameMolecule(StrEnum):
    """Which molecules of a batch are the same one, and so no negatives of each other."""

    smiles = "smiles"
    skeleton = "skeleton"
    none = "none"


class Streams(StrEnum):
    """Which contrastive streams are trained."""

    both = "both"
    graph = "graph"
    text = "text"


class Resume(StrEnum):
    """What to do with a run folder that has checkpoints."""

    auto = "auto"
    changed = "changed"
    never = "never"


class Mode(StrEnum):
    """What a pretraining command does."""

    train = "train"
    check = "check"


@dataclass(kw_only=True)
class ModelConfig:
    """Sizes of the four encoders and their projection heads."""

    graph_hidden: int = 256
    """Width of both graph encoders."""
    local_layers: int = 2
    """AttentiveFP's message-passing layers."""
    local_readout_steps: int = 2
    """AttentiveFP's T: attentive readout steps of the molecule's vector."""
    global_layers: int = 2
    """Graph Transformer layers."""
    global_heads: int = 8
    """Attention heads of the Graph Transformer; divides graph_hidden."""
    bond_bias: bool = True
    """Add a learned score per bond type and head to the Graph Transformer's attention."""
    text_hidden: int = 256
    """Width of both DeBERTa encoders."""
    text_layers: int = 4
    """DeBERTa layers."""
    text_heads: int = 4
    """Attention heads of DeBERTa; divides text_hidden."""
    text_feedforward: int = 1024
    """Inner width of DeBERTa's feed-forward."""
    projection: int = 256
    """d: width of the vectors that the loss compares."""
    dropout: float = 0.1
    """Probability, in all encoders."""

    def __post_init__(self) -> None:
        for heads, hidden in (("global_heads", "graph_hidden"), ("text_heads", "text_hidden")):
            if getattr(self, hidden) % getattr(self, heads):
                raise UserError(
                    f"model.{heads}={getattr(self, heads)} does not divide model.{hidden}={getattr(self, hidden)}."
                )
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout={self.dropout}: give a probability, 0 or more and below 1.")


@dataclass(kw_only=True)
class LossConfig:
    """What the two streams minimise."""

    temperature: float = 0.1
    """Dimensionless; LGM-CL's tau. 0.01 to 1."""
    learn_temperature: bool = False
    """Train log(1/temperature) with the encoders, kept within the same limits."""
    negatives: Negatives = Negatives.everyone
    """everyone (embeddings are gathered across ranks) or this_rank."""
    same_molecule: SameMolecule = SameMolecule.smiles
    """What makes two molecules of a batch the same, which are then no negatives of each other: smiles (canonical),
    skeleton (connectivity alone: needs shards made with record.skeleton=true), or none (all are negatives)."""
    streams: Streams = Streams.both
    """both, graph or text."""

    def __post_init__(self) -> None:
        if not 0.01 <= self.temperature <= 1:
            raise UserError(
                f"loss.temperature={self.temperature}: give 0.01 to 1 (below, float32 loses the negatives)."
            )


@dataclass(kw_only=True)
class TrainConfig:
    """The loop."""

    steps: int = 10_000
    """Optimizer steps in all, those before a resume included."""
    batch: int = 1024
    """Molecules a step over all ranks. Each has 2 * batch - 2 negatives in a stream."""
    chunk: int = 0
    """Molecules of a rank that go through the encoders at once, when memory cannot hold its share of the batch: the
    same gradients for one forward more, see pretrain/cached.py. 0 takes all at once."""
    lanes: int = 0
    """Sequences that the blocks are dealt to; a multiple of the ranks, divides batch. 0 chooses."""
    learning_rate: float = 5e-4
    """AdamW's peak, reached after the warm-up, then a cosine to a tenth of it."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    weight_decay: float = 0.01
    """AdamW's; not applied to biases, norms and the temperature."""
    gradient_clipping: float = 1.0
    """Largest norm of the whole gradient; 0 turns it off."""
    zero_stage: int = 0
    """DeepSpeed ZeRO: 0 replicates, 1 shards optimizer state, 2 also gradients, 3 also parameters."""
    precision: Precision = Precision.auto
    """float32 or bfloat16; auto is bfloat16 on a GPU that has it, else float32."""
    head_start: int = 2048
    """Training molecules from which the projection heads' first weights are computed; 0 leaves them random."""
    prefetch: int = 4
    """Batches that a background thread keeps ready."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    evaluate_every: int = 500
    """Steps between evaluations on the held-out molecules; the last step is always evaluated."""
    save_every: int = 500
    """Steps between checkpoints; the last step is always saved."""
    keep: int = 3
    """Checkpoints kept, the newest ones."""
    keep_every: int = 0
    """Steps: checkpoints at multiples of this are kept for good; 0 keeps none."""
    background_save: bool = False
    """Write checkpoints beside the training, from a copy in memory; they count when they are whole on the disk."""
    spike: float = 10.0
    """Standard deviations above its running mean that make a loss a spike: its step changes no weight. 0 takes all."""
    stop_after_bad: int = 20
    """Steps in a row, not finite or spikes, after which the run ends."""
    hang_s: float = 1800.0
    """Seconds without the end of a step after which every rank writes where it stands and leaves; 0 waits for ever."""
    seed: int = 0
    """Seeds weights, dropout and the order of molecules."""

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "log_every",
            "evaluate_every",
            "save_every",
            "keep",
            "prefetch",
            "stop_after_bad",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"train.{name}={getattr(self, name)}: give at least 1.")
        if self.batch < 2:
            raise UserError(f"train.batch={self.batch}: a contrastive batch needs at least 2 molecules.")
        if self.zero_stage not in (0, 1, 2, 3):
            raise UserError(f"train.zero_stage={self.zero_stage}: DeepSpeed has 0, 1, 2 and 3.")
        for name in (
            "learning_rate",
            "warmup_steps",
            "weight_decay",
            "gradient_clipping",
            "lanes",
            "chunk",
            "seed",
            "head_start",
            "keep_every",
            "spike",
            "hang_s",
        ):
            if getattr(self, name) < 0:
                raise UserError(f"train.{name}={getattr(self, name)} is negative.")


@dataclass(kw_only=True)
class EvaluationConfig:
    """What is measured on held-out molecules."""

    held_out: int = 1024
    """Molecules never trained on: the gallery in which each must find its other view."""
    probe: str = ""
    """Table of labelled molecules (CSV) that each evaluation predicts from the frozen encoder; empty: none."""
    probe_smiles: str = "smiles"
    """Its column of SMILES."""
    probe_target: str = ""
    """Its column of labels: numbers, or 0 and 1."""


@dataclass(kw_only=True)
class PretrainConfig:
    """Shards -> a run."""

    mode: Mode = Mode.train
    """train, or check: in a minute, whether this run would work here, how long it would take and how much disk."""
    data: str = MISSING
    """Folder of shards, made by launch/shard.py."""
    run: str = MISSING
    """Folder of the run; made when absent, continued when it holds the same run."""
    resume: Resume = Resume.auto
    """auto goes on from the newest complete checkpoint; changed does so with options that change the mathematics;
    never refuses a folder that has one."""
    wandb: str = ""
    """Weights & Biases project that gets the numbers too (pip install wandb); empty: none."""
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


@dataclass(kw_only=True)
class ExportConfig:
    """A run's checkpoint -> an encoder folder."""

    run: str = MISSING
    """Folder of the run."""
    output: str = MISSING
    """Folder of the encoder; new or empty."""
    step: int = 0
    """Which checkpoint; 0 takes the newest complete one."""
    huggingface: bool = False
    """Also write huggingface/smiles/ and huggingface/text/, which transformers' AutoModel and AutoTokenizer open: the
    weights of these two a second time."""


@dataclass(kw_only=True)
class EmbedConfig:
    """An encoder and a file of molecules -> their vectors."""

    encoder: str = MISSING
    """Folder of the encoder, made by launch/export.py."""
    table: str = MISSING
    """Molecules: .smi, .txt, .csv, .tsv, plain, .gz or .zst, or .parquet."""
    smiles: str = "smiles"
    """Column with the SMILES, for tables."""
    id: str = ""
    """Column with an identifier, for tables; empty: none. Of .smi and .txt, the rest of the line."""
    output: str = MISSING
    """File to write, .parquet (a list a view) or .csv (a column a number): the rows in order, the reason where a SMILES
    was rejected."""
    overwrite: bool = False
    """Replace the output when it exists."""
    views: list[str] = field(default_factory=list)
    """Views to write, of local, global, smiles and text; [] takes all that the encoder has."""
    device: Device = Device.auto
    """auto, cpu or cuda."""
