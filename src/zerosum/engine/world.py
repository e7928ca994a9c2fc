"""Who am I among how many, which rows are mine, and what is said between processes.

torch.distributed under torchrun is the engine: `joined` finds in the environment what torchrun says and joins the
others. Two groups of connections: one for gradients (NCCL between GPUs, Gloo between processors), one for everything
else, which lies in the processor's memory and never waits for a GPU. Nothing that is sent is a pickle.
"""

import os
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

MEETING = 600.0
"""Seconds that processes wait for each other to start: some machines are slower, or are given later."""


@dataclass(eq=False)
class World:
    """All processes that play one game; by default this one alone.

    Args:
        rank: Which of them this is.
        size: How many there are.
        local_rank: Which of those on this machine.
        one_machine: Whether that is all of them.
        gradients: Their connections for gradients.
        control: Their connections for everything else.
        pulse: Says who is missing.
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
        return self  # connections cannot be copied, and a copied network plays in the same team

    @property
    def is_main(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    @property
    def is_single(self) -> bool:
        """Whether there are no others."""
        return self.size == 1

    def report_round(self, at_round: int) -> None:
        """Say, to whoever may look for this process, which round is over."""
        if self.heartbeat:
            self.heartbeat.round = at_round

    def shards(self, batch: int, passes: int) -> tuple[Shard, ...]:
        """What this process plays of a batch, in so many passes.

        Raises:
            ConfigError: There are fewer rows than passes of all processes.

        >>> World(rank=1, size=2).shards(8, passes=2)
        (Shard(rows=slice(4, 6, None), share=0.25), Shard(rows=slice(6, 8, None), share=0.25))
        >>> SINGLE.shards(8, passes=1) == (FULL_BATCH,)
        True
        """
        everyone = self.size * passes
        if everyone == 1:
            return (FULL_BATCH,)
        if batch < everyone:
            raise ConfigError(
                f"game.batch: {batch} rows are too few for {self.size} processes and {passes} passes of each"
            )
        cuts = [batch * part // everyone for part in range(self.rank * passes, (self.rank + 1) * passes + 1)]
        return tuple(Shard(slice(first, last), (last - first) / batch) for first, last in pairwise(cuts))

    def all_reduce(self, tensor: Tensor, group: dist.ProcessGroup | None) -> "Pending":
        """Begin to add up a tensor over all processes, in place."""
        return Pending(self, self._exchange(dist.all_reduce, tensor, group=group, async_op=True))

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.all_reduce(torch.zeros(1), self.control).wait()

    def sum_over_ranks(self, numbers: list[float]) -> list[float]:
        """Sums over all processes."""
        if self.is_single:
            return numbers
        sums = torch.tensor(numbers, dtype=torch.float64)
        self.all_reduce(sums, self.control).wait()
        return sums.tolist()

    def vote(self, vote: int) -> int:
        """The largest vote of all processes in the round before, so that nobody waits for it; alone: one's own vote."""
        if self.is_single:
            return vote
        decided, counted = self._decided(), torch.tensor([vote])
        work = self._exchange(dist.all_reduce, counted, op=dist.ReduceOp.MAX, group=self.control, async_op=True)
        self._vote = work, counted
        return decided

    def _decided(self) -> int:
        """What the last vote came to; 0 where there was none."""
        if self._vote is None:
            return 0
        work, counted = self._vote
        Pending(self, work).wait()
        self._vote = None
        return int(counted)

    def broadcast(self, content: bytes) -> bytes:
        """The leader's bytes, in every process."""
        return content if self.is_single else self.broadcast_from(0, content)

    def all_gather(self, content: bytes) -> list[bytes]:
        """What each process has to say, by rank."""
        return [content] if self.is_single else [self.broadcast_from(rank, content) for rank in range(self.size)]

    def broadcast_from(self, rank: int, content: bytes) -> bytes:
        """The bytes of one process, in every process."""
        length = torch.tensor([len(content)])
        self._exchange(dist.broadcast, length, src=rank, group=self.control)
        block = bytearray(content) if self.rank == rank else bytearray(int(length))
        if block:
            self._exchange(dist.broadcast, torch.frombuffer(block, dtype=torch.uint8), src=rank, group=self.control)
        return bytes(block)

    def map_ranks(self, count: int, make: Callable[[int], bytes]) -> list[bytes]:
        """What is made of each of so many numbers: dealt out in turn, made by one process each, and given to all."""
        made = {number: make(number) for number in range(self.rank, count, self.size)}
        if self.is_single:
            return list(made.values())
        return [self.broadcast_from(number % self.size, made.get(number, b"")) for number in range(count)]

    def map_rows(self, count: int, make: Callable[[int], NDArray[Any]]) -> NDArray[Any]:
        """The same of arrays, put together along their first axis."""
        if self.is_single:
            return np.concatenate([make(number) for number in range(count)])
        packed = self.map_ranks(count, lambda number: _packed(make(number)))
        return np.concatenate([np.load(BytesIO(content), allow_pickle=False) for content in packed])

    @contextmanager
    def local_main_first(self) -> Iterator[None]:
        """One process of each machine first, then the others: what the first fetches or computes, they find."""
        if not self.is_single and self.local_rank:
            self.barrier()
        yield
        if not self.is_single and not self.local_rank:
            self.barrier()

    def refuse_differences(self, tensors: Mapping[str, Tensor]) -> None:
        """Make sure that every process holds the same numbers, to the bit.

        Raises:
            Lost: Some do not; the first tensor that differs is named, and who holds the other numbers.
        """
        if self.is_single or not tensors:
            return
        names = sorted(tensors)
        mine = torch.stack([checksum(tensors[name]) for name in names])
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        self._exchange(dist.all_gather, everyone, mine, group=self.control)
        differs = torch.stack([(sums != everyone[0]).any(1) for sums in everyone])  # (processes, tensors)
        if differs.any():
            first = int(differs.any(0).int().argmax())
            ranks = ", ".join(str(rank) for rank in range(self.size) if differs[rank, first])
            raise WorkerLost(
                f"{names[first]} is not the same in every process: process {ranks} holds other numbers than 0. "
                "What was saved before is right. Processors of different kinds round differently: all should be alike"
            )

    def _exchange(self, call: Any, *given: Any, **how: Any) -> Any:
        """Take part in an exchange.

        Raises:
            Lost: A process is missing.
        """
        if self.heartbeat:
            self.heartbeat.exchanges += 1
        try:
            return call(*given, **how)
        except RuntimeError as error:
            raise self.lost(error) from None

    def lost(self, error: Exception) -> WorkerLost:
        """What to say when an exchange has failed."""
        return (
            self.heartbeat.lost(error)
            if self.heartbeat
            else WorkerLost(f"an exchange with the other processes failed: {error}")
        )


