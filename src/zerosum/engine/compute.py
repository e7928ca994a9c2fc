"""The engine of everything that is not plain: bfloat16 copies, micro-batches and ranks.

    g = sum over ranks and micro-batches of   gradient of (share * mean cost of the shard)

A step of a player is that of the whole batch, however it is divided; `reduce` says how the sum is made.
"""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from zerosum import rng
from zerosum.engine.layers import shared_dropout_layers
from zerosum.engine.precision import ComputeCopy
from zerosum.engine.reduce import Gradients
from zerosum.engine.world import World
from zerosum.game.engine import FULL_BATCH, Costs, Shard, Update, gradient_norm, total
from zerosum.game.state import Player, State
from zerosum.kernels import InputGradKernel

PLAYERS: tuple[Player, ...] = ("generator", "discriminator")


class Compute:
    """How steps are computed for one state.

    Args:
        state: The players.
        shards: The micro-batches that this rank plays of each batch.
        world: The ranks.
        bfloat16: Whether copies with their matrices in bfloat16 are called in the players' place.
        input_grad_kernel: The kernel of D, if it is to be used.
    """

    def __init__(
        self,
        state: State,
        shards: tuple[Shard, ...],
        world: World,
        bfloat16: bool,
        input_grad_kernel: InputGradKernel | None = None,
    ) -> None:
        self.shards, self.input_grad_kernel = shards, input_grad_kernel
        self.rows = slice(shards[0].rows.start, shards[-1].rows.stop)
        self.share = sum(shard.share for shard in shards)
        self.copies = {player: ComputeCopy(state.module(player)) for player in PLAYERS} if bfloat16 else {}
        self.gradients: dict[Player, Gradients] = {}
        if shards != (FULL_BATCH,):
            for player in PLAYERS:
                self.gradients[player] = Gradients(state.module(player), self.copies.get(player), shards, world)
        self.masks = shared_dropout_layers([state.generator, state.discriminator, *self.copies.values()])

    def largest(self, batch: int) -> int:  # noqa: D102
        return batch if self.shards == (FULL_BATCH,) else max(shard.size for shard in self.shards)

    def microbatches(self, *tensors: Tensor | None) -> Iterator[tuple[Any, ...]]:  # noqa: D102
        if len(self.shards) == 1:
            yield self.shards[0], *tensors
            return
        sizes = [shard.size for shard in self.shards]
        rows = ([None] * len(sizes) if one is None else one.split(sizes) for one in tensors)
        yield from zip(self.shards, *rows, strict=True)

    def module(self, state: State, player: Player) -> nn.Module:  # noqa: D102
        return self.copies.get(player) or state.module(player)

    def update(self, state: State, player: Player, exact: bool = False) -> Update:  # noqa: D102
        return ComputeUpdate(self, state, player, state.module(player) if exact else self.module(state, player))

    def seed(self, shard: Shard, seed: int, *key: int | str) -> None:  # noqa: D102
        rng.set_global(seed, *key)
        for layer in self.masks:
            layer.shard = None if shard is FULL_BATCH else shard

    def refresh(self) -> None:  # noqa: D102
        for copy in self.copies.values():
            copy.update()


class ComputeUpdate:
    """One optimizer step of a player, over all micro-batches and ranks.

    Args:
        engine: Which holds the player's copy and gradient.
        state: Whose player learns.
        player: Which one.
        module: The player or its copy.
    """

    def __init__(self, engine: Compute, state: State, player: Player, module: nn.Module) -> None:
        self.module, self.master, self.optimizer = module, state.module(player), state.optimizers[player]
        self.copy, self.gradients = engine.copies.get(player), engine.gradients.get(player)
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.costs: Costs = {}
        if self.gradients:
            self.gradients.zero()
            return
        for parameter in self.parameters:
            parameter.grad = None

    def backward(self, costs: Costs, shard: Shard, retain_graph: bool = False) -> None:  # noqa: D102
        self.costs = {name: cost.detach() for name, cost in costs.items()}
        cost = total(costs) if shard is FULL_BATCH else shard.share * total(costs)
        cost.backward(inputs=self.parameters, retain_graph=retain_graph)
        if self.gradients:
            self.gradients.end_microbatch(costs)

    def finish(self) -> Costs:  # noqa: D102
        learning = self.parameters
        if self.gradients:
            self.costs, learning = self.gradients.finish(), self.gradients.trainable
        elif isinstance(self.module, ComputeCopy):
            learning = self.module.copy_gradients()
        return {**self.costs, "gradient norm": gradient_norm(learning)}

    def step(self, after: Callable[[nn.Module], None] | None = None) -> None:  # noqa: D102
        self.optimizer.step()
        if after:
            after(self.master)
        if self.copy:
            self.copy.update()
