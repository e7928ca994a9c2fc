"""Gradients, added up over passes and processes while the backward pass still runs.

    g = sum over processes and passes of   gradient of (share * mean cost of the part)

Each parameter's gradient goes, as soon as a pass has finished it, into its place in a bucket: a stretch of memory for
parameters whose gradients are ready at about the same time, the last layer's first. A bucket that is complete is sent
on its way while the layers before it are still being differentiated. Buckets leave in one order in every process, and
those that no backward pass completes, since some parameter has no part in the cost, leave at the end: nobody waits for
ever.

Beside them travel a player's costs, so that every process reads the same, and its buffers: running statistics are the
mean over parts. Nothing here knows a loss or a penalty; a backward pass that is only a penalty is a pass like others.
torch's DistributedDataParallel is not used: it sends nothing where a backward pass does not reach every parameter.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zerosum.parallel.team import Part, Pending, Team
from zerosum.precision import Rounded

BUCKET = 4 * 2**20
"""Bytes after which a bucket is closed: large enough that a connection is used well, small enough to leave early."""


class Place(NamedTuple):
    """Where a parameter's gradient is added up."""

    parameter: nn.Parameter
    sum: Tensor
    """Shaped and laid out like the parameter, in the memory of a bucket."""


@dataclass
class Bucket:
    """Gradients that are sent together."""

    memory: Tensor
    places: list[Place]
    fired: dict[int, int] = field(default_factory=dict)
    """Number of a place -> passes that have reached it."""
    sent: Pending | None = None

    def is_complete(self, passes: int) -> bool:
        """Whether every pass has reached every parameter."""
        return len(self.fired) == len(self.places) and min(self.fired.values()) == passes


class Gradients:
    """One player's gradient.

    Args:
        player: Whose parameters learn.
        rounded: The copy that plays in its place, if there is one: its gradients are the player's.
        parts: What this process plays of a batch.
        team: Who plays the rest.
    """

    def __init__(self, player: nn.Module, rounded: Rounded | None, parts: tuple[Part, ...], team: Team) -> None:
        self.player, self.parts, self.team = player, parts, team
        self.buckets = list(buckets_of(parameter for parameter in player.parameters() if parameter.requires_grad))
        self.buffers = [buffer for buffer in player.buffers() if buffer.is_floating_point()]
        self.learners = [place.parameter for bucket in self.buckets for place in bucket.places]
        self.leaves = list(self.learners)
        addresses = {
            id(place.parameter): (bucket, number)
            for bucket in self.buckets
            for number, place in enumerate(bucket.places)
        }
        for leaf in self.learners:
            self._collect(leaf, *addresses[id(leaf)])
        for exact, near in rounded.pairs if rounded else ():
            if id(exact) in addresses:
                self.leaves.append(near)
                self._collect(near, *addresses[id(exact)])

    def begin(self) -> None:
        """Forget the last gradient."""
        for leaf in self.leaves:
            leaf.grad = None
        for bucket in self.buckets:
            bucket.fired, bucket.sent = {}, None
        self.costs: dict[str, Tensor] = {}
        self.passed = 0
        self.before = [buffer.clone() for buffer in self.buffers]
        self.after = [torch.zeros_like(buffer) for buffer in self.buffers]

    def end_pass(self, costs: dict[str, Tensor]) -> None:
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
        words = torch.cat([torch.stack(list(self.costs.values())), *(after.flatten() for after in self.after)])
        spoken = self.team.add(words, self.team.gradients) if self.team.size > 1 else None
        self._send(everything=True)
        for pending in (spoken, *(bucket.sent for bucket in self.buckets)):
            if pending:
                pending.wait()
        for bucket in self.buckets:
            for number, place in enumerate(bucket.places):
                place.parameter.grad = place.sum if number in bucket.fired else None
        costs, *buffers = words.split([len(self.costs), *(buffer.numel() for buffer in self.buffers)])
        for buffer, value in zip(self.buffers, buffers, strict=True):
            buffer.copy_(value.view_as(buffer))
        return dict(zip(self.costs, costs, strict=True))

    def _collect(self, leaf: nn.Parameter, bucket: Bucket, number: int) -> None:
        """Move a leaf's gradient into its place as soon as a backward pass has finished it."""
        place = bucket.places[number].sum

        def collect(leaf: Tensor) -> None:
            assert leaf.grad is not None, "called after it was computed"
            times = bucket.fired.get(number, 0)
            (place.add_ if times else place.copy_)(leaf.grad)
            leaf.grad = None
            bucket.fired[number] = times + 1
            if bucket.is_complete(len(self.parts)):
                self._send()

        leaf.register_post_accumulate_grad_hook(collect)

    def _send(self, everything: bool = False) -> None:
        """Send the buckets that are complete and whose turn it is; at the end, all."""
        if self.team.size == 1:
            return
        for bucket in self.buckets:
            if bucket.sent:
                continue
            if not everything and not bucket.is_complete(len(self.parts)):
                return
            for number, place in enumerate(bucket.places):
                if number not in bucket.fired:  # another process may have something to add
                    place.sum.zero_()
            bucket.sent = self.team.add(bucket.memory, self.team.gradients)


def buckets_of(parameters: Iterable[nn.Parameter]) -> Iterable[Bucket]:
    """Parameters, from the last to the first, in buckets of one type."""
    group: list[nn.Parameter] = []
    for parameter in reversed(list(parameters)):
        if group and (parameter.dtype != group[0].dtype or sum(map(_bytes, group)) >= BUCKET):
            yield _bucket(group)
            group = []
        group.append(parameter)
    if group:
        yield _bucket(group)


def _bucket(group: list[nn.Parameter]) -> Bucket:
    sizes = [parameter.numel() for parameter in group]
    memory = torch.zeros(sum(sizes), dtype=group[0].dtype, device=group[0].device)
    starts = accumulate([0, *sizes[:-1]])
    return Bucket(memory, [Place(one, _like(one, memory, start)) for one, start in zip(group, starts, strict=True)])


def _like(parameter: nn.Parameter, memory: Tensor, start: int) -> Tensor:
    """A stretch of memory, laid out like a parameter, channels last included."""
    if parameter.is_contiguous() or torch.empty_like(parameter).stride() == parameter.stride():
        return memory.as_strided(parameter.shape, parameter.stride(), start)
    return memory[start : start + parameter.numel()].view(parameter.shape)


def _bytes(parameter: nn.Parameter) -> int:
    return parameter.numel() * parameter.element_size()
