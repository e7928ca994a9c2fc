from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from scipy.stats import chi2

from zerosum.data.permutation import PREFETCH_BATCHES, batch_rows, permute

SIZES = [1, 2, 3, 4, 5, 7, 9, 10, 16, 17, 36, 37, 97, 100, 1257, 1849, 7919, 60_000]


def everything(n, seed=0, epoch=0):
    return permute(np.arange(n), n, seed, epoch)


@pytest.mark.parametrize("n", SIZES)
def test_an_epoch_meets_every_row_once(n):
    assert np.array_equal(np.sort(everything(n)), np.arange(n))


@given(n=st.integers(1, 3000), seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 2**31))
@budget(max_examples=150, deadline=None)
def test_an_epoch_of_any_size_seed_and_number_meets_every_row_once(n, seed, epoch):
    assert np.array_equal(np.sort(everything(n, seed, epoch)), np.arange(n))


def test_rows_beyond_32_bits_are_met_too():
    n = 2**40 + 1
    met = permute(np.array([0, 1, n - 2, n - 1]), n, 0, 0)
    assert len({*met.tolist()}) == 4
    assert (met >= 0).all()
    assert (met < n).all()
    assert met.max() > 2**32


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {everything(20, seed, epoch).tobytes() for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100
    assert np.arange(20).tobytes() not in orders


def test_a_row_does_not_depend_on_which_others_are_asked_for():
    whole = everything(1257)
    mixed = np.random.default_rng(0).permutation(1257)
    assert np.array_equal(permute(mixed, 1257, 0, 0), whole[mixed])
    assert [permute(np.array([place]), 1257, 0, 0).item() for place in (5, 0, 1256)] == whole[[5, 0, 1256]].tolist()


def test_the_positions_that_are_given_stay_as_they_are():
    positions = np.arange(10)
    permute(positions, 10, 0, 0)
    assert np.array_equal(positions, np.arange(10))


@pytest.mark.parametrize(("size", "n"), [(3, 7), (7, 7), (5, 1), (10, 4), (128, 1257)])
def test_batches_go_on_over_the_end_of_an_epoch_and_every_epoch_meets_every_row_once(size, n):
    epochs = 4
    batches = [batch_rows(number, size, n, seed=3) for number in range(-(-epochs * n // size))]
    assert {len(batch) for batch in batches} == {size}
    rows = np.concatenate(batches)[: epochs * n].reshape(epochs, n)
    assert np.array_equal(np.sort(rows, axis=1), np.tile(np.arange(n), (epochs, 1)))
    assert all(np.array_equal(rows[epoch], everything(n, 3, epoch)) for epoch in range(epochs))


def test_batches_do_not_depend_on_the_order_in_which_they_are_asked_for():
    forwards = [batch_rows(number, 6, 20, seed=0).tolist() for number in range(9)]
    backwards = [batch_rows(number, 6, 20, seed=0).tolist() for number in reversed(range(9))]
    assert forwards == backwards[::-1]


def uniform(counts):
    """Whether counts fit the uniform distribution: the chi-square statistic within its 1e-6 and 1 - 1e-6 quantiles."""
    expected = counts.sum() / counts.size
    statistic = ((counts - expected) ** 2 / expected).sum()
    low, high = chi2.ppf([1e-6, 1 - 1e-6], counts.size - 1)
    return low < statistic < high


@pytest.fixture(scope="module")
def orders():
    """Where each of 16 positions leads, in each of 4,096 epochs."""
    return np.stack([everything(16, seed=0, epoch=epoch) for epoch in range(4096)])


@pytest.mark.parametrize("position", [0, 1, 15])
def test_over_many_epochs_a_position_leads_everywhere_equally_often(orders, position):
    assert uniform(np.bincount(orders[:, position], minlength=16))


def test_over_many_epochs_a_row_lands_everywhere_equally_often(orders):
    assert uniform(np.bincount(np.argmin(orders, axis=1), minlength=16))


def test_over_many_epochs_neighbours_are_as_far_apart_as_chance_has_it():
    n, positions = 1257, np.array([0, 1, 36, 1256])  # as many rows as the digits; 36 is the side of their square
    met = np.stack([permute(positions, n, 0, epoch) for epoch in range(4096)])
    for left, right in pairwise(range(4)):
        apart = (met[:, left] - met[:, right]) % n
        assert uniform(np.bincount((apart - 1) // 157, minlength=8))


def test_from_one_epoch_to_the_next_a_row_keeps_no_place(orders):
    places = np.argsort(orders, axis=1)[:, 0]
    assert uniform(np.bincount((places[1:] - places[:-1]) % 16, minlength=16))


@pytest.mark.parametrize(("size", "n"), [(7, 16), (64, 1257), (16, 16)])
def test_rows_computed_ahead_are_those_of_one_batch_at_a_time(size, n):
    for batch in (0, 1, PREFETCH_BATCHES - 1, PREFETCH_BATCHES, 5 * PREFETCH_BATCHES + 3):
        alone = [permute(np.array([at % n]), n, 3, at // n)[0] for at in range(batch * size, (batch + 1) * size)]
        assert batch_rows(batch, size, n, seed=3).tolist() == alone
