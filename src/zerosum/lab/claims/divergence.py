"""Groups 3, 4 and 5: divergences and their closed forms, maximum likelihood, and one Gaussian for two modes."""

from collections.abc import Callable
from math import log, sqrt

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from zerosum.game.losses import LOSSES
from zerosum.lab.claims.claim import Claim, Measured, at_least, at_most, equal
from zerosum.lab.claims.optimum import FOUR_POINTS, mixture, mixtures_1d, perturbed
from zerosum.lab.theory import divergences as d
from zerosum.lab.theory.equilibrium import mean_cost
from zerosum.lab.theory.fits import Fit, Measure, fit
from zerosum.lab.theory.quadrature import Grid, Masses, float64, gauss_legendre, product_grid

GAUSSIANS = (
    float64([0.3, -0.2]),
    float64([[0.8, 0.2], [0.2, 0.6]]),
    float64([-0.2, 0.4]),
    float64([[1.0, -0.1], [-0.1, 0.9]]),
)
"""Mean and covariance of two Gaussians in two dimensions, with correlations."""


def gaussians() -> tuple[Masses, Masses]:
    """Masses of `GAUSSIANS`."""
    side = gauss_legendre(-9.0, 9.0, panels=6)
    grid, (m, s, n, t) = product_grid(side, side), GAUSSIANS
    return grid.masses(MultivariateNormal(m, s).log_prob), grid.masses(MultivariateNormal(n, t).log_prob)


def normal_masses(grid: Grid, m: float, s: float) -> Masses:
    """Masses of N(m, s^2) in one dimension."""
    return grid.masses(lambda x: Normal(float64(m), float64(s)).log_prob(x[:, 0]))


def kl_of_gaussians() -> Measured:
    """KL by quadrature equals the closed form for two Gaussians with full covariances."""
    return equal(d.kl(*gaussians()), d.gaussian_kl(*GAUSSIANS))


def reverse_kl_of_gaussians() -> Measured:
    """The reverse KL by quadrature equals the closed form with p and q exchanged."""
    p, q = gaussians()
    return equal(d.kl(q, p), d.gaussian_kl(*GAUSSIANS[2:], *GAUSSIANS[:2]))


def kl_is_not_symmetric() -> Measured:
    """KL is not symmetric: log 2 - 1/2 (1 - 1/4) against 1/2 (4 - 1) - log 2 for standard deviations 1 and 2."""
    grid = gauss_legendre(-30.0, 30.0, panels=80)
    p, q = normal_masses(grid, 0.0, 1.0), normal_masses(grid, 0.0, 2.0)
    return equal(d.kl(q, p) - d.kl(p, q), (1.5 - log(2)) - (log(2) - 0.375))


def kl_is_not_negative() -> Measured:
    """KL is at least 0: 500 random pairs of distributions on six points."""
    return at_least(torch.stack([d.kl(p, q) for p, q in random_pairs(500)]), 0.0)


def jsd_is_symmetric() -> Measured:
    """JSD is symmetric."""
    p, q = gaussians()
    return equal(d.jsd(p, q), d.jsd(q, p))


def jsd_is_bounded() -> Measured:
    """JSD is at most log 2: 500 random pairs of distributions on six points, some nearly disjoint."""
    return at_most(torch.stack([d.jsd(p, q) for p, q in random_pairs(500)]), log(2))


def jsd_when_disjoint() -> Measured:
    """JSD is log 2 for distributions with disjoint supports, whatever their distance."""
    return equal(torch.stack([d.jsd(p, q) for _, p, q in shifted_uniforms()]), log(2))


def wasserstein_when_disjoint() -> Measured:
    """The Wasserstein-1 distance of the same disjoint distributions is the distance of their supports."""
    return equal(torch.stack([d.wasserstein_1(x, p, q) for x, p, q in shifted_uniforms()]), float64([2.0, 3.0, 5.0]))


def wasserstein_derivative() -> Measured:
    """For data at 0 and a sample at theta > 0, d W1 / d theta = 1: the gradient of G's Wasserstein cost, critic -x.

    The derivative of JSD is 0, as `jsd-disjoint` shows.
    """
    theta = float64([2.0]).requires_grad_()
    (gradient,) = torch.autograd.grad(LOSSES["wasserstein"].generator(torch.zeros_like(theta), -theta).sum(), theta)
    return equal(gradient, 1.0)