SINGLE = World()


@dataclass(frozen=True)
class Pending:
    """An exchange that was begun."""

    world: World
    work: dist.Work

    def wait(self) -> None:
        """Until it is done; on a GPU, until whatever is computed next may use it.

        Raises:
            Lost: A process is missing.
        """
        try:
            self.work.wait()
        except RuntimeError as error:
            raise self.world.lost(error) from None


def checksum(tensor: Tensor) -> Tensor:
    """Two sums (2,) over a tensor's bits, one of them weighted by place: equal tensors have equal sums, to the bit."""
    flat = tensor.detach().contiguous().flatten()
    bits = flat.view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[flat.element_size()]).long()
    place = torch.arange(1, len(bits) + 1, device=bits.device)
    return torch.stack([bits.sum(), (bits * place).sum()]).cpu()


def under_torchrun() -> bool:
    """Whether torchrun has started this process, alone or with others."""
    return environment.size() > 1 or "TORCHELASTIC_RUN_ID" in os.environ


def was_restarted() -> bool:
    """Whether torchrun has started this process anew, after one of them was lost."""
    return environment.restarts() > 0


@contextmanager
def join_world(timeout: float, device: str | None = None) -> Iterator[World]:
    """The processes that torchrun has started, this one among them; `SINGLE` where it has not.

    Args:
        timeout: Seconds that an exchange may take before a process counts as lost.
        device: Where the players will live; absent: on a GPU where there is one.

    Raises:
        Lost: The others did not come.
    """
    if environment.size() == 1:
        yield SINGLE
        return
    limit, began = timedelta(seconds=timeout), not dist.is_initialized()
    world = _team(limit, device, _begin() if began else None)
    try:
        yield world
        world._decided()
    except BaseException as error:
        if world.heartbeat and not isinstance(error, WorkerLost):
            world.heartbeat.leave(str(error) or type(error).__name__)
        raise
    if world.heartbeat:
        world.heartbeat.ended.set()
    if began:
        dist.destroy_process_group()


def _team(limit: timedelta, device: str | None, store: Store | None) -> World:
    """This process among the others, once they have met: its connections, and its pulse where all can read a store."""
    rank, size, on_gpu = dist.get_rank(), dist.get_world_size(), _plays_on_gpu(device)
    control = dist.new_group(backend="gloo", timeout=limit)
    gradients = dist.new_group(backend="nccl" if on_gpu else "gloo", timeout=limit)
    heartbeat = Heartbeat(store, rank, size) if store else None
    if heartbeat:
        heartbeat.start()
    return World(rank, size, _local_rank(), _local_size() == size, gradients, control, heartbeat)


def _plays_on_gpu(device: str | None) -> bool:
    """Whether the players live on a GPU, which is then this process's own."""
    if not torch.cuda.is_available() or not (device or "cuda").startswith("cuda"):
        return False
    if _local_size() > torch.cuda.device_count():
        raise ConfigError(f"{_local_size()} processes on a machine with {torch.cuda.device_count()} GPUs: one for each")
    torch.cuda.set_device(_local_rank())
    return True


def _local_rank() -> int:
    """Which of the processes of this machine this is."""
    return environment.local_rank()


def _local_size() -> int:
    """How many of the processes are on this machine."""
    return environment.local_size()


def _begin() -> Store:
    """Meet the others; the store that all can read."""
    limit = timedelta(seconds=MEETING)
    try:
        store, rank, size = next(rendezvous("env://", timeout=limit))
        before = f"zerosum/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{size}"
        meeting = (store.add(before, 1) - 1) // size  # the store outlives processes: what it knows of the dead is old
        mine = PrefixStore(f"{before}/{meeting}", store)
        dist.init_process_group("gloo", store=mine, rank=rank, world_size=size, timeout=limit)
    except (RuntimeError, ValueError) as error:
        raise WorkerLost(f"the other processes did not come: {error}") from None
    return PrefixStore("pulse", mine)


def _packed(rows: NDArray[Any]) -> bytes:
    """An array in numpy's own format, which says its type and shape."""
    buffer = BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    return buffer.getvalue()
