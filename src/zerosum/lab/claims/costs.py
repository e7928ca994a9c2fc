"""Groups 6 to 9: the costs of G, their gradients with D frozen, and least squares."""

from collections.abc import Callable
from math import erf, exp, log, pi, sqrt

import torch
from torch import Tensor
from torch.distributions import Normal

from zerosum.game.losses import LOSSES, Cost, least_squares_discriminator, least_squares_generator
from zerosum.lab.claims.claim import Claim, Measured, at_least, at_most, equal
from zerosum.lab.claims.divergence import normal_masses
from zerosum.lab.claims.optimum import GOODFELLOW, mixtures_1d, perturbed
from zerosum.lab.theory import divergences as d
from zerosum.lab.theory.divergences import Scalar
from zerosum.lab.theory.equilibrium import best_logits, frozen_gradient, log_ratio, mean_cost
from zerosum.lab.theory.quadrature import Masses, float64, gauss_legendre

DATA = float64([0.5, 0.3, 0.2])
THETA = float64([0.2, -0.4, 0.1])
"""The data on three points, and the parameters of G: q = softmax(theta)."""

COSTS = ("minimax", "non-saturating", "likelihood")


def cost_derivative(name: str, a: Tensor) -> Tensor:
    """Derivative of G's cost with respect to the logit of a sample."""
    a = a.detach().requires_grad_()
    (found,) = torch.autograd.grad(LOSSES[name].generator(torch.zeros_like(a), a).sum(), a)
    return found


def values_of_d() -> Measured:
    """As functions of D(G(z)) the three costs are log(1 - D), -log D and -D/(1 - D)."""
    prob = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    closed = torch.stack([(1 - prob).log(), -prob.log(), -prob / (1 - prob)])
    return equal(torch.stack([LOSSES[name].generator(prob.logit(), prob.logit()) for name in COSTS]), closed)


def derivatives_by_logit() -> Measured:
    """The derivatives of the three costs with respect to the logit a of D(G(z)) are -D, -(1 - D) and -exp(a)."""
    a = torch.linspace(-12, 6, 50, dtype=torch.float64)
    closed = torch.stack([-a.sigmoid(), -(1 - a.sigmoid()), -a.exp()])
    return equal(torch.stack([cost_derivative(name, a) for name in COSTS]), closed)


def derivatives_compared() -> Measured:
    """The non-saturating derivative is (1 - D)/D times the minimax one: the ratio grows as D(G(z)) goes to 0."""
    a = torch.linspace(-20, 5, 60, dtype=torch.float64)
    return equal(cost_derivative("non-saturating", a) / cost_derivative("minimax", a) * a.exp(), 1.0)


def shifted_gaussians(theta: float) -> tuple[Masses, Masses, Masses]:
    """Return masses of data N(0, 1) and samples N(theta, 1), and the input gradient of the best D's logit, -theta."""
    grid = gauss_legendre(-14.0, 14.0 + theta, panels=160)
    return (
        normal_masses(grid, 0.0, 1.0),
        normal_masses(grid, theta, 1.0),
        torch.full((len(grid.weights),), -theta, dtype=torch.float64),
    )


def gradient_size(name: str, theta: float) -> Scalar:
    """|d cost_G / d theta| for samples theta + z, with D frozen at its best."""
    p, q, gradient = shifted_gaussians(theta)
    return (q * cost_derivative(name, log_ratio(p, q)) * gradient).sum().abs()


def minimax_vanishes() -> Measured:
    """As D becomes confident the minimax gradient vanishes: <= theta/2 exp(-theta^2/8) for N(0, 1) and N(theta, 1)."""
    thetas = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    bounds = float64([theta / 2 * exp(-(theta**2) / 8) for theta in thetas])
    return at_most(torch.stack([gradient_size("minimax", theta) for theta in thetas]) / bounds, 1.0)


def non_saturating_stays() -> Measured:
    """For N(0, 1) and N(theta, 1) the non-saturating gradient grows: theta minus the minimax gradient."""
    thetas = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    rest = torch.stack([gradient_size("minimax", theta) for theta in thetas])
    return equal(torch.stack([gradient_size("non-saturating", theta) for theta in thetas]), float64(thetas) - rest)


