import math

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from zerosum.metrics import prdc_estimates
from zerosum.metrics.prdc import BLOCK, coverage, knn_distance, nearest_neighbors, prdc


@pytest.mark.parametrize("k", [1, 2, 5])
def test_neighbours_equal_those_of_scikit_learn(k):
    points, others = torch.randn(200, 7, dtype=torch.float64), torch.randn(300, 7, dtype=torch.float64)
    theirs = NearestNeighbors(n_neighbors=k).fit(others.numpy()).kneighbors(points.numpy())[0][:, -1]
    torch.testing.assert_close(knn_distance(points, others, k), torch.from_numpy(theirs), rtol=1e-12, atol=0)


def test_all_of_the_nearest_are_those_of_scikit_learn_from_near_to_far():
    points, others = torch.randn(BLOCK + 7, 7).double(), torch.randn(300, 7).double()
    distance, row = NearestNeighbors(n_neighbors=4).fit(others.numpy()).kneighbors(points.numpy())
    found = nearest_neighbors(points, others, 4)
    torch.testing.assert_close(found.distance, torch.from_numpy(distance), rtol=1e-6, atol=0)
    assert torch.equal(found.row, torch.from_numpy(row))


def test_blocks_do_not_show():
    points, others = torch.randn(BLOCK + 7, 2), torch.randn(50, 2)
    assert torch.equal(knn_distance(points, others)[-7:], knn_distance(points[-7:], others))


def test_a_copied_point_is_at_distance_zero_even_far_from_the_origin():
    points = torch.full((3, 4), 1e6) + torch.arange(3.0)[:, None]
    assert torch.equal(knn_distance(points, points), torch.zeros(3))


def test_coverage_by_hand():
    real = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    assert coverage(real, torch.tensor([[0.5]]), k=1) == 0.5
    assert coverage(real, torch.tensor([[50.0]]), k=1) == 0.0
    assert coverage(real, real, k=1) == 1.0


def test_a_perfect_sampler_covers_the_expected_share():
    """1 - prod_{i=1..k} (n - i) / (2n - i) for as many fakes as reals of the same distribution, about 1 - 2^-k."""
    n, k = 1000, 5
    factors = [(n - i) / (2 * n - i) for i in range(1, k + 1)]
    expected = 1 - torch.tensor(factors).prod().item()
    found = [coverage(torch.randn(n, 3), torch.randn(n, 3), k) for _ in range(5)]
    assert sum(found) / 5 == pytest.approx(expected, abs=0.01)


def as_published(real, fake, k):
    """prdc's four numbers, from all distances at once."""
    real_real, fake_fake, real_fake = torch.cdist(real, real), torch.cdist(fake, fake), torch.cdist(real, fake)
    near, far = real_real.kthvalue(k + 1, 1).values, fake_fake.kthvalue(k + 1, 1).values
    inside = real_fake < near[:, None]
    return (
        inside.any(0).double().mean(),
        (real_fake < far).any(1).double().mean(),
        inside.sum(0).double().mean() / k,
        (real_fake.min(1).values < near).double().mean(),
    )


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
def test_the_four_numbers_equal_their_definitions(shift):
    real, fake = torch.randn(1300, 5, dtype=torch.float64), torch.randn(1100, 5, dtype=torch.float64) + shift
    found = prdc(real, fake, k=3, k_density=5)
    assert found[:2] == pytest.approx([part.item() for part in as_published(real, fake, 3)[:2]], abs=1e-12)
    assert found[2:] == pytest.approx([part.item() for part in as_published(real, fake, 5)[2:]], abs=1e-12)


def test_a_collapsed_generator_is_precise_and_covers_nothing():
    real = torch.randn(1000, 3)
    found = prdc(real, real[:1] * 0 + 0.01 * torch.randn(1000, 3))
    assert found.precision > 0.99
    assert found.recall < 0.01
    assert found.coverage < 0.1


def test_the_same_distribution_has_the_density_of_theory():
    found = prdc(torch.randn(2000, 3), torch.randn(2000, 3))
    assert found.density == pytest.approx(1, abs=0.05)
    assert found.coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_a_neighbour_that_is_not_there_makes_nan_and_no_error():
    x, y = torch.randn(4, 2), torch.randn(9, 2)
    assert knn_distance(y, x, 5).isnan().all()
    assert nearest_neighbors(y, x, 5).row.shape == (9, 4)
    assert math.isnan(coverage(x, y, k=4))
    assert math.isnan(coverage(y, x[:0], k=4))


def known(found):
    return [name for name, value in found._asdict().items() if not math.isnan(value)]


@pytest.mark.parametrize(
    ("n", "m", "names"),
    [
        (0, 9, []), (9, 0, []), (3, 9, ["recall"]), (5, 9, ["precision", "recall"]),
        (6, 3, ["precision", "density", "coverage"]), (6, 4, ["precision", "recall", "density", "coverage"]),
    ],
)  # fmt: skip
def test_each_number_is_known_from_as_many_rows_as_it_needs(n, m, names):
    assert known(prdc(torch.randn(n, 2), torch.randn(m, 2), k=3, k_density=5)) == names


@pytest.mark.parametrize("fake", [torch.zeros(60, 300), torch.ones(60, 300)])
def test_among_real_rows_that_are_alike_nothing_is_known(fake):
    assert known(prdc(torch.ones(60, 300) / 3, fake / 3)) == []


def test_some_real_rows_that_are_alike_do_not_hide_the_others():
    x = torch.randn(200, 3, dtype=torch.float64)
    x[:15] = x[0]
    assert len(known(prdc(x, torch.randn(100, 3)))) == 4
    x[:60] = x[0]
    assert known(prdc(x, torch.randn(100, 3))) == []


def test_rows_that_are_no_numbers_have_no_manifold():
    x = torch.randn(20, 3)
    assert known(prdc(x, torch.full((20, 3), torch.nan))) == []
    assert known(prdc(torch.full((20, 3), torch.inf), x)) == []


def test_shares_of_no_rows_are_not_known():
    for value, error in prdc_estimates(torch.randn(0, 2), torch.randn(3, 2)).values():
        assert math.isnan(value)
        assert math.isnan(error)
