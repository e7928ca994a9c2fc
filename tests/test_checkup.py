import json
import math
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from zerosum import build, checkup, run
from zerosum.checkup import detail, edges, plain, prepare
from zerosum.losses import LOSSES
from zerosum.run import RunFolder
from zerosum.training import fit, rounds

CLOUD = {"distance", "spread", "missing", "covered", "near", "told"}
LOGITS = {"auc", "auc_seen", "gap", "logit_size", "push", "slope", "steer"}


def weights(setup):
    nets = (setup.state.generator, setup.state.discriminator, setup.state.average)
    return [tensor.clone() for net in nets for tensor in net.state_dict().values()]


@pytest.mark.parametrize("net", ["mlp", "dcgan", "goodfellow2014"])
def test_a_checkup_leaves_the_game_as_it_is(settings, net):
    """Batch statistics, dropout's random numbers, gradients: a run that is looked at is the run that is not."""
    small = {"mlp": [], "dcgan": ["nets.generator.width=8", "nets.discriminator.width=8"]}.get(net, [])
    options = [f"nets.name={net}", *small, "train.steps=3"]
    recipe = settings("train.steps=3") if net == "mlp" else settings(*options)
    alone, watched = build.assemble(recipe), build.assemble(recipe)
    for _ in rounds(alone.state, alone.game, alone.batches, 3):
        pass
    health = prepare(watched)
    for _ in rounds(watched.state, watched.game, watched.batches, 3):
        health.look(watched.state)
    assert all(torch.equal(one, other) for one, other in zip(weights(alone), weights(watched), strict=True))


def test_the_same_moment_has_the_same_signs(settings):
    setup = build.assemble(settings())
    assert prepare(setup).look(setup.state) == prepare(setup).look(setup.state)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_game_has_every_sign(settings, loss):
    setup = build.assemble(settings(f"loss={loss}", "penalties=[]"))
    signs = prepare(setup).look(setup.state)
    assert signs.keys() >= CLOUD | LOGITS | {"overfit", "nearer", "edges", "detail", "cells", "unreached"}
    assert all(math.isfinite(signs[name]) for name in CLOUD | LOGITS)
    assert sum(signs["cells"]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("net", "overrides"), [("mlp", ["nets.conditions=labels"]), ("mlp", ['data="ring"'])])
def test_classes_and_points_are_looked_at_as_well(settings, net, overrides):
    setup = build.assemble(settings(f"nets.name={net}", *overrides))
    signs = prepare(setup).look(setup.state)
    assert signs.keys() >= CLOUD | LOGITS
    assert ("edges" in signs) == (setup.data.kind == "images")


def test_without_rows_held_out_nothing_is_said_of_over_fitting(settings):
    setup = build.assemble(settings())
    bare = replace(setup, data=replace(setup.data, test=replace(setup.data.test, x=setup.data.test.x[:0], labels=None)))
    signs = prepare(bare).look(bare.state)
    assert not signs.keys() & {"overfit", "nearer"}
    assert signs["held_out"] is False
    assert signs.keys() >= CLOUD | LOGITS


class Fixed(nn.Module):
    """A generator that gives the same rows, whatever it is asked."""

    def __init__(self, rows):
        super().__init__()
        self.register_buffer("rows", rows)

    def forward(self, z):
        return self.rows[torch.arange(len(z)) % len(self.rows)]


def signs_of(setup, rows):
    state = setup.state
    state.generator, state.average = Fixed(rows), Fixed(rows)
    return prepare(setup).look(state)


def encoded(setup, rows, n):
    return setup.data.form.encode(torch.from_numpy(rows[np.arange(n)][0].copy()))


def test_one_sample_again_and_again_is_narrow(settings):
    setup = build.assemble(settings())
    signs = signs_of(setup, encoded(setup, setup.data.train, 1))
    assert signs["spread"] == pytest.approx(0, abs=1e-3)
    assert signs["covered"] < 0.2


def test_training_rows_as_samples_are_near_everything_and_copied(settings):
    setup = build.assemble(settings("game.batch=512"))
    signs = signs_of(setup, encoded(setup, setup.data.train, 512))
    assert signs["covered"] > 0.9
    assert signs["told"] == pytest.approx(0.5, abs=0.1)
    assert signs["distance"] == pytest.approx(0, abs=0.01)
    assert signs["nearer"] > 0.7
    assert signs["edges"] == pytest.approx(1, abs=0.03)


def test_held_out_rows_as_samples_are_no_copies(settings):
    setup = build.assemble(settings("game.batch=512"))
    assert signs_of(setup, encoded(setup, setup.data.test, 512))["nearer"] < 0.1


def test_what_g_cannot_make_is_counted(settings):
    setup = build.assemble(settings())
    half = encoded(setup, setup.data.train, 100).clamp(min=0)
    black = (encoded(setup, setup.data.test, 540) < -0.05).double().mean().item()
    assert signs_of(setup, half)["unreached"] == pytest.approx(black, abs=0.02)


def test_blur_takes_edges_and_detail():
    x = torch.randn(20, 1, 16, 16)
    blurred = nn.functional.avg_pool2d(x, 3, stride=1, padding=1)
    assert edges(blurred) < 0.5 * edges(x)
    assert detail(blurred) < 0.1 * detail(x)


def test_detail_is_nothing_in_a_slow_wave_and_everything_in_a_chequerboard():
    line = torch.arange(16.0)
    slow = torch.cos(2 * torch.pi * line / 16).expand(1, 1, 16, 16)
    board = (-1.0) ** (line[:, None] + line).expand(1, 1, 16, 16)
    assert detail(slow) == pytest.approx(0, abs=1e-9)
    assert detail(board) == pytest.approx(256.0**2 / 175)  # all its energy is in one of the 175 high frequencies


def test_what_is_not_finite_is_null():
    assert plain([1.234567, float("inf"), float("nan")]) == [1.2346, None, None]


def test_checkups_are_written_where_they_are_due_and_a_resumed_run_has_the_same(settings, tmp_path):
    def played(folder, *steps):
        for last in steps:
            recipe = settings("train.check_every=4", "train.save_every=6", f"train.steps={last}")
            deque(fit(recipe, RunFolder(folder)), maxlen=0)
        return [(line["step"], line["signs"]) for line in run.read(RunFolder(folder)) if "signs" in line]

    whole, resumed = played(tmp_path / "whole", 12), played(tmp_path / "resumed", 6, 12)
    assert [step for step, _ in whole] == [4, 8, 12]
    assert whole == resumed
    json.dumps(whole, allow_nan=False)


def test_rows_are_spread_over_the_data(settings):
    health = prepare(build.assemble(settings()))
    assert len(health.held.x) == len(health.seen.x) == checkup.ROWS
    assert len(health.candidates[0]) == len(health.candidates[1]) == 540
