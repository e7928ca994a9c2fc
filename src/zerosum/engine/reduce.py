"""Gradient reduction over micro-batches and ranks, overlapped with the backward pass.

    g = sum over ranks and micro-batches of   gradient of (share * mean cost of the shard)

A hook adds each parameter's gradient, once a backward pass has computed it, to its slot in a bucket: flat memory for
parameters whose gradients are ready at about the same time, those of the last layer first. The all-reduce of a complete
bucket starts while earlier layers are still being differentiated. All ranks start the buckets in the same order;
`finish` starts those that stayed incomplete because the cost does not depend on some parameter, so no rank deadlocks.

Sums through shared memory (`shared`: processes of one machine on the CPU) are not overlapped: there is one bucket,
which is summed in `finish`. So is a player that fits into one bucket.

The last bucket also carries the player's costs, so that all ranks log the same, and its buffers, whose mean over shards
is kept (running statistics). torch's DistributedDataParallel is not used, because it does not reduce gradients if a
backward pass does not reach every parameter.
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

BUCKET_BYTES = 4 * 2**20
"""Minimum size of a bucket: large enough to use the bandwidth, small enough to start early."""

MAX_COSTS = 32
"""Maximum number of a player's cost terms, which are reduced with its gradient."""


@dataclass
class Bucket:
    """Gradients that one all-reduce sums."""

    memory: Tensor
    """Flat local gradients; in the last bucket, costs and buffers follow."""
    total: Tensor
    """The sum over ranks: `memory` itself, or the result in shared memory."""
    parameters: list[nn.Parameter]
    local: list[Tensor]
    """View of each parameter's local gradient in `memory`, with the parameter's strides."""
    summed: list[Tensor]
    """View of each parameter's summed gradient in `total`."""
    shared: SharedSum | None = None
    counts: dict[int, int] = field(default_factory=dict)
    """Index of a parameter in the bucket -> number of backward passes that reached it."""
    work: Pending | SharedSum | None = None

    def is_complete(self, passes: int) -> bool:
        """Whether all passes have reached every parameter."""
        return len(self.counts) == len(self.parameters) and min(self.counts.values()) == passes