def total_variation_of_gaussians() -> Measured:
    """TV by quadrature is erf(r / sqrt 8) for equal covariances, r the Mahalanobis distance of the means.

    The integrand has a kink where p = q; the tolerance allows for it.
    """
    grid = gauss_legendre(-12.0, 12.5, panels=490)  # the kink, at 0.25, lies between two panels
    closed = d.gaussian_total_variation(float64([-0.5]), float64([1.0]), float64([[1.44]]))
    return equal(d.total_variation(normal_masses(grid, -0.5, 1.2), normal_masses(grid, 1.0, 1.2)), closed)


def chi_square_of_gaussians() -> Measured:
    """Pearson's chi-square by quadrature equals the closed form, for a q wide enough that it is finite."""
    return equal(d.chi_square(*gaussians()), d.gaussian_chi_square(*GAUSSIANS))


def hellinger_of_gaussians() -> Measured:
    """The squared Hellinger distance by quadrature equals the closed form."""
    return equal(d.hellinger(*gaussians()), d.gaussian_hellinger(*GAUSSIANS))


def wasserstein_of_gaussians() -> Measured:
    """W1 of two Gaussians, from their distribution functions, equals E|m + s Z|, up to the width of the grid."""
    x = torch.linspace(-14, 14, 200_001, dtype=torch.float64)
    p, q = (Normal(float64(m), float64(s)).log_prob(x).exp() * x.diff()[0] for m, s in ((0.0, 1.0), (0.7, 1.8)))
    return equal(d.wasserstein_1(x, p, q), d.gaussian_wasserstein_1(0.0, 1.0, 0.7, 1.8))


def wasserstein_is_a_game() -> Measured:
    """The 1-Lipschitz critic with derivative sign(G - F) reaches W1: minus the critic's Wasserstein cost."""
    x = torch.linspace(-8, 10, 1501, dtype=torch.float64)
    p, q = (Normal(float64(m), float64(s)).log_prob(x).exp() for m, s in ((0.0, 1.0), (0.7, 1.8)))
    p, q = p / p.sum(), q / q.sum()
    derivatives = (q - p).cumsum(0)[:-1].sign()
    critic = torch.cat([float64([0.0]), (derivatives * x.diff()).cumsum(0)])
    return equal(-mean_cost(LOSSES["wasserstein"].discriminator, critic, p, q), d.wasserstein_1(x, p, q))


def pinsker() -> Measured:
    """TV is at most sqrt(KL / 2) (Pinsker's inequality): 500 random pairs of distributions."""
    pairs = random_pairs(500)
    bound = torch.stack([(d.kl(p, q) / 2).sqrt() for p, q in pairs])
    return at_most(torch.stack([d.total_variation(p, q) for p, q in pairs]), bound)


def likelihood_is_kl() -> Measured:
    """The mean negative log-likelihood of a sample is KL(p^ || q) + H(p^), p^ the empirical distribution, exactly."""
    draws, q = categorical_sample(1000, seed=0), float64([0.1, 0.15, 0.2, 0.25, 0.3])
    p = torch.bincount(draws, minlength=5).double() / 1000
    return equal(-q.log()[draws].mean(), d.kl(p, q) + d.entropy(p))


def best_gaussian() -> Measured:
    """The Gaussian that minimizes KL(p || q), the maximum-likelihood fit, has the mean and standard deviation of p."""
    found = fit(d.kl, TWO_GRID, two_modes(), mean=0.7, std=1.0)
    return equal(float64([found.mean, found.std]), float64([0.0, sqrt(4.09)]))


def sample_average() -> Measured:
    """The mean negative log-likelihood of n rows estimates the cross-entropy H(p, q) with error sd / sqrt(n).

    Measured: the root mean square error of 400 samples of 100, 1,000 and 10,000 rows, divided by sd / sqrt(n); it has a
    statistical error of 3.5 %.
    """
    p, q = Normal(0.0, 1.0), Normal(0.5, 2.0)
    quadrature = gauss_legendre(-12.0, 12.0)
    masses = normal_masses(quadrature, 0.0, 1.0)
    nll = -q.log_prob(quadrature.points[:, 0])
    truth = masses @ nll
    std = (masses @ (nll - truth).square()).sqrt()
    rng = torch.Generator().manual_seed(0)
    found = []
    for n in (100, 1000, 10_000):
        x = torch.randn(400, n, generator=rng, dtype=torch.float64) * p.scale
        found.append((-q.log_prob(x).mean(1) - truth).square().mean().sqrt() * sqrt(n) / std)
    return equal(torch.stack(found), 1.0)


