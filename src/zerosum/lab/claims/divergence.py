"""Groups 3, 4 and 5: divergences and their closed forms, maximum likelihood, and one Gaussian for two modes."""

from collections.abc import Callable
from math import log, sqrt

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from zerosum.game.losses import LOSSES
from zerosum.lab.claims.claim import Claim, Measured, at_least, at_most, equal
from zerosum.lab.claims.optimum import LETTERS, bent, mixture, on_a_line
from zerosum.lab.theory import divergences as d
from zerosum.lab.theory.equilibrium import mean
from zerosum.lab.theory.fits import Fit, Measure, fit
from zerosum.lab.theory.quadrature import Grid, Masses, line, numbers, plane

SHIFTED = (
    numbers([0.3, -0.2]),
    numbers([[0.8, 0.2], [0.2, 0.6]]),
    numbers([-0.2, 0.4]),
    numbers([[1.0, -0.1], [-0.1, 0.9]]),
)
"""Mean and covariance of two Gaussians in the plane, neither round nor aligned."""


def gaussians() -> tuple[Masses, Masses]:
    """Their masses."""
    side = line(-9.0, 9.0, panels=6)
    grid, (m, s, n, t) = plane(side, side), SHIFTED
    return grid.masses(MultivariateNormal(m, s).log_prob), grid.masses(MultivariateNormal(n, t).log_prob)


def normal(grid: Grid, m: float, s: float) -> Masses:
    """The masses of a Gaussian on a line."""
    return grid.masses(lambda x: Normal(numbers(m), numbers(s)).log_prob(x[:, 0]))


def kl_of_gaussians() -> Measured:
    """KL by quadrature equals the closed form for two Gaussians with full covariances."""
    return equal(d.kl(*gaussians()), d.gaussian_kl(*SHIFTED))


def reverse_kl_of_gaussians() -> Measured:
    """KL the other way round equals it as well, p and q exchanged."""
    p, q = gaussians()
    return equal(d.kl(q, p), d.gaussian_kl(*SHIFTED[2:], *SHIFTED[:2]))


def kl_is_not_symmetric() -> Measured:
    """KL(p || q) and KL(q || p) differ: log 2 - 1/2 (1 - 1/4) against 1/2 (4 - 1) - log 2 for deviations 1 and 2."""
    grid = line(-30.0, 30.0, panels=80)
    p, q = normal(grid, 0.0, 1.0), normal(grid, 0.0, 2.0)
    return equal(d.kl(q, p) - d.kl(p, q), (1.5 - log(2)) - (log(2) - 0.375))


def kl_is_not_negative() -> Measured:
    """KL is at least 0: 500 random pairs of laws on six points."""
    return at_least(torch.stack([d.kl(p, q) for p, q in random_pairs(500)]), 0.0)


def jsd_is_symmetric() -> Measured:
    """JSD is symmetric."""
    p, q = gaussians()
    return equal(d.jsd(p, q), d.jsd(q, p))


def jsd_is_bounded() -> Measured:
    """JSD is at most log 2: 500 random pairs of laws on six points, some nearly disjoint."""
    return at_most(torch.stack([d.jsd(p, q) for p, q in random_pairs(500)]), log(2))


def jsd_when_disjoint() -> Measured:
    """JSD is log 2 for disjoint laws, however far apart they lie: it cannot say that they come nearer."""
    return equal(torch.stack([d.jsd(p, q) for _, p, q in blocks()]), log(2))


def wasserstein_when_disjoint() -> Measured:
    """The distance W1 of the same laws is how far they are apart."""
    return equal(torch.stack([d.wasserstein_1(x, p, q) for x, p, q in blocks()]), numbers([2.0, 3.0, 5.0]))


def wasserstein_slope() -> Measured:
    """For data at 0 and a sample at theta > 0 the slope of W1 is 1, by our Wasserstein cost at its best critic, -x.

    That of JSD is 0, as `jsd-disjoint` shows.
    """
    theta = numbers([2.0]).requires_grad_()
    (slope,) = torch.autograd.grad(LOSSES["wasserstein"].generator(torch.zeros_like(theta), -theta).sum(), theta)
    return equal(slope, 1.0)