def likelihood_gradient() -> Measured:
    """For N(0, 1) and N(theta, 1) the gradient of the likelihood cost is theta, that of KL(p || q) = theta^2/2."""
    thetas = (0.5, 1.0, 2.0, 3.0)
    return equal(torch.stack([gradient_size("likelihood", theta) for theta in thetas]), float64(thetas))


def best_samples_rule() -> Measured:
    """The best 1 % of the samples dominate the likelihood gradient: at theta = 3 their share is Phi(3 - 2.326) = 75 %.

    Their share of the non-saturating gradient is 1.0 %.
    """
    theta, z = 3.0, Normal(0.0, 1.0).icdf(float64(0.01))
    grid = gauss_legendre(-16.0, theta + z.item(), panels=160)
    p, q = normal_masses(grid, 0.0, 1.0), normal_masses(grid, theta, 1.0)
    share = (q * cost_derivative("likelihood", log_ratio(p, q))).sum().abs()
    return equal(share, (1 + erf((theta + z.item()) / sqrt(2))) / 2)


def no_sample_rules() -> Measured:
    """No samples dominate the non-saturating gradient: the share of the best 1 % is less than 1 % at theta = 3."""
    theta, z = 3.0, Normal(0.0, 1.0).icdf(float64(0.01))
    p, q, _ = shifted_gaussians(theta)
    weight = q * cost_derivative("non-saturating", log_ratio(p, q)).abs()
    best = gauss_legendre(-16.0, theta + z.item(), panels=160)
    top = normal_masses(best, theta, 1.0)
    top = top * cost_derivative("non-saturating", log_ratio(normal_masses(best, 0.0, 1.0), top)).abs()
    return at_most(top.sum() / weight.sum(), 0.01)


def identity() -> Measured:
    """E_q[-log D*] = KL(q || p) - 2 JSD + E_p[log D*] + log 4, for mixtures by quadrature."""
    p, q = mixtures_1d()
    best = p / (p + q)
    closed = d.kl(q, p) - 2 * d.jsd(p, q) + (p * best.log()).sum() + log(4)
    return equal(mean_cost(LOSSES["non-saturating"].generator, log_ratio(p, q), p, q), closed)


def no_contradiction() -> Measured:
    """KL(q || p) - 2 JSD(p, q) = 2 KL(m || p), m = (p+q)/2: a divergence, not two conflicting terms."""
    p, q = mixtures_1d()
    return equal(d.kl(q, p) - 2 * d.jsd(p, q), 2 * d.kl((p + q) / 2, p))


def zero_at_equality_only() -> Measured:
    """2 KL(m || p) is t^2/4 sum h^2/p for q = p + t h, to leading order: q = p is a strict minimum."""
    p, _ = mixtures_1d()
    t = 1e-4
    h = (perturbed(p, 1.0) - p).square() / p
    return equal(2 * d.kl((p + perturbed(p, t)) / 2, p) / (t**2 / 4 * h.sum()), 1.0)


def grad_theta(measure: Callable[[Masses, Masses], Scalar], theta: Tensor = THETA) -> Tensor:
    """Gradient of a function of (p, q) with respect to theta, q = softmax(theta)."""
    theta = theta.detach().requires_grad_()
    (found,) = torch.autograd.grad(measure(DATA, theta.softmax(0)), theta)
    return found


def frozen_d_gradient(name: str) -> Tensor:
    """The gradient that G's optimizer uses: that of its cost through the samples, with D frozen at its best."""
    return frozen_gradient(LOSSES[name].generator, log_ratio(DATA, THETA.softmax(0)), DATA, THETA)


def followed_by_minimax() -> Measured:
    """With D frozen at its best, the minimax gradient of G is the gradient of 2 JSD: freezing D changes nothing."""
    return equal(frozen_d_gradient("minimax"), grad_theta(lambda p, q: 2 * d.jsd(p, q)))


def followed_by_non_saturating() -> Measured:
    """With D frozen at its best, the non-saturating gradient of G is the gradient of KL(q || p) - 2 JSD."""
    return equal(frozen_d_gradient("non-saturating"), grad_theta(lambda p, q: d.kl(q, p) - 2 * d.jsd(p, q)))


