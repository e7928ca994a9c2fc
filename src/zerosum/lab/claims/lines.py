"""Groups 13 and 14: games on a line, the Dirac-GAN and mode hopping."""

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
from zerosum.lab.theory.equilibrium import frozen_gradient, ratio
from zerosum.lab.theory.quadrature import numbers

EIGENVALUES = {"minimax": 0.5j, "non-saturating": 0.5j, "relativistic": 0.5j, "wasserstein": 1j, "hinge": 1j}
"""Of the Dirac-GAN without penalty, the one above the real line; f'(0) for the logistic games."""


def circles() -> Measured:
    """Without penalty the eigenvalues are +-i f'(0): five games circle (+-i/2 logistic, +-i Wasserstein and hinge)."""
    found = torch.stack([dirac.eigenvalues(dirac.field(LOSSES[name]))[0] for name in EIGENVALUES])
    return equal(
        torch.view_as_real(found), torch.view_as_real(torch.tensor(list(EIGENVALUES.values()), dtype=torch.complex128))
    )


def likelihood_circles() -> Measured:
    """The likelihood cost circles too, with +-i/sqrt 2: G's slope is 1 where the logistic ones have 1/2."""
    found = dirac.eigenvalues(dirac.field(LOSSES["likelihood"]))[0]
    return equal(torch.view_as_real(found), numbers([0.0, 0.5**0.5]))


def squares_do_not_turn() -> Measured:
    """Under least squares with labels 0, 1, 1 both eigenvalues are 0: a line through 0 cannot score data 1."""
    return equal(torch.view_as_real(dirac.eigenvalues(dirac.field(LOSSES["least-squares"]))), 0.0)


def damped(gamma: float) -> tuple[complex, complex]:
    """-g/2 +- sqrt(g^2/4 - 1/4)."""
    root = complex(gamma**2 / 4 - 0.25) ** 0.5
    return -gamma / 2 + root, -gamma / 2 - root


def penalized(name: str, gamma: float, loss: str = "minimax") -> dirac.Field:
    """The field of a game with one penalty."""
    return dirac.field(LOSSES[loss], [(gamma, PENALTIES[name])])


def spectra(fields: list[dirac.Field], closed: list[tuple[complex, complex]]) -> Measured:
    """Eigenvalues against their closed forms."""
    found = torch.stack([dirac.eigenvalues(v) for v in fields])
    return equal(torch.view_as_real(found), torch.view_as_real(torch.tensor(closed, dtype=torch.complex128)))


GAMMAS = (0.1, 0.3, 1.0, 2.0)


def r1_converges() -> Measured:
    """With R1 of weight g they are -g/2 +- sqrt(g^2/4 - 1/4): the real part is negative, steps come nearer."""
    return spectra([penalized("r1", g) for g in GAMMAS], [damped(g) for g in GAMMAS])


def r2_converges() -> Measured:
    """With R2 of weight g they are those of R1: on a line the slope is the same at data and samples."""
    return spectra([penalized("r2", g) for g in GAMMAS], [damped(g) for g in GAMMAS])


def both_converge() -> Measured:
    """With R1 and R2 together they are those of twice the weight; our one-pass form of both."""
    return spectra([penalized("r1+r2", g) for g in GAMMAS], [damped(2 * g) for g in GAMMAS])


def any_logistic_game_converges() -> Measured:
    """R1 does the same for the non-saturating and the relativistic game."""
    games = [(loss, g) for loss in ("non-saturating", "relativistic") for g in GAMMAS]
    return spectra([penalized("r1", g, loss) for loss, g in games], [damped(g) for _, g in games])


def critical_damping() -> Measured:
    """At g = 1 both eigenvalues are -1/2: the fastest R1; more of it slows down again."""
    slowest = [dirac.eigenvalues(penalized("r1", g)).real.max() for g in (0.9, 1.1)]
    return at_least(torch.stack(slowest), -0.5)


def noise_converges() -> Measured:
    """Noise of deviation s on all that D sees: f'' s^2 +- sqrt(f''^2 s^4 - f'^2), with f'' = -1/4 and f' = 1/2."""
    closed = []
    for s in (0.3, 0.7, 1.0):
        root = complex(s**4 / 16 - 0.25) ** 0.5
        closed.append((-(s**2) / 4 + root, -(s**2) / 4 - root))
    return spectra([dirac.field(LOSSES["minimax"], noise=s) for s in (0.3, 0.7, 1.0)], closed)


def consensus_converges() -> Measured:
    """Consensus of strength g: -g/4 +- i/2."""
    fields = [dirac.consensus(dirac.field(LOSSES["minimax"]), g) for g in GAMMAS]
    return spectra(fields, [(-g / 4 + 0.5j, -g / 4 - 0.5j) for g in GAMMAS])


def penalty_of_a_line() -> Measured:
    """For a linear D our penalties are |w|^2/2 (R1, R2), |w|^2 (both) and (|w| - 1)^2 (WGAN-GP)."""
    w = numbers([0.6, -1.1, 0.3])
    x, y = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    judge = lambda points: points @ w  # noqa: E731
    seen = DiscriminatorPass(x, y, judge(x), judge(y), judge, dirac.half)
    found = torch.stack([PENALTIES[name](seen).mean() for name in ("r1", "r2", "r1+r2", "wgan-gp")])
    size = w @ w
    return equal(found, torch.stack([size / 2, size / 2, size, (size.sqrt() - 1).square()]))


