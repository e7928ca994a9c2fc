from math import cos, pi

import pytest
import torch

from zerosum.optimisers import OPTIMISERS, factor
from zerosum.schema import Schedule


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_optimiser_descends(name):
    x = torch.nn.Parameter(torch.tensor([3.0]))
    move = OPTIMISERS[name]([x], rate=0.1)
    for _ in range(200):
        move.zero_grad()
        x.square().sum().backward()
        move.step()
    assert x.abs().item() < 0.2


def test_sgd_with_momentum_is_heavy_ball():
    x, velocity = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64)), 0.0
    move, by_hand = OPTIMISERS["sgd"]([x], rate=0.1, momentum=0.5), 1.0
    for _ in range(5):
        move.zero_grad()
        (0.5 * x.square()).sum().backward()
        move.step()
        velocity = 0.5 * velocity + by_hand
        by_hand -= 0.1 * velocity
    assert x.item() == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        (Schedule(), 10**6, 1.0),
        (Schedule(warmup=4), 0, 0.25),
        (Schedule(warmup=4), 3, 1.0),
        (Schedule(decay="linear", begin=10, end=20), 15, 0.5),
        (Schedule(decay="linear", begin=10, end=20, floor=0.2), 500, 0.2),
        (Schedule(decay="cosine", end=100), 30, 0.5 * (1 + cos(0.3 * pi))),
        (Schedule(decay="exponential", factor=0.9, begin=2), 7, 0.9**5),
        (Schedule(decay="exponential", factor=0.9, floor=0.5), 1000, 0.5),
        (Schedule(warmup=10, decay="linear", end=10), 4, 0.5 * 0.6),
    ],
)
def test_the_factor_is_a_function_of_the_absolute_round(schedule, step, expected):
    assert factor(schedule, step) == pytest.approx(expected, abs=1e-12)