def not_followed() -> Measured:
    """The total gradient of the non-saturating cost, D* depending on q, differs from it by that of E_p[log D*]."""
    total = grad_theta(lambda p, q: mean_cost(LOSSES["non-saturating"].generator, log_ratio(p, q), p, q))
    rest = grad_theta(lambda p, q: (p * (p / (p + q)).log()).sum())
    return equal(total - frozen_d_gradient("non-saturating"), rest)


def rest_is_not_small() -> Measured:
    """That difference is not small: its norm is more than a quarter of that of the frozen-D gradient."""
    rest = grad_theta(lambda p, q: (p * (p / (p + q)).log()).sum())
    return at_least(rest.norm() / frozen_d_gradient("non-saturating").norm(), 0.25)


def dropping_a_mode() -> Measured:
    """Dropping one of two modes raises KL(q || p) - 2 JSD by 1/2 (3 log 3 - 4 log 2) = 0.262 nats: a bounded cost."""
    p, q = float64([0.5, 0.5]), float64([1.0, 0.0])
    return equal(2 * d.kl((p + q) / 2, p), 1.5 * log(1.5) + 0.5 * log(0.5))


def inventing_a_mode() -> Measured:
    """If q has half of its mass where p has mass e, KL(q || p) - 2 JSD grows as 1/2 log 1/e, unbounded as e -> 0."""
    e = float64([1e-6, 1e-12, 1e-24])
    costs = [2 * d.kl((float64([1 - x, x]) + 0.5) / 2, float64([1 - x, x])) for x in e.tolist()]
    return equal(torch.stack(costs).diff() / (1 / e).log().diff(), 0.5)


def prices_under_jsd() -> Measured:
    """Under JSD, the divergence of the minimax game, both errors have the same cost: 2 JSD = 3/2 log 4/3 nats."""
    both = float64([0.5, 0.5]), float64([1.0, 0.0])
    return equal(torch.stack([2 * d.jsd(*both), 2 * d.jsd(*both[::-1])]), 1.5 * log(4 / 3))


def noisy_gradients(name: str, n: int = 1_000_000, seed: int = 0) -> Tensor:
    """Draw d cost_G / dx at a sample where D and dD/dx are 0 plus independent Gaussian noise of std 1e-3."""
    rng = torch.Generator().manual_seed(seed)
    off, tilt = 1e-3 * torch.randn(2, n, generator=rng, dtype=torch.float64)
    off = off.abs()  # D is a probability; the distribution of the ratio is the same by symmetry
    logit = off.logit()
    return cost_derivative(name, logit) * tilt / (off * (1 - off))  # da/dx = D'/(D (1 - D))


def cauchy() -> Measured:
    """Where the best D is 0 and the actual D is noise around it, the non-saturating gradient is Cauchy distributed.

    So it has no variance. P(|gradient| > t) = 1 - 2/pi atan t: at t = 1, 10, 100, a million draws, in standard errors.
    """
    found = noisy_gradients("non-saturating").abs()
    t = float64([1.0, 10.0, 100.0])
    share = 1 - 2 / pi * t.atan()
    seen = (found[:, None] > t).double().mean(0)
    return at_most((seen - share).abs() / (share * (1 - share) / len(found)).sqrt(), 4.0)


def minimax_noise() -> Measured:
    """With the same noise the minimax gradient, D'/(1 - D), has the standard deviation of the noise, 1e-3."""
    return equal(noisy_gradients("minimax").std() / 1e-3, 1.0)


def noise_in_the_logit() -> Measured:
    """If instead the logit is noisy, a = -8 + noise with input gradient noise, both gradients have a finite variance.

    The variances are the means of (1 - D)^2 and D^2: the instability needs noise that reaches D = 0.
    """
    rng = torch.Generator().manual_seed(1)
    off, tilt = torch.randn(2, 1_000_000, generator=rng, dtype=torch.float64)
    found = cost_derivative("non-saturating", off - 8) * tilt
    return equal(found.square().mean(), (1 - (off - 8).sigmoid()).square().mean())


def followed_by_likelihood() -> Measured:
    """With D frozen at its best, the likelihood gradient of G is the gradient of KL(p || q), on three points."""
    return equal(frozen_d_gradient("likelihood"), grad_theta(d.kl))


