"""Mixtures of Gaussians: distributions whose density and modes are known exactly."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """Mixture of isotropic Gaussians with an exact density.

    Args:
        means: (k, d).
        sigmas: (k,) standard deviations.
        weights: (k,), their sum is 1.
    """

    means: NDArray[np.float64]
    sigmas: NDArray[np.float64]
    weights: NDArray[np.float64]

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Log-density in nats, in float64.

        log sum_k w_k N(x; m_k, s_k^2 I)

        >>> one = Mixture(np.zeros((1, 1)), np.ones(1), np.ones(1))
        >>> one.log_prob(torch.zeros(1, 1))
        tensor([-0.9189], dtype=torch.float64)
        """
        means, sigmas, weights = (torch.as_tensor(part) for part in (self.means, self.sigmas, self.weights))
        distance = (x.double()[:, None] - means).square().sum(2) / sigmas.square()
        d = means.shape[1]
        log_normal = -0.5 * distance - d * sigmas.log() - 0.5 * d * np.log(2 * np.pi)
        return torch.logsumexp(weights.log() + log_normal, dim=1)

    def sample(self, n: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Draw n points (n, d); return them and the component (n,) of each."""
        rng = np.random.default_rng(seed)
        component = rng.choice(len(self.weights), size=n, p=self.weights)
        noise = rng.standard_normal((n, self.means.shape[1]))
        with np.errstate(over="ignore"):  # `validate` refuses infinite values and names their row
            return (self.means[component] + self.sigmas[component, None] * noise).astype(np.float32), component
