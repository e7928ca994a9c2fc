"""How samples meet a density that is known, and which density they are worth."""

from collections.abc import Sequence
from math import log, nan, pi, sqrt
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.metrics.prdc import BLOCK


class Modes(NamedTuple):
    """How samples are spread over modes that are known."""

    found: int
    """Modes that at least one sample reached."""
    near: float
    """Share of the samples that reached any."""
    kl: float
    """KL of the reached modes' shares against the true ones, in nats; a perfect sampler has about (modes - 1) / 2n."""
    missed: tuple[int, ...]
    """Numbers of the modes that no sample reached."""
    found_error: float = 0.0
    """Standard error of `found`, by drawing the samples again (bootstrap)."""
    kl_error: float = 0.0
    """The same of `kl`; where the shares are nearly the true ones, too large by up to twice."""


def spread_over(counts: Float[Tensor, " modes"], shares: Float[Tensor, " modes"], n: int) -> Modes:
    """How samples are spread, from how many reached each mode.

    Args:
        counts: Samples that reached each mode.
        shares: What they should be, adding up to 1.
        n: Samples in all, those that reached none included.

    Source: Lin et al. 2018 (PacGAN), arXiv:1712.04086, section 4; there the true shares are equal.

    >>> spread_over(torch.tensor([3.0, 0.0]), torch.tensor([0.5, 0.5]), 4)[:4]
    (1, 0.75, 0.6931471805599453, (1,))
    """
    counts, shares = counts.double(), shares.double()
    reached = counts.sum()
    kl = _kl(counts, shares).item() if reached else torch.inf
    again = _drawn_again(counts) if reached else counts[None].repeat(2, 1)
    return Modes(
        int((counts > 0).sum()),
        (reached / n).item(),
        kl,
        tuple(torch.where(counts == 0)[0].tolist()),
        (again > 0).sum(1).double().std().item(),
        _kl(again, shares).std().item() if reached else torch.nan,
    )


def _kl(counts: Float[Tensor, "*n modes"], shares: Float[Tensor, " modes"]) -> Float[Tensor, "*n"]:
    """KL of the shares that were counted against the true ones."""
    seen = counts / counts.sum(-1, keepdim=True)
    return (torch.xlogy(seen, seen) - torch.xlogy(seen, shares)).sum(-1)


def _drawn_again(counts: Float[Tensor, " modes"], times: int = 200) -> Float[Tensor, "times modes"]:
    """Counts of as many samples, drawn with the shares that were counted: the same every time."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.multinomial(int(counts.sum()), (counts / counts.sum()).numpy(), times)).double()


def mode_coverage(
    samples: Float[Tensor, "n d"],
    means: Float[Tensor, "modes d"],
    sigmas: Float[Tensor, " modes"],
    weights: Float[Tensor, " modes"] | None = None,
    *,
    within: float = 3.0,
) -> Modes:
    """Modes that samples reached, and how samples are spread over them.

    A sample reaches its nearest mode (in units of the modes' deviations) if it is nearer than `within`. True samples in
    two dimensions score 1 - exp(-4.5) = 0.98889, so that a higher share means modes that are too narrow.

    Args:
        samples: (n, d).
        means: Centres of the modes.
        sigmas: Their standard deviations.
        weights: Their shares; equal if absent.
        within: Deviations.

    Source: Srivastava et al. 2017 (VEEGAN), arXiv:1705.07761, section 4.1; Lin et al. 2018, arXiv:1712.04086.

    >>> mode_coverage(torch.tensor([[0.1], [9.0]]), torch.tensor([[0.0], [1.0]]), torch.tensor([0.1, 0.1])).missed
    (1,)
    """
    distance, mode = (torch.cdist(samples.double(), means.double()) / sigmas.double()).min(dim=1)
    counts = torch.bincount(mode[distance < within], minlength=len(means)).double()
    shares = torch.full_like(counts, 1 / len(means)) if weights is None else weights
    return spread_over(counts, shares, len(samples))


class LogLikelihood(NamedTuple):
    """Mean log-likelihood of test points in nats, its standard error, and the window that was chosen, or NaN."""

    value: float
    error: float
    sigma: float


SIGMAS = tuple(np.logspace(-1, 0, 10).tolist())
"""The windows of the 2014 evaluation."""


def log_likelihood(
    samples: Float[Tensor, "n d"],
    validation: Float[Tensor, "v d"],
    test: Float[Tensor, "t d"],
    sigmas: Sequence[float] = SIGMAS,
) -> LogLikelihood:
    """Log-likelihood of test points under a Parzen window around each sample.

    log 1/n sum_i N(x; x_i, sigma^2 I)

    with the sigma that suits the validation points best. A famous number and a poor one: real training images of MNIST
    score 231, blurred ones more (Theis et al. 2016, arXiv:1511.01844).

    Args:
        samples: From G, scaled as the data is; the paper's are 10,000 in [0, 1]. NaN without any, as of the others.
        validation: Points to choose sigma by; the paper's are 1,000.
        test: Points to be scored.
        sigmas: Windows to choose from.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, section 5; published code, parzen_ll.py.
    """
    if not (len(samples) and len(validation) and len(test)):
        return LogLikelihood(nan, nan, nan)
    scores = torch.stack([_parzen(validation, samples, sigma).mean() for sigma in sigmas])
    sigma = sigmas[int(scores.argmax())]
    found = _parzen(test, samples, sigma)
    return LogLikelihood(found.mean().item(), (found.std(correction=0) / len(found) ** 0.5).item(), sigma)


def _parzen(x: Float[Tensor, "t d"], samples: Float[Tensor, "n d"], sigma: float) -> Float[Tensor, " t"]:
    """Log-density at each x."""
    n, d = samples.shape
    scaled = samples.double() / sigma
    blocks = [torch.logsumexp(-torch.cdist(part.double() / sigma, scaled).square() / 2, 1) for part in x.split(BLOCK)]
    return torch.cat(blocks) - log(n) - d * log(sigma * sqrt(2 * pi))
