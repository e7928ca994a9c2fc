"""Engines: how a game is computed in bfloat16, in micro-batches and on many ranks.

    mean over the batch  =  sum over shards of   share * mean over the shard,      share = rows of shard / rows of batch

A `Shard` is the micro-batch of one rank in one pass. Data parallelism divides a batch over ranks, gradient accumulation
over passes: both are the same sum. Every rank makes each random draw (rows, latents, dropout masks) for the whole
batch, from the same key, and uses the rows of its shard.

    compute.py     the engine: copies, shards, one step of a player      precision.py   bfloat16 copies of the players
    reduce.py      gradient all-reduce during the backward pass          layers.py      layers that need the whole batch
    world.py       ranks and collective operations                       heartbeat.py   which rank died or hangs
    shared.py      all-reduce in the shared memory of a machine

`zerosum.game.engine` has the protocol, and the eager engine, which does none of this.
"""

from zerosum.engine.compute import Compute
from zerosum.engine.layers import SharedDropout, shared_dropout_layers, with_global_batch_norm, with_shared_dropout
from zerosum.engine.reduce import Gradients
from zerosum.engine.world import SINGLE, World, join_world, under_torchrun, was_restarted

__all__ = [
    "SINGLE", "Compute", "Gradients", "SharedDropout", "World", "join_world", "shared_dropout_layers", "under_torchrun",
    "was_restarted", "with_global_batch_norm", "with_shared_dropout",
]  # fmt: skip
