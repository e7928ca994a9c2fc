"""Gradients, added up over passes and processes while the backward pass still runs.

    g = sum over processes and passes of   gradient of (share * mean cost of the part)

Each parameter's gradient goes, as soon as a pass has finished it, into its place in a bucket: a stretch of memory for
parameters whose gradients are ready at about the same time, the last layer's first. A bucket that is complete is sent
on its way while the layers before it are still being differentiated. Buckets leave in one order in every process, and
those that no backward pass completes, since some parameter has no part in the cost, leave at the end: nobody waits for
ever.

With the last bucket travel a player's costs, so that every process reads the same, and its buffers: running statistics
are the mean over parts. Nothing here knows a loss or a penalty; a backward pass that is only a penalty is a pass like
others. torch's DistributedDataParallel is not used: it sends nothing where a backward pass does not reach every
parameter.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor, nn

from zerosum.engine.precision import ComputeCopy
from zerosum.engine.shared import SharedSum, can_be_shared, shared_sum
from zerosum.engine.world import Pending, World
from zerosum.game.engine import Shard

BUCKET = 4 * 2**20
"""Bytes after which a bucket is closed: large enough to use a connection well, small enough to leave early."""

COSTS = 32
"""Terms of a player's cost that can travel with its gradient."""


@dataclass
class Bucket:
    """Gradients that are sent together."""

    memory: Tensor
    """Flat, and a little longer than the gradients in the last bucket."""
    total: Tensor
    """Where the sum over processes is found: the same memory, unless it is shared."""
    parameters: list[nn.Parameter]
    mine: list[Tensor]
    """Each parameter's gradient in this process, laid out like the parameter, in `memory`."""
    everyones: list[Tensor]
    """The same over all processes, in `total`."""
    shared: SharedSum | None = None
    fired: dict[int, int] = field(default_factory=dict)
    """Number of a parameter here -> passes that have reached it."""
    sent: Pending | SharedSum | None = None

    def is_complete(self, passes: int) -> bool:
        """Whether every pass has reached every parameter."""
        return len(self.fired) == len(self.parameters) and min(self.fired.values()) == passes


