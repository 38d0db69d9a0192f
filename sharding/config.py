"""What a sharding job can be told. The dataclass owns names, types and meanings; YAML chooses values."""

from dataclasses import dataclass, field
from enum import StrEnum

from omegaconf import MISSING

from sharding.errors import UserError


class Executor(StrEnum):
    """Where the tasks run. The bytes written are the same."""

    serial = "serial"
    processes = "processes"
    ray = "ray"


class OnChange(StrEnum):
    """What to do when the output was written with another configuration."""

    refuse = "refuse"
    overwrite = "overwrite"


@dataclass(kw_only=True)
class RecordConfig:
    """What a molecule's record holds. A change of any of these changes the shards' bytes."""

    max_atoms: int = 255
    """Heavy atoms; larger molecules are rejected as `too_many_atoms`."""
    max_smiles_characters: int = 2000
    """Longer strings are rejected as `too_long` before RDKit sees them."""
    max_smiles_tokens: int = 128
    """Tokens kept of a SMILES, its two end markers included; cut ones are counted."""
    max_text_tokens: int = 160
    """Tokens kept of a description, its two end markers included; cut ones are counted."""
    smiles_tokenizer: str = "default"
    """`default`, or a folder with a `tokenizer.json`."""
    text_tokenizer: str = "default"
    """`default`, or a folder with a `tokenizer.json`."""


@dataclass(kw_only=True)
class ShardConfig:
    """SMILES -> shards."""

    input: str = MISSING
    """File of molecules: .smi, .txt, .csv or .tsv, plain or .gz."""
    output: str = MISSING
    """Folder of the shards; made when absent, continued when it holds the same job."""
    column: str = "smiles"
    """Column with the SMILES, for .csv and .tsv."""
    executor: Executor = Executor.serial
    """serial, processes or ray."""
    workers: int = 0
    """Tasks at a time; 0 takes every core (on a Ray cluster, every CPU of the cluster)."""
    seed: int = 0
    """Seeds the global shuffle."""
    on_change: OnChange = OnChange.refuse
    """refuse or overwrite, when the output was made with another configuration."""
    record: RecordConfig = field(default_factory=RecordConfig)

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise UserError(f"workers={self.workers} is negative. Give a count, or 0 for every core.")
        if self.record.max_atoms < 1 or self.record.max_atoms > 1000:
            raise UserError(f"record.max_atoms={self.record.max_atoms}: give 1 to 1000 (RDKit's limits).")
        for name in ("max_smiles_tokens", "max_text_tokens"):
            if not 8 <= getattr(self.record, name) <= 512:
                raise UserError(f"record.{name}={getattr(self.record, name)}: give 8 to 512 tokens.")


@dataclass(kw_only=True)
class TokenizerConfig:
    """A corpus -> the two tokenizers."""

    input: str = MISSING
    """File of molecules, as for launch/shard.py."""
    output: str = MISSING
    """Folder for the pair; new or empty."""
    column: str = "smiles"
    """Column with the SMILES, for .csv and .tsv."""
    min_count: int = 5
    """SMILES symbols rarer than this in the corpus become [UNK]."""
    text_size: int = 2048
    """Word pieces of the text tokenizer, at most."""
