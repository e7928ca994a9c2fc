"""Models with an explicit density, and the evidence lower bound.

    G invertible            q(x) = p_z(G^-1(x)) / |G'(G^-1(x))|
    z ~ N(0, I), x = W z + b + s noise        p(x) = N(b, W W' + s^2 I)
                                              p(z | x) = N(M^-1 W' (x - b), s^2 M^-1),  M = W' W + s^2 I
    evidence lower bound    E_r[log p(x, z) - log r(z)] = log p(x) - KL(r || p(z | x))

so the bound is tight only at the exact posterior. A VAE maximizes the bound, since its likelihood is intractable; a
GAN's G gives samples but no density.

Source: Kingma & Welling 2014, arXiv:1312.6114, eq. (2); Tipping & Bishop 1999, J. R. Stat. Soc. B 61; Dinh et al. 2015,
arXiv:1410.8516, eq. (1).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from zerosum.lab.theory.divergences import Scalar, Vector

Column = Float[Tensor, "n 1"]


def sinh_generator(z: Column) -> Column:
    """G(z) = sinh z: an invertible generator with heavy tails."""
    return z.sinh()


def sinh_log_prob(x: Column) -> Float[Tensor, " n"]:
    """Log-density of G(z), z standard normal: log p_z(asinh x) - log cosh(asinh x)."""
    z = x[:, 0].asinh()
    return Normal(0.0, 1.0).log_prob(z) - z.cosh().log()


@dataclass(frozen=True)
class LinearGaussian:
    """z ~ N(0, I), x = W z + b + s noise."""

    weight: Float[Tensor, "d k"]
    bias: Vector
    std: float

    def log_prob(self, x: Vector) -> Scalar:
        """The marginal log-density log p(x)."""
        d = len(self.bias)
        cov = self.weight @ self.weight.T + self.std**2 * torch.eye(d).double()
        found: Tensor = MultivariateNormal(self.bias, cov).log_prob(x)
        return found

    def posterior(self, x: Vector) -> tuple[Float[Tensor, " k"], Float[Tensor, "k k"]]:
        """Mean and covariance of p(z | x)."""
        k = self.weight.shape[1]
        inverse = torch.linalg.inv(self.weight.T @ self.weight + self.std**2 * torch.eye(k).double())
        return inverse @ self.weight.T @ (x - self.bias), self.std**2 * inverse

    def bound(self, x: Vector, mean: Float[Tensor, " k"], cov: Float[Tensor, "k k"]) -> Scalar:
        """The evidence lower bound E_r[log p(x | z)] - KL(r || N(0, I)) for r = N(mean, cov), in closed form."""
        d, k, variance = len(self.bias), len(mean), self.std**2
        away = (x - self.bias - self.weight @ mean).square().sum() + (self.weight @ cov @ self.weight.T).trace()
        fit = -away / (2 * variance) - d / 2 * torch.log(torch.tensor(2 * torch.pi * variance, dtype=torch.float64))
        return fit - (cov.trace() + mean @ mean - k - torch.logdet(cov)) / 2