class Gradients:
    """One player's gradient.

    Args:
        player: Whose parameters learn.
        rounded: The copy that plays in its place, if there is one: its gradients are the player's.
        parts: What this process plays of a batch.
        world: Who plays the rest.
    """

    def __init__(self, player: nn.Module, rounded: ComputeCopy | None, parts: tuple[Shard, ...], world: World) -> None:
        self.parts, self.world = parts, world
        self.buffers = [buffer for buffer in player.buffers() if buffer.is_floating_point()]
        self.learners = [parameter for parameter in player.parameters() if parameter.requires_grad]
        self.buckets = buckets_of(self.learners, COSTS + sum(buffer.numel() for buffer in self.buffers), world)
        self.leaves = list(self.learners)
        near = {id(exact): near for exact, near in (rounded.pairs if rounded else ())}
        for bucket in self.buckets:
            for number, parameter in enumerate(bucket.parameters):
                self._collect(parameter, bucket, number)
                if id(parameter) in near:
                    self.leaves.append(near[id(parameter)])
                    self._collect(near[id(parameter)], bucket, number)

    def zero(self) -> None:
        """Forget the last gradient."""
        for leaf in self.leaves:
            leaf.grad = None
        for bucket in self.buckets:
            bucket.fired, bucket.sent = {}, None
        self.costs: dict[str, Tensor] = {}
        self.passed = 0
        self.before = [buffer.clone() for buffer in self.buffers]
        self.after = [torch.zeros_like(buffer) for buffer in self.buffers]

    def end_microbatch(self, costs: dict[str, Tensor]) -> None:
        """A pass is over: count its costs, and its buffers, which start anew for the next."""
        share = self.parts[self.passed].share
        for name, cost in costs.items():
            self.costs[name] = self.costs.get(name, 0) + share * cost.detach()
        for buffer, before, after in zip(self.buffers, self.before, self.after, strict=True):
            after.add_(buffer, alpha=share)
            buffer.copy_(before)
        self.passed += 1

    def finish(self) -> dict[str, Tensor]:
        """Wait for the sums, and give each parameter its gradient; the player's costs, over the whole batch."""
        length = self._write_down()
        if not self.world.is_single:
            self._send(self.buckets)
        for bucket in self.buckets:
            if bucket.sent:
                bucket.sent.wait()
            for number, (parameter, gradient) in enumerate(zip(bucket.parameters, bucket.everyones, strict=True)):
                parameter.grad = gradient if number in bucket.fired else None
        words = self.buckets[-1].total[-length:]
        costs, *buffers = words.split([len(self.costs), *(buffer.numel() for buffer in self.buffers)])
        for buffer, value in zip(self.buffers, buffers, strict=True):
            buffer.copy_(value.view_as(buffer))
        return dict(zip(self.costs, costs.clone(), strict=True))

    def _write_down(self) -> int:
        """Costs and buffers at the end of the last bucket; how many numbers."""
        spoken = torch.cat([torch.stack(list(self.costs.values())), *(after.flatten() for after in self.after)])
        self.buckets[-1].memory[-len(spoken) :] = spoken
        return len(spoken)

    def _collect(self, leaf: nn.Parameter, bucket: Bucket, number: int) -> None:
        """Move a leaf's gradient into its place as soon as a backward pass has finished it."""
        place = bucket.mine[number]

        def collect(leaf: Tensor) -> None:
            assert leaf.grad is not None, "called after it was computed"
            times = bucket.fired.get(number, 0)
            (place.add_ if times else place.copy_)(leaf.grad)
            leaf.grad = None
            bucket.fired[number] = times + 1
            if not self.world.is_single and bucket.is_complete(len(self.parts)):
                self._send(self._ready())

        leaf.register_post_accumulate_grad_hook(collect)

    def _ready(self) -> list[Bucket]:
        """The buckets that are complete, up to the first that is not; the last one waits for what is written down."""
        ready = []
        for bucket in self.buckets[:-1]:
            if not bucket.is_complete(len(self.parts)):
                break
            ready.append(bucket)
        return ready

    def _send(self, buckets: list[Bucket]) -> None:
        """Send what was not sent yet."""
        for bucket in buckets:
            if bucket.sent is None:
                for number, gradient in enumerate(bucket.mine):
                    if number not in bucket.fired:  # another process may have something to add
                        gradient.zero_()
                bucket.sent = bucket.shared or self.world.all_reduce(bucket.memory, self.world.gradients)


def buckets_of(parameters: list[nn.Parameter], spare: int, world: World) -> list[Bucket]:
    """Parameters, from the last to the first, in buckets of one type; in the last one, so many numbers more."""
    still = bool(parameters) and can_be_shared(parameters[0], world)
    largest = float("inf") if still else BUCKET  # nothing has to leave early where nothing travels
    groups: list[list[nn.Parameter]] = [[]]
    for parameter in reversed(parameters):
        group = groups[-1]
        if group and (parameter.dtype != group[0].dtype or sum(one.nbytes for one in group) >= largest):
            groups.append([])
        groups[-1].append(parameter)
    return [_bucket(group, spare if group is groups[-1] else 0, world) for group in groups]


def _bucket(group: list[nn.Parameter], spare: int, world: World) -> Bucket:
    size = sum(parameter.numel() for parameter in group) + spare
    shared = shared_sum(size, group[0], world)
    memory = shared.mine if shared else group[0].new_zeros(size).detach()
    total = shared.total if shared else memory
    return Bucket(memory, total, group, list(_places(group, memory)), list(_places(group, total)), shared)


def _places(group: list[nn.Parameter], memory: Tensor) -> Iterator[Tensor]:
    """Stretches of memory, laid out like the parameters, channels last included."""
    starts = accumulate([0, *(parameter.numel() for parameter in group[:-1])])
    for parameter, start in zip(group, starts, strict=True):
        dense = torch.empty_like(parameter).stride() == parameter.stride()
        stretch = memory[start : start + parameter.numel()]
        yield stretch.as_strided(parameter.shape, parameter.stride()) if dense else stretch.view(parameter.shape)