def total_variation_of_gaussians() -> Measured:
    """TV by quadrature is erf(r / sqrt 8) for equal covariances, r the Mahalanobis distance of the means.

    The integrand has an edge where p = q; the tolerance allows for it.
    """
    grid = line(-12.0, 12.5, panels=490)  # the edge, at 0.25, lies between two panels
    closed = d.gaussian_total_variation(numbers([-0.5]), numbers([1.0]), numbers([[1.44]]))
    return equal(d.total_variation(normal(grid, -0.5, 1.2), normal(grid, 1.0, 1.2)), closed)


def chi_square_of_gaussians() -> Measured:
    """Pearson's chi-square by quadrature equals the closed form, where q is wide enough for it to be finite."""
    return equal(d.chi_square(*gaussians()), d.gaussian_chi_square(*SHIFTED))


def hellinger_of_gaussians() -> Measured:
    """The squared Hellinger distance by quadrature equals the closed form."""
    return equal(d.hellinger(*gaussians()), d.gaussian_hellinger(*SHIFTED))


def wasserstein_of_gaussians() -> Measured:
    """W1 on the line, from distribution functions, equals E|m + s Z| for two Gaussians, up to the width of the grid."""
    x = torch.linspace(-14, 14, 200_001, dtype=torch.float64)
    p, q = (Normal(numbers(m), numbers(s)).log_prob(x).exp() * x.diff()[0] for m, s in ((0.0, 1.0), (0.7, 1.8)))
    return equal(d.wasserstein_1(x, p, q), d.gaussian_wasserstein_1(0.0, 1.0, 0.7, 1.8))


def wasserstein_is_a_game() -> Measured:
    """The best critic of slope at most 1 reaches W1: our Wasserstein cost, negated, at the slope sign(G - F)."""
    x = torch.linspace(-8, 10, 1501, dtype=torch.float64)
    p, q = (Normal(numbers(m), numbers(s)).log_prob(x).exp() for m, s in ((0.0, 1.0), (0.7, 1.8)))
    p, q = p / p.sum(), q / q.sum()
    slopes = (q - p).cumsum(0)[:-1].sign()
    critic = torch.cat([numbers([0.0]), (slopes * x.diff()).cumsum(0)])
    return equal(-mean(LOSSES["wasserstein"].discriminator, critic, p, q), d.wasserstein_1(x, p, q))


def pinsker() -> Measured:
    """TV is at most sqrt(KL / 2): 500 random pairs of laws."""
    pairs = random_pairs(500)
    bound = torch.stack([(d.kl(p, q) / 2).sqrt() for p, q in pairs])
    return at_most(torch.stack([d.total_variation(p, q) for p, q in pairs]), bound)


def likelihood_is_kl() -> Measured:
    """The mean negative log-likelihood of a sample is KL(sample || q) plus the sample's entropy, exactly."""
    letters, q = sample_of_letters(1000, seed=0), numbers([0.1, 0.15, 0.2, 0.25, 0.3])
    p = torch.bincount(letters, minlength=5).double() / 1000
    return equal(-q.log()[letters].mean(), d.kl(p, q) + d.entropy(p))


def best_gaussian() -> Measured:
    """Among Gaussians the likeliest has the mean and deviation of the data: there KL(p || q) is smallest."""
    found = fit(d.kl, TWO_GRID, two_modes(), mean=0.7, deviation=1.0)
    return equal(numbers([found.mean, found.deviation]), numbers([0.0, sqrt(4.09)]))


