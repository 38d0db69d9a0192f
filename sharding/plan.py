"""What will be done: the input is surveyed once, cut into tasks, and the configuration gets a fingerprint.

    ShardConfig  ->  Plan: n input rows in files, partition tasks of consecutive rows, buckets (one shard each), blocks

A molecule's key is a seeded 64-bit hash of its canonical SMILES. The key space is cut into equal buckets, and
a bucket's rows are sorted by key: so equal molecules meet (exact global deduplication), and the rows come out
in random order (the global shuffle) without anybody holding them all. The order of the whole set depends on
the seed only, not on the number of tasks or buckets, and not on who ran them.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from sharding.block import SCHEMA_VERSION
from sharding.config import RecordConfig, ShardConfig, Text, record_config
from sharding.errors import UserError
from sharding.files import read_json
from sharding.sources import Columns, Source, Survey, find, same, survey
from sharding.tokens import Tokenizers

ROWS_A_TASK = 65_536
MOST_TASKS = 4_096
"""Beyond this many partition tasks they get larger instead: every bucket reads a piece of every one."""
ROWS_A_BLOCK = 4_096
BLOCKS_A_SHARD = 128
LEAST_TASKS = 4
"""Small inputs are still cut into this many, so that two cores have something to share."""


LINE_BITS = 40
"""A row's id is its file's number and, in so many bits, its line there. Of a single file it is the line."""


class Input(NamedTuple):
    """One input file."""

    source: Source
    survey: Survey


class Piece(NamedTuple):
    """Consecutive rows: those from `first` (from 0) of input file number `file`."""

    file: int
    first: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sharding job. `plan.json` is this, and a second run must make the same one."""

    schema: int
    inputs: list[Input]
    settings: dict[str, Any]
    """every setting, version and tokenizer hash that the shards' bytes depend on"""
    options: dict[str, Any]
    """what the tasks need to know besides; may differ from run to run"""
    fingerprint: str
    """SHA-256 of the inputs' contents and the settings"""
    partitions: list[list[Piece]]
    """a task each: a piece of a large file, or many small files"""
    buckets: int
    """tasks of the second phase, a shard each"""
    rows_a_block: int

    @property
    def seed(self) -> int:
        return int(self.settings["seed"])

    @property
    def rows(self) -> int:
        """Of all inputs, blank lines included."""
        return sum(one.survey.rows for one in self.inputs)

    def row_id(self, file: int, line: int) -> int:
        """A number that no other row has."""
        return file << LINE_BITS | line

    def origin(self, row_id: int) -> tuple[str, int]:
        """File and line of a row."""
        return self.inputs[row_id >> LINE_BITS].source.url, row_id & ((1 << LINE_BITS) - 1)

    @property
    def columns(self) -> Columns:
        """Which columns of a table are read."""
        return Columns(smiles=self.settings["column"], id=self.settings["id_column"])

    @cached_property
    def record(self) -> RecordConfig:
        """What a record holds."""
        return record_config(self.settings["record"] | {"language_model": self.options["language_model"]})


Surveyor = Callable[[Sequence[Source], Columns], list[Survey]]


def survey_all(sources: Sequence[Source], columns: Columns) -> list[Survey]:
    """One file after the other, here."""
    return [survey(source, columns) for source in sources]


def make_plan(config: ShardConfig, surveyor: Surveyor = survey_all) -> Plan:
    """Look through the input and cut it. Raises `UserError` for input that cannot be read."""
    sources, columns = find(config.inputs), Columns(smiles=config.column, id=config.id_column)
    known = _known_surveys(Path(config.output))
    fresh = [source for source in sources if not (source.url in known and same(source, known[source.url]))]
    found = known | dict(zip((one.url for one in fresh), surveyor(fresh, columns), strict=True))
    surveys = [found[source.url] for source in sources]
    return plan_for(config, [Input(*one) for one in zip(sources, surveys, strict=True)])


