"""What a sharding job can be told. The dataclass owns names, types and meanings; YAML chooses values."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from omegaconf import MISSING, OmegaConf

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


class Mode(StrEnum):
    """What launch/shard.py does with the job."""

    run = "run"
    plan = "plan"
    verify = "verify"
    repair = "repair"
    inspect = "inspect"


class Text(StrEnum):
    """Who writes the text view of a molecule."""

    describer = "describer"
    llm = "llm"


class Fingerprint(StrEnum):
    """Fingerprints that a record can hold, with their lengths."""

    maccs = "maccs"
    pubchem = "pubchem"
    erg = "erg"


@dataclass(kw_only=True)
class StandardiseConfig:
    """What is done to a molecule before it is canonicalised. Everything is off unless asked for."""

    largest_fragment: bool = False
    """Keep the largest fragment only: salts and solvents go."""
    uncharge: bool = False
    """Neutralise charges by adding or removing hydrogens, where that can be done."""
    canonical_tautomer: bool = False
    """RDKit's canonical tautomer. Dear: mode=plan measures its cost on your molecules."""


@dataclass(kw_only=True)
class LanguageModelConfig:
    """The language model behind text=llm: a local folder, or a server that speaks OpenAI's protocol."""

    model: str = ""
    """Folder of a Hugging Face causal language model; with an endpoint, the name the server knows it by."""
    endpoint: str = ""
    """Base URL of an OpenAI-compatible server, as http://host:8000/v1; empty loads the model here."""
    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable with the server's key; unset or empty sends none. Never written anywhere."""
    cache: str = ""
    """Folder of finished texts by content hash, shared by all tasks; empty takes output/text_cache."""
    batch: int = 16
    """Molecules that are asked for at a time."""
    max_new_tokens: int = 320
    """Tokens of an answer, at most."""
    temperature: float = 0.0
    """0 takes the likeliest token."""
    retries: int = 3
    """Attempts after the first, for a server that fails and for an answer that the validator refuses."""
    timeout_s: float = 120.0
    """Seconds until a request counts as failed."""


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
    text: Text = Text.describer
    """describer: rules, no model, the same text every time. llm: `language_model` writes, the describer stands in."""
    fingerprints: list[Fingerprint] = field(default_factory=list)
    """Any of maccs (167 bits), pubchem (881 bits), erg (441 numbers), as [maccs,pubchem,erg]."""
    standardise: StandardiseConfig = field(default_factory=StandardiseConfig)
    language_model: LanguageModelConfig = field(default_factory=LanguageModelConfig)


def record_config(stored: dict[str, Any]) -> RecordConfig:
    """The configuration that `asdict` was taken of, as JSON keeps it; absent fields have their defaults."""
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(RecordConfig), stored))  # type: ignore[return-value]


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