def sample_average() -> Measured:
    """The likelihood of a sample estimates the cross-entropy H(p, q) with an error of sd / sqrt(n): 100 to 10,000 rows.

    Root mean square over 400 samples each, over sd / sqrt(n); each has a statistical error of 3.5 %.
    """
    p, q = Normal(0.0, 1.0), Normal(0.5, 2.0)
    quadrature = line(-12.0, 12.0)
    masses = normal(quadrature, 0.0, 1.0)
    surprise = -q.log_prob(quadrature.points[:, 0])
    truth = masses @ surprise
    deviation = (masses @ (surprise - truth).square()).sqrt()
    rng = torch.Generator().manual_seed(0)
    found = []
    for n in (100, 1000, 10_000):
        x = torch.randn(400, n, generator=rng, dtype=torch.float64) * p.scale
        found.append((-q.log_prob(x).mean(1) - truth).square().mean().sqrt() * sqrt(n) / deviation)
    return equal(torch.stack(found), 1.0)


def zero_only_at_equality() -> Measured:
    """KL(p || q) is 0 only at q = p: nearby it is t^2/2 sum h^2/p for q = p + t h."""
    p, _ = on_a_line()
    t = 1e-4
    h = (bent(p, 1.0) - p).square() / p
    return equal(d.kl(p, bent(p, t)) / (t**2 / 2 * h.sum()), 1.0)


def jensen() -> Measured:
    """Jensen's step gives KL(p || q) >= -log Q(p > 0), with equality where q/p is constant there, even if q is not p.

    So KL >= 0 needs Q(p > 0) <= 1, and KL = 0 needs q to have no mass elsewhere.
    """
    return equal(d.kl(numbers([0.5, 0.5, 0.0]), numbers([0.4, 0.4, 0.2])), -log(0.8))


def kl_needs_support() -> Measured:
    """KL(p || q) is infinite where q lacks what p has; JSD stays finite."""
    p, q = numbers([0.5, 0.5]), numbers([1.0, 0.0])
    return equal(d.kl(p, q) + d.jsd(p, q), torch.inf)


def jsd_from_kl() -> Measured:
    """JSD is the entropy of the even mixture less the mean entropy: the mean of two divergences to it."""
    p, q = LETTERS
    return equal(d.jsd(p, q), d.entropy((p + q) / 2) - (d.entropy(p) + d.entropy(q)) / 2)


TWO_GRID = line(-12.0, 12.0, panels=160)


def two_modes() -> Masses:
    """Half the data around -2, half around 2, deviation 0.3."""
    return TWO_GRID.masses(mixture([[-2.0], [2.0]], [0.3, 0.3], [0.5, 0.5]).log_prob)


def reverse(p: Masses, q: Masses) -> Tensor:
    """KL(q || p)."""
    return d.kl(q, p)


def nearest(measure: Measure) -> Fit:
    """The best of the fits from five starting points."""
    starts = [(m, s) for m, s in ((-2.0, 0.6), (-0.5, 1.0), (0.1, 2.0), (1.0, 0.8), (2.3, 0.6))]
    return min((fit(measure, TWO_GRID, two_modes(), m, s) for m, s in starts), key=lambda found: found.divergence)


def kl_covers() -> Measured:
    """One Gaussian under KL(p || q) covers both modes: mean 0, deviation sqrt(4.09), whatever it puts between them."""
    found = nearest(d.kl)
    return equal(numbers([found.mean, found.deviation]), numbers([0.0, sqrt(4.09)]))


def reverse_kl_picks() -> Measured:
    """Under KL(q || p) it takes one mode whole: mean 2 or -2, deviation 0.3, for modes that are far apart (4 / 0.3)."""
    found = nearest(reverse)
    return equal(numbers([abs(found.mean), found.deviation]), numbers([2.0, 0.3]))


def reverse_kl_pays_log_2() -> Measured:
    """It pays log 2 for the mode it leaves out, no more: the price of missing half of the data is bounded."""
    return equal(nearest(reverse).divergence, log(2))


def jsd_also_picks() -> Measured:
    """Under JSD, too, taking one mode is a local minimum, at about 3/4 log(4/3) = 0.2158 nats."""
    found = fit(d.jsd, TWO_GRID, two_modes(), 2.0, 0.3)
    return equal(numbers([found.divergence]), (log(2) + log(2 / 3)) / 4 + log(4 / 3) / 2)


