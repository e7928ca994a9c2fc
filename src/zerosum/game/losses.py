"""The games: what each player pays, as functions of D's logits.

D returns a logit a(x); where the game is logistic, D(x) = sigmoid(a(x)), and so

    log D(x) = logsigmoid(a(x))        log(1 - D(x)) = logsigmoid(-a(x))

which is exact at any a: nothing here takes the log of a sigmoid, nor torch's softplus, which drops 2e-9 at a = 20.
A game is a pair of costs, each a function of (real, fake) = (a(x), a(G(z))) in that order, elementwise: the mean is
taken once, by `game`. D's cost is -V, its real term plus its fake term. Where p is the density of the data and q that
of the samples, the best D is p/(p+q), and

    minimax          G pays  log(1 - D)     its gradient vanishes where D is sure
    non-saturating   G pays -log D          the same fixed point, strong gradients early
    likelihood       G pays -D/(1 - D)      in expectation the gradient of KL(p || q), at the best D

Labels: real is 1 and fake 0; least squares has its own, a for fake, b for real, c for what G wants.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from zerosum.config.settings import Fraction, Real

Logits = Float[Tensor, "n *patches"]
"""One score per sample, or one per patch of each sample."""

Cost = Callable[[Logits, Logits], Logits]
"""(real, fake) -> cost per sample."""


def identity(logits: Logits) -> Logits:
    """The score as it is."""
    return logits


class Loss(NamedTuple):
    """A game: two costs on the same logits."""

    discriminator: Cost
    """(real, fake) -> what D pays per sample."""
    generator: Cost
    """(real, fake) -> what G pays per sample."""
    uses_real: bool = False
    """Whether G's cost depends on the scores of real data."""
    score: Callable[[Logits], Logits] = identity
    """How a logit is shown to a person: `torch.sigmoid` where it is the logit of a probability."""
    output: str = "critic value"
    """What the score is: "probability", "score" or "critic value"."""
    paired: bool = False
    """Whether D's cost is one term for each pair of real and fake, and not a term for each of them."""


def logistic_discriminator(real: Logits, fake: Logits, *, smoothing: Fraction = 0.0) -> Logits:
    """D's cost in every logistic game: the cross-entropy of telling real from fake.

    -log D(x) - log(1 - D(G(z)))

    which is -V. Smoothed, the first term is -(1 - s) log D(x) - s log(1 - D(x)).

    Args:
        real: Logits of data.
        fake: Logits of samples, of the same shape.
        smoothing: s in [0, 1): one-sided label smoothing, the real label becomes 1 - s.

    Returns:
        Cost per sample in nats, at least 0; 2 log 2 where D = 1/2.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, eq. (1); smoothing: Salimans et al. 2016, arXiv:1606.03498, 3.4.

    >>> logistic_discriminator(torch.zeros(1), torch.zeros(1))
    tensor([1.3863])
    """
    return smoothing * real - logsigmoid(real) - logsigmoid(-fake)  # log D - log(1 - D) = a


def minimax_generator(real: Logits, fake: Logits) -> Logits:
    """G's cost in the zero-sum game: D's success on fakes.

    log(1 - D(G(z)))

    Returns:
        Cost per sample in nats, at most 0.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, eq. (1) and Algorithm 1.

    >>> minimax_generator(torch.zeros(1), torch.zeros(1))
    tensor([-0.6931])
    """
    return logsigmoid(-fake)


def non_saturating_generator(real: Logits, fake: Logits) -> Logits:
    """G's cost as -log of its own success: the fakes are given the label *real*.

    -log D(G(z))

    Returns:
        Cost per sample in nats, at least 0.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, section 3.

    >>> non_saturating_generator(torch.zeros(1), torch.zeros(1))
    tensor([0.6931])
    """
    return -logsigmoid(fake)


def likelihood_generator(real: Logits, fake: Logits) -> Logits:
    """G's cost whose expected gradient, at the best D, is that of maximum likelihood.

    -D(G(z)) / (1 - D(G(z))) = -exp(a(G(z)))

    The value says nothing (it is -1 in expectation for every G at the best D); only its gradient does. In float32
    it is finite up to a = 88, while the norm of its gradient is not beyond a = 44: training then stops and says so.

    Returns:
        Cost per sample, dimensionless, at most 0.

    Source: Goodfellow 2016, arXiv:1701.00160, section 3.2.4.

    >>> likelihood_generator(torch.zeros(1), torch.zeros(1))
    tensor([-1.])
    """
    return -fake.exp()


