import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from zerosum.metrics.neighbors import BLOCK, knn_radii, nearest_distance, nearest_neighbors


@pytest.fixture
def two():
    """Points, more than a block of them, and others."""
    return torch.randn(BLOCK + 7, 7, dtype=torch.float64), torch.randn(300, 7, dtype=torch.float64)


def test_neighbours_are_those_of_scikit_learn_from_near_to_far(two):
    points, others = two
    distance, row = NearestNeighbors(n_neighbors=4).fit(others.numpy()).kneighbors(points.numpy())
    found = nearest_neighbors(points, others, 4)
    torch.testing.assert_close(found.distance, torch.from_numpy(distance), rtol=1e-6, atol=0)
    assert torch.equal(found.row, torch.from_numpy(row))


def test_the_nearest_distance_is_that_of_the_first_neighbour_to_the_bit(two):
    assert torch.equal(nearest_distance(*two), nearest_neighbors(*two, 1).distance[:, 0])


@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_radius_reaches_the_kth_neighbour_not_counting_the_point(two, k):
    points, _ = two
    theirs = NearestNeighbors(n_neighbors=k).fit(points.numpy()).kneighbors()[0][:, -1]  # without the points themselves
    (found,) = knn_radii(points, k)
    torch.testing.assert_close(found, torch.from_numpy(theirs), rtol=1e-6, atol=0)
    assert torch.equal(knn_radii(points, 1, k, 3)[1], found)


def test_blocks_do_not_show(two):
    points, others = two
    assert torch.equal(nearest_distance(points, others)[-7:], nearest_distance(points[-7:], others))


def test_a_neighbour_that_is_not_there_makes_nan_and_no_error():
    x, y = torch.randn(4, 2), torch.randn(9, 2)
    assert nearest_neighbors(y, x, 5).row.shape == (9, 4)
    assert nearest_distance(y, x[:0]).isnan().all()
    assert [bool(radius.isnan().all()) for radius in knn_radii(x, 3, 4)] == [False, True]


def test_a_distance_that_is_not_known_is_never_the_nearest():
    assert nearest_distance(torch.zeros(1, 2), torch.tensor([[1.0, 0.0], [torch.nan, 0.0]])).isnan().all()
