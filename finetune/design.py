"""What a fine-tuned model answers and how it is built: enough to build it again.

FinetuneConfig, an encoder  ->  Design  ->  config.json of the model's folder, and back
"""

from dataclasses import dataclass

from finetune.config import FinetuneConfig, Fusion, Modality, SystemName, Task
from pretrain.model import STREAMS
from sharding.config import Fingerprint
from sharding.errors import UserError, did_you_mean
from sharding.fingerprint import WIDTHS


@dataclass(frozen=True, kw_only=True)
class Design:
    """Field by field what the options of the same name choose."""

    task: Task
    targets: list[str]
    system: SystemName
    views: list[str]
    """In the encoder's order."""
    fingerprint: bool
    """Whether the fingerprints are read."""
    sizes: dict[str, int]
    """Width of each view's states and vectors, and length of each fingerprint, of those that are read."""
    fusion: Fusion
    width: int
    heads: int
    hidden: int
    dropout: float

    def of(self, stream: str) -> list[str]:
        """Views of `graph` or of `text` that are read."""
        return [view for view in self.views if view in STREAMS[stream]]

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """All three, or none."""
        return tuple(Fingerprint) if self.fingerprint else ()


def design(config: FinetuneConfig, widths: dict[str, int]) -> Design:
    """What the options choose of an encoder that has these views, of these widths."""
    views = choose_views(config, list(widths))
    fingerprint = not config.modalities or Modality.fingerprint in config.modalities
    lengths = {name.value: length for name, length in WIDTHS.items()} if fingerprint else {}
    return Design(
        task=config.task,
        targets=list(config.targets),
        system=config.system,
        views=views,
        fingerprint=fingerprint,
        sizes={view: widths[view] for view in views} | lengths,
        fusion=config.fusion,
        width=config.width,
        heads=config.heads,
        hidden=config.hidden,
        dropout=config.dropout,
    )


def choose_views(config: FinetuneConfig, known: list[str]) -> list[str]:
    """Those of the encoder's views that are read. Raises `UserError` for one that cannot be."""
    has = f"{config.encoder} has: {', '.join(known)}."
    asked = list(config.modalities)
    for stream, views in STREAMS.items():
        if stream in asked and not set(views) & set(known):
            raise UserError(f"modalities: '{stream}' needs the views {' and '.join(views)}. {has}")
    for view in config.views:
        if view not in known:
            raise UserError(f"views: the encoder has no view '{view}'.{did_you_mean(view, known)} {has}")
        stream = next(stream for stream, views in STREAMS.items() if view in views)
        if asked and stream not in asked:
            raise UserError(
                f"views: '{view}' is of modality {stream}, which modalities=... leaves out. Name both."
            )
    allowed = [view for stream, views in STREAMS.items() if not asked or stream in asked for view in views]
    return [view for view in known if view in allowed and (not config.views or view in config.views)]
