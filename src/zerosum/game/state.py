"""What is played with: the state, which changes from round to round and is saved, and the game, which does not change.

Beside them, what a step reports. `game` plays.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from zerosum.config.settings import Order
from zerosum.game.losses import Cost, Logits, Loss
from zerosum.game.penalties import Penalty

Player = Literal["discriminator", "generator"]
Condition = Tensor | None
"""The classes (n,) of a batch; None: the players have no condition."""

Batches = Callable[[int], tuple[Tensor, Condition]]
"""The number of a batch since the run began -> (x, c), encoded and on the device."""


@dataclass
class State:
    """Everything that changes while the game is played, and is saved."""

    generator: nn.Module
    discriminator: nn.Module
    average: nn.Module
    """The exponential moving average (EMA) of G's weights, from which samples are drawn."""
    optimizers: dict[Player, Optimizer]
    round: int = 0
    """Rounds played."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Whatever else depends on history and must survive: numbers and texts."""

    def module(self, player: Player) -> nn.Module:
        """The network of a player."""
        return self.generator if player == "generator" else self.discriminator


@dataclass(frozen=True)
class Term:
    """A penalty with its weight."""

    name: str
    penalty: Penalty
    weight: float = 1.0
    every: int = 1
    """Rounds from one use to the next; the weight is multiplied by it, so that the average strength stays."""


@dataclass(frozen=True)
class Game:
    """The rules: everything that stays the same from round to round."""

    loss: Loss
    latent: Callable[..., Tensor]
    """(n, seed, *key) -> latents z (n, size)."""
    batch: int = 128
    """m: samples in one step, over all micro-batches and ranks."""
    penalties: tuple[Term, ...] = ()
    k: int = 1
    """Steps of D in one round."""
    order: Order = "discriminator-first"
    reduction: Literal["sum", "mean"] = "sum"
    """Whether D pays the sum of its two terms or their mean."""
    flip: float = 0.0
    """Share of the samples whose two logits are swapped in D's step."""
    clip: float | None = None
    """Bound on the absolute value of D's weights after each of its steps; None: no bound."""
    seed: int = 0
    unsmoothed_cost: Cost | None = None
    """D's cost without label smoothing, used to report V = -cost; None: D's cost is not smoothed."""
    one_pass: bool = False
    """Whether D may see real and fake as one batch, since it judges each sample by itself."""
    conditional: bool = False
    """Whether the players are conditioned on classes."""
    schedule: Callable[[int], float] = lambda _: 1.0
    """Round, from 0 -> factor on both learning rates."""
    half_life: float = 10_000.0
    """Samples after which the share of a weight in the EMA has halved; 0: no averaging."""
    ramp: float | None = 0.05
    """The half-life is at most this share of the samples seen so far; None: no such bound."""

    @property
    def batches_per_round(self) -> int:
        """Batches of data that one round takes: one per step of D, and one for G where it looks at data."""
        return self.k + (self.order == "discriminator-first" and (self.loss.uses_real or self.conditional))


@dataclass(frozen=True)
class Reading:
    """What one step of one player reports; still on the device."""

    player: Player
    costs: dict[str, Tensor]
    """Cost, penalties with their weights, gradient norm: in the order in which they were computed."""
    logits: tuple[Logits, Logits] | None = None
    """D's logits of real and fake, in D's readings."""


Readings = list[Reading]
