import subprocess
import sys
from copy import deepcopy
from math import cos, pi

import pytest
import torch
from torch import nn

from zerosum.config.settings import Schedule
from zerosum.game.optimizers import OPTIMIZERS, Adam, adam, factor


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_descends(name):
    x = torch.nn.Parameter(torch.tensor([3.0]))
    move = OPTIMIZERS[name]([x], lr=0.1)
    for _ in range(200):
        move.zero_grad()
        x.square().sum().backward()
        move.step()
    assert x.abs().item() < 0.2


def test_sgd_with_momentum_is_heavy_ball():
    x, velocity = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64)), 0.0
    move, by_hand = OPTIMIZERS["sgd"]([x], lr=0.1, momentum=0.5), 1.0
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


@pytest.mark.parametrize("betas", [(0.0, 0.99), (0.5, 0.999)])
def test_adam_is_torchs_fused_adam_bit_by_bit_even_where_a_gradient_is_missing(betas):
    ours = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 2))
    theirs = deepcopy(ours)
    pair = [(ours, adam(ours.parameters(), lr=1e-2, betas=betas))]
    pair += [(theirs, torch.optim.Adam(theirs.parameters(), 1e-2, betas, fused=True))]
    for turn in range(20):
        x = torch.randn(3, 5)
        for net, optimizer in pair:
            net.zero_grad()
            net(x).square().sum().backward()
            if turn % 3 == 0:
                net[1].bias.grad = None
            optimizer.step()
    assert all(torch.equal(*two) for two in zip(ours.parameters(), theirs.parameters(), strict=True))
    mine, other = (optimizer.state_dict()["state"] for _, optimizer in pair)
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[key][name], other[key][name]) for key in other for name in other[key])


def test_adam_goes_on_from_what_torchs_adam_remembers():
    net = nn.Linear(3, 2)
    theirs = torch.optim.Adam(net.parameters(), 1e-2, fused=True)
    net(torch.ones(1, 3)).sum().backward()
    theirs.step()
    ours = adam(net.parameters(), lr=1e-2)
    ours.load_state_dict({**theirs.state_dict(), "param_groups": ours.state_dict()["param_groups"]})
    assert ours.state[net.weight]["step"] == 1
    assert torch.equal(ours.state[net.weight]["exp_avg"], theirs.state[net.weight]["exp_avg"])


def test_this_torch_has_the_private_functions_of_the_fast_adam():
    assert type(adam(nn.Linear(3, 2).parameters())) is Adam


FUSED = torch._fused_adam_


def with_betas_swapped(*lists, beta1, beta2, **numbers):
    FUSED(*lists, beta1=beta2, beta2=beta1, **numbers)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("_fused_adam_", None),
        ("_foreach_add_", None),
        ("_fused_adam_", lambda parameters, gradients: None),
        ("_fused_adam_", lambda *lists, **numbers: None),
        ("_fused_adam_", with_betas_swapped),
        ("_foreach_add_", lambda steps, one: None),
    ],
)
def test_adam_is_torchs_own_where_a_private_function_is_missing_or_another(monkeypatch, name, found):
    with monkeypatch.context() as patch:
        patch.setattr(torch, name, found) if found else patch.delattr(torch, name)
        net = nn.Linear(3, 2)
        theirs = adam(net.parameters(), lr=0.1, betas=(0.5, 0.9), epsilon=1e-6)
    assert type(theirs) is torch.optim.Adam
    twin = deepcopy(net)
    pair = (net, theirs), (twin, adam(twin.parameters(), lr=0.1, betas=(0.5, 0.9), epsilon=1e-6))
    for module, optimizer in pair:
        module(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
    assert all(torch.equal(*two) for two in zip(net.parameters(), twin.parameters(), strict=True))
    kept = [optimizer.state_dict()["state"] for _, optimizer in pair]
    assert [{name: value.tolist() for name, value in one.items()} for one in kept[0].values()] == [
        {name: value.tolist() for name, value in one.items()} for one in kept[1].values()
    ]


FIRST_ROUND = """
import sys
from pathlib import Path
from zerosum import config
from zerosum.resolved import look_up
from zerosum.training import loop
from zerosum.run import RunFolder
for _ in range(2):  # begun, and taken up again
    for moment in loop.fit(look_up(config.load("digits", ["train.rounds=2"])), RunFolder(Path("run"))):
        break
print(sorted({"torch._dynamo", "sklearn", "matplotlib"} & sys.modules.keys()))
"""


def test_a_training_on_images_begins_without_what_takes_long_to_import(tmp_path):
    """Torch's compiler, scikit-learn and matplotlib."""
    command = [sys.executable, "-c", FIRST_ROUND]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"
