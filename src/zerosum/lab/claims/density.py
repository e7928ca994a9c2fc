"""Groups 10 and 15: f-divergences as games, and models with a known density."""

from functools import partial
from math import log, pi, sqrt

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from zerosum.game.losses import LOSSES
from zerosum.lab.claims.claim import Claim, Measured, at_least, at_most, equal
from zerosum.lab.theory import divergences as d
from zerosum.lab.theory.fgan import DIVERGENCES, output_for
from zerosum.lab.theory.latent import LinearGaussian, sinh_generator, sinh_log_prob
from zerosum.lab.theory.quadrature import float64, gauss_legendre

P, Q = float64([0.5, 0.3, 0.2]), float64([0.2, 0.3, 0.5])

KNOWN = {
    "kl": d.kl(P, Q).item(),
    "reverse-kl": d.kl(Q, P).item(),
    "pearson": d.chi_square(P, Q).item(),
    "neyman": d.chi_square(Q, P).item(),
    "squared-hellinger": 2 * d.hellinger(P, Q).item(),
    "jensen-shannon": 2 * d.jsd(P, Q).item(),
    "gan": 2 * d.jsd(P, Q).item() - log(4),
    "total-variation": d.total_variation(P, Q).item(),
}
"""Expected value of each row of `DIVERGENCES`, by `theory.divergences`."""


def conjugates() -> Measured:
    """f*(f'(u)) = u f'(u) - f(u), for all eight rows and five ratios u (not at the kink of total variation)."""
    u = float64([0.05, 0.3, 0.9, 1.7, 6.0])
    found = [row.conjugate(row.derivative(u)) - u * row.derivative(u) + row.f(u) for row in DIVERGENCES.values()]
    return equal(torch.stack(found), 0.0)


def conjugates_are_suprema() -> Measured:
    """f*(t) = sup_u (u t - f(u)): by search over 400,000 ratios u, at t = f'(u) for three of them."""
    u = torch.exp(torch.linspace(-6, 6, 400_001, dtype=torch.float64))
    found, closed = [], []
    for row in DIVERGENCES.values():
        t = row.derivative(float64([0.3, 0.9, 2.0]))
        found.append((u * t[:, None] - row.f(u)).max(1).values)
        closed.append(row.conjugate(t))
    return equal(torch.stack(found), torch.stack(closed))


def bound_reached(name: str) -> Measured:
    """The bound E_p[T] - E_q[f*(T)] equals the divergence at T = g(v) = f'(p/q), v being the optimal network output."""
    row = DIVERGENCES[name]
    t = row.activation(output_for(row, row.derivative(P / Q)))
    return equal(row.bound(t, P, Q), KNOWN[name])


def bound_not_passed() -> Measured:
    """For any T the bound is at most the divergence: 500 random outputs v for each of the eight rows."""
    rng = torch.Generator().manual_seed(5)
    outputs = 2 * torch.randn(500, 3, generator=rng, dtype=torch.float64)
    found = [row.bound(row.activation(v), P, Q) for row in DIVERGENCES.values() for v in outputs]
    return at_most(torch.stack(found), float64(list(KNOWN.values())).repeat_interleave(500))


def divergences_by_f() -> Measured:
    """sum q f(p/q) is the divergence that the row is named after."""
    return equal(torch.stack([row.of(P, Q) for row in DIVERGENCES.values()]), float64(list(KNOWN.values())))


def gan_row_is_the_game() -> Measured:
    """The row `gan` is the minimax game: its bound at T = log D is minus D's cost, for any D."""
    a = float64([-2.0, 0.3, 1.5])
    cost = LOSSES["minimax"].discriminator
    zero = torch.zeros_like(a)
    ours = P @ cost(a, zero) + Q @ cost(zero, a) - 2 * log(2)
    row = DIVERGENCES["gan"]
    return equal(row.bound(row.activation(a), P, Q), -ours)


def thresholds() -> Measured:
    """At p = q the best T is f'(1): 1, -1, 0, 0, 0, 0, -log 2 and 0."""
    found = [row.derivative(float64([1.0]))[0] for row in DIVERGENCES.values()]
    return equal(torch.stack(found), float64([1.0, -1.0, 0.0, 0.0, 0.0, 0.0, -log(2), 0.0]))


