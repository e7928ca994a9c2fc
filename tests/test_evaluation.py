"""Numbers beside their floor and ceiling; bad input is answered, never measured."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from zerosum import config, evaluation
from zerosum.config.settings import Choice
from zerosum.data import DATASETS, from_array
from zerosum.errors import DataError, UsageError
from zerosum.evaluation import class_distances, evaluate, get_extractor, refuse_incomparable
from zerosum.metric_rows import (
    UNKNOWN,
    SampleSets,
    class_rows,
    density_rows,
    feature_measurements,
    mixture_rows,
    row_to_json,
)
from zerosum.metrics import features
from zerosum.metrics.distances import frechet_distance
from zerosum.metrics.features import pixels
from zerosum.metrics.prdc import prdc
from zerosum.resolved import resolve
from zerosum.run import RunFolder
from zerosum.samples import Samples
from zerosum.sampling import Sampler
from zerosum.spec import SampleSpec
from zerosum.training import loop


def feature_rows(sets, extractor):
    return [row for measurement in feature_measurements(sets, extractor) for row in measurement()]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(features, "TRAINING_ROWS", 15_000)


@pytest.fixture(scope="module")
def digits():
    return DATASETS["digits"]()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def by_name(rows):
    return {row.name: row for row in rows}


def sides(data, fake):
    return SampleSets(data, fake, len(data.test))


def test_real_data_in_place_of_samples_scores_what_real_data_scores(digits, cache):
    held_out = digits.samples(digits.test)
    extractor = get_extractor("classifier", digits, cache)
    for row in feature_rows(sides(digits, held_out), extractor):
        if row.name != "copying":
            assert row.value == pytest.approx(row.real, rel=1e-9), row
    for row in class_rows(sides(digits, held_out), extractor):
        assert row.value == pytest.approx(row.real, rel=1e-9), row


@pytest.mark.parametrize("name", ["pixels", "classifier"])
def test_metrics_fall_with_noise_with_blur_and_with_missing_classes(digits, cache, name):
    extractor = get_extractor(name, digits, cache)
    real = digits.samples(digits.test)
    rng = np.random.default_rng(0)
    labels = digits.test.all_labels()

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
        reference = extractor.features(digits.samples(digits.train))
        clouds = [extractor.features(fake) for fake in [real, *series]]
        frechet = [frechet_distance(reference, cloud).value for cloud in clouds]
        assert frechet == sorted(frechet)
        coverage = [prdc(reference, cloud).coverage for cloud in clouds]
        assert coverage == sorted(coverage, reverse=True)


def test_training_rows_as_samples_are_seen_as_copies(digits):
    copies = digits.samples(digits.train, len(digits.test))
    found = by_name(feature_rows(sides(digits, copies), pixels()))["copying"]
    assert found.value < -10
    assert abs(found.real) < 4


def test_a_missing_class_is_counted(digits, cache):
    images, labels = digits.samples(digits.test), digits.test.all_labels()
    found = by_name(class_rows(sides(digits, images[labels != 3]), get_extractor(None, digits, cache)))
    assert found["classes found"].value <= 10
    assert found["class KL"].value > 10 * found["class KL"].real


def test_the_class_that_was_asked_for_is_looked_for(digits, cache):
    images, labels = digits.samples(digits.test), digits.test.all_labels()
    wrong = np.where(np.arange(len(labels)) % 4, labels, (labels + 1) % 10)  # a quarter is not what was asked for
    both = SampleSets(digits, images, len(images), wrong)
    found = by_name(class_rows(both, get_extractor(None, digits, cache)))["asked class"]
    assert found.real > 0.92
    assert found.value == pytest.approx(0.75 * found.real, abs=0.03)
    assert found.noise < 0.3


def test_the_parzen_likelihood_of_real_images_is_above_that_of_noise(digits):
    (row,) = density_rows(sides(digits, digits.samples(digits.train, 500)))
    assert row.real > row.noise + 20
    assert row.error < 2


def test_modes_of_a_mixture_are_counted_against_true_points():
    ring = DATASETS["ring"]()
    found = by_name(mixture_rows(sides(ring, ring.test.x[ring.test.all_labels() < 6])))
    assert (found["modes found"].value, found["modes found"].real) == (6, 8)
    assert found["mode KL"].value == pytest.approx(np.log(8 / 6), abs=0.01)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from zerosum import config

    settings = resolve(config.load("digits", ["train.rounds=3", 'train.device="cpu"', "train.threads=1"]))
    folder = RunFolder(tmp_path_factory.mktemp("evaluated") / "run")
    for _ in loop.fit(settings, folder):
        pass
    return folder


def test_a_run_is_measured_the_same_twice_and_the_numbers_are_kept(run, cache):
    step, rows = evaluate(run, n=60, features="pixels", cache=cache)
    assert [row[:2] for row in rows] == [row[:2] for row in evaluate(run, n=60, features="pixels", cache=cache)[1]]
    evaluation.record(run, rows, step)
    (line,) = (run.path / "metrics.jsonl").read_text().splitlines()
    kept = json.loads(line)
    assert kept["round"] == 3
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
        get_extractor("classifier", data)
    assert get_extractor(None, data).name == "pixels"


def test_samples_that_are_not_like_the_data_are_refused(digits):
    real = digits.samples(digits.test)
    with pytest.raises(DataError, match="cannot be compared"):
        refuse_incomparable(real[:, :7], real)
    with pytest.raises(DataError, match="2 of 3 samples hold NaN"):
        refuse_incomparable(np.array([[0.0], [np.nan], [np.inf]]), np.zeros((5, 1)))


def test_constant_samples_have_numbers_and_bad_ones(digits):
    gray = np.full_like(digits.samples(digits.test), 128)
    found = by_name(feature_rows(sides(digits, gray), pixels()))
    assert found["coverage"].value == found["recall"].value == 0
    assert found["frechet"].value > 10 * found["frechet"].real
    assert all(np.isfinite(row.value) for row in found.values())


def test_with_few_held_out_rows_the_floor_has_as_many(digits):
    few = replace(digits, test=replace(digits.test, x=digits.test.x[:60], labels=digits.test.labels[:60]))
    assert len(SampleSets(few, digits.samples(digits.train, 60), 60).real) == 60


def test_a_run_is_not_measured_against_data_that_it_did_not_begin_with(run, cache, monkeypatch):
    monkeypatch.setattr("zerosum.data.dataset.Data.fingerprint", lambda _: "another")
    with pytest.raises(DataError, match="not what this run began with"):
        evaluate(run, n=60, features="pixels", cache=cache)


def test_classes_are_nearer_to_themselves_than_to_each_other(digits):
    table = class_distances(digits, pixels())
    assert table.separates_classes
    assert table.distance.shape == (10, 10)


def test_classes_that_are_not_there_are_not_compared(digits):
    with pytest.raises(DataError, match="no classes"):
        class_distances(from_array(np.random.default_rng(0).integers(0, 256, (200, 8, 8), dtype=np.uint8)), pixels())
    few = np.where(digits.train.labels == 4, 5, digits.train.labels)
    with pytest.raises(DataError, match="class '4' has 0 rows"):
        class_distances(replace(digits, train=replace(digits.train, labels=few)), pixels())


def test_one_picture_again_and_again_is_measured_or_said_to_be_unmeasurable(digits):
    """Constant samples: no number is silently good."""
    same = np.repeat(digits.samples(digits.test)[:1], 540, axis=0)
    rows = by_name(feature_rows(sides(digits, same), pixels()))
    assert rows["frechet"].value > 10 * rows["frechet"].real
    assert rows["recall"].value == 0
    assert rows["coverage"].value < 0.05
    assert np.isnan(rows["copying"].value) or abs(rows["copying"].value) > 3
    assert row_to_json(rows["copying"])["value"] is None or abs(rows["copying"].value) > 3


def test_missed_modes_and_classes_are_named(digits, cache):
    labels = digits.test.all_labels()
    fours = digits.samples(digits.test)[labels == 4]
    seen = by_name(class_rows(sides(digits, fours), get_extractor("classifier", digits, cache)))
    assert seen["classes found"].value < 10
    assert seen["classes found"].note.startswith("missed: 0")
    ring = DATASETS["ring"]()
    some = ring.samples(ring.test)[ring.test.all_labels() < 6]
    found = by_name(mixture_rows(sides(ring, some)))
    assert found["modes found"].value == 6
    assert found["modes found"].note.count("(") == 2
    assert found["mode KL"].error > 0


class Drawn(Sampler):
    """A sampler whose samples are given."""

    def __init__(self, samples, labels=None):
        self.samples, self.labels = samples, labels

    def draw(self, n, seed=0, label=None, world=None):
        places = np.arange(n) % len(self.samples)
        return Samples(self.samples[places], None if self.labels is None else self.labels[places])


def images(n, seed=0, size=6):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size), dtype=np.uint8)


def measured_on(data, samples=None, **options):
    samples = data.samples(data.train) if samples is None else samples
    return by_name(evaluation.measure(Drawn(samples), data, **options))


MORE = "Train anew with more of them held out: --set data.held_out="
NEVER = "There are {} rows in all; with 66 and more, enough can be held out"


@pytest.mark.parametrize("n", [None, 60, 5])
@pytest.mark.parametrize(
    ("rows", "held_out", "advice"),
    [
        (100, 0.1, MORE + "0.5"),
        (300, 0.1, MORE + "0.17"),
        (100, 0.0, MORE + "0.5"),
        (60, 0.5, NEVER.format(60)),
        (16, 0.0, NEVER.format(16)),
    ],
)
def test_too_few_held_out_rows_are_said_with_what_to_do(n, rows, held_out, advice):
    data = from_array(images(rows), held_out=held_out)
    with pytest.raises(UsageError) as caught:
        evaluation.measure(Drawn(data.samples(data.train)), data, n, "pixels")
    few = f"array: {len(data.test)} held-out rows are too few, at least 50 are needed. "
    assert str(caught.value) == few + advice


@pytest.mark.parametrize("every", [66, 67, 99, 100, 101, 149, 151, 333, 5001])
def test_the_share_that_is_advised_is_enough(every):
    with pytest.raises(UsageError) as caught:
        evaluation.refuse_too_few_rows(from_array(images(every, size=1), held_out=0.0))
    share = float(str(caught.value).rpartition("=")[2])
    data = from_array(images(every, size=1), held_out=share)
    evaluation.refuse_too_few_rows(data)
    assert len(data.train) >= 16


@pytest.mark.parametrize("n", [0, -3, 49])
def test_too_few_samples_are_said(n):
    data = from_array(images(200), held_out=0.5)
    with pytest.raises(UsageError, match=f"n = {n}: at least 50 samples"):
        evaluation.measure(Drawn(data.samples(data.train)), data, n, "pixels")


def test_sixteen_training_rows_are_enough_to_be_compared_with():
    data = from_array(images(66), held_out=50 / 66)
    rows = measured_on(data, data.samples(data.test), features="pixels")
    assert len(data.train) == 16
    for row in rows.values():
        others = row.name in ("copying", "log-likelihood")  # whose floor is that of other rows
        assert others or row.value == pytest.approx(row.real, rel=1e-9)
        assert not row.note


@pytest.mark.parametrize("same", [True, False])
def test_where_all_rows_are_alike_what_rests_on_neighbours_is_not_known(same):
    data = from_array(images(1).repeat(120, 0), held_out=0.5)
    rows = measured_on(data, None if same else data.samples(data.train)[:1] ^ 1, features="pixels")
    for name in ("precision", "recall", "density", "coverage"):
        assert np.isnan(rows[name].value)
        assert rows[name].note == UNKNOWN
    away = 0.0 if same else 36 / 255**2  # each of 36 numbers is one gray value off
    assert rows["frechet"].value == pytest.approx(away, abs=1e-12)
    if same:
        assert rows["copying"].value == rows["copying"].real == 0.0
        assert abs(rows["kernel"].value) <= rows["kernel"].error < 1e-13
    else:
        assert rows["copying"].value > 3
        assert rows["kernel"].value > 4 * rows["kernel"].error
    assert rows["log-likelihood"].value >= rows["log-likelihood"].noise
    json.dumps([row_to_json(row) for row in rows.values()], allow_nan=False)


def test_where_no_part_of_the_space_holds_enough_copying_is_not_known_and_says_why():
    held_out = images(55)
    far = np.concatenate([images(16, 1) // 9, 255 - images(16, 2) // 9, images(55)])  # held-out rows are all in between
    data = from_array(far, held_out=0.0)
    data = replace(data, test=replace(data.train, x=held_out[:, None], rows=None))
    row = measured_on(data, data.samples(data.train)[:19] * 0, features="pixels")["copying"]
    assert np.isnan(row.value)
    assert np.isnan(row.error)
    assert row.note == "not known: no part of the space holds 20 samples and as many held-out rows"


def labelled(n, labels, held_out=0.5):
    return from_array(images(n), labels, held_out=held_out)


def test_data_of_one_class_has_a_classifier(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "TRAINING_ROWS", 200)
    rows = measured_on(labelled(140, np.zeros(140, int)), cache=tmp_path)
    assert rows["classifier score"].value == rows["classes found"].value == 1.0
    assert rows["class KL"].value == 0.0


def test_classes_of_which_no_training_row_is_are_infinitely_far_or_missed(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "TRAINING_ROWS", 200)
    data = labelled(140, np.arange(140) % 3)
    labels = data.train.labels.copy()
    train = data.train.rows
    labels[train[labels[train] == 2]] = 1
    rows = measured_on(replace(data, train=replace(data.train, labels=labels)), cache=tmp_path)
    assert rows["classes found"].value <= 3
    assert rows["class KL"].value >= 0
    json.dumps([row_to_json(row) for row in rows.values()], allow_nan=False)


@pytest.mark.parametrize("name", [None, "classifier"])
def test_labels_that_are_all_missing_are_no_labels(name, tmp_path):
    data = labelled(120, np.full(120, -1))
    if name is None:
        assert get_extractor(name, data, tmp_path).name == "pixels"
        assert "classes found" not in measured_on(data, cache=tmp_path)
    else:
        with pytest.raises(DataError, match="--features pixels"):
            get_extractor(name, data, tmp_path)


def test_classes_that_were_asked_for_and_no_held_out_label_have_no_floor(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "TRAINING_ROWS", 200)
    data = labelled(140, np.arange(140) % 2)
    labels = data.test.labels.copy()
    labels[data.test.rows] = -1
    data = replace(data, test=replace(data.test, labels=labels))
    sampler = Drawn(data.samples(data.train), np.arange(len(data.train)) % 2)
    row = by_name(evaluation.measure(sampler, data, cache=tmp_path))["asked class"]
    assert 0 <= row.value <= 1
    assert np.isnan(row.real)


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1.0, 1e20, 1e37])
def test_points_of_any_scale_have_noise_of_their_scale_and_numbers(scale):
    points = (scale * np.random.default_rng(0).standard_normal((300, 2))).astype(np.float32)
    data = from_array(points, held_out=0.3)
    rows = measured_on(data)
    noise = SampleSets(data, data.samples(data.train), 90).noise
    assert noise.astype(np.float64).std() == pytest.approx(scale, rel=0.2)
    assert rows["frechet"].value == pytest.approx(0.0221838 * scale**2, rel=1e-4, abs=0)
    assert rows["precision"].value == 1.0
    assert rows["recall"].value == pytest.approx(rows["recall"].real, abs=0.1)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: np.full((len(x), 2), np.nan), "NaN or infinity"),
        (lambda x: np.ones((len(x) + 1, 2)), "expected"),
        (lambda x: "features", "no array of numbers"),
        (3, "a function from samples"),
    ],
)
def test_odd_features_of_the_users_are_said(function, says, monkeypatch):
    monkeypatch.setattr(evaluation, "lookup", lambda *_: function)
    with pytest.raises(UsageError, match=says):
        measured_on(from_array(images(120), held_out=0.5), features="lab:features")


@pytest.mark.parametrize(("size", "fits"), [(8, True), ([8, 8], True), ((8, 8), True), (4096, False), ([8, 9], False)])
def test_pictures_are_not_read_in_another_size_than_that_of_the_samples(size, fits):
    settings = config.load("digits").model_copy(update={"data": Choice(name="pictures", size=size)})
    form = SampleSpec("images", (1, 8, 8), (0.0,), (1.0,), None)
    with nullcontext() if fits else pytest.raises(DataError, match="the checkpoint's samples are 8 x 8"):
        evaluation.refuse_other_size(settings, form)
