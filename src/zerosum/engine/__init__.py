"""Engines: how a game is computed in bfloat16, in micro-batches and on many ranks.

    mean over the batch  =  sum over shards of   share * mean over the shard,      share = rows of shard / rows of batch

A `Shard` is what one rank plays in one pass. Several ranks have shards of one batch; so has one rank that plays a large
batch in several passes (accumulation): both are the same sum. Every global draw (rows, latents, dropout masks) is made
whole by every rank, from its name, and each takes its rows of it.

    compute.py     the engine: copies, shards, one step of a player      precision.py   bfloat16 copies of the players
    reduce.py      gradients, added up while they are computed           layers.py      layers that look across shards
    world.py       the ranks, and what is exchanged between them         heartbeat.py   which rank died or hangs
    shared.py      sums in memory that all ranks of a machine see

The protocol, and the engine that does nothing of this, are `zerosum.game.engine`.
"""

from zerosum.engine.compute import Compute
from zerosum.engine.layers import SharedDropout, masks_of, synchronized, with_shared_masks
from zerosum.engine.reduce import Gradients
from zerosum.engine.world import SINGLE, World, join_world, under_torchrun, was_restarted

__all__ = [
    "SINGLE", "Compute", "Gradients", "SharedDropout", "World", "join_world", "masks_of", "synchronized",
    "under_torchrun", "was_restarted", "with_shared_masks",
]  # fmt: skip
