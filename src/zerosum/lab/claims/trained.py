"""Claims that train networks: D learns p/(p+q), and the recipe mixture-1d reaches the data distribution.

Each is measured for five seeds; the worst is reported.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import log

import torch
from torch import Tensor, nn
from torch.optim import Adam

from zerosum import build, config
from zerosum.data import Mixture
from zerosum.game.losses import LOSSES
from zerosum.lab.claims.claim import Claim, Measured, at_least, at_most, equal
from zerosum.lab.claims.optimum import GOODFELLOW, mixture
from zerosum.lab.theory.divergences import jsd
from zerosum.lab.theory.equilibrium import mean_cost
from zerosum.lab.theory.quadrature import Masses, float64, gauss_legendre
from zerosum.resolved import resolve
from zerosum.rng import set_global
from zerosum.training.loop import rounds

SEEDS = range(5)
SIZES = (200, 2_000, 20_000)
"""Number of data rows, and of samples, on which D is trained."""

GRID = gauss_legendre(-8.0, 8.0, panels=40)


def distributions() -> tuple[Mixture, Mixture]:
    """Return p, a mixture of two Gaussians, and q, a single Gaussian."""
    return mixture([[-1.5], [1.5]], [0.6, 0.9], [0.4, 0.6]), mixture([[0.0]], [1.6], [1.0])


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread: networks as small as these are slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
@one_thread()
def learned_logits(n: int, seed: int) -> Tensor:
    """Train a perceptron D on n data rows and n samples, in float64; return its logits on the grid.

    1,200 steps of Adam with batch size min(n, 512) and a learning rate that decays linearly from 0.01 to 0.
    """
    p, q = distributions()
    x, y = (torch.from_numpy(source.sample(n, seed=2 * seed + k)[0]).double() for k, source in enumerate((p, q)))
    set_global(seed, "claims")
    net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)).double()
    optimizer, steps, batch = Adam(net.parameters(), lr=1e-2), 1200, min(n, 512)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / steps)
        rows = (step * batch + torch.arange(batch)) % n
        cost = LOSSES["minimax"].discriminator(net(x[rows])[:, 0], net(y[rows])[:, 0]).mean()
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
    with torch.no_grad():
        out: Tensor = net(GRID.points)[:, 0]
    return out


def masses() -> tuple[Masses, Masses]:
    """Masses of p and q on the grid."""
    p, q = distributions()
    return GRID.masses(p.log_prob), GRID.masses(q.log_prob)


def max_error(n: int, seed: int) -> Tensor:
    """sup |D - p/(p+q)| over the points with p + q > 0.02."""
    p, q = masses()
    inside = (p + q) / GRID.weights > 0.02
    return (learned_logits(n, seed).sigmoid() - p / (p + q)).abs()[inside].max()


def d_is_learned() -> Measured:
    """A perceptron D trained on 20,000 data rows and 20,000 samples is within 0.1 of p/(p+q) wherever p + q > 0.02."""
    return at_most(torch.stack([max_error(SIZES[-1], seed) for seed in SEEDS]), 0.1)


def d_is_learned_with_samples() -> Measured:
    """The error of the learned D decreases with n: at least 3 times from 200 to 20,000, in the mean over the seeds."""
    few, _, many = (torch.stack([max_error(n, seed) for seed in SEEDS]).mean() for n in SIZES)
    return at_least(few / many, 3.0)


def value_is_learned() -> Measured:
    """The cost of the learned D on the true densities exceeds the minimum 2 log 2 - 2 JSD by less than 0.01 nats."""
    p, q = masses()
    costs = [mean_cost(LOSSES["minimax"].discriminator, learned_logits(SIZES[-1], seed), p, q) for seed in SEEDS]
    return equal(torch.stack(costs), log(4) - 2 * jsd(p, q))


@cache
@one_thread()
def trained(seed: int) -> tuple[Masses, Masses, float]:
    """Train the recipe mixture-1d; return p and 100,000 samples in 60 bins, and the mean V of the last 300 rounds."""
    resolved = resolve(config.load("mixture-1d", [f"train.seed={seed}", 'train.device="cpu"']))
    setup = build.assemble(resolved)
    played = rounds(setup.state, setup.game, setup.batches, resolved.config.train.rounds)
    costs = [moment.readings[0].costs["cost"] for moment in played][-300:]
    with torch.no_grad():
        z = setup.game.latent(100_000, seed, "claims").float()
        x = torch.from_numpy(setup.data.spec.decode(setup.state.average(z))).double()
    edges = torch.linspace(-5, 5, 59, dtype=torch.float64)
    mixture_ = setup.data.mixture
    assert mixture_ is not None  # of this data set it is known
    fine = gauss_legendre(-8.0, 8.0, panels=800)
    p = torch.bincount(torch.bucketize(fine.points[:, 0], edges), weights=fine.masses(mixture_.log_prob), minlength=60)
    q = torch.bincount(torch.bucketize(x[:, 0].contiguous(), edges), minlength=60).double() / len(x)
    return p, q, -torch.stack(costs).mean().item()


def game_reaches_data() -> Measured:
    """`zerosum train mixture-1d` ends with JSD(data, samples) below 0.03 nats."""
    return at_most(torch.stack([jsd(*trained(seed)[:2]) for seed in SEEDS]), 0.03)


def game_reaches_its_value() -> Measured:
    """At the end of `zerosum train mixture-1d` the value of the game is within 0.1 (relative) of -log 4."""
    return equal(float64([trained(seed)[2] for seed in SEEDS]), -log(4))


CLAIMS = (
    Claim(1, "d-learned", d_is_learned, "sup |D - D*| <= 0.1", f"{GOODFELLOW}, Proposition 1", 0.0, trained=True),
    Claim(
        1, "d-learned-rate", d_is_learned_with_samples, "3 times nearer", f"{GOODFELLOW}, section 4", 0.0, trained=True
    ),
    Claim(2, "value-learned", value_is_learned, "2 log 2 - 2 JSD", f"{GOODFELLOW}, Theorem 1", 0.01, trained=True),
    Claim(11, "game-reaches-data", game_reaches_data, "JSD -> 0", f"{GOODFELLOW}, Algorithm 1", 0.0, trained=True),
    Claim(11, "game-reaches-value", game_reaches_its_value, "-log 4", f"{GOODFELLOW}, Theorem 1", 0.1, trained=True),
)
