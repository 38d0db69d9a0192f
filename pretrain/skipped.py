"""What a run leaves of the steps that changed nothing: for somebody who wants to know which molecules did that.

    skipped.jsonl            step, reason, loss, mean and deviation before it, and where its molecules are
    skipped/step-<n>.csv     all ranks' molecules of that step: rank, id, SMILES, shard, block, row
A step's molecules are a function of the step, so nobody keeps them while all is well: rank 0 reads them again.
"""

import csv
import io
from dataclasses import asdict

from pretrain.guard import Bad
from pretrain.plan import Place, molecules_of
from pretrain.record import Record
from sharding.files import write_bytes
from sharding.read import Lanes, Shards


def write_skipped(record: Record, bad: Bad, shards: Shards, lanes: Lanes, world: int) -> None:
    """The line and the table of a step, by rank 0."""
    if not record.enabled:
        return
    name = f"skipped/step-{bad.step}.csv"
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(Place._fields)
    table.writerows(molecules_of(shards, lanes, bad.step, world))
    write_bytes(record.folder / name, text.getvalue().encode())
    record.write("skipped", {**asdict(bad), "molecules": name})
