"""Checkpoints: complete or absent, without a pickle, for any number of ranks and any ZeRO stage.

    checkpoints/tmp-<step>/     while the ranks write; counts for nothing, swept at the next save
    checkpoints/step-<step>/    whole, from the moment of its name
        rank-<r>.safetensors    what rank r held: float32 slices of weights and moments, see `fragments`
        state.json              what is no tensor: Adam's step count, shapes, what the loop wants to know again
        MANIFEST.json           step, world, ZeRO stage, shards, and each file's size and SHA-256

    write, fsync, SHA-256 (each rank its own)  ->  all ranks agree  ->  manifest  ->  rename  ->  retention
A rank that cannot write ends the run on all ranks, and the checkpoint never gets its name. A checkpoint that was
damaged later is said aloud and passed over. The order of molecules and the dropout are functions of (seed, step), so
the step is the position in the data.

DeepSpeed's own checkpoints are not used: they are pickles, their pointer is written before the last rank has finished,
and another number of ranks needs a conversion. docs/decisions/0015-checkpoints-without-pickles.md
"""

from pretrain.checkpoint.publish import Saver
from pretrain.checkpoint.restore import restore, weights
from pretrain.checkpoint.verify import MANIFEST, choose, damage, newest, steps

__all__ = ["MANIFEST", "Saver", "choose", "damage", "newest", "restore", "steps", "weights"]