def far_walk(v: dirac.Field) -> Tensor:
    """Distance from the equilibrium after 700 simultaneous steps of 0.2 from (1, 1)."""
    return dirac.walk(v, numbers([1.0, 1.0]), 0.2, 701)[-1].norm()


def walks_arrive() -> Measured:
    """From afar R1, R2, both, and R1 with the non-saturating game arrive: 700 steps end within 1e-6."""
    fields = [
        penalized("r1", 0.3),
        penalized("r2", 0.3),
        penalized("r1+r2", 0.3),
        penalized("r1", 0.3, "non-saturating"),
    ]
    return at_most(torch.stack([far_walk(v) for v in fields]), 1e-6)


def walks_do_not_arrive() -> Measured:
    """Without a penalty, and with WGAN-GP, which has no slope of 0 at the equilibrium, they stay more than 0.1 away."""
    fields = [dirac.field(LOSSES[name]) for name in ("minimax", "non-saturating", "wasserstein")]
    fields.append(penalized("wgan-gp", 0.3, "wasserstein"))
    return at_least(torch.stack([far_walk(v) for v in fields]), 0.1)


class Dot(nn.Module):
    """G of the Dirac-GAN, as a network."""

    def __init__(self, theta: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(numbers([theta]))

    def forward(self, z: Tensor) -> Tensor:  # noqa: D102
        return self.theta + 0 * z


class Slope(nn.Module):
    """D of the Dirac-GAN, as a network."""

    def __init__(self, psi: float) -> None:
        super().__init__()
        self.psi = nn.Parameter(numbers([psi]))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.psi * x[:, 0]


def played(
    loss: str, order: Order, h: float, penalty: str | None = None, gamma: float = 0.3, tiny: float = 1e-5
) -> float:
    """The factor of one round of `game.play` near the equilibrium: the largest |eigenvalue| of its matrix."""
    columns = []
    for theta, psi in ((tiny, 0.0), (0.0, tiny)):
        g, d = Dot(theta), Slope(psi)
        optimizers: dict[Player, torch.optim.Optimizer]
        optimizers = {"discriminator": SGD(d.parameters(), lr=h), "generator": SGD(g.parameters(), lr=h)}
        state = State(g, d, Dot(theta), optimizers)
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
    """Our own rounds, both at once: |1 + h lambda|, outwards by sqrt(1 + h^2/4) without, inwards with R1 (g = 0.3)."""
    h = 0.1
    closed = [sqrt(1 + h * h / 4), sqrt(1 + h * h), abs(1 + h * damped(0.3)[0])]
    found = [
        played("minimax", "simultaneous", h),
        played("wasserstein", "simultaneous", h),
        played("minimax", "simultaneous", h, "r1"),
    ]
    return equal(numbers(found), numbers(closed))


def our_rounds_in_turn() -> Measured:
    """Our own rounds, D first as in Algorithm 1: factor 1, and sqrt(1 - h g) with R1."""
    h = 0.1
    found = [
        played("minimax", "discriminator-first", h),
        played("wasserstein", "discriminator-first", h),
        played("minimax", "discriminator-first", h, "r1"),
    ]
    return equal(numbers(found), numbers([1.0, 1.0, sqrt(1 - h * 0.3)]))


def our_rounds_the_other_way() -> Measured:
    """G first, D against the samples from before G moved: both see the old opponent, as simultaneous play does."""
    h = 0.1
    found = [played("minimax", "generator-first", h), played("wasserstein", "generator-first", h)]
    return equal(numbers(found), numbers([sqrt(1 + h * h / 4), sqrt(1 + h * h)]))


def hopping_has_period_two() -> Measured:
    """Best responses in turn hop between the modes for ever, with period 2, wherever G starts."""
    return equal(numbers([hopping.period(hopping.chase(theta, 24)) for theta in (0.9, -0.3)]), 2.0)


def hopping_visits_both() -> Measured:
    """Each hop goes from one end to the other: 24 rounds, 23 hops of length 2."""
    return equal(hopping.chase(0.4, 24).diff().abs(), 2.0)


def unrolled_stays() -> Measured:
    """A G that foresees D's answer has one best place, 0, between the modes, and no reason to leave it."""
    return equal(hopping.unrolled_point(), 0.0)


def gradient_steps_factor() -> Measured:
    """With D at its best for R1 of weight g, a step h multiplies a small theta by 1 - h/(1 + 4 g)."""
    tiny, cases = 1e-4, [(h, g) for h in (0.5, 4.0) for g in (0.0, 0.25, 1.0)]
    found = [hopping.stroll(tiny, h, g, 1)[0] / tiny for h, g in cases]
    return equal(torch.stack(found), numbers([1 - h / (1 + 4 * g) for h, g in cases]))


def penalty_ends_hopping() -> Measured:
    """So steps of h = 4 hop, period 2, for g = 0 and 0.2, and come to rest for g > (h - 2)/8 = 1/4: for 0.3 and 1."""
    found = [hopping.period(hopping.stroll(0.5, 4.0, g, 120)) for g in (0.0, 0.2, 0.3, 1.0)]
    return equal(numbers(found), numbers([2.0, 2.0, 1.0, 1.0]))


def spreading_ends_hopping() -> Measured:
    """A G that may split its mass (s, 1 - s) between the modes comes to rest at 1/2, D at its best before each step."""
    p, theta = numbers([0.5, 0.5]), numbers([2.0, -1.0])
    for _ in range(300):
        theta = theta - 4 * frozen_gradient(LOSSES["minimax"].generator, ratio(p, theta.softmax(0)), p, theta)
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
