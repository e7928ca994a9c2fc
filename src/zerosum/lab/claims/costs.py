"""Groups 6 to 9: what G pays, what it follows, and what it does not."""

from collections.abc import Callable
from math import erf, exp, log, pi, sqrt

import torch
from torch import Tensor
from torch.distributions import Normal

from zerosum.game.losses import LOSSES, Cost, least_squares_discriminator, least_squares_generator
from zerosum.lab.claims.claim import Claim, Measured, at_least, at_most, equal
from zerosum.lab.claims.divergence import normal
from zerosum.lab.claims.optimum import GOODFELLOW, bent, on_a_line
from zerosum.lab.theory import divergences as d
from zerosum.lab.theory.divergences import Scalar
from zerosum.lab.theory.equilibrium import best_logits, frozen_gradient, mean, ratio
from zerosum.lab.theory.quadrature import Masses, line, numbers

LETTERS = numbers([0.5, 0.3, 0.2])
THETA = numbers([0.2, -0.4, 0.1])
"""The data on three points, and the parameters of G: q = softmax(theta)."""

COSTS = ("minimax", "non-saturating", "likelihood")


def slopes(name: str, a: Tensor) -> Tensor:
    """The derivative of G's cost by the logit of its sample."""
    a = a.detach().requires_grad_()
    (found,) = torch.autograd.grad(LOSSES[name].generator(torch.zeros_like(a), a).sum(), a)
    return found


def values_of_d() -> Measured:
    """As functions of D(G(z)) the three costs are log(1 - D), -log D and -D/(1 - D)."""
    dd = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    closed = torch.stack([(1 - dd).log(), -dd.log(), -dd / (1 - dd)])
    return equal(torch.stack([LOSSES[name].generator(dd.logit(), dd.logit()) for name in COSTS]), closed)


def slopes_by_logit() -> Measured:
    """By the logit a of D(G(z)) their slopes are -D, -(1 - D) and -exp(a)."""
    a = torch.linspace(-12, 6, 50, dtype=torch.float64)
    closed = torch.stack([-a.sigmoid(), -(1 - a.sigmoid()), -a.exp()])
    return equal(torch.stack([slopes(name, a) for name in COSTS]), closed)


def slopes_compared() -> Measured:
    """The non-saturating slope is (1 - D)/D times the minimax one: the less D believes, the larger the difference."""
    a = torch.linspace(-20, 5, 60, dtype=torch.float64)
    return equal(slopes("non-saturating", a) / slopes("minimax", a) * a.exp(), 1.0)


def apart(theta: float) -> tuple[Masses, Masses, Masses]:
    """Data N(0, 1) and samples N(theta, 1): p, q and, from the best D, the slope of its logit, -theta, everywhere."""
    grid = line(-14.0, 14.0 + theta, panels=160)
    return (
        normal(grid, 0.0, 1.0),
        normal(grid, theta, 1.0),
        torch.full((len(grid.weights),), -theta, dtype=torch.float64),
    )


def pull(name: str, theta: float) -> Scalar:
    """|d cost_G / d theta| for samples theta + z, against the best D for them."""
    p, q, slope = apart(theta)
    return (q * slopes(name, ratio(p, q)) * slope).sum().abs()


def minimax_vanishes() -> Measured:
    """As D grows sure the minimax gradient vanishes: below theta/2 exp(-theta^2/8) for laws N(0, 1) and N(theta, 1)."""
    thetas = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    bounds = numbers([theta / 2 * exp(-(theta**2) / 8) for theta in thetas])
    return at_most(torch.stack([pull("minimax", theta) for theta in thetas]) / bounds, 1.0)


def non_saturating_stays() -> Measured:
    """There the non-saturating gradient grows: theta less the minimax one."""
    thetas = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    rest = torch.stack([pull("minimax", theta) for theta in thetas])
    return equal(torch.stack([pull("non-saturating", theta) for theta in thetas]), numbers(thetas) - rest)


def likelihood_slope() -> Measured:
    """There the gradient of the likelihood cost is theta, that of KL(p || q) = theta^2/2."""
    thetas = (0.5, 1.0, 2.0, 3.0)
    return equal(torch.stack([pull("likelihood", theta) for theta in thetas]), numbers(thetas))


