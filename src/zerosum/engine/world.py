"""The world: all processes that train one run together, and the collective operations between them.

Processes communicate by torch.distributed under torchrun; `join_world` reads torchrun's environment variables. There
are two process groups: one for gradients (NCCL between GPUs, Gloo between CPUs), and a Gloo group for everything else,
which is in CPU memory and never waits for a GPU. Nothing is pickled.
"""

import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from zerosum import environment
from zerosum.engine.heartbeat import Heartbeat
from zerosum.errors import ConfigError, WorkerLost
from zerosum.game.engine import FULL_BATCH, Shard

JOIN_TIMEOUT = 600.0
"""Seconds to wait for all processes at the start: machines may be slow, or allocated at different times."""


@dataclass(eq=False)
class World:
    """All processes that train one run; by default this process alone.

    Args:
        rank: Rank of this process, from 0.
        size: Number of processes.
        local_rank: Rank of this process on its machine, from 0.
        one_machine: Whether all processes run on one machine.
        gradients: Process group for gradients.
        control: Process group for everything else, in CPU memory.
        heartbeat: Finds out which process failed; None: no store is shared.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    one_machine: bool = False
    gradients: dist.ProcessGroup | None = None
    control: dist.ProcessGroup | None = None
    heartbeat: Heartbeat | None = None
    _vote: tuple[dist.Work, Tensor] | None = field(default=None, repr=False)

    def __deepcopy__(self, _: Any) -> "World":
        return self  # process groups cannot be copied, and a copied network belongs to the same world

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes files and messages."""
        return self.rank == 0

    @property
    def is_single(self) -> bool:
        """Whether this is the only process."""
        return self.size == 1

    def report_round(self, at_round: int) -> None:
        """Publish the last finished round with this process's heartbeat."""
        if self.heartbeat:
            self.heartbeat.round = at_round

    def shards(self, batch: int, passes: int) -> tuple[Shard, ...]:
        """Divide a batch over ranks and passes; return the shards of this rank, one for each pass.

        Raises:
            ConfigError: The batch has fewer rows than there are shards.

        >>> World(rank=1, size=2).shards(8, passes=2)
        (Shard(rows=slice(4, 6, None), share=0.25), Shard(rows=slice(6, 8, None), share=0.25))
        >>> SINGLE.shards(8, passes=1) == (FULL_BATCH,)
        True
        """
        count = self.size * passes
        if count == 1:
            return (FULL_BATCH,)
        if batch < count:
            raise ConfigError(
                f"game.batch: {batch} rows are too few for {self.size} processes and {passes} passes of each"
            )
        cuts = [batch * index // count for index in range(self.rank * passes, (self.rank + 1) * passes + 1)]
        return tuple(Shard(slice(first, last), (last - first) / batch) for first, last in pairwise(cuts))

    def all_reduce(self, tensor: Tensor, group: dist.ProcessGroup | None) -> "Pending":
        """Start an in-place sum of a tensor over all ranks; `wait` on the result."""
        return Pending(self, self._collective(dist.all_reduce, tensor, group=group, async_op=True))

    def barrier(self) -> None:
        """Wait until every process has called this."""
        self.all_reduce(torch.zeros(1), self.control).wait()

    def sum_over_ranks(self, numbers: list[float]) -> list[float]:
        """Sum each number over all ranks."""
        if self.is_single:
            return numbers
        sums = torch.tensor(numbers, dtype=torch.float64)
        self.all_reduce(sums, self.control).wait()
        return sums.tolist()

    def vote(self, vote: int) -> int:
        """Start a max-all-reduce of `vote`; return that of the round before, so that no rank waits."""
        if self.is_single:
            return vote
        previous, ballot = self._last_vote(), torch.tensor([vote])
        work = self._collective(dist.all_reduce, ballot, op=dist.ReduceOp.MAX, group=self.control, async_op=True)
        self._vote = work, ballot
        return previous

    def _last_vote(self) -> int:
        """The result of the pending vote; 0 if there is none."""
        if self._vote is None:
            return 0
        work, ballot = self._vote
        Pending(self, work).wait()
        self._vote = None
        return int(ballot)

    def broadcast(self, content: bytes) -> bytes:
        """Return the bytes of rank 0 on every rank."""
        return content if self.is_single else self.broadcast_from(0, content)

    def all_gather(self, content: bytes) -> list[bytes]:
        """Return the bytes of every rank, by rank, on every rank."""
        return self.map_ranks(self.size, lambda _: content)

    def broadcast_from(self, rank: int, content: bytes) -> bytes:
        """Return the bytes of one rank on every rank."""
        length = torch.tensor([len(content)])
        self._collective(dist.broadcast, length, src=rank, group=self.control)
        block = bytearray(content) if self.rank == rank else bytearray(int(length))
        if block:
            self._collective(dist.broadcast, torch.frombuffer(block, dtype=torch.uint8), src=rank, group=self.control)
        return bytes(block)

    def map_ranks(self, count: int, make: Callable[[int], bytes]) -> list[bytes]:
        """Evaluate make(0), ..., make(count - 1) round-robin over ranks; every rank gets all results."""
        made = {number: make(number) for number in range(self.rank, count, self.size)}
        if self.is_single:
            return list(made.values())
        return [self.broadcast_from(number % self.size, made.get(number, b"")) for number in range(count)]

    def map_rows(self, count: int, make: Callable[[int], NDArray[Any]]) -> NDArray[Any]:
        """As `map_ranks`, for arrays; return them concatenated along the first axis."""
        if self.is_single:
            return np.concatenate([make(number) for number in range(count)])
        arrays = self.map_ranks(count, lambda number: _to_npy(make(number)))
        return np.concatenate([np.load(BytesIO(content), allow_pickle=False) for content in arrays])

    @contextmanager
    def local_main_first(self) -> Iterator[None]:
        """Run the block on local rank 0 of each machine first, then on the others, which find its files."""
        if not self.is_single and self.local_rank:
            self.barrier()
        yield
        if not self.is_single and not self.local_rank:
            self.barrier()

    def refuse_differences(self, tensors: Mapping[str, Tensor]) -> None:
        """Check that tensors are bit-identical on all ranks.

        Raises:
            WorkerLost: They are not; the message names the first tensor that differs, and the ranks that differ from 0.
        """
        if self.is_single or not tensors:
            return
        names = sorted(tensors)
        mine = torch.stack([checksum(tensors[name]) for name in names])
        gathered = [torch.empty_like(mine) for _ in range(self.size)]
        self._collective(dist.all_gather, gathered, mine, group=self.control)
        differs = torch.stack([(sums != gathered[0]).any(1) for sums in gathered])  # (processes, tensors)
        if differs.any():
            first = int(differs.any(0).int().argmax())
            ranks = ", ".join(str(rank) for rank in range(self.size) if differs[rank, first])
            raise WorkerLost(
                f"{names[first]} is not the same in every process: process {ranks} holds other numbers than 0. "
                "What was saved before is right. Processors of different kinds round differently: all should be alike"
            )

    def _collective(self, call: Any, *args: Any, **options: Any) -> Any:
        """Call a collective operation and count it.

        Raises:
            WorkerLost: A process died or hangs.
        """
        if self.heartbeat:
            self.heartbeat.collectives += 1
        try:
            return call(*args, **options)
        except RuntimeError as error:
            raise self.worker_lost(error) from None

    def worker_lost(self, error: Exception) -> WorkerLost:
        """The error to raise after a collective operation failed, naming the process at fault if it can be found."""
        return (
            self.heartbeat.diagnose(error)
            if self.heartbeat
            else WorkerLost(f"an exchange with the other processes failed: {error}")
        )


SINGLE = World()


@dataclass(frozen=True)
class Pending:
    """An asynchronous collective operation."""

    world: World
    work: dist.Work

    def wait(self) -> None:
        """Wait until it is done; on a GPU, make the current stream wait.

        Raises:
            WorkerLost: A process died or hangs.
        """
        try:
            self.work.wait()
        except RuntimeError as error:
            raise self.world.worker_lost(error) from None


def checksum(tensor: Tensor) -> Tensor:
    """Two sums (2,) over the bits of a tensor, plain and weighted by position: equal for bit-identical tensors."""
    flat = tensor.detach().contiguous().flatten()
    bits = flat.view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[flat.element_size()]).long()
    position = torch.arange(1, len(bits) + 1, device=bits.device)
    return torch.stack([bits.sum(), (bits * position).sum()]).cpu()


