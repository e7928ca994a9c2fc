"""Numbers beside their floor and ceiling; bad input is answered, never measured."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from zerosum import evaluation, training
from zerosum.data import DATASETS, from_array
from zerosum.errors import DataError, UsageError
from zerosum.evaluation import (
    Sides,
    between_classes,
    compared,
    evaluate,
    extractor,
    of_classes,
    of_density,
    of_mixture,
    refuse,
)
from zerosum.metrics import features
from zerosum.metrics.distances import frechet_distance
from zerosum.metrics.features import pixels
from zerosum.metrics.manifold import manifold
from zerosum.run import RunFolder


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(features, "SEEN", 15_000)


@pytest.fixture(scope="module")
def digits():
    return DATASETS["digits"]()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def by_name(rows):
    return {row.name: row for row in rows}


def sides(data, fake):
    return Sides(data, fake, len(data.test))


def test_real_data_in_place_of_samples_scores_what_real_data_scores(digits, cache):
    held_out = digits.samples(digits.test)
    look = extractor("classifier", digits, cache)
    for row in compared(sides(digits, held_out), look):
        if row.name != "copying":
            assert row.value == pytest.approx(row.real, rel=1e-9), row
    for row in of_classes(sides(digits, held_out), look):
        assert row.value == pytest.approx(row.real, rel=1e-9), row


@pytest.mark.parametrize("name", ["pixels", "classifier"])
def test_metrics_fall_with_noise_with_blur_and_with_missing_classes(digits, cache, name):
    look = extractor(name, digits, cache)
    real = digits.samples(digits.test)
    rng = np.random.default_rng(0)
    labels = digits.test.every_label()

    def noisy(strength):
        return np.clip(real + strength * rng.standard_normal(real.shape), 0, 255).astype(np.uint8)

    def blurred(times):
        x = torch.from_numpy(real).permute(0, 3, 1, 2).float()
        for _ in range(times):
            x = torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return x.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()

    def without(classes):
        kept = real[labels >= classes]
        return kept[np.arange(len(real)) % len(kept)]

    for series in ([noisy(s) for s in (15, 60, 150)], [blurred(k) for k in (1, 2, 4)], [without(k) for k in (2, 5, 8)]):
        reference = look.features(digits.samples(digits.train))
        clouds = [look.features(fake) for fake in [real, *series]]
        frechet = [frechet_distance(reference, cloud).value for cloud in clouds]
        assert frechet == sorted(frechet)
        coverage = [manifold(reference, cloud).coverage for cloud in clouds]
        assert coverage == sorted(coverage, reverse=True)


def test_training_rows_as_samples_are_seen_as_copies(digits):
    copies = digits.samples(digits.train, len(digits.test))
    found = by_name(compared(sides(digits, copies), pixels()))["copying"]
    assert found.value < -10
    assert abs(found.real) < 4


def test_a_missing_class_is_counted(digits, cache):
    images, labels = digits.samples(digits.test), digits.test.every_label()
    found = by_name(of_classes(sides(digits, images[labels != 3]), extractor(None, digits, cache)))
    assert found["classes found"].value <= 10
    assert found["class KL"].value > 10 * found["class KL"].real


def test_the_class_that_was_asked_for_is_looked_for(digits, cache):
    images, labels = digits.samples(digits.test), digits.test.every_label()
    wrong = np.where(np.arange(len(labels)) % 4, labels, (labels + 1) % 10)  # a quarter is not what was asked for
    both = Sides(digits, images, len(images), wrong)
    found = by_name(of_classes(both, extractor(None, digits, cache)))["asked class"]
    assert found.real > 0.92
    assert found.value == pytest.approx(0.75 * found.real, abs=0.03)
    assert found.noise < 0.3


def test_the_parzen_likelihood_of_real_images_is_above_that_of_noise(digits):
    (row,) = of_density(sides(digits, digits.samples(digits.train, 500)))
    assert row.real > row.noise + 20
    assert row.error < 2


def test_modes_of_a_mixture_are_counted_against_true_points():
    ring = DATASETS["ring"]()
    found = by_name(of_mixture(sides(ring, ring.test.x[ring.test.every_label() < 6])))
    assert (found["modes found"].value, found["modes found"].real) == (6, 8)
    assert found["mode KL"].value == pytest.approx(np.log(8 / 6), abs=0.01)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from zerosum import build, config

    settings = build.resolve(config.load("digits", ["train.steps=3", 'train.device="cpu"', "train.threads=1"]))
    folder = RunFolder(tmp_path_factory.mktemp("evaluated") / "run")
    for _ in training.fit(settings, folder):
        pass
    return folder


def test_a_run_is_measured_the_same_twice_and_the_numbers_are_kept(run, cache):
    rows = evaluate(run, n=60, features="pixels", cache=cache)
    assert [row[:2] for row in rows] == [row[:2] for row in evaluate(run, n=60, features="pixels", cache=cache)]
    evaluation.record(run, rows, 3)
    (line,) = (run.path / "metrics.jsonl").read_text().splitlines()
    kept = json.loads(line)
    assert kept["step"] == 3
    assert [row["name"] for row in kept["metrics"]] == [row.name for row in rows]
    assert {row["n"] for row in kept["metrics"]} == {60}


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"n": 49}, UsageError, "at least 50"),
        ({"features": "nothing"}, UsageError, "no extractor"),
        ({"features": "inception"}, UsageError, "inception-2015"),
        ({"features": "no_such_module:f"}, UsageError, "cannot be imported"),
    ],
)
def test_what_cannot_be_measured_is_said(run, cache, options, error, says):
    with pytest.raises(error, match=says):
        evaluate(run, **({"n": 60} | options), cache=cache)


def test_a_classifier_needs_labels():
    data = from_array(np.random.default_rng(0).integers(0, 256, (200, 8, 8), dtype=np.uint8))
    with pytest.raises(DataError, match="--features pixels"):
        extractor("classifier", data)
    assert extractor(None, data).name == "pixels"


def test_samples_that_are_not_like_the_data_are_refused(digits):
    real = digits.samples(digits.test)
    with pytest.raises(DataError, match="cannot be compared"):
        refuse(real[:, :7], real)
    with pytest.raises(DataError, match="2 of 3 samples hold NaN"):
        refuse(np.array([[0.0], [np.nan], [np.inf]]), np.zeros((5, 1)))


def test_constant_samples_have_numbers_and_bad_ones(digits):
    grey = np.full_like(digits.samples(digits.test), 128)
    found = by_name(compared(sides(digits, grey), pixels()))
    assert found["coverage"].value == found["recall"].value == 0
    assert found["frechet"].value > 10 * found["frechet"].real
    assert all(np.isfinite(row.value) for row in found.values())


def test_with_few_held_out_rows_the_floor_has_as_many(digits):
    few = replace(digits, test=replace(digits.test, x=digits.test.x[:60], labels=digits.test.labels[:60]))
    assert len(Sides(few, digits.samples(digits.train, 60), 60).real) == 60


def test_a_run_is_not_measured_against_data_that_it_did_not_begin_with(run, cache, monkeypatch):
    monkeypatch.setattr("zerosum.data.record.Data.fingerprint", lambda _: "another")
    with pytest.raises(DataError, match="not what this run began with"):
        evaluate(run, n=60, features="pixels", cache=cache)


def test_classes_are_nearer_to_themselves_than_to_each_other(digits):
    table = between_classes(digits, pixels())
    assert table.sees
    assert table.distance.shape == (10, 10)


def test_classes_that_are_not_there_are_not_compared(digits):
    with pytest.raises(DataError, match="no classes"):
        between_classes(from_array(np.random.default_rng(0).integers(0, 256, (200, 8, 8), dtype=np.uint8)), pixels())
    few = np.where(digits.train.labels == 4, 5, digits.train.labels)
    with pytest.raises(DataError, match="class '4' has 0 rows"):
        between_classes(replace(digits, train=replace(digits.train, labels=few)), pixels())


def test_one_picture_again_and_again_is_measured_or_said_to_be_unmeasurable(digits):
    """Constant samples: no number is silently good."""
    same = np.repeat(digits.samples(digits.test)[:1], 540, axis=0)
    rows = by_name(compared(sides(digits, same), pixels()))
    assert rows["frechet"].value > 10 * rows["frechet"].real
    assert rows["recall"].value == 0
    assert rows["coverage"].value < 0.05
    assert np.isnan(rows["copying"].value) or abs(rows["copying"].value) > 3
    assert evaluation.facts(rows["copying"])["value"] is None or abs(rows["copying"].value) > 3


def test_missed_modes_and_classes_are_named(digits, cache):
    labels = digits.test.every_label()
    fours = digits.samples(digits.test)[labels == 4]
    seen = by_name(of_classes(sides(digits, fours), extractor("classifier", digits, cache)))
    assert seen["classes found"].value < 10
    assert seen["classes found"].note.startswith("missed: 0")
    ring = DATASETS["ring"]()
    some = ring.samples(ring.test)[ring.test.every_label() < 6]
    found = by_name(of_mixture(sides(ring, some)))
    assert found["modes found"].value == 6
    assert found["modes found"].note.count("(") == 2
    assert found["mode KL"].error > 0
