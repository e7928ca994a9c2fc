import numpy as np
import pytest
import torch
from scipy.stats import energy_distance as of_scipy
from sklearn.neighbors import KNeighborsClassifier

from zerosum.metrics.prdc import prdc
from zerosum.metrics.two_sample import (
    PairwiseDistances,
    energy_distance,
    memorization,
    mode_deficit,
    nn_accuracy,
    spread_ratio,
    tolerant_coverage,
    tolerant_precision,
    two_sample_distances,
)

SEEDS = range(30)


def normal(n, d=2, seed=0, shift=0.0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) + shift)


def test_the_energy_distance_in_one_dimension_is_scipys():
    x, y = normal(300, 1), normal(200, 1, seed=1, shift=0.7)
    distances = two_sample_distances(x, y)
    ours = 2 * distances.cross.mean() - distances.real.matrix.mean() - distances.fake.matrix.mean()
    assert ours.item() == pytest.approx(of_scipy(x.flatten().numpy(), y.flatten().numpy()) ** 2, rel=1e-9)


def test_the_energy_distance_of_two_shifted_normal_distributions_is_the_closed_form():
    """E|x - y| is that of N(mu, 2), whose absolute value has a known mean."""
    mu = torch.tensor(1.0, dtype=torch.float64)
    apart = 2 / torch.pi**0.5 * torch.exp(-(mu**2) / 4) + mu * torch.erf(mu / 2)
    alone = 2 / torch.pi**0.5
    found = [energy_distance(two_sample_distances(normal(1000, 1, s), normal(1000, 1, 100 + s, 1))) for s in range(10)]
    assert np.mean(found) == pytest.approx((2 * apart.item() - 2 * alone) / alone, abs=4 * np.std(found) / 10**0.5)


def test_the_energy_distance_of_equal_distributions_is_zero_without_bias():
    found = [energy_distance(two_sample_distances(normal(100, 3, s), normal(100, 3, 100 + s))) for s in range(50)]
    assert abs(np.mean(found)) < 4 * np.std(found) / 50**0.5
    assert min(found) < 0 < max(found)


def test_nn_accuracy_is_the_leave_one_out_accuracy_of_the_nearest_neighbour():
    x, y = normal(60), normal(60, seed=1, shift=0.5)
    both, kind = torch.cat([x, y]).numpy(), np.repeat([0, 1], 60)
    right = 0
    for i in range(len(both)):
        others = np.arange(len(both)) != i
        right += KNeighborsClassifier(1).fit(both[others], kind[others]).predict(both[i : i + 1])[0] == kind[i]
    assert nn_accuracy(two_sample_distances(x, y)) == pytest.approx(right / len(both))


def test_where_no_radius_is_at_its_minimum_coverage_and_precision_are_those_of_prdc():
    x, y = normal(200, 8), normal(150, 8, seed=1)
    distances, without_tolerance = two_sample_distances(x, y), prdc(x, y, k=5, k_density=5)
    assert tolerant_coverage(distances) == without_tolerance.coverage
    assert tolerant_precision(distances) == without_tolerance.precision


def test_half_of_the_modes_dropped_are_half_of_the_data_missing():
    modes = torch.arange(10.0)[:, None].double() * 10
    real, fake = modes.repeat(40, 1) + normal(400, 1), modes[:5].repeat(80, 1) + normal(400, 1, seed=1)
    distances = two_sample_distances(real, fake)
    assert mode_deficit(distances) == pytest.approx(0.5, abs=0.02)
    assert tolerant_coverage(distances) == pytest.approx(0.5, abs=0.02)
    assert tolerant_precision(distances) > 0.95


def test_copies_of_training_rows_are_nearer_to_them_and_fresh_rows_are_not():
    train, held = normal(200, 10), normal(200, 10, seed=1)
    assert memorization(train[:100] + 0.01, train, held) == 1
    found = [memorization(normal(100, 10, 2 + s), normal(200, 10, 1000 + s), normal(200, 10, 2000 + s)) for s in SEEDS]
    assert abs(np.mean(found) - 0.5) < 4 * np.std(found) / 30**0.5