def best_samples_rule() -> Measured:
    """The likelihood cost is ruled by the best samples: at theta = 3 the best 1 % carry Phi(3 - 2.326) = 75 % of it.

    They carry 1.0 % of the non-saturating gradient.
    """
    theta, z = 3.0, Normal(0.0, 1.0).icdf(numbers(0.01))
    grid = line(-16.0, theta + z.item(), panels=160)
    p, q = normal(grid, 0.0, 1.0), normal(grid, theta, 1.0)
    share = (q * slopes("likelihood", ratio(p, q))).sum().abs()
    return equal(share, (1 + erf((theta + z.item()) / sqrt(2))) / 2)


def no_sample_rules() -> Measured:
    """The non-saturating cost is not: there the best 1 % carry less than 1 % of its gradient."""
    theta, z = 3.0, Normal(0.0, 1.0).icdf(numbers(0.01))
    p, q, _ = apart(theta)
    weight = q * slopes("non-saturating", ratio(p, q)).abs()
    best = line(-16.0, theta + z.item(), panels=160)
    top = normal(best, theta, 1.0)
    top = top * slopes("non-saturating", ratio(normal(best, 0.0, 1.0), top)).abs()
    return at_most(top.sum() / weight.sum(), 0.01)


def identity() -> Measured:
    """E_q[-log D*] = KL(q || p) - 2 JSD + E_p[log D*] + log 4, for mixtures by quadrature."""
    p, q = on_a_line()
    best = p / (p + q)
    closed = d.kl(q, p) - 2 * d.jsd(p, q) + (p * best.log()).sum() + log(4)
    return equal(mean(LOSSES["non-saturating"].generator, ratio(p, q), p, q), closed)


def no_contradiction() -> Measured:
    """KL(q || p) - 2 JSD(p, q) = 2 KL(m || p) with m = (p+q)/2: one divergence, not two that pull apart."""
    p, q = on_a_line()
    return equal(d.kl(q, p) - 2 * d.jsd(p, q), 2 * d.kl((p + q) / 2, p))


def zero_at_equality_only() -> Measured:
    """It is 0 at q = p alone: nearby it is t^2/4 sum h^2/p for q = p + t h."""
    p, _ = on_a_line()
    t = 1e-4
    h = (bent(p, 1.0) - p).square() / p
    return equal(2 * d.kl((p + bent(p, t)) / 2, p) / (t**2 / 4 * h.sum()), 1.0)


def by_theta(measure: Callable[[Masses, Masses], Scalar], theta: Tensor = THETA) -> Tensor:
    """The gradient of a function of (p, q) by theta."""
    theta = theta.detach().requires_grad_()
    (found,) = torch.autograd.grad(measure(LETTERS, theta.softmax(0)), theta)
    return found


def frozen(name: str) -> Tensor:
    """What a step of G follows: the gradient of its cost through samples, the best D as it is."""
    return frozen_gradient(LOSSES[name].generator, ratio(LETTERS, THETA.softmax(0)), LETTERS, THETA)


def followed_by_minimax() -> Measured:
    """With D frozen at its best the minimax step follows the gradient of 2 JSD: nothing is lost by freezing."""
    return equal(frozen("minimax"), by_theta(lambda p, q: 2 * d.jsd(p, q)))


def followed_by_non_saturating() -> Measured:
    """With D frozen at its best the non-saturating step follows the gradient of KL(q || p) - 2 JSD."""
    return equal(frozen("non-saturating"), by_theta(lambda p, q: d.kl(q, p) - 2 * d.jsd(p, q)))


def not_followed() -> Measured:
    """It is not the gradient of the cost's own value, in which D moves too: the rest is that of E_p[log D*]."""
    total = by_theta(lambda p, q: mean(LOSSES["non-saturating"].generator, ratio(p, q), p, q))
    rest = by_theta(lambda p, q: (p * (p / (p + q)).log()).sum())
    return equal(total - frozen("non-saturating"), rest)


def rest_is_not_small() -> Measured:
    """That rest is no rounding: it is more than a quarter as long as the step itself."""
    rest = by_theta(lambda p, q: (p * (p / (p + q)).log()).sum())
    return at_least(rest.norm() / frozen("non-saturating").norm(), 0.25)


