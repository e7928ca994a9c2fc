"""Small and odd data: a checkup, an evaluation and the pictures of a report answer in numbers, null or a sentence.

Data is drawn from a seed: 16 to 60 rows, images from one pixel and points from one number on, rows that are all alike,
nearly so, or the same few again and again, classes of every kind, any share held out, any scale that float32 holds.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from zerosum import build, config, evaluation
from zerosum.data import from_array, validate
from zerosum.errors import DataError, UsageError
from zerosum.game.losses import LOSSES
from zerosum.health import probes
from zerosum.health.probes import MIN_HOLDOUT, prepare
from zerosum.metrics import data_copying, features
from zerosum.report import images as pages
from zerosum.resolved import resolve
from zerosum.samples import Samples
from zerosum.sampling import Sampler
from zerosum.training import recorder
from zerosum.training.loop import rounds

SHARES = ("missing", "covered", "near", "told", "nearer", "auc", "auc_seen", "overfit", "unreached")
IN_UNITS = ("distance", "spread", "missing", "covered", "near", "told", "slope", "steer", "cells", "cells_real")
"""Signs that are null where held-out rows are all alike."""

SIDES = (1, 2, 3, 4, 5, 8, 9, 16)
DRAWN_EVERY = 20
"""Pictures take a tenth of a second each."""


@dataclass
class Case:
    """What a seed stands for."""

    x: Any
    labels: Any
    options: dict[str, Any]
    settings: list[str]
    rounds: int
    held_out_enough: int
    """Held-out rows from which on training rows do not stand in for them."""
    looked_at: bool
    """Whether rows that cannot be learned from are refused, as in a training."""


def rows_of(rng, n, size):
    """(n, size) numbers in [0, 1], or the like of it."""
    x = rng.random((n, size))
    style = rng.choice(["free", "alike", "nearly", "ties", "flat", "binary", "outlier"])
    if style == "alike":
        x = x[:1].repeat(n, 0)
    if style == "nearly":
        x = x[:1] + 10.0 ** rng.integers(-9, -1) * x
    if style == "ties":
        x = x[rng.integers(0, rng.integers(1, 4), n)]
    if style == "flat":
        x = x[:, :1].repeat(size, 1)
    if style == "binary":
        x = np.round(x)
    if style == "outlier":
        x = np.concatenate([x[:1] / 1000 * np.ones((n - 1, 1)), x[:1] + 1])
    return x


def images_of(rng, n):
    """Images of some type, and the options that they need."""
    shape = (*rng.choice(SIDES, 2), rng.choice([1, 1, 3, 4]))
    x = rows_of(rng, n, math.prod(shape)).reshape(n, *shape).clip(0, 1)
    kind = rng.choice(["uint8", "uint16", "bool", "float32"])
    if kind == "float32":
        scale = 10.0 ** rng.integers(-30, 31)
        return (scale * x).astype(np.float32), {"range": (0.0, float(scale) * 1.01), "layout": "nhwc"}
    most = {"uint8": 255, "uint16": 65535, "bool": 1}[kind]
    return np.round(most * x).astype(kind), {"layout": "nhwc"}


def points_of(rng, n):
    """Points of any scale and place, and the options that they need."""
    d = int(rng.choice([1, 2, 3, 20, 200]))
    scale, place = 10.0 ** rng.integers(-37, 39), rng.choice([0.0, 1.0, 1000.0])
    x = (scale * (rows_of(rng, n, d) + place)).clip(max=3e38)
    return x.astype(rng.choice(["float32", "float64"])), {"standardize": bool(rng.random() < 0.7)}


def labels_of(rng, n):
    """Classes: none, one, some or all of them missing, one for each row, in words."""
    return {
        "none": lambda: None,
        "one": lambda: np.zeros(n, int),
        "three": lambda: rng.integers(0, 3, n),
        "rare": lambda: (np.arange(n) == n // 2).astype(int),
        "some missing": lambda: rng.integers(-1, 3, n),
        "all missing": lambda: np.full(n, -1),
        "own": lambda: np.arange(n),
        "words": lambda: rng.choice(["cat", "dog", ""], n),
    }[rng.choice(["none", "none", "one", "three", "rare", "some missing", "all missing", "own", "words"])]()


def case_of(seed):
    """The case of a seed."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(16, 61))
    x, options = (images_of if rng.random() < 0.5 else points_of)(rng, n)
    labels = labels_of(rng, n)
    options["held_out"] = float(rng.choice([0.0, 1 / n, 2 / n, 0.1, 0.3, 0.5, rng.random() / 2]))
    settings = [f"loss={rng.choice(list(LOSSES))}", f"game.order={rng.choice(['discriminator-first', 'simultaneous'])}"]
    if x.ndim > 2 and min(x.shape[1:3]) >= 8 and rng.random() < 0.5:
        settings += ["nets.name=dcgan"]
    if labels is not None and rng.random() < 0.5:
        settings += ["nets.conditions=labels"]
    numbers = int(rng.choice([0, 2])), int(rng.choice([4, MIN_HOLDOUT]))
    return Case(x, labels, options, settings, *numbers, rng.random() < 0.5)


def setup_of(case):
    """The game on that data, as far as it may be played.

    Raises:
        DataError: In a sentence.
    """
    small = ["nets.generator.width=8", "nets.discriminator.width=8", "latent.size=4", "game.batch=4", "train.threads=1"]
    data = from_array(case.x, case.labels, **case.options)
    data = validate(data) if case.looked_at else data
    chosen = [setting for setting in case.settings if data.classes or "conditions" not in setting]
    chosen = [
        *(name for name in chosen if "nets.name" in name),
        *small,
        *(name for name in chosen if "nets.name" not in name),
    ]
    setup = build.assemble(resolve(config.load("digits", [*chosen, 'train.device="cpu"'])), data)
    for _ in rounds(setup.state, setup.game, setup.batches, case.rounds):
        pass
    return setup


