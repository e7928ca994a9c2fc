"""Mode coverage of a known mixture, and Parzen-window log-likelihood."""

from collections.abc import Sequence
from math import log, nan, pi, sqrt
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.metrics.neighbors import distance_blocks


class ModeCoverage(NamedTuple):
    """How samples are distributed over known modes."""

    found: int
    """Number of modes with at least one sample."""
    in_modes: float
    """Share of the samples that belong to a mode ("high-quality samples" in papers)."""
    kl: float
    """KL(shares of samples in modes || true shares), in nats; about (modes - 1) / 2n for a perfect sampler."""
    missed: tuple[int, ...]
    """Indices of the modes without a sample."""
    found_error: float = 0.0
    """Bootstrap standard error of `found`."""
    kl_error: float = 0.0
    """Bootstrap standard error of `kl`; up to twice too large if the shares are close to the true ones."""


def coverage_of_counts(counts: Float[Tensor, " modes"], shares: Float[Tensor, " modes"], n: int) -> ModeCoverage:
    """Compute mode coverage from the number of samples in each mode.

    Args:
        counts: Number of samples in each mode.
        shares: True share of each mode; the sum is 1.
        n: Number of all samples, including those in no mode.

    Source: Lin et al. 2018 (PacGAN), arXiv:1712.04086, section 4; there the true shares are equal.

    >>> coverage_of_counts(torch.tensor([3.0, 0.0]), torch.tensor([0.5, 0.5]), 4)[:4]
    (1, 0.75, 0.6931471805599453, (1,))
    """
    counts, shares = counts.double(), shares.double()
    total = counts.sum()
    kl = _kl(counts, shares).item() if total else torch.inf
    resampled = _bootstrap(counts) if total else counts[None].repeat(2, 1)
    return ModeCoverage(
        int((counts > 0).sum()),
        (total / n).item(),
        kl,
        tuple(torch.where(counts == 0)[0].tolist()),
        (resampled > 0).sum(1).double().std().item(),
        _kl(resampled, shares).std().item() if total else torch.nan,
    )


def _kl(counts: Float[Tensor, "*n modes"], shares: Float[Tensor, " modes"]) -> Float[Tensor, "*n"]:
    """KL divergence of the empirical shares from the true ones, in nats."""
    empirical = counts / counts.sum(-1, keepdim=True)
    return (torch.xlogy(empirical, empirical) - torch.xlogy(empirical, shares)).sum(-1)


def _bootstrap(counts: Float[Tensor, " modes"], times: int = 200) -> Float[Tensor, "times modes"]:
    """Draw bootstrap counts from a multinomial distribution with the empirical shares and a fixed seed."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.multinomial(int(counts.sum()), (counts / counts.sum()).numpy(), times)).double()


def mode_coverage(
    samples: Float[Tensor, "n d"],
    means: Float[Tensor, "modes d"],
    sigmas: Float[Tensor, " modes"],
    weights: Float[Tensor, " modes"] | None = None,
    *,
    within: float = 3.0,
) -> ModeCoverage:
    """Assign samples to the modes of a Gaussian mixture, and compare their shares with the weights.

    A sample belongs to its nearest mode, measured in standard deviations, if it is nearer than `within`. For true
    samples in two dimensions the share is 1 - exp(-4.5) = 0.98889; a higher share means that the modes are too narrow.

    Args:
        samples: (n, d).
        means: Means of the modes.
        sigmas: Standard deviations of the modes.
        weights: Weights of the modes; equal by default.
        within: Maximum distance from the mean, in standard deviations.

    Source: Srivastava et al. 2017 (VEEGAN), arXiv:1705.07761, section 4.1; Lin et al. 2018, arXiv:1712.04086.

    >>> mode_coverage(torch.tensor([[0.1], [9.0]]), torch.tensor([[0.0], [1.0]]), torch.tensor([0.1, 0.1])).missed
    (1,)
    """
    distance, mode = (torch.cdist(samples.double(), means.double()) / sigmas.double()).min(dim=1)
    counts = torch.bincount(mode[distance < within], minlength=len(means)).double()
    shares = torch.full_like(counts, 1 / len(means)) if weights is None else weights
    return coverage_of_counts(counts, shares, len(samples))


class LogLikelihood(NamedTuple):
    """Mean log-likelihood of test points in nats, its standard error, and the chosen window width; NaN if unknown."""

    value: float
    error: float
    sigma: float


SIGMAS = tuple(np.logspace(-1, 0, 10).tolist())
"""The window widths of the 2014 evaluation."""


def log_likelihood(
    samples: Float[Tensor, "n d"],
    validation: Float[Tensor, "v d"],
    test: Float[Tensor, "t d"],
    sigmas: Sequence[float] = SIGMAS,
) -> LogLikelihood:
    """Log-likelihood of test points under a Parzen window density estimate, with a Gaussian around each sample.

    log 1/n sum_i N(x; x_i, sigma^2 I)

    The sigma with the highest likelihood of the validation points is used. The metric is unreliable: real training
    images of MNIST score 231, blurred ones more (Theis et al. 2016, arXiv:1511.01844).

    Args:
        samples: Generated samples, scaled like the data; the paper uses 10,000 in [0, 1].
        validation: Points to choose sigma; the paper uses 1,000.
        test: Points to score. The result is NaN if any of the three sets is empty.
        sigmas: Window widths to choose from.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, section 5; published code, parzen_ll.py.
    """
    if not (len(samples) and len(validation) and len(test)):
        return LogLikelihood(nan, nan, nan)
    scores = torch.stack([_parzen(validation, samples, sigma).mean() for sigma in sigmas])
    sigma = sigmas[int(scores.argmax())]
    found = _parzen(test, samples, sigma)
    return LogLikelihood(found.mean().item(), (found.std(correction=0) / len(found) ** 0.5).item(), sigma)


def _parzen(x: Float[Tensor, "t d"], samples: Float[Tensor, "n d"], sigma: float) -> Float[Tensor, " t"]:
    """Log-density of the Parzen window estimate at each x."""
    n, d = samples.shape
    scaled = samples.double() / sigma
    distances = distance_blocks(x.double() / sigma, scaled)
    blocks = [torch.logsumexp(-distance.square() / 2, 1) for distance in distances]
    return torch.cat(blocks) - log(n) - d * log(sigma * sqrt(2 * pi))