def dropping_a_mode() -> Measured:
    """Dropping one of two modes costs G 3 log 3 - 4 log 2 = 0.523 nats of what it follows, and no more."""
    p, q = numbers([0.5, 0.5]), numbers([1.0, 0.0])
    return equal(2 * d.kl((p + q) / 2, p), 1.5 * log(1.5) + 0.5 * log(0.5))


def inventing_a_mode() -> Measured:
    """Half of q where data has density e costs 1/2 log 1/e and more, without bound as e goes to 0."""
    e = numbers([1e-6, 1e-12, 1e-24])
    paid = [2 * d.kl((numbers([1 - x, x]) + 0.5) / 2, numbers([1 - x, x])) for x in e.tolist()]
    return equal(torch.stack(paid).diff() / (1 / e).log().diff(), 0.5)


def prices_under_jsd() -> Measured:
    """Under JSD, what the minimax step follows, both errors cost the same: 2 JSD = 3/2 log 4/3 nats."""
    both = numbers([0.5, 0.5]), numbers([1.0, 0.0])
    return equal(torch.stack([2 * d.jsd(*both), 2 * d.jsd(*both[::-1])]), 1.5 * log(4 / 3))


def noisy_slopes(name: str, n: int = 1_000_000, seed: int = 0) -> Tensor:
    """d cost_G / dx for a sample D rejects, when D = 1e-3 (noise) there and dD/dx = 1e-3 (other noise)."""
    rng = torch.Generator().manual_seed(seed)
    off, tilt = 1e-3 * torch.randn(2, n, generator=rng, dtype=torch.float64)
    off = off.abs()  # a probability: the law of the ratio is the same
    logit = off.logit()
    return slopes(name, logit) * tilt / (off * (1 - off))  # da/dx = D'/(D (1 - D))


def cauchy() -> Measured:
    """Where the best D is 0 and D is that plus noise, the non-saturating gradient is a Cauchy variable: no variance.

    The share beyond t is 1 - 2/pi atan t; t = 1, 10, 100; from a million draws, in standard errors of that share.
    """
    found = noisy_slopes("non-saturating").abs()
    t = numbers([1.0, 10.0, 100.0])
    share = 1 - 2 / pi * t.atan()
    seen = (found[:, None] > t).double().mean(0)
    return at_most((seen - share).abs() / (share * (1 - share) / len(found)).sqrt(), 4.0)


def minimax_is_calm() -> Measured:
    """The minimax gradient there has the deviation of the noise, 1e-3: it is D'/(1 - D)."""
    return equal(noisy_slopes("minimax").std() / 1e-3, 1.0)


def noise_in_the_logit() -> Measured:
    """If it is the logit that is noisy, a = -8 + noise with slope noise, both gradients keep a variance.

    (1 - D)^2 and D^2 on average: the instability needs noise that reaches D = 0, not noise as such.
    """
    rng = torch.Generator().manual_seed(1)
    off, tilt = torch.randn(2, 1_000_000, generator=rng, dtype=torch.float64)
    found = slopes("non-saturating", off - 8) * tilt
    return equal(found.square().mean(), (1 - (off - 8).sigmoid()).square().mean())


def followed_by_likelihood() -> Measured:
    """With D frozen at its best the likelihood step follows the gradient of KL(p || q), on three points."""
    return equal(frozen("likelihood"), by_theta(d.kl))


