"""Splits that keep alike molecules together: by scaffold, by scaffold at random, by cluster.

n molecules in k groups.
    canonical SMILES (n)  ->  a name or number of each molecule's group (n)  ->  Split

`by_size` is DeepChem's scaffold split (the one of the GEM and Uni-Mol tables): groups sorted by size and then
by their first row, both descending; a group goes to train while it fits in 80 %, else to valid while it fits
in 90 %, else to test. Deterministic: seeds have no say. Its test part holds the rarest scaffolds. Shares are of
the n molecules; DeepChem counts rows that do not parse as well, which moves a few molecules where a table has
such rows.

`by_chance` draws the order of the groups by a seed, those larger than half of valid's or test's share first,
so that they train: the balanced scaffold split of chemprop (Yang et al. 2019, J. Chem. Inf. Model. 59, 3370) by
its definition; the random numbers are ours, so a seed here is another split than the same seed there.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

from finetune.split.parts import Split, assert_no_group_straddles

MORGAN_RADIUS, MORGAN_BITS = 2, 2048


def by_size(rows: Sequence[int], groups: Sequence[Hashable], fractions: Sequence[float]) -> Split:
    """The deterministic fill. The order of the molecules is by row, whatever that of `rows`."""
    members = _members(rows, groups)
    ordered = sorted(members.values(), key=lambda group: (len(group), group[0]), reverse=True)
    return _filled(ordered, rows, groups, fractions)


def by_chance(
    rows: Sequence[int], groups: Sequence[Hashable], fractions: Sequence[float], seed: int
) -> Split:
    """The seeded fill: large groups in a random order, then the others in a random order."""
    members = sorted(_members(rows, groups).values(), key=lambda group: group[0])
    mixed = [members[place] for place in np.random.default_rng(seed).permutation(len(members))]
    half = min(fractions[1], fractions[2]) * len(rows) / 2
    large = [group for group in mixed if len(group) > half]
    return _filled(large + [group for group in mixed if len(group) <= half], rows, groups, fractions)


def murcko_scaffolds(smiles: Sequence[str]) -> list[str]:
    """Bemis and Murcko's scaffold of each molecule, without chirality; empty for those without a ring."""
    with rdBase.BlockLogs():
        return [MurckoScaffoldSmiles(mol=Chem.MolFromSmiles(text), includeChirality=False) for text in smiles]


def butina_clusters(smiles: Sequence[str], similarity: float) -> NDArray[np.int64]:
    """Each molecule's cluster (n,), after Butina 1999 (J. Chem. Inf. Comput. Sci. 39, 747).

    Neighbours are molecules of at least this Tanimoto similarity of Morgan fingerprints (radius 2, 2,048 bits).
    The molecule with most neighbours opens a cluster and takes those that are free; then the next one that is
    free. Equal counts: the later molecule first, as RDKit's. Only neighbours are kept, not the n x n similarities.
    """
    generator = GetMorganGenerator(radius=MORGAN_RADIUS, fpSize=MORGAN_BITS)
    prints = [generator.GetFingerprint(Chem.MolFromSmiles(text)) for text in smiles]
    near = [
        np.flatnonzero(np.asarray(DataStructs.BulkTanimotoSimilarity(one, prints)) >= similarity).astype(
            np.int32
        )
        for one in prints
    ]
    cluster = np.full(len(prints), -1, np.int64)
    opened = 0
    for centre in sorted(range(len(prints)), key=lambda place: (len(near[place]), place), reverse=True):
        if cluster[centre] < 0:
            free = near[centre][cluster[near[centre]] < 0]
            cluster[free] = opened
            opened += 1
    return cluster


def _members(rows: Sequence[int], groups: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row, group in sorted(zip(rows, groups, strict=True), key=lambda pair: pair[0]):
        members[group].append(row)
    return members


def _filled(
    ordered: Sequence[list[int]], rows: Sequence[int], groups: Sequence[Hashable], fractions: Sequence[float]
) -> Split:
    """Whole groups, each where it fits first."""
    train_most, valid_most = fractions[0] * len(rows), (fractions[0] + fractions[1]) * len(rows)
    train: list[int] = []
    valid: list[int] = []
    test: list[int] = []
    for group in ordered:
        if len(train) + len(group) <= train_most:
            train += group
        elif len(train) + len(valid) + len(group) <= valid_most:
            valid += group
        else:
            test += group
    split = Split(sorted(train), sorted(valid), sorted(test))
    assert_no_group_straddles(split, dict(zip(rows, groups, strict=True)))
    return split