def zero_only_at_equality() -> Measured:
    """KL(p || q) is t^2/2 sum h^2/p for q = p + t h, to leading order: q = p is a strict minimum."""
    p, _ = mixtures_1d()
    t = 1e-4
    h = (perturbed(p, 1.0) - p).square() / p
    return equal(d.kl(p, perturbed(p, t)) / (t**2 / 2 * h.sum()), 1.0)


def jensen() -> Measured:
    """Jensen's inequality gives KL(p || q) >= -log Q(p > 0), with equality if q/p is constant on the support of p.

    KL >= 0 follows from Q(p > 0) <= 1; KL = 0 also requires that q has no mass off the support of p.
    """
    return equal(d.kl(float64([0.5, 0.5, 0.0]), float64([0.4, 0.4, 0.2])), -log(0.8))


def kl_needs_support() -> Measured:
    """KL(p || q) is infinite if q = 0 < p somewhere; JSD is finite."""
    p, q = float64([0.5, 0.5]), float64([1.0, 0.0])
    return equal(d.kl(p, q) + d.jsd(p, q), torch.inf)


def jsd_from_kl() -> Measured:
    """JSD is the entropy of the mixture m = (p+q)/2 minus the mean entropy of p and q."""
    p, q = FOUR_POINTS
    return equal(d.jsd(p, q), d.entropy((p + q) / 2) - (d.entropy(p) + d.entropy(q)) / 2)


TWO_GRID = gauss_legendre(-12.0, 12.0, panels=160)


def two_modes() -> Masses:
    """Masses of the data: an equal mixture of N(-2, 0.3^2) and N(2, 0.3^2)."""
    return TWO_GRID.masses(mixture([[-2.0], [2.0]], [0.3, 0.3], [0.5, 0.5]).log_prob)


def reverse_kl(p: Masses, q: Masses) -> Tensor:
    """KL(q || p)."""
    return d.kl(q, p)


def best_fit(measure: Measure) -> Fit:
    """Return the best of the Gaussian fits from five starting points."""
    starts = [(m, s) for m, s in ((-2.0, 0.6), (-0.5, 1.0), (0.1, 2.0), (1.0, 0.8), (2.3, 0.6))]
    return min((fit(measure, TWO_GRID, two_modes(), m, s) for m, s in starts), key=lambda found: found.divergence)


def kl_covers() -> Measured:
    """A Gaussian q that minimizes KL(p || q) covers both modes of p: mean 0, standard deviation sqrt(4.09)."""
    found = best_fit(d.kl)
    return equal(float64([found.mean, found.std]), float64([0.0, sqrt(4.09)]))


def reverse_kl_picks() -> Measured:
    """A q that minimizes KL(q || p) fits one mode: mean 2 or -2, standard deviation 0.3, for well separated modes."""
    found = best_fit(reverse_kl)
    return equal(float64([abs(found.mean), found.std]), float64([2.0, 0.3]))


def reverse_kl_pays_log_2() -> Measured:
    """Its KL(q || p) is log 2: the penalty for missing half of the data is bounded."""
    return equal(best_fit(reverse_kl).divergence, log(2))


def jsd_also_picks() -> Measured:
    """Under JSD, too, a q that fits one mode is a local minimum, at about 3/4 log(4/3) = 0.2158 nats."""
    found = fit(d.jsd, TWO_GRID, two_modes(), 2.0, 0.3)
    return equal(float64([found.divergence]), (log(2) + log(2 / 3)) / 4 + log(4 / 3) / 2)


def each_is_best_at_its_own() -> Measured:
    """Each of the three fits is the best of the three under its own divergence: the divergence decides the fit."""
    measures: list[Callable[[Masses, Masses], Tensor]] = [d.kl, reverse_kl, d.jsd]
    fits = [best_fit(measure) for measure in measures]
    p = two_modes()
    score = torch.stack([torch.stack([m(p, normal_masses(TWO_GRID, f.mean, f.std)) for f in fits]) for m in measures])
    return at_most(score.diagonal()[:, None], score + 1e-9)


def random_pairs(n: int) -> Tensor:
    """Random pairs of distributions on six points, from nearly equal to nearly disjoint, (n, 2, 6)."""
    rng = torch.Generator().manual_seed(3)
    logits = torch.randn(n, 2, 6, generator=rng, dtype=torch.float64)
    return (logits * torch.linspace(0.1, 8, n, dtype=torch.float64)[:, None, None]).softmax(-1)


