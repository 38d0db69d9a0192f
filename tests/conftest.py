"""Real molecules for every test, and shards of some of them, made once."""

import gzip
import os
import signal
from pathlib import Path

import pytest

# on busy cores, small layers on two threads are 100 times slower
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

# a shell's background and nohup ignore these two, and what inherits that rightly stays deaf to them
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def zinc() -> list[str]:
    """5,000 drug-like SMILES."""
    return gzip.decompress((DATA / "zinc_5k.smi.gz").read_bytes()).decode().split()


@pytest.fixture(scope="session")
def shards_folder(zinc: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished shards of 600 ZINC molecules with 2 duplicates and 2 rejects among the rows."""
    from sharding.config import ShardConfig
    from sharding.job import shard

    folder = tmp_path_factory.mktemp("data")
    rows = [*zinc[:300], "not-a-smiles", zinc[5], *zinc[300:600], "C(C)(C)(C)(C)C", zinc[7]]
    (folder / "in.smi").write_text("\n".join(rows) + "\n")
    shard(ShardConfig(input=str(folder / "in.smi"), output=str(folder / "shards")))
    return folder / "shards"