def density_adds_up() -> Measured:
    """The density of G(z) = sinh z by change of variables integrates to 1, up to the tails beyond |z| = 9."""
    grid = gauss_legendre(-9.0, 9.0, panels=60)  # x = sinh u, so that the long tails need few nodes
    x, stretch = grid.points.sinh(), grid.points[:, 0].cosh()
    inside = Normal(0.0, 1.0).cdf(float64([-9.0, 9.0])).diff()
    return equal((grid.weights * stretch * sinh_log_prob(x).exp()).sum(), inside)


def histogram() -> Measured:
    """A histogram of a million samples agrees with that density: chi-square of 40 bins of equal mass, as a z-score."""
    n, bins = 1_000_000, 40
    z = torch.randn(n, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    quantiles = torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1]
    edges = sinh_generator(Normal(0.0, 1.0).icdf(quantiles)[:, None])[:, 0]
    grid = [gauss_legendre(a, b, panels=8) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
    masses = torch.stack([part.masses(sinh_log_prob).sum() for part in grid])
    tails = (1 - masses.sum()) / 2
    masses = torch.cat([tails[None], masses, tails[None]])
    counts = torch.bincount(torch.bucketize(sinh_generator(z)[:, 0], edges), minlength=bins)
    statistic = ((counts - n * masses).square() / (n * masses)).sum()
    return at_most((statistic - (bins - 1)).abs() / sqrt(2 * (bins - 1)), 4.0)


def parzen() -> Measured:
    """The expected Parzen estimate is the density convolved with the kernel: biased for any number of samples.

    At five points, with 200,000 samples and bandwidth 0.3: within 4 standard errors of the smoothed density.
    """
    width, n = 0.3, 200_000
    z = torch.randn(n, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    at = float64([-3.0, -1.0, 0.0, 0.5, 2.0])
    kernel = Normal(at[:, None], width).log_prob(sinh_generator(z)[:, 0]).exp()
    grid = gauss_legendre(-40.0, 40.0, panels=800)
    smooth = torch.stack(
        [(grid.masses(sinh_log_prob) * Normal(x, width).log_prob(grid.points[:, 0]).exp()).sum() for x in at]
    )
    return at_most((kernel.mean(1) - smooth).abs() / (kernel.std(1) / sqrt(n)), 4.0)


def parzen_is_biased() -> Measured:
    """That bias is not small: at 0 the kernel lowers the density 1/sqrt(2 pi) by more than 5 %."""
    grid = gauss_legendre(-40.0, 40.0, panels=800)
    smooth = (grid.masses(sinh_log_prob) * Normal(0.0, 0.3).log_prob(grid.points[:, 0]).exp()).sum()
    return at_most(smooth * sqrt(2 * pi), 0.95)


MODEL = LinearGaussian(float64([[1.0, 0.5], [-0.3, 0.8], [0.6, -1.2]]), float64([0.2, -0.1, 0.4]), 0.5)
X = float64([0.7, -0.9, 1.1])


def evidence() -> Measured:
    """The marginal p(x) of the linear-Gaussian model, by quadrature over z, is N(b, W W' + s^2 I)."""
    side = gauss_legendre(-7.0, 7.0, panels=16)
    grid = partial(joint_log_prob, MODEL, X)
    z = torch.cartesian_prod(side.points[:, 0], side.points[:, 0])
    return equal((torch.outer(side.weights, side.weights).reshape(-1) * grid(z).exp()).sum(), MODEL.log_prob(X).exp())


def joint_log_prob(model: LinearGaussian, x: Tensor, z: Tensor) -> Tensor:
    """log p(x, z) for latents z (n, k)."""
    fit = Normal(model.bias + z @ model.weight.T, model.std).log_prob(x).sum(1)
    return fit + Normal(0.0, 1.0).log_prob(z).sum(1)


def bound_is_below() -> Measured:
    """The evidence lower bound is at most log p(x): 300 random Gaussian approximations of the posterior."""
    rng = torch.Generator().manual_seed(6)
    found = []
    for _ in range(300):
        root = torch.randn(2, 2, generator=rng, dtype=torch.float64)
        guess = torch.randn(2, generator=rng, dtype=torch.float64), root @ root.T + 0.05 * torch.eye(2).double()
        found.append(MODEL.bound(X, *guess))
    return at_most(torch.stack(found), MODEL.log_prob(X))


def bound_is_reached() -> Measured:
    """The evidence lower bound equals log p(x) at the exact posterior."""
    return equal(MODEL.bound(X, *MODEL.posterior(X)), MODEL.log_prob(X))


def gap_is_a_divergence() -> Measured:
    """The evidence lower bound is log p(x) - KL(r || posterior) for an approximate posterior r, as in a VAE."""
    guess = float64([0.3, 0.1]), float64([[0.5, 0.1], [0.1, 0.4]])
    short = MODEL.log_prob(X) - MODEL.bound(X, *guess)
    return equal(short, kl_divergence(MultivariateNormal(*guess), MultivariateNormal(*MODEL.posterior(X))))


def no_density() -> Measured:
    """A G from one latent to two dimensions fills a curve: its samples (z, z^2) have no density, and JSD is log 2.

    The D that tests x_2 = x_1^2 separates 10,000 samples from 10,000 normal points without error: its cost is 0.
    """
    rng = torch.Generator().manual_seed(7)
    z, x = torch.randn(10_000, generator=rng).double(), torch.randn(10_000, 2, generator=rng).double()
    fake = torch.stack([z, z.square()], 1)
    real_logits, fake_logits = (torch.where(s[:, 1] == s[:, 0].square(), -700.0, 700.0).double() for s in (x, fake))
    return equal(LOSSES["minimax"].discriminator(real_logits, fake_logits).mean(), 0.0)


def gap_at_least() -> Measured:
    """A mean-field (diagonal) approximation cannot reach log p(x) if the posterior's latents are correlated.

    The gap of the best one, with the posterior's mean and the inverse of the diagonal of its precision matrix, is more
    than 0.01 nats.
    """
    mean, cov = MODEL.posterior(X)
    guess = torch.diag(1 / torch.linalg.inv(cov).diagonal())
    return at_least(MODEL.log_prob(X) - MODEL.bound(X, mean, guess), 0.01)


NOWOZIN = "arXiv:1606.00709"
VAE = "arXiv:1312.6114"

CLAIMS = (
    Claim(10, "f-divergences", divergences_by_f, "sum q f(p/q)", f"{NOWOZIN}, table 1", 1e-12),
    Claim(10, "conjugates", conjugates, "f*(f'(u)) = u f'(u) - f(u)", f"{NOWOZIN}, eq. (3)", 1e-12),
    Claim(10, "conjugates-by-search", conjugates_are_suprema, "f*(t) = sup_u u t - f(u)", f"{NOWOZIN}, eq. (3)", 1e-6),
    *(
        Claim(10, f"bound-{name}", partial(bound_reached, name), "max_T E_p T - E_q f*(T)", f"{NOWOZIN}, table 2", 1e-9)
        for name in DIVERGENCES
    ),
    Claim(10, "bounds-not-passed", bound_not_passed, "E_p T - E_q f*(T) <= D_f", f"{NOWOZIN}, eq. (4)", 1e-9),
    Claim(10, "thresholds", thresholds, "T = f'(1) where p = q", f"{NOWOZIN}, table 6", 1e-12),
    Claim(10, "gan-row", gan_row_is_the_game, "bound = -cost_D", f"{NOWOZIN}, eq. (9)", 1e-12),
    Claim(15, "change-of-variables", density_adds_up, "q(x) = p(z) / |G'(z)|", "arXiv:1410.8516, eq. (1)", 1e-9),
    Claim(15, "histogram", histogram, "chi^2 within 4 sigma", "Pearson 1900", 0.0),
    Claim(15, "parzen", parzen, "q * N(0, width^2)", "Parzen 1962", 0.0),
    Claim(15, "parzen-bias", parzen_is_biased, "<= 0.95 of the density", "Parzen 1962", 0.0),
    Claim(15, "evidence", evidence, "N(b, W W' + s^2 I)", "Tipping & Bishop 1999", 1e-6),
    Claim(15, "lower-bound", bound_is_below, "ELBO <= log p(x)", f"{VAE}, eq. (2)", 1e-9),
    Claim(15, "lower-bound-reached", bound_is_reached, "ELBO = log p(x) at p(z | x)", f"{VAE}, eq. (1)", 1e-9),
    Claim(15, "lower-bound-gap", gap_is_a_divergence, "log p(x) - ELBO = KL", f"{VAE}, eq. (1)", 1e-9),
    Claim(15, "independent-guess", gap_at_least, "gap >= 0.01 nats", f"{VAE}, section 3", 0.0),
    Claim(15, "no-density", no_density, "JSD = log 2, cost_D = 0", "arXiv:1701.04862, lemma 1", 1e-12),
)
