"""Faults in the data."""

import io
import shutil
import tarfile
from pathlib import Path

import numpy as np

from benchmarks.reliability.launches import LIMIT_S
from benchmarks.reliability.raw import BATCH, table
from benchmarks.reliability.sides import Ours, Side
from benchmarks.reliability.steps import after_first_step


def uneven(side: Side) -> str:
    """Two ranks, and shards whose rows two ranks cannot share equally."""
    run = side.root / "uneven"
    if isinstance(side, Ours):
        end = side.train(run, 2 * LIMIT_S, steps=40, save_every=40)
        how = "done" if end.code == 0 else end.refusal
        return f"{how}, {len(side.losses(run))} of 40 steps, over the end of an epoch"
    folder = side.root / "uneven-tars"
    tars(folder, [48, 16])
    told = after_first_step(side, run, side.start(run, tars=folder, save_every=100))
    return (
        f"{told}; {len(side.losses(run))} steps (one rank had rows for {16 // (BATCH // 2)}, the other for 6)"
    )


def cut(side: Side) -> str:
    """Tar shards that end early, at the border of a sample, as a broken copy leaves them."""
    run = side.root / "cut"
    if isinstance(side, Ours):
        folder = side.root / "cut-shards"
        shutil.copytree(side.shards, folder)
        for file in folder.rglob("*.tar"):
            halve(file)
        end = side.train(run, steps=4, data=folder)
        return end.refusal if end.code else f"**trains on what is left**, exit 0, {end.said}"
    folder = side.root / "cut-tars"
    tars(folder, [48, 48])
    for file in folder.glob("*.tar"):
        halve(file)
    end = side.train(run, tars=folder, save_every=100)
    steps = len(side.losses(run))
    return end.refusal if end.code else f"**trains on {steps * BATCH} of 96 rows, without a word**, exit 0"


def tars(folder: Path, rows: list[int]) -> None:
    """Shards as webdataset reads them, of so many rows each."""
    folder.mkdir(parents=True)
    numbers, begin = table().numpy(), 0
    for shard, count in enumerate(rows):
        with tarfile.open(folder / f"shard-{shard}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for row in range(begin, begin + count):
                stream = io.BytesIO()
                np.save(stream, numbers[row])
                member = tarfile.TarInfo(f"{row:05d}.npy")
                member.size = stream.tell()
                stream.seek(0)
                tar.addfile(member, stream)
        begin += count


def halve(file: Path) -> None:
    """Cut a tar in front of the member in its middle."""
    with tarfile.open(file) as tar:
        members = tar.getmembers()
        place = members[len(members) // 2].offset
    with file.open("r+b") as stream:
        stream.truncate(place)
