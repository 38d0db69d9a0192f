"""Prediction: a fine-tuned model and a file of any length become the same rows with answers, and what they are worth.

    PredictConfig  ->  .csv or .parquet: the rows in order with their columns, and then
        <target>_predicted            a number, or the probability of class 1
        <target>_low, <target>_high   regression: between them lies the truth of `level` of all molecules
        <target>_set                  classification: 0, 1, 0|1 (either), or neither
        nearest_tanimoto, embedding_distance, inside_domain
        error                         why there is no answer: a key of `sharding.molecule.REASONS`
See finetune/conformal.py for intervals and sets, finetune/applicability.py for the domain, finetune/library.py for
what is read. A field is empty (null) where there is no answer, and both ends of an interval where the calibration has
too few molecules to bound it: an infinity would make a column of text out of numbers in a spreadsheet.

Rows are read, answered and kept in pieces, see sharding/piecewise.py: memory does not grow with the file, and what was
killed goes on. Molecules are read once and encoded once.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from finetune.answered import added_columns, answered
from finetune.config import PredictConfig, Task
from finetune.conformal import least
from finetune.library import Library, Piece
from finetune.model import FineTuned, model_folder
from finetune.tasks import check_free, reasons_in_words
from pretrain.device import choose_device
from sharding.errors import UserError
from sharding.files import sha256
from sharding.molecule import REASONS
from sharding.piecewise import check_output, forget, piecewise
from sharding.progress import ProgressLine

PIECE = 4096
"""Rows in memory at a time."""


@dataclass
class Account:
    """What became of the rows."""

    n: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    outside: int = 0
    """Answers to molecules outside the model's domain."""
    unbounded: list[str] = field(default_factory=list)
    """Targets without intervals: their calibration is too small for the level."""


def predict(config: PredictConfig) -> Account:
    """Write the output and say what became of the rows."""
    table, output = Path(config.table), Path(config.output)
    check_output(output, overwrite=config.overwrite, inputs=[table])
    library = Library.open(table, config.smiles)
    model = FineTuned.load(Path(config.finetuned)).to(choose_device(config.device))
    check_free(table, library.header, added_columns(model.design, config))
    account = Account(unbounded=_unbounded(model, config.level))

    with ProgressLine("predict", library.survey.rows) as line:

        def done(piece: Piece, made: pa.Table) -> None:
            account.n += len(piece)
            account.rejected.update(reason for reason in made["error"].to_pylist() if reason)
            if config.applicability:
                account.outside += made["inside_domain"].to_pylist().count(False)
            line.advance(len(piece))

        piecewise(
            _pieces(library, account, output),
            lambda piece: answered(piece, model, config),
            output,
            _identity(config, library, model),
            done,
        )
    return account


def summary(config: PredictConfig, account: Account) -> str:
    """The account, as lines for a person."""
    lines = [
        f"{account.n:,} rows, {account.rejected.total():,} rejected",
        *(f"  {n:,} x {reason}: {REASONS[reason]}" for reason, n in account.rejected.most_common()),
    ]
    if account.outside:
        lines.append(
            f"{account.outside:,} answers to molecules unlike those of the training part (inside_domain)"
        )
    if account.unbounded:
        lines.append(
            f"no interval at level={config.level:g} for {', '.join(account.unbounded)}: it takes "
            f"{least(config.level):,} molecules in the validation part"
        )
    return "\n".join([*lines, f"predictions in {config.output}"])


def _pieces(library: Library, account: Account, output: Path) -> Iterator[Piece]:
    """Raises `UserError` at the end, before anything is joined, when no row had an answer."""
    yield from library.pieces(PIECE, as_text=output.suffix.lower() == ".csv")
    if account.rejected.total() == account.n:
        forget(output)
        if not account.n:
            raise UserError(f"{library.path} has no rows. Expected one molecule a row.")
        reasons = reasons_in_words(account.rejected)
        raise UserError(f"{library.path} holds no valid molecule: {reasons}. Is smiles= the column?")


def _unbounded(model: FineTuned, level: float) -> list[str]:
    if not level or model.calibration is None or model.design.task != Task.regression:
        return []
    reach = model.calibration.reach(level)
    return [target for target, q in zip(model.design.targets, reach, strict=True) if q == float("inf")]


def _identity(config: PredictConfig, library: Library, model: FineTuned) -> dict[str, Any]:
    """What the answers depend on, digit by digit."""
    folder = model_folder(Path(config.finetuned))
    return {
        "table": library.survey.sha256,
        "smiles": config.smiles,
        "model": {
            str(file.relative_to(folder)): sha256(file)
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        },
        "level": config.level,
        "applicability": config.applicability,
        "batch": config.batch,
        "device": model.members[0].device.type,
        "format": Path(config.output).suffix.lower(),
        "piece": PIECE,
    }
