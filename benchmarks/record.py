"""What one molecule's record costs: microseconds of CPU time for each step, on one process.

    OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false python -m benchmarks.record --write

k SMILES go through the steps in chunks; every chunk through every step in turn, so a busy machine slows all
of them, and a ratio is between medians over the chunks of one run. CPU time, not wall time: another process
lengthens it through the shared caches and cores only. `whole record` is `featurize_strings` and
`block.encode` as the shards call them, timed by itself and not the sum of the steps above.

The process starts again with the allocator that a job's children get (LD_PRELOAD set, even to nothing, stays).

chemprop is a rival where it can be imported, which needs none of its training code's dependencies installed:
    pip install --target rivals --no-deps chemprop==2.2.1 lightning lightning-utilities pytorch-lightning \\
        torchmetrics configargparse astartes tabulate multiprocess dill pandas pytz python-dateutil six tzdata
    PYTHONPATH=rivals python -m benchmarks.record --write

The tables that the fast forms keep fill during one untimed pass over the same molecules (`--cold` leaves it
out): a shard holds a hundred times as many molecules as it takes to fill them.
"""

import argparse
import gzip
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem import rdMolDescriptors
from torch_geometric.utils import from_rdmol

from benchmarks.circumstances import circumstances
from sharding import block
from sharding.binary import decoded, read, reader
from sharding.child import environment
from sharding.config import RecordConfig
from sharding.featurize import featurize_strings
from sharding.graph import atom_columns, atom_keys, bond_columns, bond_ends, bond_keys
from sharding.molecule import canonicalise, parse
from sharding.structure import Structures
from sharding.text.describe import describe_all
from sharding.tokens import Tokenizers

RESULTS = Path(__file__).parent / "results" / "record.md"
ZINC = Path(__file__).parents[1] / "tests" / "data" / "zinc_5k.smi.gz"
RECORD = RecordConfig()
Times = dict[str, list[float]]


def rows(path: Path, most: int) -> list[str]:
    """The first column of a file of SMILES."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        found = [line.split()[0] for line in lines if line.strip()]
    return found[:most]


def timed(times: Times, step: str, molecules: int, work: Callable[[], Any]) -> Any:
    """Do the work; its CPU time in microseconds a molecule is added to the step's."""
    start = time.process_time()
    made = work()
    times.setdefault(step, []).append((time.process_time() - start) / molecules * 1e6)
    return made


def steps(times: Times, smiles: list[str], tokenizers: Tokenizers) -> None:
    """One chunk through every step."""
    k = len(smiles)
    first = timed(times, "parse", k, lambda: [Chem.MolFromSmiles(one) for one in smiles])
    canonical = timed(times, "canonical SMILES", k, lambda: [Chem.MolToSmiles(one) for one in first])
    molecules = [Chem.MolFromSmiles(one) for one in canonical]
    timed(times, "graph, getters", k, lambda: [(atom_keys(one), bond_keys(one)) for one in molecules])

    def graph() -> Structures:
        structures = read(molecules)
        atom_columns(structures), bond_columns(structures), bond_ends(structures)
        return structures

    structures = timed(times, "graph, binary form", k, graph)
    timed(times, "Crippen log P alone (yardstick)", k, lambda: list(map(_crippen, molecules)))
    for rival, featurizer in rivals().items():
        timed(times, rival, k, lambda featurizer=featurizer: list(map(featurizer, molecules)))
    timed(times, "canonical + graph, parsed once", k, lambda: canonical_and_graph(smiles, again=False))
    timed(times, "canonical + graph, as a job", k, lambda: canonical_and_graph(smiles, again=True))
    texts = timed(
        times,
        "description, after the graph",
        k,
        lambda: [made.text for made in describe_all(structures, canonical)],
    )
    timed(times, "tokens of SMILES", k, lambda: tokenizers.smiles.encode(canonical, RECORD.max_smiles_tokens))
    timed(times, "tokens of text", k, lambda: tokenizers.text.encode(texts, RECORD.max_text_tokens))
    made, _ = featurize_strings(smiles, tokenizers, RECORD)
    columns = made.molecules, made.smiles, made.texts
    timed(times, "block bytes", k, lambda: block.encode(*columns, tokenizers=tokenizers))
    timed(times, "whole record", k, lambda: whole(smiles, tokenizers))


@cache
def rivals() -> dict[str, Callable[[Chem.Mol], Any]]:
    """Other libraries' ways from a parsed molecule to the features of its graph."""
    found: dict[str, Callable[[Chem.Mol], Any]] = {"graph, PyTorch Geometric (rival)": from_rdmol}
    if find_spec("chemprop"):
        from chemprop.featurizers import SimpleMoleculeMolGraphFeaturizer

        found[f"graph, chemprop {version('chemprop')} (rival)"] = SimpleMoleculeMolGraphFeaturizer()
    return found


def canonical_and_graph(smiles: list[str], *, again: bool) -> None:
    """Both from one parse, or as the two phases of a job do it: the canonical string is parsed again."""
    limits = {"max_atoms": RECORD.max_atoms, "max_characters": RECORD.max_smiles_characters}
    if again:
        molecules = [parse(canonicalise(one, **limits), **limits) for one in smiles]
    else:
        molecules = [parse(one, **limits) for one in smiles]
        for molecule in molecules:
            Chem.MolToSmiles(molecule)
    structures = read(molecules)
    atom_columns(structures), bond_columns(structures), bond_ends(structures)


