"""How fast molecules become batch tensors: shards -> reader -> collate, on one core.

    OMP_NUM_THREADS=1 python -m benchmarks.loader --write
    OMP_NUM_THREADS=1 python -m benchmarks.loader --shards runs/zinc --write

CPU time of this process, tar bytes to padded tensors, rows shuffled in every block. The rival in the same run
is torch-geometric's in-memory way, `Batch.from_data_list` over the same molecules as `Data` objects (graph
only: it has no tokens to pad). Ratios are between medians of interleaved repeats.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Batch, Data

from benchmarks.circumstances import circumstances
from pretrain.batch import collate
from sharding.columns import Molecules, offsets
from sharding.config import ShardConfig
from sharding.job import shard
from sharding.read import Lanes, Reader, Shards, choose_lanes

HERE = Path(__file__).parent
ZINC = HERE.parent / "tests" / "data" / "zinc_5k.smi.gz"
RESULTS = HERE / "results" / "loader.md"


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
    """Rates of one epoch each: the reader alone, reader and collate, the rival."""
    plan = Lanes(blocks=shards.blocks, batch=batch, lanes=choose_lanes(len(shards.blocks), batch), seed=0)
    reader = Reader(shards, plan)
    steps = max(1, min(plan.steps, 65_536 // batch))

    def epoch(number: int) -> Iterator[Molecules]:
        for (_, _, molecules), _ in zip(reader(number, 0), range(steps), strict=False):
            yield molecules

    objects = data_objects(shards.read(max(shards.blocks, key=lambda ref: ref.rows)))
    generator = np.random.default_rng(0)
    rates: dict[str, list[float]] = {"reader": [], "reader and collate": [], "torch-geometric Batch": []}
    for number in range(repeats):
        rates["reader"].append(per_second(lambda n=number: sum(map(len, epoch(n)))))
        rates["reader and collate"].append(
            per_second(lambda n=number: sum(collate(part).size for part in epoch(n)))
        )
        picks = [generator.choice(len(objects), batch) for _ in range(max(1, 4096 // batch))]
        rates["torch-geometric Batch"].append(
            per_second(
                lambda picks=picks: sum(
                    Batch.from_data_list([objects[i] for i in pick]).num_graphs for pick in picks
                )
            )
        )
    return rates


def table(rates: dict[str, list[float]], shards: Shards, batch: int) -> str:
    """The result, with what somebody else needs to measure it again."""
    rival = statistics.median(rates["torch-geometric Batch"])
    lines = [
        "# From shards to batch tensors, one core",
        "",
        circumstances(
            "loader",
            "one core",
            f"torch {torch.__version__}, Python {platform.python_version()}",
            f"{shards.manifest['n_ok']:,} molecules in {len(shards.blocks)} blocks of about "
            f"{shards.manifest['n_ok'] // len(shards.blocks):,}, batches of {batch:,}",
        ),
        "",
        "| | molecules/s/core, median | slowest | x torch-geometric |",
        "|---|---:|---:|---:|",
    ]
    for name, found in rates.items():
        median = statistics.median(found)
        lines.append(f"| {name} | {median:,.0f} | {min(found):,.0f} | {median / rival:.1f} |")
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
