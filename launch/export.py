"""Export: a run's checkpoint becomes an encoder folder that loads without DeepSpeed.

    python launch/export.py run=runs/pretrain output=runs/encoder
    python launch/export.py run=runs/pretrain output=runs/early step=500
    python launch/export.py run=runs/pretrain output=runs/encoder huggingface=true

Leaves config.json, model.safetensors, tokenizers/ and README.md (the model card); with huggingface=true also
huggingface/smiles/ and huggingface/text/, for AutoModel and AutoTokenizer of transformers.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: Python put launch/ first on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from launch.entry import doorway
from pretrain.config import ExportConfig


def run(config: ExportConfig) -> None:
    """Export, then say what there is."""
    from pretrain.export import export

    encoder = export(config)
    count = sum(parameter.numel() for parameter in encoder.model.parameters())
    print(f"encoder of step {encoder.config['origin']['steps']:,}, {count:,} parameters, in {config.output}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The doorway's exit code."""
    return doorway("export", ExportConfig, run, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