def least_squares_discriminator(
    real: Logits, fake: Logits, *, a: Real = 0.0, b: Real = 1.0, smoothing: Fraction = 0.0
) -> Logits:
    """D's cost as half the squared distance of scores to labels.

    1/2 (D(x) - b)^2 + 1/2 (D(G(z)) - a)^2

    Args:
        real: Scores of data.
        fake: Scores of samples, of the same shape.
        a: Label of fakes.
        b: Label of data.
        smoothing: s in [0, 1): the label of data moves this share of the way towards a.

    Returns:
        Cost per sample, dimensionless, at least 0.

    Source: Mao et al. 2017, arXiv:1611.04076, eq. (2).

    >>> least_squares_discriminator(torch.ones(1), torch.ones(1))
    tensor([0.5000])
    """
    target = b - smoothing * (b - a)
    return 0.5 * (real - target).square() + 0.5 * (fake - a).square()


def least_squares_generator(real: Logits, fake: Logits, *, c: Real = 1.0) -> Logits:
    """G's cost as half the squared distance of its scores to the label it wants.

    1/2 (D(G(z)) - c)^2

    Args:
        real: Scores of data; not used.
        fake: Scores of samples.
        c: The label G wants its samples to get.

    Returns:
        Cost per sample, dimensionless, at least 0.

    Source: Mao et al. 2017, arXiv:1611.04076, eq. (2).

    >>> least_squares_generator(torch.zeros(1), torch.zeros(1))
    tensor([0.5000])
    """
    return 0.5 * (fake - c).square()


def wasserstein_discriminator(real: Logits, fake: Logits) -> Logits:
    """The critic's cost: minus the difference whose maximum over 1-Lipschitz critics is the distance W1.

    D(G(z)) - D(x)

    Returns:
        Cost per sample, in the units of the critic; needs clipping or `wgan-gp`, else it has no minimum.

    Source: Arjovsky et al. 2017, arXiv:1701.07875, eq. (2) and Algorithm 1.

    >>> wasserstein_discriminator(torch.ones(1), torch.zeros(1))
    tensor([-1.])
    """
    return fake - real


def wasserstein_generator(real: Logits, fake: Logits) -> Logits:
    """G's cost as minus the critic's value of its samples.

    -D(G(z))

    Returns:
        Cost per sample, in the units of the critic.

    Source: Arjovsky et al. 2017, arXiv:1701.07875, Algorithm 1.

    >>> wasserstein_generator(torch.zeros(1), torch.ones(1))
    tensor([-1.])
    """
    return -fake


def hinge_discriminator(real: Logits, fake: Logits) -> Logits:
    """D's cost counts data scored below +1 and fakes scored above -1.

    max(0, 1 - D(x)) + max(0, 1 + D(G(z)))

    Returns:
        Cost per sample, dimensionless, at least 0; G's cost is `wasserstein_generator`.

    Source: Lim & Ye 2017, arXiv:1705.02894; Miyato et al. 2018, arXiv:1802.05957, eq. (16).

    >>> hinge_discriminator(torch.tensor([2.0]), torch.tensor([-2.0]))
    tensor([0.])
    """
    return relu(1 - real) + relu(1 + fake)


def relativistic_discriminator(real: Logits, fake: Logits) -> Logits:
    """D's cost of telling which of a pair is the real one.

    -log sigmoid(D(x) - D(G(z)))

    Returns:
        Cost per pair in nats, at least 0; log 2 where D cannot tell.

    Source: Jolicoeur-Martineau 2018, arXiv:1807.00734; paired: Huang et al. 2024, arXiv:2501.05441, eq. (2).

    >>> relativistic_discriminator(torch.zeros(1), torch.zeros(1))
    tensor([0.6931])
    """
    return -logsigmoid(real - fake)


def relativistic_generator(real: Logits, fake: Logits) -> Logits:
    """G's cost of its sample being told from the real one of the pair.

    -log sigmoid(D(G(z)) - D(x))

    Returns:
        Cost per pair in nats, at least 0.

    Source: Huang et al. 2024, arXiv:2501.05441, eq. (2).

    >>> relativistic_generator(torch.zeros(1), torch.zeros(1))
    tensor([0.6931])
    """
    return -logsigmoid(fake - real)


LOSSES = {
    "minimax": Loss(logistic_discriminator, minimax_generator, score=torch.sigmoid, output="probability"),
    "non-saturating": Loss(logistic_discriminator, non_saturating_generator, score=torch.sigmoid, output="probability"),
    "likelihood": Loss(logistic_discriminator, likelihood_generator, score=torch.sigmoid, output="probability"),
    "least-squares": Loss(least_squares_discriminator, least_squares_generator, output="score"),
    "wasserstein": Loss(wasserstein_discriminator, wasserstein_generator),
    "hinge": Loss(hinge_discriminator, wasserstein_generator),
    "relativistic": Loss(relativistic_discriminator, relativistic_generator, uses_real=True, paired=True),
}
