"""Groups 13 and 14: the Dirac-GAN and mode hopping."""

from math import sqrt

import torch
from torch import Tensor, nn
from torch.optim import SGD

from zerosum.config.settings import Order
from zerosum.game import game
from zerosum.game.losses import LOSSES
from zerosum.game.penalties import PENALTIES, DiscriminatorPass
from zerosum.game.state import Game, Player, State, Term
from zerosum.lab.claims.claim import Claim, Measured, at_least, at_most, equal
from zerosum.lab.theory import dirac, hopping
from zerosum.lab.theory.equilibrium import frozen_gradient, log_ratio
from zerosum.lab.theory.quadrature import float64

EIGENVALUES = {"minimax": 0.5j, "non-saturating": 0.5j, "relativistic": 0.5j, "wasserstein": 1j, "hinge": 1j}
"""Eigenvalue of the Dirac-GAN without penalty, the one with positive imaginary part."""


def circles() -> Measured:
    """Without penalty the eigenvalues are +-i f'(0) in five games: +-i/2 (logistic), +-i (Wasserstein and hinge)."""
    found = torch.stack([dirac.eigenvalues(dirac.field(LOSSES[name]))[0] for name in EIGENVALUES])
    return equal(
        torch.view_as_real(found), torch.view_as_real(torch.tensor(list(EIGENVALUES.values()), dtype=torch.complex128))
    )


def likelihood_circles() -> Measured:
    """With the likelihood cost the eigenvalues are +-i/sqrt 2: |d cost_G / d logit| is 1 instead of 1/2."""
    found = dirac.eigenvalues(dirac.field(LOSSES["likelihood"]))[0]
    return equal(torch.view_as_real(found), float64([0.0, 0.5**0.5]))


def squares_do_not_turn() -> Measured:
    """With least squares and labels 0, 1, 1 both eigenvalues are 0, since D(0) = 0 for every psi."""
    return equal(torch.view_as_real(dirac.eigenvalues(dirac.field(LOSSES["least-squares"]))), 0.0)


def r1_eigenvalues(gamma: float) -> tuple[complex, complex]:
    """Return -g/2 +- sqrt(g^2/4 - 1/4), the eigenvalues under R1 of weight g."""
    root = complex(gamma**2 / 4 - 0.25) ** 0.5
    return -gamma / 2 + root, -gamma / 2 - root


def penalized_field(name: str, gamma: float, loss: str = "minimax") -> dirac.Field:
    """Return the gradient field of a game with one penalty."""
    return dirac.field(LOSSES[loss], [(gamma, PENALTIES[name])])


def same_spectra(fields: list[dirac.Field], closed: list[tuple[complex, complex]]) -> Measured:
    """Compare eigenvalues with their closed forms."""
    found = torch.stack([dirac.eigenvalues(v) for v in fields])
    return equal(torch.view_as_real(found), torch.view_as_real(torch.tensor(closed, dtype=torch.complex128)))


GAMMAS = (0.1, 0.3, 1.0, 2.0)


def r1_converges() -> Measured:
    """With R1 of weight g the eigenvalues are -g/2 +- sqrt(g^2/4 - 1/4): the real part is negative, so it converges."""
    return same_spectra([penalized_field("r1", g) for g in GAMMAS], [r1_eigenvalues(g) for g in GAMMAS])


def r2_converges() -> Measured:
    """With R2 of weight g the eigenvalues are those of R1: a linear D has the same input gradient everywhere."""
    return same_spectra([penalized_field("r2", g) for g in GAMMAS], [r1_eigenvalues(g) for g in GAMMAS])


def both_converge() -> Measured:
    """With R1 and R2 of weight g (penalty `r1+r2`) the eigenvalues are those of R1 with weight 2 g."""
    return same_spectra([penalized_field("r1+r2", g) for g in GAMMAS], [r1_eigenvalues(2 * g) for g in GAMMAS])