def refuse_aborting_torch() -> None:
    """Refuse several processes with a torch that now and then aborts one of them when its interpreter ends.

    Raises:
        ConfigError: This is torch before 2.7 on Python 3.13 or later, where 4 of 115 launches ended so.
    """
    version = torch.__version__.partition("+")[0]
    if sys.version_info >= (3, 13) and tuple(map(int, version.split(".")[:2])) < (2, 7):
        raise ConfigError(
            f"several processes need torch 2.7 or later on Python {platform.python_version()}: torch {version} aborts "
            "one now and then when it ends. Install a later torch or Python 3.12, or use one process"
        )


def under_torchrun() -> bool:
    """Whether torchrun started this process."""
    return environment.size() > 1 or "TORCHELASTIC_RUN_ID" in os.environ


def was_restarted() -> bool:
    """Whether torchrun restarted this process after a failure."""
    return environment.restarts() > 0


@contextmanager
def join_world(timeout: float, device: str | None = None) -> Iterator[World]:
    """Join the processes that torchrun started, and leave them at the end; without torchrun, yield `SINGLE`.

    Args:
        timeout: Seconds that a collective operation may take before a process counts as lost.
        device: Device of the players; None: a GPU if there is one.

    Raises:
        ConfigError: This torch cannot be trusted with several processes.
        WorkerLost: The other processes did not join in time.
    """
    if environment.size() == 1:
        yield SINGLE
        return
    refuse_aborting_torch()
    limit, started = timedelta(seconds=timeout), not dist.is_initialized()
    world = _join(limit, device, _init_process_group() if started else None)
    try:
        yield world
        world._last_vote()
    except BaseException as error:
        if world.heartbeat and not isinstance(error, WorkerLost):
            world.heartbeat.report_exit(str(error) or type(error).__name__)
        raise
    if world.heartbeat:
        world.heartbeat.stopped.set()
    if started:
        dist.destroy_process_group()