def shifted_uniforms() -> list[tuple[Tensor, Masses, Masses]]:
    """Points x, p uniform on [0, 1), and q the same shifted by 2, 3 and 5."""
    x = torch.arange(0, 8, 0.125, dtype=torch.float64)
    p = (x < 1).double() / 8
    return [(x, p, p.roll(8 * apart)) for apart in (2, 3, 5)]


def categorical_sample(n: int, seed: int) -> Tensor:
    """Draw n values from a distribution on five points."""
    rng = torch.Generator().manual_seed(seed)
    return torch.multinomial(float64([0.3, 0.3, 0.2, 0.15, 0.05]), n, replacement=True, generator=rng)


COVER = "arXiv:1701.00160, figure 14"
ARJOVSKY = "arXiv:1701.07875, example 1"

CLAIMS = (
    Claim(3, "kl-gaussians", kl_of_gaussians, "1/2 (tr T'S + |n-m|^2_T - d + log |T|/|S|)", "textbook", 1e-6),
    Claim(3, "reverse-kl-gaussians", reverse_kl_of_gaussians, "the same, p and q exchanged", "textbook", 1e-6),
    Claim(3, "kl-asymmetric", kl_is_not_symmetric, "1.875 - 2 log 2 for std 1, 2", "derived", 1e-6),
    Claim(3, "kl-floor", kl_is_not_negative, "KL >= 0", "Kullback & Leibler 1951", 1e-12),
    Claim(3, "jsd-symmetric", jsd_is_symmetric, "JSD(p, q) = JSD(q, p)", "Lin 1991", 1e-12),
    Claim(3, "jsd-ceiling", jsd_is_bounded, "JSD <= log 2", "Lin 1991", 1e-12),
    Claim(3, "jsd-disjoint", jsd_when_disjoint, "JSD = log 2", ARJOVSKY, 1e-12),
    Claim(3, "w1-disjoint", wasserstein_when_disjoint, "W1 = distance", ARJOVSKY, 1e-12),
    Claim(3, "w1-slope", wasserstein_derivative, "d W1 / d theta = 1", ARJOVSKY, 1e-12),
    Claim(3, "tv-gaussians", total_variation_of_gaussians, "erf(r / sqrt 8)", "textbook", 1e-6),
    Claim(3, "chi-square-gaussians", chi_square_of_gaussians, "closed form in S, T, m, n", "textbook", 1e-6),
    Claim(3, "hellinger-gaussians", hellinger_of_gaussians, "closed form in S, T, m, n", "textbook", 1e-6),
    Claim(3, "w1-gaussians", wasserstein_of_gaussians, "E|m + s Z|", "Villani 2009, remark 6.5", 1e-6),
    Claim(3, "w1-game", wasserstein_is_a_game, "max over |D'| <= 1 of E_p D - E_q D = W1", ARJOVSKY, 1e-9),
    Claim(3, "pinsker", pinsker, "TV <= sqrt(KL / 2)", "Pinsker 1964", 1e-12),
    Claim(4, "likelihood-is-kl", likelihood_is_kl, "-mean log q = KL(p^ || q) + H(p^)", "derived", 1e-12),
    Claim(4, "best-gaussian", best_gaussian, "mean and std of p", "derived", 1e-6),
    Claim(4, "sample-average", sample_average, "error = sd / sqrt(n)", "central limit theorem", 0.12),
    Claim(4, "kl-zero", zero_only_at_equality, "KL -> t^2/2 sum h^2/p", "derived", 1e-3),
    Claim(4, "jensen", jensen, "KL = -log Q(p > 0) where q/p is constant", "derived", 1e-12),
    Claim(4, "kl-support", kl_needs_support, "KL = inf where q = 0 < p", "derived", 0.0),
    Claim(4, "jsd-from-entropies", jsd_from_kl, "JSD = H(m) - (H(p) + H(q)) / 2", "Lin 1991", 1e-12),
    Claim(5, "kl-covers", kl_covers, "N(0, 4.09)", COVER, 1e-6),
    Claim(5, "reverse-kl-picks", reverse_kl_picks, "N(+-2, 0.09)", COVER, 1e-6),
    Claim(5, "reverse-kl-price", reverse_kl_pays_log_2, "KL(q || p) = log 2", "derived", 1e-6),
    Claim(5, "jsd-picks-too", jsd_also_picks, "(log 2 + log 2/3)/4 + 1/2 log 4/3", "derived", 1e-6),
    Claim(5, "own-measure", each_is_best_at_its_own, "own divergence <= the others'", COVER, 0.0),
)