def plan_for(config: ShardConfig, inputs: list[Input]) -> Plan:
    """The plan of a job whose inputs are known."""
    surveys = [one.survey for one in inputs]
    count = sum(one.rows for one in surveys)
    if count == 0:
        raise UserError(f"{', '.join(config.inputs)} holds no molecule. Expected one a line.")
    settings = _settings(config)
    contents = [[one.bytes, one.sha256, one.rows] for one in surveys]
    # about 64 blocks of a small input, so that it can still be dealt to lanes; 4,096 rows a block at scale
    rows_a_block = min(ROWS_A_BLOCK, max(16, 1 << max(0, (count // 64).bit_length() - 1)))
    rows_a_shard = min(rows_a_block * BLOCKS_A_SHARD, -(-count // LEAST_TASKS))
    return Plan(
        schema=SCHEMA_VERSION,
        inputs=inputs,
        settings=settings,
        options={
            "time_limit_s": config.time_limit_s,
            "language_model": _language_model(config),
        },
        fingerprint=hashlib.sha256(json.dumps([contents, settings], sort_keys=True).encode()).hexdigest(),
        partitions=_partitions(surveys, count),
        buckets=-(-count // rows_a_shard),
        rows_a_block=rows_a_block,
    )


def _settings(config: ShardConfig) -> dict[str, Any]:
    tokenizers = Tokenizers.load(config.record.smiles_tokenizer, config.record.text_tokenizer)
    record = json.loads(json.dumps(asdict(config.record)))
    for name in ("smiles_tokenizer", "text_tokenizer", "language_model"):
        del record[name]
    if not record["skeleton"]:  # absent where it is not asked for: the fingerprint of jobs from before it
        del record["skeleton"]
    settings = {
        "column": config.column,
        "id_column": config.id_column,
        "keep_ids": config.keep_ids,
        "seed": config.seed,
        "record": record,
        "tokenizers": tokenizers.sha256,
        "versions": {"schema": SCHEMA_VERSION, "rdkit": version("rdkit")},
    }
    if config.record.text is Text.llm:
        from sharding.text.language_model import identity

        settings["language_model"] = identity(config.record.language_model)
    return settings


def _language_model(config: ShardConfig) -> dict[str, Any]:
    """As the tasks need it, which may work in another folder."""
    options = asdict(config.record.language_model)
    for name in ("model", "cache"):
        if options[name] and not (name == "model" and options["endpoint"]):
            options[name] = str(Path(options[name]).resolve())
    return options


def _partitions(surveys: Sequence[Survey], count: int) -> list[list[Piece]]:
    """All rows in order, cut into tasks of equal size, whatever the files' sizes."""
    size = min(max(ROWS_A_TASK, -(-count // MOST_TASKS)), -(-count // LEAST_TASKS))
    tasks: list[list[Piece]] = []
    room = 0
    for file, one in enumerate(surveys):
        first = 0
        while first < one.rows:
            if not room:
                tasks.append([])
                room = size
            taken = min(room, one.rows - first)
            tasks[-1].append(Piece(file, first, taken))
            first, room = first + taken, room - taken
    return tasks


def _known_surveys(output: Path) -> dict[str, Survey]:
    """Those that an earlier run of this job took, by URL: a rerun need not read its input again."""
    if not (output / "plan.json").is_file():
        return {}
    try:
        return {one.source.url: one.survey for one in load_plan(str(output)).inputs}
    except (KeyError, TypeError, ValueError):  # another schema's; `sharding.adopt` says what to do
        return {}


@lru_cache(maxsize=4)
def _read_plan(file: Path, _changed_ns: int) -> Plan:
    stored = read_json(file)
    stored["inputs"] = [
        Input(Source.from_dict(one["source"]), Survey.from_dict(one["survey"])) for one in stored["inputs"]
    ]
    stored["partitions"] = [[Piece(*one) for one in pieces] for pieces in stored["partitions"]]
    return Plan(**stored)


def load_plan(output: str) -> Plan:
    """The plan that a task works by. Read once a process, as long as the file stays as it is."""
    file = Path(output) / "plan.json"
    return _read_plan(file, file.stat().st_mtime_ns)


def plain(plan: Plan) -> dict[str, Any]:
    """As JSON keeps it."""
    inputs = [{"source": asdict(one.source), "survey": asdict(one.survey)} for one in plan.inputs]
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__} | {"inputs": inputs}


def molecule_key(smiles: str, seed: int) -> int:
    """64 bits that decide bucket and order of a canonical SMILES."""
    digest = hashlib.blake2b(smiles.encode(), digest_size=8, key=seed.to_bytes(8, "little", signed=True))
    return int.from_bytes(digest.digest(), "big")
