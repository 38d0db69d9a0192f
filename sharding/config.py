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
    skeleton: bool = False
    """Keep 64 bits of each molecule's InChIKey skeleton, which loss.same_molecule=skeleton compares. 8 bytes a
    molecule; mode=plan measures its time."""
    standardise: StandardiseConfig = field(default_factory=StandardiseConfig)
    language_model: LanguageModelConfig = field(default_factory=LanguageModelConfig)


def record_config(stored: dict[str, Any]) -> RecordConfig:
    """The configuration that `asdict` was taken of, as JSON keeps it; absent fields have their defaults."""
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(RecordConfig), stored))  # type: ignore[return-value]


@dataclass(kw_only=True)
class ShardConfig:
    """SMILES -> shards."""

    input: Any = ""
    """File, folder or glob of molecules, here or at any fsspec URL, or a list of them as [a.smi,b.csv]: .smi .txt
    .csv .tsv (plain, .gz, .zst) and .parquet."""
    output: str = MISSING
    """Folder of the shards; made when absent, continued when it holds the same job."""
    mode: Mode = Mode.run
    """run; plan: say what would be done, and how long; verify: read every byte again; repair: build again what is
    broken; inspect: counts, reasons, sizes and a few molecules, drawn."""
    column: str = "smiles"
    """Column with the SMILES, for .csv, .tsv and .parquet."""
    id_column: str = ""
    """Column with the molecules' names, for .csv, .tsv and .parquet; empty keeps none."""
    keep_ids: bool = True
    """Keep the names: of id_column, or what follows the SMILES in a .smi line."""
    executor: Executor = Executor.serial
    """serial, processes or ray."""
    workers: int = 0
    """Tasks at a time; 0 takes every core (on a Ray cluster, every CPU of the cluster)."""
    attempts: int = 3
    """How often a task is tried before it is set aside. The others go on; the job then ends with its name."""
    time_limit_s: float = 10.0
    """Seconds of CPU time that one molecule may take; it is then rejected as `timeout`, and one that ends the
    process as `crash`. 0 works without this guard."""
    task_memory_gb: float = 1.25
    """Memory that a Ray task asks its node for."""
    keep_work: bool = False
    """Keep the working files of the first phase (about 30 bytes a molecule), so that repair need not make them."""
    seed: int = 0
    """Seeds the global shuffle."""
    on_change: OnChange = OnChange.refuse
    """refuse or overwrite, when the output was made with another configuration."""
    record: RecordConfig = field(default_factory=RecordConfig)

    def __post_init__(self) -> None:
        if not self.input and self.mode in (Mode.run, Mode.plan, Mode.repair):
            raise UserError("option input=... is required (file, folder or glob of molecules). See --help.")
        if self.workers < 0:
            raise UserError(f"workers={self.workers} is negative. Give a count, or 0 for every core.")
        if self.attempts < 1:
            raise UserError(f"attempts={self.attempts}: give at least 1.")
        if self.time_limit_s < 0 or self.task_memory_gb < 0:
            raise UserError("time_limit_s and task_memory_gb cannot be negative. 0 switches them off.")
        if self.record.max_atoms < 1 or self.record.max_atoms > 1000:
            raise UserError(f"record.max_atoms={self.record.max_atoms}: give 1 to 1000 (RDKit's limits).")
        for name in ("max_smiles_tokens", "max_text_tokens"):
            if not 8 <= getattr(self.record, name) <= 512:
                raise UserError(f"record.{name}={getattr(self.record, name)}: give 8 to 512 tokens.")
        if self.record.text is Text.llm and not self.record.language_model.model:
            raise UserError(
                "record.text=llm needs record.language_model.model=FOLDER (or a name, with an endpoint)."
            )

    @property
    def inputs(self) -> list[str]:
        """`input` as a list."""
        return [self.input] if isinstance(self.input, str) else [str(one) for one in self.input]


@dataclass(kw_only=True)
class TokenizerConfig:
    """A corpus -> the two tokenizers."""

    input: str = MISSING
    """File, folder or glob of molecules, as for launch/shard.py."""
    output: str = MISSING
    """Folder for the pair; new or empty."""
    column: str = "smiles"
    """Column with the SMILES, for .csv and .tsv."""
    min_count: int = 5
    """SMILES symbols rarer than this in the corpus become [UNK]."""
    text_size: int = 2048
    """Word pieces of the text tokenizer, at most."""