def _join(limit: timedelta, device: str | None, store: Store | None) -> World:
    """Create the process groups, and the heartbeat if there is a store that all ranks can read; return the world."""
    rank, size, uses_gpu = dist.get_rank(), dist.get_world_size(), _uses_gpu(device)
    control = dist.new_group(backend="gloo", timeout=limit)
    gradients = dist.new_group(backend="nccl" if uses_gpu else "gloo", timeout=limit)
    heartbeat = Heartbeat(store, rank, size) if store else None
    if heartbeat:
        heartbeat.start()
    one_machine = environment.local_size() == size
    return World(rank, size, environment.local_rank(), one_machine, gradients, control, heartbeat)


def _uses_gpu(device: str | None) -> bool:
    """Whether the players are on a GPU; if so, make the one of this local rank the current device."""
    if not torch.cuda.is_available() or not (device or "cuda").startswith("cuda"):
        return False
    processes, gpus = environment.local_size(), torch.cuda.device_count()
    if processes > gpus:
        raise ConfigError(f"{processes} processes on a machine with {gpus} GPUs: one for each")
    torch.cuda.set_device(environment.local_rank())
    return True


def _init_process_group() -> Store:
    """Join the default process group; return a store that all ranks can read."""
    limit = timedelta(seconds=JOIN_TIMEOUT)
    try:
        store, rank, size = next(rendezvous("env://", timeout=limit))
        before = f"zerosum/{environment.restarts()}/{size}"
        generation = (store.add(before, 1) - 1) // size  # the store outlives restarts: keys need a fresh prefix
        mine = PrefixStore(f"{before}/{generation}", store)
        dist.init_process_group("gloo", store=mine, rank=rank, world_size=size, timeout=limit)
    except (RuntimeError, ValueError) as error:
        raise WorkerLost(f"the other processes did not come: {error}") from None
    return PrefixStore("heartbeat", mine)


def _to_npy(rows: NDArray[Any]) -> bytes:
    """An array as bytes in .npy format, with dtype and shape."""
    buffer = BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    return buffer.getvalue()
