"""Fingerprints of molecules: MACCS keys, PubChem keys, ErG.

    k molecules  ->  {name: (k, width)}
    maccs    167  uint8   0 or 1: RDKit's public MACCS keys; bit 0 is never set
    pubchem  881  uint8   0 or 1: the PubChem substructure keys as scikit-fingerprints reads them
    erg      441  uint16  tenths: RDKit's extended reduced graph (Stiefl et al. 2006), 21 pairs of properties by
                          21 distances

ErG adds 1 for every pair at its distance and 0.3 at the distances beside it, so tenths are exact. They outgrow
eight bits in one of a hundred molecules of ChEMBL; what would outgrow sixteen becomes 65,535.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdReducedGraphs

from sharding.binary import read
from sharding.config import Fingerprint
from sharding.fingerprint import maccs, pubchem
from sharding.structure import Structures

ERG_WIDTH, ERG_DISTANCES, ERG_BESIDE = 441, 21, 0.3
WIDTHS: dict[Fingerprint, int] = {
    Fingerprint.maccs: maccs.WIDTH,
    Fingerprint.pubchem: pubchem.WIDTH,
    Fingerprint.erg: ERG_WIDTH,
}
AT_A_TIME = 512
"""Molecules that are searched together: 12 MB of tables."""


def fingerprints(
    molecules: Sequence[Chem.Mol], names: Sequence[Fingerprint], structures: Structures | None = None
) -> dict[Fingerprint, NDArray[np.unsignedinteger]]:
    """Each fingerprint of all molecules, which must be sanitised; `structures` are theirs, if they were read."""
    if structures is None and len(molecules) > AT_A_TIME:
        parts = [
            fingerprints(molecules[start : start + AT_A_TIME], names)
            for start in range(0, len(molecules), AT_A_TIME)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}
    found: dict[Fingerprint, NDArray[np.unsignedinteger]] = {}
    for name in names:
        if name == Fingerprint.erg:
            found[name] = _erg(molecules)
            continue
        structures = read(molecules) if structures is None else structures
        found[name] = (maccs.maccs if name == Fingerprint.maccs else pubchem.pubchem)(structures)
    return found


def _erg(molecules: Sequence[Chem.Mol]) -> NDArray[np.uint16]:
    values = np.empty((len(molecules), ERG_WIDTH))
    for row, molecule in zip(values, molecules, strict=True):
        row[:] = rdReducedGraphs.GetErGFingerprint(molecule, fuzzIncrement=ERG_BESIDE, maxPath=ERG_DISTANCES)
    return np.minimum(np.rint(values * 10), 65535).astype(np.uint16)
