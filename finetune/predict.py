"""Prediction: a fine-tuned model and a table of any length become the same table with answers.

    PredictConfig  ->  a CSV of the rows in order: their columns, `<target>_predicted`, `error`
A .smi or .txt has no columns: its rows become `line` and `smiles`. Rows are read, encoded and written in
pieces, so memory does not grow with the table; the output is whole or absent. A rejected SMILES has its
reason under `error` (a key of `sharding.molecule.REASONS`) and empty predictions.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from finetune.config import PredictConfig
from finetune.model import FineTuned
from finetune.tasks import (
    check_free,
    has_columns,
    look_through,
    number,
    predicted_name,
    read_header,
    reasons_in_words,
    table_rows,
    write_table,
)
from pretrain.device import choose_device
from sharding.errors import UserError
from sharding.molecule import REASONS
from sharding.progress import ProgressLine
from sharding.sources import Columns, read

PIECE = 4096
"""Rows in memory at a time."""


@dataclass
class Account:
    """What became of the rows."""

    n: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


def predict(config: PredictConfig) -> Account:
    """Write the output and say what became of the rows."""
    table, output = Path(config.table), Path(config.output)
    _check_output(table, output, overwrite=config.overwrite)
    header = _header(table, config.smiles)
    model = FineTuned.load(Path(config.finetuned)).to(choose_device(config.device))
    added = [*(predicted_name(target) for target in model.design.targets), "error"]
    check_free(table, header, added)
    total = sum(1 for _ in _rows(table, config.smiles))
    if not total:
        raise UserError(f"{table} has no rows. Expected one molecule a row.")
    account = Account()

    def answered() -> Iterator[list[str]]:
        position = header.index(config.smiles) if has_columns(table) else 1
        source = _rows(table, config.smiles)
        with ProgressLine("predict", total) as line:
            while piece := list(islice(source, PIECE)):
                yield from _answer(model, piece, position, config.batch, account)
                line.advance(len(piece))
        if account.rejected.total() == account.n:  # inside the writing, so that no output remains
            reasons = reasons_in_words(account.rejected)
            raise UserError(f"{table} holds no valid molecule: {reasons}. Is smiles= the column?")

    write_table(output, [*header, *added], answered())
    return account


def summary(config: PredictConfig, account: Account) -> str:
    """The account, as lines for a person."""
    return "\n".join(
        [
            f"{account.n:,} rows, {account.rejected.total():,} rejected",
            *(f"  {n:,} x {reason}: {REASONS[reason]}" for reason, n in account.rejected.most_common()),
            f"predictions in {config.output}",
        ]
    )


def _answer(
    model: FineTuned, piece: list[list[str]], position: int, batch: int, account: Account
) -> Iterator[list[str]]:
    made, rejected = model.molecules([row[position] for row in piece])
    answers = dict(zip(made.molecules.line.tolist(), model.predict(made, batch), strict=True))
    account.n += len(piece)
    account.rejected.update(rejected.values())
    nothing = [""] * len(model.design.targets)
    for place, row in enumerate(piece):
        numbers = [number(value) for value in answers[place]] if place in answers else nothing
        yield [*row, *numbers, rejected.get(place, "")]


def _header(table: Path, smiles: str) -> list[str]:
    return read_header(table, smiles) if has_columns(table) else ["line", "smiles"]


def _rows(table: Path, smiles: str) -> Iterator[list[str]]:
    if has_columns(table):
        return (row for _, row in islice(table_rows(table), 1, None))
    source, found = look_through(table, smiles)
    rows = read(source, found, 0, found.rows, Columns(smiles=smiles, id=""))
    return ([str(row.line), row.smiles] for row in rows)


def _check_output(table: Path, output: Path, *, overwrite: bool) -> None:
    if output.is_dir():
        raise UserError(f"output={output} is a folder. Give the name of a CSV file.")
    if output.suffix.lower() != ".csv":
        raise UserError(f"output={output}: the predictions are a CSV. Give a name that ends in .csv.")
    if output.resolve() == table.resolve():
        raise UserError(f"output={output} is the table itself. Give another name.")
    if output.exists() and not overwrite:
        raise UserError(f"output={output} exists. Give another name, or overwrite=true.")