class Gradients:
    """The gradient of one player, summed over micro-batches and ranks.

    Args:
        player: The player.
        copy: Its compute copy, if there is one, whose gradients count as the player's.
        shards: The micro-batches of this rank.
        world: All ranks.
    """

    def __init__(self, player: nn.Module, copy: ComputeCopy | None, shards: tuple[Shard, ...], world: World) -> None:
        self.shards, self.world = shards, world
        self.buffers = [buffer for buffer in player.buffers() if buffer.is_floating_point()]
        self.trainable = [parameter for parameter in player.parameters() if parameter.requires_grad]
        self.buckets = make_buckets(self.trainable, MAX_COSTS + sum(buffer.numel() for buffer in self.buffers), world)
        self.leaves = list(self.trainable)
        copy_of = {id(master): compute for master, compute in (copy.pairs if copy else ())}
        for bucket in self.buckets:
            for number, parameter in enumerate(bucket.parameters):
                self._add_hook(parameter, bucket, number)
                if id(parameter) in copy_of:
                    self.leaves.append(copy_of[id(parameter)])
                    self._add_hook(copy_of[id(parameter)], bucket, number)

    def zero(self) -> None:
        """Zero the gradients, and remember the buffers, from which every micro-batch starts."""
        for leaf in self.leaves:
            leaf.grad = None
        for bucket in self.buckets:
            bucket.counts, bucket.work = {}, None
        self.costs: dict[str, Tensor] = {}
        self.done = 0
        self.before = [buffer.clone() for buffer in self.buffers]
        self.after = [torch.zeros_like(buffer) for buffer in self.buffers]

    def end_microbatch(self, costs: dict[str, Tensor]) -> None:
        """Add the costs and buffers of a micro-batch with its share, and reset the buffers for the next one."""
        share = self.shards[self.done].share
        for name, cost in costs.items():
            self.costs[name] = self.costs.get(name, 0) + share * cost.detach()
        for buffer, before, after in zip(self.buffers, self.before, self.after, strict=True):
            after.add_(buffer, alpha=share)
            buffer.copy_(before)
        self.done += 1

    def finish(self) -> dict[str, Tensor]:
        """Wait for the all-reduces, set `.grad` and buffers; return the mean costs over the whole batch."""
        length = self._append_costs_and_buffers()
        if not self.world.is_single:
            self._send(self.buckets)
        for bucket in self.buckets:
            if bucket.work:
                bucket.work.wait()
            for number, (parameter, gradient) in enumerate(zip(bucket.parameters, bucket.summed, strict=True)):
                parameter.grad = gradient if number in bucket.counts else None
        appended = self.buckets[-1].total[-length:]
        costs, *buffers = appended.split([len(self.costs), *(buffer.numel() for buffer in self.buffers)])
        for buffer, value in zip(self.buffers, buffers, strict=True):
            buffer.copy_(value.view_as(buffer))
        return dict(zip(self.costs, costs.clone(), strict=True))

    def _append_costs_and_buffers(self) -> int:
        """Append costs and buffers to the last bucket; return how many values were appended."""
        appended = torch.cat([torch.stack(list(self.costs.values())), *(after.flatten() for after in self.after)])
        self.buckets[-1].memory[-len(appended) :] = appended
        return len(appended)

    def _add_hook(self, leaf: nn.Parameter, bucket: Bucket, number: int) -> None:
        """Register a hook that moves the gradient of a leaf to its slot in the bucket once it is computed."""
        slot = bucket.local[number]

        def collect(leaf: Tensor) -> None:
            assert leaf.grad is not None, "called after it was computed"
            count = bucket.counts.get(number, 0)
            (slot.add_ if count else slot.copy_)(leaf.grad)
            leaf.grad = None
            bucket.counts[number] = count + 1
            if not self.world.is_single and bucket.is_complete(len(self.shards)):
                self._send(self._complete_buckets())

        leaf.register_post_accumulate_grad_hook(collect)

    def _complete_buckets(self) -> list[Bucket]:
        """The buckets before the first incomplete one; never the last, which waits for costs and buffers."""
        complete = []
        for bucket in self.buckets[:-1]:
            if not bucket.is_complete(len(self.shards)):
                break
            complete.append(bucket)
        return complete

    def _send(self, buckets: list[Bucket]) -> None:
        """Start the all-reduce of buckets where it has not started."""
        for bucket in buckets:
            if bucket.work is None:
                for number, gradient in enumerate(bucket.local):
                    if number not in bucket.counts:  # other ranks may have a gradient
                        gradient.zero_()
                bucket.work = bucket.shared or self.world.all_reduce(bucket.memory, self.world.gradients)


def make_buckets(parameters: list[nn.Parameter], extra: int, world: World) -> list[Bucket]:
    """Group parameters, last to first, into buckets of one dtype; `extra` values more in the last bucket."""
    shared = bool(parameters) and can_be_shared(parameters[0], world)
    limit = float("inf") if shared else BUCKET_BYTES  # shared memory is summed at once, there is nothing to overlap
    groups: list[list[nn.Parameter]] = [[]]
    for parameter in reversed(parameters):
        group = groups[-1]
        if group and (parameter.dtype != group[0].dtype or sum(one.nbytes for one in group) >= limit):
            groups.append([])
        groups[-1].append(parameter)
    return [_make_bucket(group, extra if group is groups[-1] else 0, world) for group in groups]


def _make_bucket(group: list[nn.Parameter], extra: int, world: World) -> Bucket:
    size = sum(parameter.numel() for parameter in group) + extra
    shared = shared_sum(size, group[0], world)
    memory = shared.local if shared else group[0].new_zeros(size).detach()
    total = shared.total if shared else memory
    return Bucket(memory, total, group, list(_views(group, memory)), list(_views(group, total)), shared)


def _views(group: list[nn.Parameter], memory: Tensor) -> Iterator[Tensor]:
    """Views of flat memory with the shapes and strides of the parameters, channels-last included."""
    starts = accumulate([0, *(parameter.numel() for parameter in group[:-1])])
    for parameter, start in zip(group, starts, strict=True):
        dense = torch.empty_like(parameter).stride() == parameter.stride()
        flat = memory[start : start + parameter.numel()]
        yield flat.as_strided(parameter.shape, parameter.stride()) if dense else flat.view(parameter.shape)
