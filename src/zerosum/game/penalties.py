"""Penalties: what D pays beside the cost of the game, for the size of its input gradients.

A cost sees only logits; a penalty sees a whole `DiscriminatorPass`: the samples, and D itself. With g(x) the gradient
of D's logit by its input x, and |g| its norm over all of x's numbers, one value per sample:

    r1        1/2 |g(x)|^2       at the data             zero at the equilibrium, where D is flat on the data
    r2        1/2 |g(G(z))|^2    at the samples
    r1+r2     the sum of both, in one backward pass
    wgan-gp   (|g(y)| - 1)^2     at y between a real and a fake, one random mixture per pair

`weight` multiplies it (gamma, lambda), and the mean is taken by `game`. Each can be differentiated again, since D is
trained on it. A square root is never taken of zero: its derivative there is infinite, and training would end in NaN.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import compress
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.errors import UsageError
from zerosum.game.losses import Logits

Samples = Float[Tensor, "n *shape"]
PerSample = Float[Tensor, " n"]


Needs = Literal["input gradients", "input gradients elsewhere", "anything"]
"""What a penalty reads of a `DiscriminatorPass`: input gradients at real and fake, those at other samples, or more."""


@dataclass(frozen=True)
class DiscriminatorPass:
    """What one pass of D over a real and a fake batch shows: everything a penalty may read.

    `real` and `fake` require grad, unless every penalty that is due declares that it needs input gradients alone and D
    computes them with its logits.
    """

    real: Samples
    fake: Samples
    real_logits: Logits
    fake_logits: Logits
    discriminator: Callable[[Samples], Logits]
    """D with the batch's condition bound."""
    uniform: Callable[[str, tuple[int, ...]], Tensor]
    """(purpose, shape) -> uniform numbers in [0, 1) that belong to this round and step."""
    input_grads: tuple[Samples, Samples] | None = None
    """Input gradients at real and fake, if D returned them with its logits."""
    value_and_input_grad: Callable[[Samples], tuple[Logits, Samples]] | None = None
    """D's logits and input gradients in one call, if D has a kernel for it."""
    parameters: Callable[[], Iterable[Tensor]] = tuple
    """() -> D's parameters, by which a penalty is differentiated."""

    def input_gradients(self, *, real: bool = False, fake: bool = False) -> tuple[Samples, ...]:
        """The gradients of D's logits by real samples, fake ones or both; they can be differentiated again.

        Raises:
            UsageError: They cannot: see `_differentiate`.
        """
        wanted = real, fake
        if self.input_grads:
            return tuple(compress(self.input_grads, wanted))
        logits = torch.stack([one.sum() for one in compress((self.real_logits, self.fake_logits), wanted)])
        return self._differentiate(logits.sum(), *compress((self.real, self.fake), wanted))

    def input_gradients_at(self, x: Samples) -> Samples:
        """The gradients of D's logits by other samples; they can be differentiated again.

        Raises:
            UsageError: They cannot: see `_differentiate`.
        """
        if self.value_and_input_grad:
            return self.value_and_input_grad(x)[1]
        x = x.detach().requires_grad_()
        (found,) = self._differentiate(self.discriminator(x).sum(), x)
        return found

    def _differentiate(self, summed: Float[Tensor, ""], *inputs: Samples) -> tuple[Samples, ...]:
        """The gradients of a sum of logits by samples; each logit depends on its own sample alone, and so do they.

        Raises:
            UsageError: They do not depend on D's parameters, so that a penalty on them would change nothing. A torch
                that cannot differentiate a compiled D twice returns such gradients without an error.
        """
        gradients = torch.autograd.grad(summed, inputs, create_graph=True)
        connected = all([one.requires_grad for one in gradients])  # a list: a generator is a Python call for each
        if not connected and any(weight.requires_grad for weight in self.parameters()):
            raise UsageError(
                "the gradient penalty would change nothing: torch returned input gradients of D that do not depend on "
                "D's weights. If D is compiled (torch.compile), give it as it is: this torch cannot differentiate a "
                "compiled D twice. Otherwise remove the penalty"
            )
        return gradients


PenaltyFunction = Callable[[DiscriminatorPass], PerSample]


class Penalty(NamedTuple):
    """A row of PENALTIES.

    A function alone, of the user's own, needs "anything": D is then played without its fast input gradients.
    """

    function: PenaltyFunction
    needs: Needs = "anything"

    def __call__(self, seen: DiscriminatorPass) -> PerSample:
        """The penalty of each sample."""
        return self.function(seen)


def as_penalty(given: Penalty | PenaltyFunction) -> Penalty:
    """A penalty as a row: of a function alone nothing is assumed."""
    return given if isinstance(given, Penalty) else Penalty(given)


def squared_norm(gradient: Samples) -> PerSample:
    """Sum of squares over everything but the batch."""
    return gradient.square().flatten(1).sum(1)


def r1(seen: DiscriminatorPass) -> PerSample:
    """Zero-centred gradient penalty at the data.

    1/2 |grad_x D(x)|^2

    so that weight gamma gives the paper's gamma/2.

    Source: Mescheder et al. 2018, arXiv:1801.04406, eq. (9).
    """
    (gradient,) = seen.input_gradients(real=True)
    return 0.5 * squared_norm(gradient)


def r2(seen: DiscriminatorPass) -> PerSample:
    """Zero-centred gradient penalty at the samples.

    1/2 |grad_x D(G(z))|^2

    Source: Mescheder et al. 2018, arXiv:1801.04406, eq. (10).
    """
    (gradient,) = seen.input_gradients(fake=True)
    return 0.5 * squared_norm(gradient)


def r1_r2(seen: DiscriminatorPass) -> PerSample:
    """R1 and R2 with the same weight, from one backward pass through D.

    1/2 |grad_x D(x)|^2 + 1/2 |grad_x D(G(z))|^2

    Source: Huang et al. 2024, arXiv:2501.05441, section 2.2.
    """
    real_gradient, fake_gradient = seen.input_gradients(real=True, fake=True)
    return 0.5 * (squared_norm(real_gradient) + squared_norm(fake_gradient))


def wgan_gp(seen: DiscriminatorPass) -> PerSample:
    """Gradient penalty that pulls the norm of the critic's input gradient towards 1 between data and samples.

    (|grad_y D(y)| - 1)^2, y = x + e (G(z) - x)

    with e uniform in [0, 1), one per sample, and the norm over all dimensions. At a gradient of zero the norm
    cannot be differentiated; zero is taken, which is one of its subgradients.

    Source: Gulrajani et al. 2017, arXiv:1704.00028, eq. (3) and Algorithm 1.
    """
    shape = (len(seen.real),) + (1,) * (seen.real.ndim - 1)
    share = seen.uniform("wgan-gp", shape).to(seen.real)
    between = torch.lerp(seen.real, seen.fake, share).detach()
    square = squared_norm(seen.input_gradients_at(between))
    norm = torch.where(square > 0, square, 1).sqrt() * (square > 0)
    return (norm - 1).square()


PENALTIES: dict[str, Penalty] = {
    "r1": Penalty(r1, needs="input gradients"),
    "r2": Penalty(r2, needs="input gradients"),
    "r1+r2": Penalty(r1_r2, needs="input gradients"),
    "wgan-gp": Penalty(wgan_gp, needs="input gradients elsewhere"),
}
