from math import isnan

import pytest
import torch
from scipy.stats import mannwhitneyu

from zerosum.metrics.data_copying import auc, data_copying_test, kmeans_centers, mann_whitney_z


def rows(n, seed, d=4):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_rank_score_is_that_of_scipy():
    ours, theirs = rows(80, 0)[:, 0].abs(), 1.2 * rows(120, 1)[:, 0].abs()
    statistic = mannwhitneyu(ours, theirs).statistic
    n, m = len(ours), len(theirs)
    expected = (statistic - n * m / 2) / (n * m * (n + m + 1) / 12) ** 0.5
    assert mann_whitney_z(ours, theirs) == pytest.approx(expected, abs=1e-12)


def test_ties_count_half():
    assert mann_whitney_z(torch.ones(5), torch.ones(7)) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_new_samples_of_the_distribution_are_no_copies(seed):
    found = data_copying_test(rows(1000, seed), rows(500, seed + 10), rows(500, seed + 20))
    assert abs(found.z) < 4
    assert found.cells == 3


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_copies_are_seen(share):
    train, count = rows(1000, 0), int(500 * share)
    fake = torch.cat([train[:count] + 1e-3 * rows(count, 3), rows(500 - count, 2)])
    found = data_copying_test(train, rows(500, 1), fake)
    assert found.z < -3
    assert found.copy_share == pytest.approx(share, abs=0.15)


def test_samples_far_from_the_data_are_above_zero():
    assert data_copying_test(rows(1000, 0), rows(500, 1), 1.6 * rows(500, 2)).z > 4


@pytest.mark.parametrize(("train", "test", "fake"), [(0, 50, 50), (50, 0, 50), (50, 50, 0)])
def test_of_no_rows_no_copying_is_known(train, test, fake):
    found = data_copying_test(rows(train, 0), rows(test, 1), rows(fake, 2))
    assert isnan(found.z)
    assert isnan(found.copy_share)
    assert found.cells == 0


def test_too_few_rows_for_a_cell_are_no_test():
    found = data_copying_test(rows(100, 0), rows(19, 1), rows(100, 2))
    assert isnan(found.z)
    assert found.cells == 0


def test_rows_that_are_all_alike_are_ties_and_no_copies():
    """Distances by products of the same rows are rounding, in any order."""
    for seed in range(5):
        one = rows(1, seed, d=300)
        found = data_copying_test(one.repeat(60, 1), one.repeat(60, 1), one.repeat(60, 1))
        assert found.z == 0.0
        assert isnan(found.copy_share)


def test_ranks_of_no_numbers_or_of_none_are_not_known():
    some, none = torch.ones(5), torch.ones(0)
    broken = torch.tensor([1.0, float("nan")])
    for ours, theirs in ((some, none), (none, some), (some, broken), (broken, some)):
        assert isnan(auc(ours, theirs))
        assert isnan(mann_whitney_z(ours, theirs))


@pytest.mark.parametrize("n", [0, 1, 3, 8])
def test_centres_of_few_rows_and_of_rows_that_are_alike(n):
    assert kmeans_centers(rows(n, 0), min(8, n)).shape == (min(8, n), 4)
    assert torch.equal(kmeans_centers(torch.ones(n, 4), min(8, n)), torch.ones(min(8, n), 4))