def any_logistic_game_converges() -> Measured:
    """With R1 the non-saturating and the relativistic game have the same eigenvalues as the minimax game."""
    games = [(loss, g) for loss in ("non-saturating", "relativistic") for g in GAMMAS]
    return same_spectra([penalized_field("r1", g, loss) for loss, g in games], [r1_eigenvalues(g) for _, g in games])


def critical_damping() -> Measured:
    """R1 converges fastest at g = 1 (critical damping), where both eigenvalues are -1/2."""
    slowest = [dirac.eigenvalues(penalized_field("r1", g)).real.max() for g in (0.9, 1.1)]
    return at_least(torch.stack(slowest), -0.5)


def noise_converges() -> Measured:
    """With Gaussian noise of std s on D's inputs they are f'' s^2 +- sqrt(f''^2 s^4 - f'^2), f'' = -1/4, f' = 1/2."""
    closed = []
    for s in (0.3, 0.7, 1.0):
        root = complex(s**4 / 16 - 0.25) ** 0.5
        closed.append((-(s**2) / 4 + root, -(s**2) / 4 - root))
    return same_spectra([dirac.field(LOSSES["minimax"], noise=s) for s in (0.3, 0.7, 1.0)], closed)


def consensus_converges() -> Measured:
    """With consensus optimization of strength g the eigenvalues are -g/4 +- i/2."""
    fields = [dirac.consensus(dirac.field(LOSSES["minimax"]), g) for g in GAMMAS]
    return same_spectra(fields, [(-g / 4 + 0.5j, -g / 4 - 0.5j) for g in GAMMAS])


def penalty_of_a_line() -> Measured:
    """For D(x) = w x the penalties are |w|^2/2 (R1, R2), |w|^2 (R1 + R2) and (|w| - 1)^2 (WGAN-GP)."""
    w = float64([0.6, -1.1, 0.3])
    x, y = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    discriminator = lambda points: points @ w  # noqa: E731
    seen = DiscriminatorPass(x, y, discriminator(x), discriminator(y), discriminator, dirac.midpoint)
    found = torch.stack([PENALTIES[name](seen).mean() for name in ("r1", "r2", "r1+r2", "wgan-gp")])
    size = w @ w
    return equal(found, torch.stack([size / 2, size / 2, size, (size.sqrt() - 1).square()]))


def final_distance(v: dirac.Field) -> Tensor:
    """Distance from the equilibrium after 700 simultaneous steps of 0.2 from (1, 1)."""
    return dirac.trajectory(v, float64([1.0, 1.0]), 0.2, 701)[-1].norm()


def walks_arrive() -> Measured:
    """From (1, 1), R1, R2, both, and R1 with the non-saturating game converge: 700 steps end within 1e-6."""
    fields = [
        penalized_field("r1", 0.3),
        penalized_field("r2", 0.3),
        penalized_field("r1+r2", 0.3),
        penalized_field("r1", 0.3, "non-saturating"),
    ]
    return at_most(torch.stack([final_distance(v) for v in fields]), 1e-6)


def walks_do_not_arrive() -> Measured:
    """Without a penalty, and with WGAN-GP, whose gradient is not 0 at the equilibrium, they stay more than 0.1 away."""
    fields = [dirac.field(LOSSES[name]) for name in ("minimax", "non-saturating", "wasserstein")]
    fields.append(penalized_field("wgan-gp", 0.3, "wasserstein"))
    return at_least(torch.stack([final_distance(v) for v in fields]), 0.1)


