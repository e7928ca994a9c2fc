"""Penalties: what D pays for being steep, beside the cost of the game.

A cost sees only logits; a penalty sees a whole `Round`: the samples, and D itself. With g(x) the gradient of D's logit
with respect to its input x, summed over all of x's numbers, one value per sample:

    r1        1/2 |g(x)|^2       at the data             zero at the equilibrium, where D is flat on the data
    r2        1/2 |g(G(z))|^2    at the samples
    r1+r2     the sum of both, in one backward pass
    wgan-gp   (|g(y)| - 1)^2     at y between a real and a fake, one random mixture per pair

`weight` multiplies it (gamma, lambda), and the mean is taken by `game`. Each can be differentiated again, since D is
trained on it. A square root is never taken of zero: its slope there is infinite, and training would end in NaN.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.game.losses import Logits

Samples = Float[Tensor, "n *shape"]
PerSample = Float[Tensor, " n"]


@dataclass(frozen=True)
class Round:
    """One meeting of D with a batch: what every penalty may look at.

    Data and samples are ready to be differentiated by, unless no penalty asks for more than it is told.
    """

    real: Samples
    fake: Samples
    real_logits: Logits
    fake_logits: Logits
    discriminator: Callable[[Samples], Logits]
    """D with the round's conditions bound."""
    draw: Callable[[str, tuple[int, ...]], Tensor]
    """(purpose, shape) -> uniform numbers in [0, 1) that belong to this round."""
    told: tuple[Samples, Samples] | None = None
    """D's slopes at data and samples, where it told them with its logits."""
    value_and_input_grad: Callable[[Samples], tuple[Logits, Samples]] | None = None
    """D's logits and slopes, where it tells them together."""

    def slopes(self, *, real: bool = False, fake: bool = False) -> tuple[Samples, ...]:
        """The gradients of D's logits by data, samples or both, each by its own sample, differentiable again."""
        asked = [i for i, wanted in enumerate((real, fake)) if wanted]
        if self.told:
            return tuple(self.told[i] for i in asked)
        logits, inputs = (self.real_logits, self.fake_logits), (self.real, self.fake)
        return slopes(torch.stack([logits[i].sum() for i in asked]).sum(), *(inputs[i] for i in asked))

    def slopes_at(self, x: Samples) -> Samples:
        """The gradients of D's logits by other samples, likewise."""
        if self.value_and_input_grad:
            return self.value_and_input_grad(x)[1]
        x = x.detach().requires_grad_()
        (found,) = slopes(self.discriminator(x).sum(), x)
        return found


Penalty = Callable[[Round], PerSample]


def slopes(summed: Float[Tensor, ""], *inputs: Samples) -> tuple[Samples, ...]:
    """The gradients of a sum of logits with respect to the samples, differentiable again.

    Each logit depends on its own sample alone (no batch statistics), so this holds every sample's own gradient.
    """
    return torch.autograd.grad(summed, inputs, create_graph=True)


def squared_norm(slope: Samples) -> PerSample:
    """Sum of squares over everything but the batch."""
    return slope.square().flatten(1).sum(1)


def r1(meeting: Round) -> PerSample:
    """Zero-centred gradient penalty at the data.

    1/2 |grad_x D(x)|^2

    so that weight gamma gives the paper's gamma/2.

    Source: Mescheder et al. 2018, arXiv:1801.04406, eq. (9).
    """
    (slope,) = meeting.slopes(real=True)
    return 0.5 * squared_norm(slope)


def r2(meeting: Round) -> PerSample:
    """Zero-centred gradient penalty at the samples.

    1/2 |grad_x D(G(z))|^2

    Source: Mescheder et al. 2018, arXiv:1801.04406, eq. (10).
    """
    (slope,) = meeting.slopes(fake=True)
    return 0.5 * squared_norm(slope)


def r1_r2(meeting: Round) -> PerSample:
    """R1 and R2 with the same weight, from one backward pass through D.

    1/2 |grad_x D(x)|^2 + 1/2 |grad_x D(G(z))|^2

    Source: Huang et al. 2024, arXiv:2501.05441, section 2.2.
    """
    real_slope, fake_slope = meeting.slopes(real=True, fake=True)
    return 0.5 * (squared_norm(real_slope) + squared_norm(fake_slope))


def wgan_gp(meeting: Round) -> PerSample:
    """Gradient penalty that pulls the critic's slope towards 1 between data and samples.

    (|grad_y D(y)| - 1)^2, y = x + e (G(z) - x)

    with e uniform in [0, 1), one per sample, and the norm over all dimensions. At a gradient of zero the norm has no
    slope; zero is taken, which is one of its subgradients.

    Source: Gulrajani et al. 2017, arXiv:1704.00028, eq. (3) and Algorithm 1.
    """
    shape = (len(meeting.real),) + (1,) * (meeting.real.ndim - 1)
    share = meeting.draw("wgan-gp", shape).to(meeting.real)
    between = torch.lerp(meeting.real, meeting.fake, share).detach()
    square = squared_norm(meeting.slopes_at(between))
    norm = torch.where(square > 0, square, 1).sqrt() * (square > 0)
    return (norm - 1).square()


PENALTIES: dict[str, Penalty] = {"r1": r1, "r2": r2, "r1+r2": r1_r2, "wgan-gp": wgan_gp}

Asks = Literal["slopes", "slopes elsewhere", "anything"]
"""What a penalty asks a `Round` for: D's slopes at data and samples, those at others, or whatever it likes."""

OF_SLOPES: dict[Asks, tuple[Penalty, ...]] = {"slopes": (r1, r2, r1_r2), "slopes elsewhere": (wgan_gp,)}
"""Penalties that ask for slopes and nothing else."""


def asks(penalty: Penalty) -> Asks:
    """What a penalty asks for."""
    return next((asked for asked, those in OF_SLOPES.items() if penalty in those), "anything")