def each_is_best_at_its_own() -> Measured:
    """Each of the three fits is the best of the three under its own divergence: which one is asked decides."""
    measures: list[Callable[[Masses, Masses], Tensor]] = [d.kl, reverse, d.jsd]
    fits = [nearest(measure) for measure in measures]
    p = two_modes()
    score = torch.stack([torch.stack([m(p, normal(TWO_GRID, f.mean, f.deviation)) for f in fits]) for m in measures])
    return at_most(score.diagonal()[:, None], score + 1e-9)


def random_pairs(n: int) -> Tensor:
    """Pairs of laws on six points, from nearly equal to nearly disjoint (n, 2, 6)."""
    rng = torch.Generator().manual_seed(3)
    logits = torch.randn(n, 2, 6, generator=rng, dtype=torch.float64)
    return (logits * torch.linspace(0.1, 8, n, dtype=torch.float64)[:, None, None]).softmax(-1)


def blocks() -> list[tuple[Tensor, Masses, Masses]]:
    """Points on a line, and two uniform laws of width 1 on them whose left ends are 2, 3 and 5 apart."""
    x = torch.arange(0, 8, 0.125, dtype=torch.float64)
    p = (x < 1).double() / 8
    return [(x, p, p.roll(8 * apart)) for apart in (2, 3, 5)]


def sample_of_letters(n: int, seed: int) -> Tensor:
    """Draws of five letters with unequal shares."""
    rng = torch.Generator().manual_seed(seed)
    return torch.multinomial(numbers([0.3, 0.3, 0.2, 0.15, 0.05]), n, replacement=True, generator=rng)


COVER = "arXiv:1701.00160, figure 14"
ARJOVSKY = "arXiv:1701.07875, example 1"

CLAIMS = (
    Claim(3, "kl-gaussians", kl_of_gaussians, "1/2 (tr T'S + |n-m|^2_T - d + log |T|/|S|)", "textbook", 1e-6),
    Claim(3, "reverse-kl-gaussians", reverse_kl_of_gaussians, "the same, p and q exchanged", "textbook", 1e-6),
    Claim(3, "kl-asymmetric", kl_is_not_symmetric, "1.875 - 2 log 2 for deviations 1, 2", "derived", 1e-6),
    Claim(3, "kl-floor", kl_is_not_negative, "KL >= 0", "Kullback & Leibler 1951", 1e-12),
    Claim(3, "jsd-symmetric", jsd_is_symmetric, "JSD(p, q) = JSD(q, p)", "Lin 1991", 1e-12),
    Claim(3, "jsd-ceiling", jsd_is_bounded, "JSD <= log 2", "Lin 1991", 1e-12),
    Claim(3, "jsd-disjoint", jsd_when_disjoint, "JSD = log 2", ARJOVSKY, 1e-12),
    Claim(3, "w1-disjoint", wasserstein_when_disjoint, "W1 = distance", ARJOVSKY, 1e-12),
    Claim(3, "w1-slope", wasserstein_slope, "d W1 / d theta = 1", ARJOVSKY, 1e-12),
    Claim(3, "tv-gaussians", total_variation_of_gaussians, "erf(r / sqrt 8)", "textbook", 1e-6),
    Claim(3, "chi-square-gaussians", chi_square_of_gaussians, "closed form in S, T, m, n", "textbook", 1e-6),
    Claim(3, "hellinger-gaussians", hellinger_of_gaussians, "closed form in S, T, m, n", "textbook", 1e-6),
    Claim(3, "w1-gaussians", wasserstein_of_gaussians, "E|m + s Z|", "Villani 2009, remark 6.5", 1e-6),
    Claim(3, "w1-game", wasserstein_is_a_game, "max over |D'| <= 1 of E_p D - E_q D = W1", ARJOVSKY, 1e-9),
    Claim(3, "pinsker", pinsker, "TV <= sqrt(KL / 2)", "Pinsker 1964", 1e-12),
    Claim(4, "likelihood-is-kl", likelihood_is_kl, "-mean log q = KL(p^ || q) + H(p^)", "derived", 1e-12),
    Claim(4, "best-gaussian", best_gaussian, "mean and deviation of p", "derived", 1e-6),
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
