"""The same game on many processes: each plays its rows of the one batch, and gradients are added up.

    mean over the batch  =  sum over parts of   share * mean over the part,      share = rows of part / rows of batch

A `Part` is what one process plays in one pass. Several processes have parts of one batch; so has one process that plays
a large batch in several passes (accumulation): both are the same sum. Every global draw (rows, noise, masks) is made
whole by everyone, from its name, and each takes its part of it.

    team.py        who am I, and what is said between processes       gradients.py   added up while they are computed
    pulse.py       who has died or hangs                              layers.py      what looks beyond its own part
    shared.py      sums in memory that all processes of a machine see
"""

from zerosum.engine.layers import SharedDropout, masks_of, synchronized, with_shared_masks
from zerosum.engine.reduce import Gradients
from zerosum.engine.world import FULL_BATCH, SINGLE, Shard, World, join_world, under_torchrun, was_restarted

__all__ = [
    "FULL_BATCH",
    "SINGLE",
    "Gradients",
    "Shard",
    "SharedDropout",
    "World",
    "join_world",
    "masks_of",
    "synchronized",
    "under_torchrun",
    "was_restarted",
    "with_shared_masks",
]  # fmt: skip
