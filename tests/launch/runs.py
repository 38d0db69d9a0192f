"""What a process of the report's tests does; importable, because processes import it by name."""

from dataclasses import replace

from pretrain.config import PretrainConfig, Resume
from pretrain.train import pretrain


def resumed_and_skipped(rank: int, world: int, options: PretrainConfig) -> None:
    """Four steps; then four more at a learning rate that breaks the weights, so that three are skipped."""
    pretrain(replace(options, train=replace(options.train, steps=4)))
    broken = replace(options.train, steps=8, learning_rate=1e30, warmup_steps=0)
    pretrain(replace(options, train=broken, resume=Resume.changed))
