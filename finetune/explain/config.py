"""What an explanation can be told. Light on purpose: `--help` imports this, and no torch."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from pretrain.config import Device
from sharding.errors import UserError

FEWEST = 4
"""Molecules below which a map has no neighbourhoods."""


@dataclass(kw_only=True)
class ExplainConfig:
    """A fine-tuned model and some molecules -> a page with pictures, and the numbers behind it."""

    finetuned: str = MISSING
    """Folder of a fine-tuning run, or of the model in it; a model alone needs table=."""
    output: str = MISSING
    """Folder of the page and its data; new or empty."""
    overwrite: bool = False
    """Replace an explanation that the folder holds."""
    table: str = ""
    """Molecules to explain: .csv or .tsv, plain or .gz, with a header, or .parquet. Columns named as the model's
    targets are its labels; they may be missing. Empty: the test part of the run's own table."""
    smiles: str = "smiles"
    """Column with the SMILES, with table=."""
    targets: list[str] = field(default_factory=list)
    """Targets whose atoms are explained, as [a,b]; [] takes the model's first. Shares are told for all targets."""
    rows: list[int] = field(default_factory=list)
    """Rows of the table to draw, the first after the header is 0; [] draws the surest right and the most wrong."""
    draw: int = 6
    """Molecules to draw for each target where rows=[]; 0 draws none."""
    at_most: int = 200
    """Molecules to explain; where there are more, the seed draws them. The time grows with it."""
    background: int = 4
    """Training molecules that each molecule is compared with for the shares."""
    seed: int = 0
    """Seeds the molecules drawn, their background and the maps."""
    device: Device = Device.auto
    """auto, cpu or cuda."""

    def __post_init__(self) -> None:
        for name, least in (("at_most", FEWEST), ("background", 1), ("draw", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name}={getattr(self, name)}: give {least} or more.")
        if bad := [row for row in self.rows if row < 0]:
            raise UserError(f"rows: {bad[0]} is no row. The first row after the header is 0.")
        for name in ("targets", "rows"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise UserError(f"{name}=[{','.join(map(str, given))}] names one twice. Name each once.")
