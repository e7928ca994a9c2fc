"""All-reduce in shared memory, for the processes of one machine.

    write     each rank writes its values into its row                     (ranks, n)
    barrier
    add       each rank sums its slice of the columns over all rows
    barrier   every rank reads the sum (n,)

It takes a fifth of the time of an all-reduce over local sockets, which copies every value several times
(docs/scale.md). One rank sums each slice, in the order of ranks, so that all ranks read the same bits.
"""

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from zerosum.engine.world import World

SHARED_MEMORY = "/dev/shm"
"""Linux's file system for shared memory; where it is missing, gradients are all-reduced over sockets."""


class SharedSum:
    """A shared row of values for each rank, and their sum.

    Args:
        block: Memory (ranks + 1, n) shared by all ranks; the last row is the sum.
        world: All ranks.
    """

    def __init__(self, block: Tensor, world: World) -> None:
        self.rows, self.total, self.world = block[:-1], block[-1], world
        self.local = self.rows[world.rank]
        length, size = block.shape[1], world.size
        self.columns = slice(length * world.rank // size, length * (world.rank + 1) // size)

    def wait(self) -> None:
        """Sum the rows, together with all other ranks.

        Raises:
            WorkerLost: A process died or hangs.
        """
        self.world.barrier()
        first, *others = (row[self.columns] for row in self.rows)
        total = self.total[self.columns].copy_(first)
        for row in others:
            total.add_(row)
        self.world.barrier()


def can_be_shared(like: Tensor, world: World) -> bool:
    """Whether all ranks can share memory with tensors such as `like`."""
    return world.one_machine and like.device.type == "cpu"


def shared_sum(length: int, like: Tensor, world: World) -> SharedSum | None:
    """Allocate a shared sum of `length` values; None with several machines, GPUs, or no room in shared memory."""
    if not can_be_shared(like, world):
        return None
    count = (world.size + 1) * length
    reserved = _reserve(count * like.element_size()) if world.is_main else ""
    path = world.broadcast(reserved.encode()).decode()
    if not path:
        return None
    block = torch.from_file(path, shared=True, size=count, dtype=like.dtype)
    world.barrier()
    if world.is_main:
        Path(path).unlink()  # the mapping outlives the name, and ends with the processes
    return SharedSum(block.view(world.size + 1, length), world)


def _reserve(size: int) -> str:
    """Create a file of `size` bytes, return its path; "" without room for it, where a write would kill the process."""
    try:
        descriptor, path = tempfile.mkstemp(prefix="zerosum-", dir=SHARED_MEMORY)
    except OSError:
        return ""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError:
        Path(path).unlink()
        return ""
    finally:
        os.close(descriptor)
    return path
