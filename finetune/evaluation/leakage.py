"""What of a test part the encoder has met: molecules and scaffolds that are in the shards it was pretrained on.

n pretraining molecules, r rows of a set.
    shards  ->  Met: hashes (sorted int64) of their InChIKey skeletons and Murcko scaffolds, kept beside the results
    canonical SMILES (r), Met  ->  molecule (r,) bool, scaffold (r,) bool

Pretraining sees no labels, so a molecule met is no label leaked; but its embedding has been pulled apart from
others', and a score that lives from it says less about new molecules. So scores stand with and without.
The skeleton is the InChIKey's first block: salts, stereo and isotopes of a molecule count as met. A molecule
without a ring has no scaffold, hence none that was met.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from finetune.split.groups import murcko_scaffolds
from sharding.config import Executor
from sharding.execute import execute
from sharding.files import write_whole
from sharding.identity import hash_names, skeletons
from sharding.progress import ProgressLine
from sharding.read import Shards


class Met(NamedTuple):
    """Sorted and distinct hashes."""

    molecules: Int64[NDArray, " k"]
    scaffolds: Int64[NDArray, " s"]


class Overlap(NamedTuple):
    """Which rows were met."""

    molecule: Bool[NDArray, " r"]
    scaffold: Bool[NDArray, " r"]


class _Block(NamedTuple):
    root: str
    number: int


@dataclass
class Workers:
    """Where the blocks are read."""

    executor: Executor
    workers: int = 0
    attempts: int = 2
    task_memory_gb: float = 1.0


def met(root: Path, kept: Path, where: Workers) -> Met:
    """Of all molecules of the shards; read from the folder `kept` when it was made before for the same shards."""
    shards = Shards(root)
    file = kept / f"met-{shards.fingerprint[:16]}.npz"
    if not file.is_file():
        blocks = [_Block(str(root), number) for number in range(len(shards.blocks))]
        parts: list[Met] = []
        with ProgressLine("overlap with pretraining, blocks", len(blocks)) as line:
            for _, part in execute(blocks, _hashes, where):
                parts.append(part)
                line.advance(1)
        joined = [np.unique(np.concatenate(column)) for column in zip(*parts, strict=True)]
        write_whole(file, lambda stream: np.savez(stream, molecules=joined[0], scaffolds=joined[1]))
    with np.load(file) as stored:
        return Met(stored["molecules"], stored["scaffolds"])


def overlap(smiles: Sequence[str], seen: Met) -> Overlap:
    """Which of these were met."""
    molecules, scaffolds = _named(smiles)
    ringless = scaffolds == hash_names([""])[0]
    return Overlap(np.isin(molecules, seen.molecules), np.isin(scaffolds, seen.scaffolds) & ~ringless)


def _hashes(block: _Block) -> Met:
    """Of one block."""
    shards = Shards(Path(block.root))
    names = _named(shards.smiles(shards.blocks[block.number]))
    return Met(*(np.unique(hashes) for hashes in names))


def _named(smiles: Sequence[str]) -> Iterator[Int64[NDArray, " k"]]:
    """Hashes of skeletons, then of scaffolds."""
    with rdBase.BlockLogs():
        yield skeletons([Chem.MolFromSmiles(text) for text in smiles], smiles)
    yield hash_names(murcko_scaffolds(smiles))