class PointGenerator(nn.Module):
    """G of the Dirac-GAN: the constant theta."""

    def __init__(self, theta: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(float64([theta]))

    def forward(self, z: Tensor) -> Tensor:  # noqa: D102
        return self.theta + 0 * z


class LinearDiscriminator(nn.Module):
    """D of the Dirac-GAN: the logit psi x."""

    def __init__(self, psi: float) -> None:
        super().__init__()
        self.psi = nn.Parameter(float64([psi]))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.psi * x[:, 0]


def round_factor(
    loss: str, order: Order, h: float, penalty: str | None = None, gamma: float = 0.3, tiny: float = 1e-5
) -> float:
    """Spectral radius of one round of `game.play` near the equilibrium."""
    columns = []
    for theta, psi in ((tiny, 0.0), (0.0, tiny)):
        g, d = PointGenerator(theta), LinearDiscriminator(psi)
        optimizers: dict[Player, torch.optim.Optimizer]
        optimizers = {"discriminator": SGD(d.parameters(), lr=h), "generator": SGD(g.parameters(), lr=h)}
        state = State(g, d, PointGenerator(theta), optimizers)
        rules = Game(
            LOSSES[loss],
            latent=lambda n, seed, *key: torch.zeros(n, 1),
            batch=1,
            penalties=(Term(penalty, PENALTIES[penalty], gamma),) if penalty else (),
            order=order,
            half_life=0.0,
        )
        game.play(state, rules, lambda number: (torch.zeros(1, 1, dtype=torch.float64), None))
        columns.append(torch.cat([g.theta.detach(), d.psi.detach()]) / tiny)
    return torch.linalg.eigvals(torch.stack(columns, 1)).abs().max().item()


def our_rounds_simultaneous() -> Measured:
    """Simultaneous rounds of `game.play` have the factor |1 + h lambda|: > 1 without penalty, < 1 with R1 (g = 0.3)."""
    h = 0.1
    closed = [sqrt(1 + h * h / 4), sqrt(1 + h * h), abs(1 + h * r1_eigenvalues(0.3)[0])]
    found = [
        round_factor("minimax", "simultaneous", h),
        round_factor("wasserstein", "simultaneous", h),
        round_factor("minimax", "simultaneous", h, "r1"),
    ]
    return equal(float64(found), float64(closed))


def our_rounds_in_turn() -> Measured:
    """Rounds of `game.play` with D first, as in Algorithm 1, have the factor 1, and sqrt(1 - h g) with R1."""
    h = 0.1
    found = [
        round_factor("minimax", "discriminator-first", h),
        round_factor("wasserstein", "discriminator-first", h),
        round_factor("minimax", "discriminator-first", h, "r1"),
    ]
    return equal(float64(found), float64([1.0, 1.0, sqrt(1 - h * 0.3)]))


def our_rounds_the_other_way() -> Measured:
    """G first, D on the samples from before G's step: the factor of simultaneous play, as both see the old opponent."""
    h = 0.1
    found = [round_factor("minimax", "generator-first", h), round_factor("wasserstein", "generator-first", h)]
    return equal(float64(found), float64([sqrt(1 + h * h / 4), sqrt(1 + h * h)]))


def hopping_has_period_two() -> Measured:
    """Alternating best responses hop between the modes forever, with period 2, for any start."""
    return equal(float64([hopping.period(hopping.best_responses(theta, 24)) for theta in (0.9, -0.3)]), 2.0)


def hopping_visits_both() -> Measured:
    """Each hop goes from one mode to the other: 23 hops of length 2 in 24 rounds."""
    return equal(hopping.best_responses(0.4, 24).diff().abs(), 2.0)


def unrolled_stays() -> Measured:
    """Against a fully unrolled D, the best theta is 0, between the modes."""
    return equal(hopping.unrolled_theta(), 0.0)


def gradient_steps_factor() -> Measured:
    """Against the best D under R1 of weight g, a gradient step h multiplies a small theta by 1 - h/(1 + 4 g)."""
    tiny, cases = 1e-4, [(h, g) for h in (0.5, 4.0) for g in (0.0, 0.25, 1.0)]
    found = [hopping.gradient_steps(tiny, h, g, 1)[0] / tiny for h, g in cases]
    return equal(torch.stack(found), float64([1 - h / (1 + 4 * g) for h, g in cases]))


def penalty_ends_hopping() -> Measured:
    """So steps of h = 4 hop with period 2 for g = 0 and 0.2, and converge for g > (h - 2)/8 = 1/4: for 0.3 and 1."""
    found = [hopping.period(hopping.gradient_steps(0.5, 4.0, g, 120)) for g in (0.0, 0.2, 0.3, 1.0)]
    return equal(float64(found), float64([2.0, 2.0, 1.0, 1.0]))


def spreading_ends_hopping() -> Measured:
    """A G with masses (s, 1 - s) on the modes converges to s = 1/2, with the best D before each step."""
    p, theta = float64([0.5, 0.5]), float64([2.0, -1.0])
    for _ in range(300):
        theta = theta - 4 * frozen_gradient(LOSSES["minimax"].generator, log_ratio(p, theta.softmax(0)), p, theta)
    return equal(theta.softmax(0), p)


MESCHEDER = "arXiv:1801.04406"
METZ = "arXiv:1611.02163"

CLAIMS = (
    Claim(13, "dirac-circles", circles, "+-i f'(0)", f"{MESCHEDER}, lemma 2.2", 1e-9),
    Claim(13, "dirac-likelihood", likelihood_circles, "+-i/sqrt 2", "derived", 1e-9),
    Claim(13, "dirac-squares", squares_do_not_turn, "0, 0", "derived", 1e-9),
    Claim(13, "dirac-r1", r1_converges, "-g/2 +- sqrt(g^2/4 - 1/4)", f"{MESCHEDER}, lemma 3.3", 1e-6),
    Claim(13, "dirac-r2", r2_converges, "-g/2 +- sqrt(g^2/4 - 1/4)", f"{MESCHEDER}, lemma 3.3", 1e-6),
    Claim(13, "dirac-r1-r2", both_converge, "the same with 2 g", "arXiv:2501.05441", 1e-6),
    Claim(13, "dirac-games", any_logistic_game_converges, "-g/2 +- sqrt(g^2/4 - 1/4)", MESCHEDER, 1e-6),
    Claim(13, "dirac-critical", critical_damping, "-1/2 at g = 1", MESCHEDER, 0.0),
    Claim(13, "dirac-noise", noise_converges, "f'' s^2 +- sqrt(f''^2 s^4 - f'^2)", f"{MESCHEDER}, lemma 3.2", 1e-6),
    Claim(13, "dirac-consensus", consensus_converges, "-g/4 +- i/2", MESCHEDER, 1e-9),
    Claim(13, "penalty-of-a-line", penalty_of_a_line, "|w|^2/2, |w|^2, (|w| - 1)^2", MESCHEDER, 1e-12),
    Claim(13, "walks-arrive", walks_arrive, "|end| <= 1e-6", f"{MESCHEDER}, figure 3", 0.0),
    Claim(13, "walks-stay-away", walks_do_not_arrive, "|end| >= 0.1", f"{MESCHEDER}, figure 3", 0.0),
    Claim(13, "play-at-once", our_rounds_simultaneous, "|1 + h lambda|", MESCHEDER, 1e-6),
    Claim(13, "play-in-turn", our_rounds_in_turn, "1; sqrt(1 - h g)", "derived", 1e-6),
    Claim(13, "play-g-first", our_rounds_the_other_way, "sqrt(1 + h^2 f'^2)", "derived", 1e-6),
    Claim(14, "hopping-period", hopping_has_period_two, "period 2", "arXiv:1701.00160, section 5.1.1", 0.0),
    Claim(14, "hopping-ends", hopping_visits_both, "-1, 1, -1, 1 ...", "arXiv:1701.00160, section 5.1.1", 0.0),
    Claim(14, "unrolled", unrolled_stays, "theta = 0", METZ, 1e-9),
    Claim(14, "step-factor", gradient_steps_factor, "1 - h/(1 + 4 g)", "derived", 1e-6),
    Claim(14, "penalty-ends-it", penalty_ends_hopping, "rest for g > (h - 2)/8", "derived", 0.0),
    Claim(14, "spreading-ends-it", spreading_ends_hopping, "s = 1/2", METZ, 1e-9),
)
