import json
import math
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from zerosum import build, run
from zerosum.data import from_array
from zerosum.game.losses import LOSSES
from zerosum.health import probes
from zerosum.health.probes import detail, edges, plain, prepare
from zerosum.run import RunFolder
from zerosum.training.loop import fit, rounds

TWO_SAMPLE = {"distance", "spread", "missing", "covered", "near", "told"}
LOGITS = {"auc", "auc_seen", "gap", "logit_size", "push", "slope", "steer"}


def weights(setup):
    nets = (setup.state.generator, setup.state.discriminator, setup.state.average)
    return [tensor.clone() for net in nets for tensor in net.state_dict().values()]


@pytest.mark.parametrize("net", ["mlp", "dcgan", "goodfellow2014"])
def test_a_checkup_leaves_the_game_as_it_is(settings, net):
    """Batch statistics, dropout's random numbers, gradients: a run that is looked at is the run that is not."""
    small = {"mlp": [], "dcgan": ["nets.generator.width=8", "nets.discriminator.width=8"]}.get(net, [])
    options = [f"nets.name={net}", *small, "train.rounds=3"]
    recipe = settings("train.rounds=3") if net == "mlp" else settings(*options)
    alone, watched = build.assemble(recipe), build.assemble(recipe)
    for _ in rounds(alone.state, alone.game, alone.batches, 3):
        pass
    health = prepare(watched)
    for _ in rounds(watched.state, watched.game, watched.batches, 3):
        health.measure(watched.state)
    assert all(torch.equal(one, other) for one, other in zip(weights(alone), weights(watched), strict=True))


def test_the_same_moment_has_the_same_signs(settings):
    setup = build.assemble(settings())
    assert prepare(setup).measure(setup.state) == prepare(setup).measure(setup.state)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_game_has_every_sign(settings, loss):
    setup = build.assemble(settings(f"loss={loss}", "penalties=[]"))
    signs = prepare(setup).measure(setup.state)
    assert signs.keys() >= TWO_SAMPLE | LOGITS | {"overfit", "nearer", "edges", "detail", "cells", "unreached"}
    assert all(math.isfinite(signs[name]) for name in TWO_SAMPLE | LOGITS)
    assert sum(signs["cells"]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("net", "overrides"), [("mlp", ["nets.conditions=labels"]), ("mlp", ['data="ring"'])])
def test_classes_and_points_are_looked_at_as_well(settings, net, overrides):
    setup = build.assemble(settings(f"nets.name={net}", *overrides))
    signs = prepare(setup).measure(setup.state)
    assert signs.keys() >= TWO_SAMPLE | LOGITS
    assert ("edges" in signs) == (setup.data.kind == "images")


def test_without_rows_held_out_nothing_is_said_of_over_fitting(settings):
    setup = build.assemble(settings())
    bare = replace(setup, data=replace(setup.data, test=replace(setup.data.test, x=setup.data.test.x[:0], labels=None)))
    signs = prepare(bare).measure(bare.state)
    assert not signs.keys() & {"overfit", "nearer"}
    assert signs["held_out"] is False
    assert signs.keys() >= TWO_SAMPLE | LOGITS


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
    return prepare(setup).measure(state)


def encoded(setup, rows, n):
    return setup.data.spec.encode(torch.from_numpy(rows[np.arange(n)][0].copy()))


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
            recipe = settings("train.check_every=4", "train.save_every=6", f"train.rounds={last}")
            deque(fit(recipe, RunFolder(folder)), maxlen=0)
        return [(line["round"], line["signs"]) for line in run.read(RunFolder(folder)) if "signs" in line]

    whole, resumed = played(tmp_path / "whole", 12), played(tmp_path / "resumed", 6, 12)
    assert [step for step, _ in whole] == [4, 8, 12]
    assert whole == resumed
    json.dumps(whole, allow_nan=False)


def test_rows_are_spread_over_the_data(settings):
    health = prepare(build.assemble(settings()))
    assert len(health.holdout.x) == len(health.train.x) == probes.ROWS
    assert len(health.candidates[0]) == len(health.candidates[1]) == 540


UNITS = TWO_SAMPLE | {f"{name}_real" for name in probes.ALSO_OF_TRAIN} | {"slope", "steer", "cells", "cells_real"}
"""Signs that count in the usual distance between held-out rows, or in parts of their space."""


def null(signs):
    return {name for name, value in signs.items() if value is None}


def played(settings, data, *overrides):
    """The signs of a game on these rows, before the first round and after the second."""
    setup = build.assemble(settings(*overrides), data)
    health = prepare(setup)
    yield health.measure(setup.state)
    for _ in rounds(setup.state, setup.game, setup.batches, 2):
        pass
    yield health.measure(setup.state)


