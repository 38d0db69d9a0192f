"""Train the two tokenizers on your own molecules. The pair that ships with the project suits drug-like ones.

    python launch/tokenizer.py input=molecules.smi.gz output=runs/mine
    python launch/shard.py input=molecules.smi.gz output=runs/shards \\
        record.smiles_tokenizer=runs/mine/tokenizers/smiles record.text_tokenizer=runs/mine/tokenizers/text

Leaves tokenizers/smiles and tokenizers/text in Hugging Face form.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: Python put launch/ first on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from launch.entry import doorway
from sharding.config import TokenizerConfig


def run(config: TokenizerConfig) -> None:
    """Train, then say what came of it."""
    from sharding.train_tokenizers import train_tokenizers

    pair = train_tokenizers(config)
    print(
        f"SMILES symbols {pair.smiles.size:,}, word pieces {pair.text.size:,} in {config.output}/tokenizers"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The doorway's exit code."""
    return doorway("tokenizer", TokenizerConfig, run, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