def reparameterized(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Per sample, d cost / d (m, s) of -exp(a*) for q = N(1/2, 1.2), written with the score of q, as the proof does."""
    x = 0.5 + 1.2 * torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    a = Normal(0.0, 1.0).log_prob(x) - Normal(0.5, 1.2).log_prob(x)
    cost = LOSSES["likelihood"].generator(a, a)
    z = (x - 0.5) / 1.2
    return cost * z / 1.2, cost * (z.square() - 1) / 1.2


KL_SLOPE = numbers([0.5 / 1.44, 1 / 1.2 - (1 + 0.25) / 1.2**3])
"""Of KL(N(0, 1) || N(m, s)) = log s + (1 + m^2) / (2 s^2) - 1/2 by m and s, at (1/2, 1.2)."""


def likelihood_by_quadrature() -> Measured:
    """For N(0, 1) and N(1/2, 1.2), by quadrature: E_q[f score] = d KL(p || q) / d (mean, deviation)."""
    grid = line(-14.0, 14.0, panels=80)
    p, q = normal(grid, 0.0, 1.0), normal(grid, 0.5, 1.2)
    z = (grid.points[:, 0] - 0.5) / 1.2
    cost = LOSSES["likelihood"].generator(ratio(p, q), ratio(p, q))
    return equal(torch.stack([(q * cost * z / 1.2).sum(), (q * cost * (z.square() - 1) / 1.2).sum()]), KL_SLOPE)


def likelihood_by_samples() -> Measured:
    """The mean over 400,000 samples gives the same, within 4 standard errors; q is wide enough for them to exist."""
    found = torch.stack(reparameterized(400_000, seed=0))
    return at_most((found.mean(1) - KL_SLOPE).abs() / (found.std(1) / len(found[0]) ** 0.5), 4.0)


def likelihood_variance() -> Measured:
    """Their variance is finite only for sigma_q^2 > sigma_p^2 / 2: E_q[(p/q)^2] has a closed form there."""
    grid = line(-30.0, 30.0, panels=200)
    s = 0.8
    p, q = normal(grid, 0.0, 1.0), normal(grid, 0.0, s)
    cost = LOSSES["likelihood"].generator(ratio(p, q), ratio(p, q))
    return equal((q * cost.square()).sum(), s**2 / sqrt(2 * s**2 - 1))


def likelihood_infinite_variance() -> Measured:
    """Below it, at sigma_q = 0.6, the same integral over [-L, L] grows more than 1,000 times from L = 4 to L = 6."""
    found = []
    for reach in (4.0, 6.0):
        grid = line(-reach, reach, panels=200)
        p, q = (Normal(0.0, s).log_prob(grid.points[:, 0]) for s in (1.0, 0.6))
        found.append((grid.weights * (q + 2 * (p - q)).exp()).sum())
    return at_least(found[1] / found[0], 1000.0)


def likelihood_value_says_nothing() -> Measured:
    """The value of the likelihood cost at the best D is -1 for every q: its curve shows nothing, its gradient all."""
    grid = line(-30.0, 30.0, panels=200)
    p = normal(grid, 0.0, 1.0)
    laws = [normal(grid, m, s) for m, s in ((0.0, 1.0), (1.0, 1.0), (-2.0, 1.5), (0.0, 2.5))]
    cost = LOSSES["likelihood"].generator
    return equal(torch.stack([(q * cost(ratio(p, q), ratio(p, q))).sum() for q in laws]), -1.0)


CODINGS = ((0.0, 1.0, 1.0), (-1.0, 1.0, 0.0), (0.3, 2.0, 0.7))
"""Labels (a, b, c): of fakes, of data, and what G wants."""


def squares(a: float, b: float) -> Cost:
    """D's cost with labels a and b."""

    def cost(real: Tensor, fake: Tensor) -> Tensor:
        return least_squares_discriminator(real, fake, a=a, b=b)

    return cost


def squares_best() -> Measured:
    """With least squares the best D is (b p + a q)/(p + q), for three codings of the labels."""
    p, q = on_a_line()
    found = torch.stack([best_logits(squares(a, b), p, q) for a, b, _ in CODINGS])
    return equal(found, torch.stack([(b * p + a * q) / (p + q) for a, b, _ in CODINGS]))


def both_terms(p: Masses, q: Masses, a: float, b: float, c: float) -> Scalar:
    """2 C: what G pays with the real term, E_p[(D* - c)^2] + E_q[(D* - c)^2], at the best D."""
    best = (b * p + a * q) / (p + q)
    cost = least_squares_generator(best, best, c=c)
    return 2 * ((p + q) * cost).sum()


def squares_divergence() -> Measured:
    """For any labels 2 C = 2 ((a+b)/2 - c)^2 + ((b-a)/2)^2 sum (p-q)^2/(p+q), with C including the real term."""
    p, q = on_a_line()
    spread = ((p - q).square() / (p + q)).sum()
    closed = [2 * ((a + b) / 2 - c) ** 2 + ((b - a) / 2) ** 2 * spread for a, b, c in CODINGS]
    return equal(torch.stack([both_terms(p, q, *coding) for coding in CODINGS]), torch.stack(closed))


def squares_pearson() -> Measured:
    """So labels -1, 1, 0 give Pearson's chi-square of p + q against 2 q."""
    p, q = LETTERS, THETA.softmax(0)
    return equal(both_terms(p, q, -1.0, 1.0, 0.0), ((2 * q - (p + q)).square() / (p + q)).sum())


def squares_same() -> Measured:
    """Labels 0, 1, 1 minimise the same divergence: their 2 C is 1/2 plus a quarter of the other, for 100 pairs."""
    rng = torch.Generator().manual_seed(4)
    pairs = (2 * torch.randn(100, 2, 5, generator=rng, dtype=torch.float64)).softmax(-1)
    one = torch.stack([both_terms(p, q, 0.0, 1.0, 1.0) for p, q in pairs])
    return equal(one, torch.stack([0.5 + both_terms(p, q, -1.0, 1.0, 0.0) / 4 for p, q in pairs]))


def squares_step(a: float, b: float, c: float, theta: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient that a step of G follows with D frozen at its best, and that of C."""

    def cost(real: Tensor, fake: Tensor) -> Tensor:
        return least_squares_generator(real, fake, c=c)

    q = theta.softmax(0)
    best = (b * LETTERS + a * q) / (LETTERS + q)
    return frozen_gradient(cost, best, LETTERS, theta), by_theta(lambda p, q: both_terms(p, q, a, b, c) / 2, theta)


OPPOSED = numbers([2.0, 0.0, -2.0])
"""G has most of its mass on the first point, more than the data has there."""


def squares_step_opposes() -> Measured:
    """A step of G with D frozen does not follow C: with labels -1, 1, 0 it can go the other way (cosine < -0.5)."""
    step, slope = squares_step(-1.0, 1.0, 0.0, OPPOSED)
    return at_most(torch.cosine_similarity(step, slope, dim=0), -0.5)


def squares_step_agrees() -> Measured:
    """With labels 0, 1, 1 it points the same way there, though it is not the gradient either (cosine above 0.9)."""
    step, slope = squares_step(0.0, 1.0, 1.0, OPPOSED)
    return at_least(torch.cosine_similarity(step, slope, dim=0), 0.9)


def minimax_step_is_exact() -> Measured:
    """In the minimax game the frozen step is the gradient, at the same place: the best D's cost has no slope in D."""
    a = ratio(LETTERS, OPPOSED.softmax(0))
    step = frozen_gradient(LOSSES["minimax"].generator, a, LETTERS, OPPOSED)
    return equal(step, by_theta(lambda p, q: -mean(LOSSES["minimax"].discriminator, ratio(p, q), p, q), OPPOSED))


TUTORIAL = "arXiv:1701.00160"
AB = "arXiv:1701.04862"
MAO = "arXiv:1611.04076"

CLAIMS = (
    Claim(6, "cost-values", values_of_d, "log(1-D), -log D, -D/(1-D)", f"{TUTORIAL}, figure 16", 1e-12),
    Claim(6, "cost-slopes", slopes_by_logit, "-D, -(1-D), -exp(a)", f"{TUTORIAL}, figure 16", 1e-12),
    Claim(6, "slope-ratio", slopes_compared, "(1-D)/D", f"{GOODFELLOW}, section 3", 1e-9),
    Claim(6, "minimax-vanishes", minimax_vanishes, "<= theta/2 exp(-theta^2/8)", f"{AB}, theorem 2.4", 0.0),
    Claim(6, "non-saturating-stays", non_saturating_stays, "theta - minimax", f"{GOODFELLOW}, section 3", 1e-6),
    Claim(6, "likelihood-slope", likelihood_slope, "theta", f"{TUTORIAL}, section 8.3", 1e-6),
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
    Claim(7, "minimax-is-calm", minimax_is_calm, "deviation of the noise", "derived", 0.01),
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
