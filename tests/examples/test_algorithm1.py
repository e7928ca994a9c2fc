"""What a class opens first is what zerosum plays."""

import runpy
from copy import deepcopy
from pathlib import Path

import pytest
import torch

from zerosum import rng
from zerosum.build import copy_of
from zerosum.game.game import play
from zerosum.game.losses import LOSSES
from zerosum.game.state import Game, State

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "algorithm1.py"))
M, LATENT, ROUNDS = 8, 3, 4


def latent(n, seed, *key):
    return rng.normal((n, LATENT), seed, *key, dtype=torch.float64)


def data(number):
    return rng.normal((M, 1), 99, number, "data", dtype=torch.float64)


def sgd(net):
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5)


@pytest.mark.parametrize("k", [1, 3])
def test_the_example_plays_the_rounds_of_the_library(k):
    G, D = EXAMPLE["network"](LATENT).double(), EXAMPLE["network"](1).double()
    ours = State(deepcopy(G), deepcopy(D), copy_of(G), {})
    ours.optimizers = {"generator": sgd(ours.generator), "discriminator": sgd(ours.discriminator)}
    game = Game(LOSSES["non-saturating"], latent, batch=M, k=k)
    for _ in range(ROUNDS):
        play(ours, game, lambda number: (data(number), None))
    noise = lambda r, i: latent(M, 0, r, i, "latent")  # noqa: E731
    EXAMPLE["algorithm_1"](G, D, sgd(G), sgd(D), data, noise, ROUNDS, k)
    for mine, theirs in ((ours.generator, G), (ours.discriminator, D)):
        for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_it_finds_both_gaussians(capsys):
    EXAMPLE["main"]()
    left, right, _ = capsys.readouterr().out.splitlines()
    for line, place in ((left, -2), (right, 2)):
        share, mean = float(line.split(": ")[1].split("%")[0]), float(line.split("mean ")[1].split(",")[0])
        assert 35 < share < 65
        assert abs(mean - place) < 0.4