def picture(size=8, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (1, size, size), dtype=np.uint8)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("held_out", [0.0, 0.1, 0.5])
def test_one_picture_again_and_again_has_no_unit_and_what_needs_none_is_measured(settings, seed, held_out):
    """Where it had, signs were 195 or 1e6, or the division by zero ended the training."""
    for signs in played(settings, from_array(picture(seed=seed).repeat(200, 0), held_out=held_out)):
        held = held_out > 0.2
        assert null(signs) == UNITS | ({"nearer"} if held else set())
        assert signs["held_out"] is held
        assert signs.keys() >= LOGITS | {"edges", "detail", "unreached", "data_span"}
        assert all(math.isfinite(value) for name, value in signs.items() if name not in null(signs))


@pytest.mark.parametrize("apart", [0.0, 1e-6, 1e-5])
@pytest.mark.parametrize("n", [16, 60, 200])
def test_points_that_are_alike_have_no_unit(settings, apart, n):
    """Not standardized: beside their own size, they differ by nothing."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((1, 3)) + apart * rng.standard_normal((n, 3))).astype(np.float32)
    for signs in played(settings, from_array(x, standardize=False), "game.batch=4"):
        assert null(signs) == UNITS


def test_standardised_points_have_a_unit_however_alike_they_are(settings):
    """Their deviation is 1 to the networks, and they are measured in it."""
    x = 1000 + 1e-6 * np.random.default_rng(0).standard_normal((100, 3))
    for signs in played(settings, from_array(x)):
        assert null(signs) == set()


@pytest.mark.parametrize("held_out", [0.0, 1 / 16, 2 / 16, 0.5])
@pytest.mark.parametrize("net", ["mlp", "dcgan"])
def test_few_rows_have_signs_and_none_held_out_for_what_needs_such(settings, held_out, net):
    images = np.random.default_rng(0).integers(0, 256, (32, 8, 8), dtype=np.uint8)
    for signs in played(settings, from_array(images, held_out=held_out), f"nets.name={net}", "game.batch=4"):
        assert null(signs) == set()
        assert signs["held_out"] is False
        assert (signs["rows"], signs["seen"]) == (-(-(32 - 32 * held_out) // 2), (32 - 32 * held_out) // 2)


@pytest.mark.parametrize("shape", [(40, 1, 1), (40, 1, 9), (40, 9, 3), (40, 4, 4)])
def test_images_too_small_to_be_sharp_have_no_sharpness(settings, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for signs in played(settings, from_array(images)):
        assert null(signs) == set()
        assert ("edges" in signs) == (shape == (40, 4, 4))


def gray(values, size=8):
    return np.broadcast_to(np.asarray(values, np.uint8)[:, None, None], (len(values), size, size))


def test_beside_flat_images_nothing_is_sharp(settings):
    for signs in played(settings, from_array(gray(np.arange(60)), held_out=0.0)):
        assert null(signs) == {"edges", "detail"}


def test_beside_slow_waves_no_detail_is_known(settings):
    line = np.cos(2 * np.pi * np.arange(16) / 16)
    waves = np.random.default_rng(0).random((60, 1, 1)) * np.broadcast_to(line, (16, 16))
    for signs in played(settings, from_array(waves, range=(-1.0, 1.0), held_out=0.0)):
        assert null(signs) == {"detail"}
        assert signs["edges"] > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_samples_that_are_no_numbers_have_no_place(settings, bad):
    setup = build.assemble(settings('data="ring"'))
    rows = encoded(setup, setup.data.train, 100)
    rows[3, 0] = bad
    signs = signs_of(setup, rows)
    assert null(signs) >= TWO_SAMPLE | {"nearer", "cells", "unreached"}
    assert not null(signs) & {f"{name}_real" for name in probes.ALSO_OF_TRAIN}
    assert null(signs) >= {"auc", "auc_seen"} or math.isfinite(signs["auc"])  # D may say something of infinity
    json.dumps(signs, allow_nan=False)


@pytest.mark.parametrize("place", [30.0, 1000.0, 1e6])
def test_samples_far_off_and_all_alike_are_narrow(settings, place):
    setup = build.assemble(settings('data="ring"'))
    signs = signs_of(setup, encoded(setup, setup.data.train, 1) + place)
    assert signs["spread"] == 0.0
    assert signs["distance"] > place
    assert signs["near"] == signs["covered"] == 0.0


def test_images_larger_than_what_is_looked_at_have_a_span(settings, monkeypatch):
    monkeypatch.setattr(probes, "SPAN_VALUES", 50)
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    assert all(0.9 < signs["data_span"] <= 1 for signs in played(settings, from_array(images)))
