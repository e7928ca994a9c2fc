"""Sums between processes of one machine, in memory that all of them see.

    mine      each process writes its own numbers into its row             (processes, n)
    wait      until everyone has
    add       each process adds up its stretch of the columns, over all rows
    wait      until everyone has; the sum (n,) lies there for all

Over a connection, even to itself, a machine copies every number several times: this takes a fifth of the time
(docs/scale.md). Every stretch is added up by one process, in the order of the ranks: all read the same bits.
"""

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from zerosum.engine.world import World

PLACE = "/dev/shm"
"""Where Linux gives memory a name; where there is no such place, connections are used."""


class SharedSum:
    """A row of numbers for each process, and their sum.

    Args:
        block: (processes + 1, n), the same memory in every process; the last row is the sum.
        world: Whose processes they are.
    """

    def __init__(self, block: Tensor, world: World) -> None:
        self.rows, self.total, self.world = block[:-1], block[-1], world
        self.mine = self.rows[world.rank]
        n, size = block.shape[1], world.size
        self.stretch = slice(n * world.rank // size, n * (world.rank + 1) // size)

    def wait(self) -> None:
        """Add up, together with all others.

        Raises:
            Lost: A process is missing.
        """
        self.world.barrier()
        first, *others = (row[self.stretch] for row in self.rows)
        total = self.total[self.stretch].copy_(first)
        for row in others:
            total.add_(row)
        self.world.barrier()


def can_be_shared(like: Tensor, world: World) -> bool:
    """Whether all processes can see memory of this kind."""
    return world.one_machine and like.device.type == "cpu"


def shared_sum(numbers: int, like: Tensor, world: World) -> SharedSum | None:
    """Memory for sums of so many numbers; None where there is none to share: other machines, GPUs, other systems."""
    if not can_be_shared(like, world):
        return None
    count = (world.size + 1) * numbers
    reserved = _reserve(count * like.element_size()) if world.is_main else ""
    path = world.broadcast(reserved.encode()).decode()
    if not path:
        return None
    block = torch.from_file(path, shared=True, size=count, dtype=like.dtype)
    world.barrier()
    if world.is_main:
        Path(path).unlink()  # what is mapped stays, and is gone when the processes are
    return SharedSum(block.view(world.size + 1, numbers), world)


def _reserve(size: int) -> str:
    """The path of a new file of that size; none where there is no room, since touching it would end the process."""
    try:
        descriptor, path = tempfile.mkstemp(prefix="zerosum-", dir=PLACE)
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
