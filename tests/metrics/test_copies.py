import pytest
import torch
from scipy.stats import mannwhitneyu

from zerosum.metrics.copies import copying, rank_score


def rows(n, seed, d=4):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_rank_score_is_that_of_scipy():
    ours, theirs = rows(80, 0)[:, 0].abs(), 1.2 * rows(120, 1)[:, 0].abs()
    statistic = mannwhitneyu(ours, theirs).statistic
    n, m = len(ours), len(theirs)
    expected = (statistic - n * m / 2) / (n * m * (n + m + 1) / 12) ** 0.5
    assert rank_score(ours, theirs) == pytest.approx(expected, abs=1e-12)


def test_ties_count_half():
    assert rank_score(torch.ones(5), torch.ones(7)) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_new_samples_of_the_law_are_no_copies(seed):
    found = copying(rows(1000, seed), rows(500, seed + 10), rows(500, seed + 20))
    assert abs(found.z) < 4
    assert found.cells == 3


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_copies_are_seen(share):
    train, count = rows(1000, 0), int(500 * share)
    fake = torch.cat([train[:count] + 1e-3 * rows(count, 3), rows(500 - count, 2)])
    found = copying(train, rows(500, 1), fake)
    assert found.z < -3
    assert found.share == pytest.approx(share, abs=0.15)


def test_samples_far_from_the_data_are_above_zero():
    assert copying(rows(1000, 0), rows(500, 1), 1.6 * rows(500, 2)).z > 4
