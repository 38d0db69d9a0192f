"""What fingerprints cost, beside the libraries that define them, and whether every bit is theirs.

    OMP_NUM_THREADS=1 python -m benchmarks.fingerprint --molecules zinc250k.smi.gz --write

Molecules go through both ways in chunks, one after the other, so a busy machine slows both; a ratio is between
medians over the chunks of one run. CPU time of one process, from a parsed molecule to the array of bits, for ours
with and without reading the molecule into arrays (the shards have read it already). `--equal` compares as many
molecules as it says, spread evenly over the file, and times them all.
"""

import argparse
import gzip
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem import rdMolDescriptors
from skfp.fingerprints import ERGFingerprint, PubChemFingerprint

from benchmarks.circumstances import circumstances
from sharding.binary import read
from sharding.config import Fingerprint
from sharding.fingerprint import WIDTHS, fingerprints

RESULTS = Path(__file__).parent / "results" / "fingerprint.md"
ZINC = Path(__file__).parents[1] / "tests" / "data" / "zinc_5k.smi.gz"
READING = "reading into arrays"
Bits = NDArray[np.generic]


def spread(path: Path, most: int) -> list[str]:
    """So many SMILES, evenly over the file."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        found = [line.split()[0] for line in lines if line.strip()]
    return found[:: max(1, len(found) // most)][:most]


def _maccs(molecules: Sequence[Chem.Mol]) -> Bits:
    bits = np.zeros((len(molecules), WIDTHS[Fingerprint.maccs]), np.uint8)
    for row, molecule in zip(bits, molecules, strict=True):
        DataStructs.ConvertToNumpyArray(rdMolDescriptors.GetMACCSKeysFingerprint(molecule), row)
    return bits


def theirs() -> dict[Fingerprint, tuple[str, Callable[[Sequence[Chem.Mol]], Bits]]]:
    """The other way to each fingerprint, and whose it is."""
    erg, pubchem = ERGFingerprint(fuzz_increment=0.3, max_path=21), PubChemFingerprint()
    return {
        Fingerprint.maccs: ("RDKit", _maccs),
        Fingerprint.pubchem: ("scikit-fingerprints", pubchem.transform),
        Fingerprint.erg: ("scikit-fingerprints", lambda some: np.rint(erg.transform(some) * 10)),
    }


def measure(
    molecules: list[Chem.Mol], names: Sequence[Fingerprint], chunk: int
) -> tuple[dict[str, list[float]], dict[Fingerprint, int]]:
    """Microseconds of CPU time a molecule, by step and chunk, and the numbers that differ."""
    times: dict[str, list[float]] = {}
    differing = dict.fromkeys(names, 0)
    others = theirs()

    def timed(step: str, work: Callable[[], Bits | None], count: int) -> Bits | None:
        start = time.process_time()
        made = work()
        times.setdefault(step, []).append((time.process_time() - start) / count * 1e6)
        return made

    for start in range(0, len(molecules), chunk):
        some = molecules[start : start + chunk]
        structures = read(some)
        timed(READING, lambda some=some: read(some) and None, len(some))
        for name in names:
            ours = timed(
                f"{name} ours",
                lambda some=some, name=name, read=structures: fingerprints(some, [name], read)[name],
                len(some),
            )
            expected = timed(f"{name} theirs", lambda some=some, name=name: others[name][1](some), len(some))
            differing[name] += int((ours != expected).sum())
    return times, differing


def table(times: dict[str, list[float]], differing: dict[Fingerprint, int], molecules: int) -> str:
    """One row a fingerprint."""
    median = {step: statistics.median(found) for step, found in times.items()}
    lines = [
        "| fingerprint | theirs, us/molecule | ours | ours, with reading | ratio | ratio, with reading | numbers "
        "compared | different |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, count in differing.items():
        slow, fast = median[f"{name} theirs"], median[f"{name} ours"]
        whole = fast + (0 if name == Fingerprint.erg else median[READING])  # ErG needs no arrays
        lines.append(
            f"| {name} ({theirs()[name][0]}) | {slow:,.0f} | {fast:,.0f} | {whole:,.0f} | {slow / fast:.1f} | "
            f"{slow / whole:.1f} | {molecules * WIDTHS[name]:,} | {count:,} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse, measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--molecules", type=Path, default=ZINC, help="SMILES, one a line, plain or .gz")
    parser.add_argument("--equal", type=int, default=1000, help="molecules, spread evenly over the file")
    parser.add_argument("--names", nargs="+", type=Fingerprint, default=list(Fingerprint), help="which")
    parser.add_argument("--chunk", type=int, default=128, help="molecules that are timed together")
    parser.add_argument("--write", action="store_true", help=f"append the result to {RESULTS.name}")
    args = parser.parse_args()
    with rdBase.BlockLogs():
        smiles = spread(args.molecules, args.equal)
        parsed = [Chem.MolFromSmiles(one) for one in smiles]
        molecules = [one for one in parsed if one is not None and one.GetNumAtoms()]
        fingerprints(molecules[: args.chunk], args.names)  # compiles
        times, differing = measure(molecules, args.names, args.chunk)
    heading = circumstances(
        "fingerprint",
        f"{os.cpu_count()} cores, one used; load at the end {os.getloadavg()[0]:.1f}",
        f"RDKit {rdBase.rdkitVersion}, scikit-fingerprints {version('scikit-fingerprints')}, "
        f"Python {platform.python_version()}",
        f"{len(molecules):,} molecules of {args.molecules.name}; {len(smiles) - len(molecules)} rows unreadable",
    )
    report = f"{heading}\n\n{table(times, differing, len(molecules))}\n"
    print(report)
    if args.write:
        RESULTS.parent.mkdir(exist_ok=True)
        title = "" if RESULTS.exists() else "# Fingerprints, and those who define them\n"
        with RESULTS.open("a") as results:
            results.write(f"{title}\n{report}")


if __name__ == "__main__":
    main()
