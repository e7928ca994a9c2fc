"""Models whose density is known: what explicit means, and what a bound is.

    G invertible            q(x) = p_z(G^-1(x)) / |G'(G^-1(x))|
    z ~ N(0, I), x = W z + b + s noise        p(x) = N(b, W W' + s^2 I)
                                              p(z | x) = N(M^-1 W' (x - b), s^2 M^-1),  M = W' W + s^2 I
    evidence lower bound    E_r[log p(x, z) - log r(z)] = log p(x) - KL(r || p(z | x))

so the bound is reached at the exact posterior, and only there. A VAE maximises the bound: its likelihood is no
tractable number; a GAN's G gives samples and no density at all.

Source: Kingma & Welling 2014, arXiv:1312.6114, eq. (2); Tipping & Bishop 1999, J. R. Stat. Soc. B 61; Dinh et al. 2015,
arXiv:1410.8516, eq. (1).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from zerosum.lab.theory.divergences import Scalar, Vector

Line = Float[Tensor, "n 1"]


def bend(z: Line) -> Line:
    """An invertible generator: G(z) = sinh z, with heavy tails."""
    return z.sinh()


def bend_log_prob(x: Line) -> Float[Tensor, " n"]:
    """Log-density of G(z), z standard normal: log p_z(asinh x) - log cosh(asinh x)."""
    z = x[:, 0].asinh()
    return Normal(0.0, 1.0).log_prob(z) - z.cosh().log()


@dataclass(frozen=True)
class LinearGaussian:
    """z ~ N(0, I), x = W z + b + s noise."""

    weight: Float[Tensor, "d k"]
    bias: Vector
    deviation: float

    def log_prob(self, x: Vector) -> Scalar:
        """log p(x), with z integrated out."""
        d = len(self.bias)
        spread = self.weight @ self.weight.T + self.deviation**2 * torch.eye(d).double()
        found: Tensor = MultivariateNormal(self.bias, spread).log_prob(x)
        return found

    def posterior(self, x: Vector) -> tuple[Float[Tensor, " k"], Float[Tensor, "k k"]]:
        """Mean and covariance of z given x."""
        k = self.weight.shape[1]
        inverse = torch.linalg.inv(self.weight.T @ self.weight + self.deviation**2 * torch.eye(k).double())
        return inverse @ self.weight.T @ (x - self.bias), self.deviation**2 * inverse

    def bound(self, x: Vector, mean: Float[Tensor, " k"], cov: Float[Tensor, "k k"]) -> Scalar:
        """E_r[log p(x, z) - log r(z)] for r = N(mean, cov), term by term.

        E_r[log p(x | z)] - KL(r || N(0, I))
        """
        d, k, variance = len(self.bias), len(mean), self.deviation**2
        away = (x - self.bias - self.weight @ mean).square().sum() + (self.weight @ cov @ self.weight.T).trace()
        fit = -away / (2 * variance) - d / 2 * torch.log(torch.tensor(2 * torch.pi * variance, dtype=torch.float64))
        return fit - (cov.trace() + mean @ mean - k - torch.logdet(cov)) / 2