def real_width(setup):
    """How far held-out rows lie apart in the mean, and how long they are, by differences in float64."""
    x = prepare(setup).holdout.x.flatten(1).double()
    return torch.pdist(x).mean().item(), x.norm(dim=1).mean().item()


def look_at_signs(setup):
    """Every sign is a number in its range, or null; null where there is no unit, and not where there is one."""
    signs = prepare(setup).measure(setup.state)
    json.dumps(signs, allow_nan=False)
    for name in SHARES:
        assert signs.get(name) is None or 0 <= signs[name] <= 1, (name, signs[name])
    assert signs["spread"] is None or signs["spread"] >= 0
    assert signs["held_out"] is (len(setup.data.test) >= probes.MIN_HOLDOUT)
    for name in ("cells", "cells_real"):
        assert signs[name] is None or sum(signs[name]) == pytest.approx(1, abs=1e-3)
    width, length = real_width(setup)
    measured = {name for name in IN_UNITS if signs[name] is not None}
    if width < 1e-3 * length:
        assert measured == set()
    elif width > 1e-2 * length and 1e-15 < length < 1e15:
        assert measured >= {"distance", "spread", "cells"} or not np.isfinite(signs["gap"] or np.nan)
    return signs


def look_at_numbers(setup, sampler):
    """Every number is one, or NaN with a note; or too few rows are held out, which is said."""
    data = setup.data
    try:
        rows = evaluation.measure(sampler, data, 24)
    except UsageError as error:
        assert not len(data.test) or "NaN" in str(error)
        return
    assert json.loads(json.dumps([evaluation.row_to_json(row) for row in rows], allow_nan=False))
    for row in rows:
        assert not math.isnan(row.value) or row.note.startswith("not known"), row
        assert row.error != row.error or row.error >= 0, row
        if row.name in ("precision", "recall", "coverage", "asked class", "within 3 sigma"):
            assert all(math.isnan(one) or 0 <= one <= 1 for one in (row.value, row.real, row.noise)), row
        if row.name == "frechet":
            assert math.isnan(row.value) or 0 <= row.value < math.inf, row


def look_at_pictures(setup, sampler):
    """The report's pictures and those of the training."""
    data = setup.data
    found = pages.memorization(sampler, data)
    assert found is None or math.isnan(found.ratio) or found.ratio >= 0
    assert found is None or bool(found.meaning) == (found.ratio < 1e6)
    pages.walks(sampler, data)
    recorder.render_samples(setup)
    if data.kind == "images":
        recorder.real_sheet(data)


def play(seed, measures, draws, monkeypatch):
    """Ask everything of the data of a seed."""
    case = case_of(seed)
    monkeypatch.setattr(probes, "MIN_HOLDOUT", case.held_out_enough)
    try:
        setup = setup_of(case)
    except DataError as error:
        assert len(str(error)) > 20
        return
    look_at_signs(setup)
    sampler = Sampler(setup.state.average, setup.data.spec, setup.game.latent)
    if measures and np.isfinite(sampler.draw(8).array).all():
        look_at_numbers(setup, sampler)
    if draws:
        look_at_pictures(setup, sampler)


@pytest.fixture(autouse=True)
def _few(monkeypatch, tmp_path):
    """As many rows as there are will do, for an evaluation and for a cell; the classifier learns a little."""
    monkeypatch.setattr(evaluation, "MIN_ROWS", 1)
    monkeypatch.setattr(data_copying, "MIN_CELL_ROWS", 3)
    monkeypatch.setattr(evaluation, "user_cache_path", lambda _: tmp_path)
    monkeypatch.setattr(features, "TRAINING_ROWS", 20)


@pytest.mark.parametrize("seed", range(60))
def test_small_data_has_numbers_or_sentences(seed, monkeypatch):
    play(seed, seed % 2 == 0, seed % DRAWN_EVERY == 0, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1_000, 1_600))
def test_much_small_data_has_numbers_or_sentences(seed, monkeypatch):
    play(seed, True, True, monkeypatch)


def memorization_of(x, samples, **options):
    """What the page says of these samples of a game on these rows."""
    data = from_array(x, **options)

    class Drawn(Sampler):
        def draw(self, n, seed=0, label=None, world=None):
            return Samples(samples[np.arange(n) % len(samples)])

    return pages.memorization(Drawn(torch.nn.Identity(), data.spec, lambda *_: torch.zeros(1)), data)


def test_held_out_rows_that_are_training_rows_again_are_no_measure_of_memorization():
    """By products, equal rows of 200 numbers may be 1e-7 apart, and a ratio of such distances anything."""
    x = np.random.default_rng(0).standard_normal((1, 200)).astype(np.float32)
    found = memorization_of(x.repeat(40, 0), x + 1, held_out=0.5)
    assert math.isnan(found.ratio)
    assert found.meaning == ""


def test_without_held_out_rows_there_is_no_ratio_and_of_one_row_one_neighbour():
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    found = memorization_of(images, images[..., None], held_out=0.0)
    assert math.isnan(found.ratio)
    assert (found.train_rows, found.samples) == (20, 400)
    assert memorization_of(images[:1], images[..., None], held_out=0.0).train_rows == 1


def test_copies_are_suspiciously_near():
    x = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
    data = from_array(x, held_out=0.3)
    found = memorization_of(x, data.samples(data.train), held_out=0.3)
    assert found.ratio < 1e-6
    assert "suspiciously near" in found.meaning
