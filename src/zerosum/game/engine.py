"""How a step is computed: the protocol that every engine follows, and the engine that does nothing special.

A game says what is played, an engine how: in which precision, in how many micro-batches, on how many ranks. `game` asks
an engine for the same few things whatever it does, and never which one it has.

    engine.microbatches(...)                 the batch, or the parts of it that this rank plays one after another
    update = engine.update(state, player)    one optimizer step of a player, its gradients zeroed
    update.backward(costs, shard)            add the gradients of one micro-batch
    update.finish()                          the gradient of the whole batch is there; its costs and its norm
    update.step()                            the optimizer's step
    engine.input_grad_kernel                 D's logits and input gradients together; None: by autograd
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from zerosum import rng
from zerosum.game.state import Player, State
from zerosum.kernels import InputGradKernel

Costs = dict[str, Tensor]
"""Name -> mean over the batch; on the device."""


class Shard(NamedTuple):
    """A micro-batch: the rows of the batch that one rank plays in one pass."""

    rows: slice
    """Which of the batch's rows."""
    share: float
    """Size over that of the batch: the weight of its mean."""

    @property
    def size(self) -> int:
        """How many rows."""
        return int(self.rows.stop - self.rows.start)


FULL_BATCH = Shard(slice(None), 1.0)
"""The batch itself, where one rank plays it in one pass."""


@runtime_checkable
class Update(Protocol):
    """One optimizer step of one player."""

    module: nn.Module
    """What is called in the player's place."""

    def backward(self, costs: Costs, shard: Shard, retain_graph: bool = False) -> None:
        """Add the gradient of the sum of the costs, by this player's parameters alone."""

    def finish(self) -> Costs:
        """Costs over the whole batch, and "gradient norm" of the gradient that the optimizer will use."""

    def step(self, after: Callable[[nn.Module], None] | None = None) -> None:
        """Take the optimizer's step, and let `after` change the new weights."""


@runtime_checkable
class Engine(Protocol):
    """How steps are computed."""

    rows: slice
    """Rows of each batch that this rank plays."""
    share: float
    """Their share of the batch."""
    input_grad_kernel: InputGradKernel | None
    """Computes D's logits and input gradients in one call; None: autograd differentiates D."""

    def largest(self, batch: int) -> int:
        """Rows that a player sees at once, of a batch of that size."""

    def microbatches(self, *tensors: Tensor | None) -> Iterator[tuple[Any, ...]]:
        """(shard, rows of each tensor) of every micro-batch; the tensors hold this rank's rows."""

    def module(self, state: State, player: Player) -> nn.Module:
        """What is called in a player's place where it does not learn."""

    def update(self, state: State, player: Player, exact: bool = False) -> Update:
        """Begin a step of a player; `exact`: in the master weights' precision, as input gradients need it."""

    def seed(self, shard: Shard, seed: int, *key: int | str) -> None:
        """Set torch's global random state, from which modules draw dropout: the same on every rank."""

    def refresh(self) -> None:
        """The players' weights were changed from outside: by a checkpoint."""


class EagerUpdate:
    """One optimizer step of a player that is called itself, on the whole batch.

    Args:
        state: Whose player learns.
        player: Which one.
    """

    def __init__(self, state: State, player: Player) -> None:
        self.module, self.optimizer = state.module(player), state.optimizers[player]
        self.parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        for parameter in self.parameters:
            parameter.grad = None
        self.costs: Costs = {}

    def backward(self, costs: Costs, shard: Shard, retain_graph: bool = False) -> None:  # noqa: D102
        self.costs = {name: cost.detach() for name, cost in costs.items()}
        total(costs).backward(inputs=self.parameters, retain_graph=retain_graph)

    def finish(self) -> Costs:  # noqa: D102
        return {**self.costs, "gradient norm": gradient_norm(self.parameters)}

    def step(self, after: Callable[[nn.Module], None] | None = None) -> None:  # noqa: D102
        self.optimizer.step()
        if after:
            after(self.module)


class Eager:
    """The players are called themselves, the batch is played whole, on one rank.

    Args:
        input_grad_kernel: The kernel of D, if it is to be used.
    """

    rows, share = FULL_BATCH

    def __init__(self, input_grad_kernel: InputGradKernel | None = None) -> None:
        self.input_grad_kernel = input_grad_kernel

    def largest(self, batch: int) -> int:  # noqa: D102
        return batch

    def microbatches(self, *tensors: Tensor | None) -> Iterator[tuple[Any, ...]]:  # noqa: D102
        yield FULL_BATCH, *tensors

    def module(self, state: State, player: Player) -> nn.Module:  # noqa: D102
        return state.module(player)

    def update(self, state: State, player: Player, exact: bool = False) -> Update:  # noqa: D102
        return EagerUpdate(state, player)

    def seed(self, shard: Shard, seed: int, *key: int | str) -> None:  # noqa: D102
        rng.set_global(seed, *key)

    def refresh(self) -> None:  # noqa: D102
        pass


EAGER = Eager()


def total(costs: Costs) -> Tensor:
    """The sum of a player's costs."""
    return torch.stack(list(costs.values())).sum()


def gradient_norm(parameters: list[nn.Parameter]) -> Tensor:
    """The Euclidean norm of all gradients together."""
    return get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
