"""How fast molecules become batch tensors: shards -> reader -> collate, on one core.

    OMP_NUM_THREADS=1 python -m benchmarks.loader --write
    OMP_NUM_THREADS=1 python -m benchmarks.loader --shards runs/zinc --write

CPU time of this process, tar bytes to padded tensors, rows shuffled in every block. The rivals in the same run
are torch-geometric's in-memory ways over the same molecules as `Data` objects (graph only: no tokens to inflate
or pad): its `DataLoader` with shuffling, and `Batch.from_data_list` alone. Ratios are between medians of
interleaved repeats. Bytes are those of the tars, by member, over all molecules.
"""

import argparse
import importlib.util
import platform
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from benchmarks.circumstances import circumstances
from pretrain.batch import collate
from sharding.columns import Molecules, concatenate, offsets
from sharding.config import ShardConfig
from sharding.job import shard
from sharding.read import Lanes, Reader, Shards, choose_lanes
from sharding.table import BlockRef, BlockTable

HERE = Path(__file__).parent
ZINC = HERE.parent / "tests" / "data" / "zinc_5k.smi.gz"
RESULTS = HERE / "results" / "loader.md"
RIVAL = "torch-geometric DataLoader, shuffled"
INFLATED_BY = "isal" if importlib.util.find_spec("isal") else "zlib"


def data_objects(molecules: Molecules) -> list[Data]:
    """One torch-geometric object a molecule, made outside the measured time."""
    atoms, bonds = offsets(molecules.n_atoms), offsets(molecules.n_bonds)
    found = []
    for row in range(len(molecules)):
        ends = molecules.ends[bonds[row] : bonds[row + 1]].astype(np.int64)
        found.append(
            Data(
                x=torch.from_numpy(molecules.atoms[atoms[row] : atoms[row + 1]]),
                edge_index=torch.from_numpy(np.concatenate([ends, ends[:, ::-1]]).T.copy()),
                edge_attr=torch.from_numpy(np.tile(molecules.bonds[bonds[row] : bonds[row + 1]], (2, 1))),
            )
        )
    return found


def per_second(work: Callable[[], int]) -> float:
    """Molecules a second of CPU time."""
    start = time.process_time()
    count = work()
    return count / (time.process_time() - start)


def measure(shards: Shards, batch: int, repeats: int) -> dict[str, list[float]]:
    """Rates of one epoch each: the reader alone, reader and collate, the rivals."""
    plan = Lanes(blocks=shards.blocks, batch=batch, lanes=choose_lanes(len(shards.blocks), batch), seed=0)
    reader = Reader(shards, plan)
    steps = max(1, min(plan.steps, 65_536 // batch))

    def epoch(number: int) -> Iterator[Molecules]:
        for (_, _, molecules), _ in zip(reader(number, 0), range(steps), strict=False):
            yield molecules

    objects = data_objects(concatenate([shards.read(ref) for ref in largest(shards.blocks, 4096)]))
    generator = np.random.default_rng(0)

    def picked() -> int:
        picks = [generator.choice(len(objects), batch) for _ in range(max(1, 4096 // batch))]
        return sum(Batch.from_data_list([objects[i] for i in pick]).num_graphs for pick in picks)

    ways: dict[str, Callable[[int], int]] = {
        "reader": lambda number: sum(map(len, epoch(number))),
        "reader and collate": lambda number: sum(collate(part).size for part in epoch(number)),
        RIVAL: lambda _: sum(part.num_graphs for part in DataLoader(objects, batch, shuffle=True)),
        "torch-geometric Batch": lambda _: picked(),
    }
    for way in ways.values():  # compiles, and warms the caches
        way(repeats)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats):
        for name, way in ways.items():
            rates[name].append(per_second(lambda way=way, number=number: way(number)))
    return rates


def largest(blocks: BlockTable, count: int) -> list[BlockRef]:
    """Blocks of at least `count` molecules together, or all: what a rival gets into memory."""
    found, rows = [], 0
    for ref in sorted(blocks, key=lambda ref: -ref.rows):
        if rows >= count:
            break
        found.append(ref)
        rows += ref.rows
    return found


def bytes_by_member(shards: Shards) -> dict[str, float]:
    """Bytes a molecule of each kind of member, the tar's own, and all together."""
    total: Counter[str] = Counter()
    for ref in shards.blocks:
        total.update({name: len(content) for name, content in shards.members(ref).items()})
    whole = sum(shard["bytes"] for shard in shards.manifest["shards"])
    total["tar headers and padding"] = whole - total.total()
    total["together"] = whole
    return {name: size / shards.manifest["n_ok"] for name, size in total.items()}


def table(rates: dict[str, list[float]], shards: Shards, batch: int) -> str:
    """The result, with what somebody else needs to measure it again."""
    rival = statistics.median(rates[RIVAL])
    lines = [
        "# From shards to batch tensors, one core",
        "",
        circumstances(
            "loader",
            "one core",
            f"torch {torch.__version__}, Python {platform.python_version()}, inflating by {INFLATED_BY}",
            f"{shards.manifest['n_ok']:,} molecules in {len(shards.blocks)} blocks of about "
            f"{shards.manifest['n_ok'] // len(shards.blocks):,}, batches of {batch:,}",
        ),
        "",
        "| | molecules/s/core, median | slowest | x torch-geometric DataLoader |",
        "|---|---:|---:|---:|",
    ]
    for name, found in rates.items():
        median = statistics.median(found)
        lines.append(f"| {name} | {median:,.0f} | {min(found):,.0f} | {median / rival:.1f} |")
    lines += ["", "| member | bytes a molecule |", "|---|---:|"]
    lines += [f"| {name} | {size:.2f} |" for name, size in bytes_by_member(shards).items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print; append to the results when asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shards", type=Path, help="finished shards; without, the project's 5,000 are sharded first"
    )
    parser.add_argument("--batch", type=int, default=1024, help="molecules a batch")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--write", action="store_true", help=f"append the table to {RESULTS.name}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = options.shards
        if root is None:
            root = Path(folder) / "shards"
            shard(ShardConfig(input=str(ZINC), output=str(root)))
        shards = Shards(root)
        text = table(measure(shards, options.batch, options.repeats), shards, options.batch)
    print(text)
    if options.write:
        with RESULTS.open("a") as stream:
            stream.write(text + "\n")


if __name__ == "__main__":
    main()