@pytest.mark.parametrize("width", [0.1, 0.5, 2.0])
def test_a_narrow_or_wide_sampler_of_the_distribution_copies_nothing(width):
    """Where C_T takes narrowness for copying, this does not."""
    found = [memorization(width * normal(200, 2, s), normal(500, 2, 100 + s), normal(500, 2, 200 + s)) for s in SEEDS]
    assert abs(np.mean(found) - 0.5) < 4 * np.std(found) / 30**0.5


@pytest.mark.parametrize(
    "measure", [energy_distance, spread_ratio, mode_deficit, tolerant_coverage, tolerant_precision, nn_accuracy]
)
def test_nothing_depends_on_units_place_or_turn(measure):
    x, y = normal(80), 0.8 * normal(70, seed=1, shift=0.3)
    turn = torch.linalg.qr(normal(2, seed=5))[0]
    moved = [17 * (points @ turn) + 5 for points in (x, y)]
    assert measure(two_sample_distances(*moved)) == pytest.approx(measure(two_sample_distances(x, y)), abs=1e-9)


def test_one_point_again_and_again_has_no_spread():
    x = normal(50)
    assert spread_ratio(two_sample_distances(x, x[:1].repeat(40, 1))) == pytest.approx(0, abs=1e-6)


def test_the_usual_distance_leaves_out_the_diagonal():
    assert PairwiseDistances(torch.tensor([[0.0, 3.0], [3.0, 0.0]])).mean == 3


EVERY = [energy_distance, spread_ratio, mode_deficit, tolerant_coverage, tolerant_precision, nn_accuracy]


def alike(n, d=8, size=1.0, apart=0.0, seed=0):
    """Rows of one length that differ by so much, in float32."""
    rng = np.random.default_rng(seed)
    row = rng.standard_normal(d) * size
    return torch.from_numpy((row + apart * rng.standard_normal((n, d))).astype(np.float32))


@pytest.mark.parametrize("measure", EVERY)
@pytest.mark.parametrize("n", [2, 8, 26, 100])
@pytest.mark.parametrize("apart", [0.0, 1e-7, 1e-4])
def test_where_real_rows_are_alike_there_is_no_unit_and_nothing_is_known(measure, n, apart):
    real = alike(n, apart=apart)
    for fake in (real, alike(30, seed=1), real + 5):
        assert np.isnan(measure(two_sample_distances(real, fake)))


@pytest.mark.parametrize("measure", EVERY)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_samples_that_are_no_numbers_have_no_measure(measure, bad):
    fake = normal(30)
    fake[7, 0] = bad
    assert np.isnan(measure(two_sample_distances(normal(40), fake)))
    assert np.isnan(memorization(fake, normal(20, seed=1), normal(20, seed=2)))


@pytest.mark.parametrize("measure", EVERY)
def test_of_no_rows_or_one_nothing_is_known(measure):
    for real, fake in ((normal(0), normal(9)), (normal(1), normal(9)), (normal(9), normal(0))):
        assert np.isnan(measure(two_sample_distances(real, fake)))


def test_of_one_sample_it_is_known_where_it_lies_and_not_how_samples_lie_to_each_other():
    distances = two_sample_distances(torch.arange(9.0)[:, None], torch.tensor([[4.0]]))
    assert [measure(distances) for measure in (tolerant_precision, tolerant_coverage)] == [1.0, 1.0]
    assert all(np.isnan(measure(distances)) for measure in (energy_distance, spread_ratio, nn_accuracy))


@pytest.mark.parametrize("place", [0.0, 10.0, 1e4])
def test_samples_that_are_all_alike_have_no_spread_wherever_they_lie(place):
    """By products alone, the spread at 1e4 would be about 1."""
    assert spread_ratio(two_sample_distances(normal(100).float(), (normal(1) + place).float().repeat(60, 1))) == 0.0


def test_rows_a_thousand_times_as_far_from_the_origin_as_from_each_other_are_not_taken_for_alike():
    real, fake = normal(100) + 1000, normal(80, seed=1) + 1000
    assert energy_distance(two_sample_distances(real, fake)) == pytest.approx(
        energy_distance(two_sample_distances(real - 1000, fake - 1000)), abs=1e-6
    )


def test_nearer_to_no_rows_is_not_known():
    assert np.isnan(memorization(normal(5), normal(0), normal(3)))
    assert np.isnan(memorization(normal(0), normal(3), normal(3)))