def whole(smiles: list[str], tokenizers: Tokenizers) -> None:
    """From any SMILES to the bytes of a block."""
    made, _ = featurize_strings(smiles, tokenizers, RECORD)
    block.encode(made.molecules, made.smiles, made.texts, tokenizers=tokenizers)


def _crippen(molecule: Chem.Mol) -> float:
    return rdMolDescriptors.CalcCrippenDescriptors(molecule, force=True)[0]


def measure(smiles: list[str], chunk: int, repeats: int) -> Times:
    """The steps over all chunks, `repeats` times."""
    tokenizers, times = Tokenizers.load(), Times()
    for _ in range(repeats):
        for start in range(0, len(smiles) - chunk + 1, chunk):
            steps(times, smiles[start : start + chunk], tokenizers)
    return times


def table(times: Times) -> str:
    """One row a step: the median, what the quietest tenth of chunks took, and the median in Crippens."""
    median = {step: statistics.median(found) for step, found in times.items()}
    yardstick = median["Crippen log P alone (yardstick)"]
    bare = median["parse"] + median["canonical SMILES"]
    lines = [
        "| step | median us/molecule | quietest tenth | x Crippen |",
        "|---|---:|---:|---:|",
        *(
            f"| {step} | {median[step]:,.0f} | {quiet(found):,.0f} | {median[step] / yardstick:.2f} |"
            for step, found in times.items()
        ),
        "",
        f"* graph: getters / binary form = {median['graph, getters'] / median['graph, binary form']:.1f}",
        *(
            f"* {rival} / binary form = {median[rival] / median['graph, binary form']:.1f}"
            for rival in rivals()
        ),
        *(
            f"* {way}: {1e6 / median[way]:,.0f} molecules/s/core, {median[way] / bare:.2f} x the time "
            "of RDKit's parse and canonical SMILES alone; "
            + ", ".join(f"{median[rival] / median[way]:.1f} x as many as {rival}" for rival in rivals())
            for way in ("canonical + graph, parsed once", "canonical + graph, as a job")
        ),
        f"* whole record: {1e6 / median['whole record']:,.0f} molecules/s/core at the median, "
        f"{1e6 / quiet(times['whole record']):,.0f} in the quietest tenth",
    ]
    return "\n".join(lines)


def texts_summary(smiles: list[str]) -> str:
    """How distinct and how long the descriptions are."""
    made, _ = featurize_strings(smiles, Tokenizers.load(), RECORD)
    count, tokens = len(made.texts), made.molecules.n_text_tokens
    fixed = set()
    for start in range(0, count, 512):
        molecules = list(map(Chem.MolFromSmiles, made.smiles[start : start + 512]))
        fixed |= {one.text for one in describe_all(read(molecules), ["one seed"] * len(molecules))}
    return "\n".join(
        [
            f"* texts of {count:,} molecules: {len(set(made.texts)) / count:.2%} distinct, "
            f"{len(fixed) / count:.2%} with one seed for all, so by what they say",
            f"* {statistics.mean(map(len, made.texts)):.0f} characters, {tokens.mean():.0f} tokens on average; "
            f"{tokens.max()} tokens at most; {made.cut['text']} cut, {made.unknown_tokens['text']} unknown",
        ]
    )


def quiet(found: list[float]) -> float:
    """The first decile."""
    return sorted(found)[len(found) // 10]


def heading(smiles: list[str]) -> str:
    """The circumstances, with the load that the machine had."""
    declined = sum(not len(decoded([Chem.MolFromSmiles(one)]).n_atoms) for one in smiles)
    return circumstances(
        "record",
        f"{os.cpu_count()} cores, one used; load at the end {os.getloadavg()[0]:.1f}",
        f"RDKit {rdBase.rdkitVersion}, Python {platform.python_version()}, allocator: "
        f"{Path(os.environ['LD_PRELOAD']).name or 'the C library'}",
        f"{len(smiles):,} molecules; reader: {reader().name}, {reader().reason}; {declined} declined",
    )


def main() -> None:
    """Parse, measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", type=Path, default=ZINC, help="SMILES, one a line, plain or .gz")
    parser.add_argument("--rows", type=int, default=5000, help="molecules, from the top of the file")
    parser.add_argument("--chunk", type=int, default=500, help="molecules a step is timed over")
    parser.add_argument("--repeats", type=int, default=2, help="passes over the molecules")
    parser.add_argument("--texts", type=int, default=0, help="describe so many molecules, and say how well")
    parser.add_argument("--cold", action="store_true", help="one pass, without filling the tables before")
    parser.add_argument("--write", action="store_true", help=f"append the result to {RESULTS.name}")
    args = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # one core
    if "LD_PRELOAD" not in os.environ:
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.record", *sys.argv[1:]], environment())
    every = rows(args.input, max(args.rows, args.texts))
    smiles = every[: args.rows]
    with rdBase.BlockLogs():
        smiles = [one for one in smiles if Chem.MolFromSmiles(one)]
        if not args.cold:
            whole(smiles, Tokenizers.load())
        times = measure(smiles, min(args.chunk, len(smiles)), 1 if args.cold else args.repeats)
        report = f"{heading(smiles)}\n\n{table(times)}\n"
        if args.texts:
            report += f"{texts_summary(every[: args.texts])}\n"
    print(report)
    if args.write:
        RESULTS.parent.mkdir(exist_ok=True)
        title = "" if RESULTS.exists() else "# From SMILES to the bytes of a block\n"
        with RESULTS.open("a") as results:
            results.write(f"{title}\n{report}")


if __name__ == "__main__":
    main()