def score_gradients(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Per sample, the score-function estimate of d cost / d (m, s), cost = -exp(a*), q = N(m, s^2) at (1/2, 1.2)."""
    x = 0.5 + 1.2 * torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    a = Normal(0.0, 1.0).log_prob(x) - Normal(0.5, 1.2).log_prob(x)
    cost = LOSSES["likelihood"].generator(a, a)
    z = (x - 0.5) / 1.2
    return cost * z / 1.2, cost * (z.square() - 1) / 1.2


KL_GRADIENT = float64([0.5 / 1.44, 1 / 1.2 - (1 + 0.25) / 1.2**3])
"""Gradient of KL(N(0, 1) || N(m, s^2)) = log s + (1 + m^2) / (2 s^2) - 1/2 with respect to (m, s), at (1/2, 1.2)."""


def likelihood_by_quadrature() -> Measured:
    """E_q[cost x score] = d KL(p || q) / d (mean, std) for p = N(0, 1), q = N(1/2, 1.2^2), by quadrature."""
    grid = gauss_legendre(-14.0, 14.0, panels=80)
    p, q = normal_masses(grid, 0.0, 1.0), normal_masses(grid, 0.5, 1.2)
    z = (grid.points[:, 0] - 0.5) / 1.2
    cost = LOSSES["likelihood"].generator(log_ratio(p, q), log_ratio(p, q))
    return equal(torch.stack([(q * cost * z / 1.2).sum(), (q * cost * (z.square() - 1) / 1.2).sum()]), KL_GRADIENT)


def likelihood_by_samples() -> Measured:
    """The mean of cost x score over 400,000 samples agrees within 4 standard errors, which are finite for this q."""
    found = torch.stack(score_gradients(400_000, seed=0))
    return at_most((found.mean(1) - KL_GRADIENT).abs() / (found.std(1) / len(found[0]) ** 0.5), 4.0)


def likelihood_variance() -> Measured:
    """Its variance is finite only for sigma_q^2 > sigma_p^2 / 2, where E_q[(p/q)^2] has a closed form."""
    grid = gauss_legendre(-30.0, 30.0, panels=200)
    s = 0.8
    p, q = normal_masses(grid, 0.0, 1.0), normal_masses(grid, 0.0, s)
    cost = LOSSES["likelihood"].generator(log_ratio(p, q), log_ratio(p, q))
    return equal((q * cost.square()).sum(), s**2 / sqrt(2 * s**2 - 1))


def likelihood_infinite_variance() -> Measured:
    """For smaller sigma_q it diverges: at 0.6 the integral over [-L, L] grows more than 1,000 times from L = 4 to 6."""
    found = []
    for reach in (4.0, 6.0):
        grid = gauss_legendre(-reach, reach, panels=200)
        p, q = (Normal(0.0, s).log_prob(grid.points[:, 0]) for s in (1.0, 0.6))
        found.append((grid.weights * (q + 2 * (p - q)).exp()).sum())
    return at_least(found[1] / found[0], 1000.0)


def likelihood_value_says_nothing() -> Measured:
    """The likelihood cost at the best D is -1 for every q: its value is uninformative, its gradient is not."""
    grid = gauss_legendre(-30.0, 30.0, panels=200)
    p = normal_masses(grid, 0.0, 1.0)
    distributions = [normal_masses(grid, m, s) for m, s in ((0.0, 1.0), (1.0, 1.0), (-2.0, 1.5), (0.0, 2.5))]
    cost = LOSSES["likelihood"].generator
    return equal(torch.stack([(q * cost(log_ratio(p, q), log_ratio(p, q))).sum() for q in distributions]), -1.0)


LABELS = ((0.0, 1.0, 1.0), (-1.0, 1.0, 0.0), (0.3, 2.0, 0.7))
"""Labels (a, b, c): D's target for samples, D's target for data, and G's target for samples."""


def least_squares_cost(a: float, b: float) -> Cost:
    """D's cost with labels a and b."""

    def cost(real: Tensor, fake: Tensor) -> Tensor:
        return least_squares_discriminator(real, fake, a=a, b=b)

    return cost


def squares_best() -> Measured:
    """With least squares the best D is (b p + a q)/(p + q), for three choices of the labels."""
    p, q = mixtures_1d()
    found = torch.stack([best_logits(least_squares_cost(a, b), p, q) for a, b, _ in LABELS])
    return equal(found, torch.stack([(b * p + a * q) / (p + q) for a, b, _ in LABELS]))


def twice_c(p: Masses, q: Masses, a: float, b: float, c: float) -> Scalar:
    """2 C = E_p[(D* - c)^2] + E_q[(D* - c)^2]: G's cost at the best D, including the term on real data."""
    best = (b * p + a * q) / (p + q)
    cost = least_squares_generator(best, best, c=c)
    return 2 * ((p + q) * cost).sum()


def squares_divergence() -> Measured:
    """For any labels 2 C = 2 ((a+b)/2 - c)^2 + ((b-a)/2)^2 sum (p-q)^2/(p+q), C being G's cost with the real term."""
    p, q = mixtures_1d()
    spread = ((p - q).square() / (p + q)).sum()
    closed = [2 * ((a + b) / 2 - c) ** 2 + ((b - a) / 2) ** 2 * spread for a, b, c in LABELS]
    return equal(torch.stack([twice_c(p, q, *coding) for coding in LABELS]), torch.stack(closed))


def squares_pearson() -> Measured:
    """With the labels -1, 1, 0, 2 C is Pearson's chi-square of p + q against 2 q."""
    p, q = DATA, THETA.softmax(0)
    return equal(twice_c(p, q, -1.0, 1.0, 0.0), ((2 * q - (p + q)).square() / (p + q)).sum())


def squares_same() -> Measured:
    """The labels 0, 1, 1 minimize the same divergence: their 2 C is 1/2 plus a quarter of the other, for 100 pairs."""
    rng = torch.Generator().manual_seed(4)
    pairs = (2 * torch.randn(100, 2, 5, generator=rng, dtype=torch.float64)).softmax(-1)
    one = torch.stack([twice_c(p, q, 0.0, 1.0, 1.0) for p, q in pairs])
    return equal(one, torch.stack([0.5 + twice_c(p, q, -1.0, 1.0, 0.0) / 4 for p, q in pairs]))


def squares_step(a: float, b: float, c: float, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return G's gradient with D frozen at its best, and the gradient of C."""

    def cost(real: Tensor, fake: Tensor) -> Tensor:
        return least_squares_generator(real, fake, c=c)

    q = theta.softmax(0)
    best = (b * DATA + a * q) / (DATA + q)
    return frozen_gradient(cost, best, DATA, theta), grad_theta(lambda p, q: twice_c(p, q, a, b, c) / 2, theta)


THETA_2 = float64([2.0, 0.0, -2.0])
"""G has most of its mass on the first point, more than the data."""


def squares_step_opposes() -> Measured:
    """G's gradient with D frozen is not that of C: with the labels -1, 1, 0 it can be opposed (cosine < -0.5)."""
    step, gradient = squares_step(-1.0, 1.0, 0.0, THETA_2)
    return at_most(torch.cosine_similarity(step, gradient, dim=0), -0.5)


def squares_step_agrees() -> Measured:
    """With the labels 0, 1, 1, at the same q, both have about the same direction (cosine > 0.9) but are not equal."""
    step, gradient = squares_step(0.0, 1.0, 1.0, THETA_2)
    return at_least(torch.cosine_similarity(step, gradient, dim=0), 0.9)


def minimax_step_is_exact() -> Measured:
    """In the minimax game G's gradient with D frozen is the total gradient (envelope theorem), at the same q."""
    a = log_ratio(DATA, THETA_2.softmax(0))
    step = frozen_gradient(LOSSES["minimax"].generator, a, DATA, THETA_2)
    return equal(
        step, grad_theta(lambda p, q: -mean_cost(LOSSES["minimax"].discriminator, log_ratio(p, q), p, q), THETA_2)
    )


TUTORIAL = "arXiv:1701.00160"
AB = "arXiv:1701.04862"
MAO = "arXiv:1611.04076"

CLAIMS = (
    Claim(6, "cost-values", values_of_d, "log(1-D), -log D, -D/(1-D)", f"{TUTORIAL}, figure 16", 1e-12),
    Claim(6, "cost-slopes", derivatives_by_logit, "-D, -(1-D), -exp(a)", f"{TUTORIAL}, figure 16", 1e-12),
    Claim(6, "slope-ratio", derivatives_compared, "(1-D)/D", f"{GOODFELLOW}, section 3", 1e-9),
    Claim(6, "minimax-vanishes", minimax_vanishes, "<= theta/2 exp(-theta^2/8)", f"{AB}, theorem 2.4", 0.0),
    Claim(6, "non-saturating-stays", non_saturating_stays, "theta - minimax", f"{GOODFELLOW}, section 3", 1e-6),
    Claim(6, "likelihood-slope", likelihood_gradient, "theta", f"{TUTORIAL}, section 8.3", 1e-6),
    Claim(6, "best-samples-rule", best_samples_rule, "Phi(theta + z_0.01)", f"{TUTORIAL}, section 3.2.5", 1e-6),
    Claim(6, "no-sample-rules", no_sample_rules, "share of the best 1 % <= 1 %", f"{TUTORIAL}, section 3.2.5", 0.0),
    Claim(7, "identity", identity, "KL(q||p) - 2 JSD + E_p log D* + log 4", f"{AB}, theorem 2.5", 1e-6),
    Claim(7, "no-contradiction", no_contradiction, "KL(q||p) - 2 JSD = 2 KL(m||p)", "derived", 1e-6),
    Claim(7, "zero-only-at-p", zero_at_equality_only, "t^2/4 sum h^2/p", "derived", 1e-3),
    Claim(7, "minimax-follows", followed_by_minimax, "grad 2 JSD", f"{AB}, section 2.2", 1e-7),
    Claim(7, "non-saturating-follows", followed_by_non_saturating, "grad (KL(q||p) - 2 JSD)", f"{AB}, thm 2.5", 1e-7),
    Claim(7, "frozen-or-total", not_followed, "total - frozen = grad E_p[log D*]", "derived", 1e-7),
    Claim(7, "frozen-is-not-total", rest_is_not_small, "|rest| >= 1/4 |step|", "derived", 0.0),
    Claim(7, "price-of-dropping", dropping_a_mode, "3/2 log 3/2 - 1/2 log 2", "derived", 1e-12),
    Claim(7, "price-of-inventing", inventing_a_mode, "grows by 1/2 per nat of log 1/e", "derived", 1e-3),
    Claim(7, "price-under-jsd", prices_under_jsd, "3/2 log 4/3, both", "derived", 1e-12),
    Claim(7, "cauchy-gradient", cauchy, "P(> t) = 1 - 2/pi atan t", f"{AB}, theorem 2.6", 0.0),
    Claim(7, "minimax-is-calm", minimax_noise, "std of the noise", "derived", 0.01),
    Claim(7, "noise-in-the-logit", noise_in_the_logit, "E (1-D)^2 E tilt^2", "derived", 0.02),
    Claim(8, "likelihood-follows", followed_by_likelihood, "grad KL(p||q)", f"{TUTORIAL}, section 8.3", 1e-7),
    Claim(8, "likelihood-gaussians", likelihood_by_quadrature, "d KL(p||q)", f"{TUTORIAL}, section 8.3", 1e-6),
    Claim(8, "likelihood-samples", likelihood_by_samples, "within 4 standard errors", f"{TUTORIAL}, 8.3", 0.0),
    Claim(8, "likelihood-variance", likelihood_variance, "s^2 / sqrt(2 s^2 - 1)", "derived", 1e-6),
    Claim(8, "likelihood-unbounded", likelihood_infinite_variance, "infinite for s^2 <= 1/2", "derived", 0.0),
    Claim(8, "likelihood-value", likelihood_value_says_nothing, "-1 for every q", "derived", 1e-6),
    Claim(9, "squares-best-d", squares_best, "D* = (b p + a q)/(p + q)", f"{MAO}, eq. (5)", 1e-6),
    Claim(9, "squares-divergence", squares_divergence, "2((a+b)/2-c)^2 + ((b-a)/2)^2 S", "derived", 1e-6),
    Claim(9, "squares-pearson", squares_pearson, "chi^2(p+q : 2q)", f"{MAO}, theorem 1", 1e-12),
    Claim(9, "squares-same", squares_same, "2 C_011 = 1/2 + 2 C_-110 / 4", "derived", 1e-12),
    Claim(9, "squares-step-opposes", squares_step_opposes, "cosine <= -1/2", "derived", 0.0),
    Claim(9, "squares-step-agrees", squares_step_agrees, "cosine >= 0.9", "derived", 0.0),
    Claim(9, "envelope", minimax_step_is_exact, "frozen = total", f"{GOODFELLOW}, Proposition 2", 1e-7),
)
