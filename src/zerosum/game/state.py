"""What is played with: the state, which changes from round to round, and the rules, which do not.

Beside them, what a step has to tell. `game` plays.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from zerosum.config.settings import Order
from zerosum.engine import FULL_BATCH, Gradients, Shard, SharedDropout
from zerosum.engine.precision import ComputeCopy
from zerosum.game.losses import Cost, Logits, Loss
from zerosum.game.penalties import Asks, Penalty

Player = Literal["discriminator", "generator"]
Conditions = Tensor | None
Batches = Callable[[int], tuple[Tensor, Conditions]]
"""The number of a batch since the run began -> (x, c), encoded and on the device."""


@dataclass
class State:
    """Everything that changes while the game is played, and is saved."""

    generator: nn.Module
    discriminator: nn.Module
    average: nn.Module
    """The moving average of G, from which samples are drawn."""
    optimizers: dict[Player, Optimizer]
    round: int = 0
    """Rounds played."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Whatever else depends on history and must survive: numbers and texts."""
    rounded: dict[Player, ComputeCopy] = field(default_factory=dict)
    """Copies in bfloat16 that play in a player's place; none: the players play themselves."""
    gradients: dict[Player, Gradients] = field(default_factory=dict)
    """Who adds up a player's gradient over parts of the batch; none: the batch is played whole."""
    masks: list[SharedDropout] = field(default_factory=list)
    """Layers that have to know which part of the batch comes."""

    def acting(self, player: Player) -> nn.Module:
        """Who plays: a player, or its rounded copy."""
        return self.rounded.get(player) or (self.generator if player == "generator" else self.discriminator)


@dataclass(frozen=True)
class Term:
    """A penalty with its strength."""

    name: str
    penalty: Penalty
    weight: float = 1.0
    every: int = 1
    """Rounds from one use to the next; the weight is multiplied by it."""
    asks: Asks = "anything"
    """What of a `Round`."""


@dataclass(frozen=True)
class Game:
    """The rules: everything that stays the same from round to round."""

    loss: Loss
    latent: Callable[..., Tensor]
    """(n, seed, *key) -> noise z (n, size)."""
    batch: int = 128
    """m: samples in one step, of all passes and processes."""
    parts: tuple[Shard, ...] = (FULL_BATCH,)
    """What this process plays of a batch, pass by pass."""
    penalties: tuple[Term, ...] = ()
    k: int = 1
    order: Order = "discriminator-first"
    reduction: Literal["sum", "mean"] = "sum"
    """Whether D pays the sum of its two terms or their mean."""
    flip: float = 0.0
    """Share of the samples whose two logits are swapped in D's step."""
    clip: float | None = None
    """Bound on the size of D's weights after each of its steps."""
    seed: int = 0
    value: Cost | None = None
    """-V as a cost, where it is not D's cost (which may be smoothed)."""
    one_pass: bool = False
    """D may see real and fake in one pass, since it judges each sample by itself."""
    conditional: bool = False
    schedule: Callable[[int], float] = lambda _: 1.0
    """Round, from 0 -> factor on the step sizes."""
    half_life: float = 10_000.0
    """Of a weight's share in the average, in samples; 0: no averaging."""
    ramp: float | None = 0.05
    """At most this share of the samples seen so far is the half-life."""

    @property
    def batches_per_round(self) -> int:
        """Batches of data that one round takes: one per step of D, and one for G where it looks at data."""
        return self.k + (self.order == "discriminator-first" and (self.loss.uses_real or self.conditional))

    @property
    def divided(self) -> bool:
        """Whether a batch is played in parts."""
        return self.parts != (FULL_BATCH,)

    @property
    def rows(self) -> slice:
        """The rows of a batch that this process plays."""
        return slice(self.parts[0].rows.start, self.parts[-1].rows.stop)

    @property
    def share(self) -> float:
        """Of the batch, that this process plays."""
        return sum(part.share for part in self.parts)

    @property
    def together(self) -> int:
        """Samples that a player sees at once."""
        return max(part.size for part in self.parts) if self.divided else self.batch


@dataclass(frozen=True)
class Reading:
    """What one step of one player has to tell; still on the device."""

    player: Player
    terms: dict[str, Tensor]
    """Cost, penalties with their weights, gradient norm: in the order in which they were computed."""
    logits: tuple[Logits, Logits] | None = None
    """D's logits of real and fake, in D's readings."""


Readings = list[Reading]
