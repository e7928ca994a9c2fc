from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from scipy.stats import chi2

from zerosum.data import permutation as module
from zerosum.data.permutation import permutation, row_order

SIZES = [1, 2, 3, 4, 5, 7, 9, 10, 16, 17, 36, 37, 97, 100, 1257, 1849, 7919, 60_000]


def epoch_order(n, seed=0, epoch=0):
    return permutation(n, seed, "rows", epoch)


@pytest.mark.parametrize("n", SIZES)
def test_an_epoch_meets_every_row_once(n):
    assert np.array_equal(np.sort(epoch_order(n)), np.arange(n))


@given(n=st.integers(1, 3000), seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 2**31))
@budget(max_examples=150, deadline=None)
def test_an_epoch_of_any_size_seed_and_number_meets_every_row_once(n, seed, epoch):
    assert np.array_equal(np.sort(epoch_order(n, seed, epoch)), np.arange(n))


@pytest.mark.parametrize(("n", "dtype"), [(2**31, torch.int32), (2**31 + 1, torch.int64)])
def test_row_numbers_take_eight_bytes_only_where_four_do_not_hold_them(monkeypatch, n, dtype):
    asked = []

    def noted(n, generator, dtype):
        asked.append(dtype)
        return torch.zeros(0, dtype=dtype)

    monkeypatch.setattr(torch, "randperm", noted)
    permutation(n, 0)
    assert asked == [dtype]


def test_epochs_seeds_and_purposes_have_orders_of_their_own():
    orders = {epoch_order(20, seed, epoch).tobytes() for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100
    assert not orders & {np.arange(20, dtype=np.int32).tobytes(), permutation(20, 0, "split").tobytes()}


def test_a_change_of_the_order_is_noticed():
    """Where this fails, a run of before would go on with other rows: raise `FORMAT` of the run folder."""
    first_two = [epoch_order(10, epoch=epoch).tolist() for epoch in (0, 1)]
    assert first_two == [[2, 1, 9, 5, 8, 3, 6, 0, 4, 7], [6, 2, 4, 5, 3, 7, 0, 9, 1, 8]]
    assert permutation(10, 20140610, "split").tolist() == [9, 3, 0, 4, 1, 8, 2, 5, 7, 6]


@pytest.mark.parametrize(("size", "n"), [(3, 7), (7, 7), (5, 1), (10, 4), (128, 1257)])
def test_batches_go_on_over_the_end_of_an_epoch_and_every_epoch_meets_every_row_once(size, n):
    epochs, rows_of = 4, row_order(n, size, seed=3)
    batches = [rows_of(number) for number in range(-(-epochs * n // size))]
    assert {len(batch) for batch in batches} == {size}
    rows = np.concatenate(batches)[: epochs * n].reshape(epochs, n)
    assert all(np.array_equal(rows[epoch], epoch_order(n, 3, epoch)) for epoch in range(epochs))


def test_batches_do_not_depend_on_the_order_in_which_they_are_asked_for():
    forwards, backwards = row_order(20, 6, seed=0), row_order(20, 6, seed=0)
    ahead = [forwards(number).tolist() for number in range(9)]
    assert ahead == [backwards(number).tolist() for number in reversed(range(9))][::-1]


def test_an_epoch_is_drawn_once(monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "permutation", lambda *key: drawn.append(key) or permutation(*key))
    rows_of = row_order(20, 6, seed=5)
    for number in range(10):  # 60 rows: three epochs, of which two end within a batch
        rows_of(number)
    assert drawn == [(20, 5, "rows", epoch) for epoch in range(3)]


def uniform(counts):
    """Whether counts fit the uniform distribution: the chi-square statistic within its 1e-6 and 1 - 1e-6 quantiles."""
    expected = counts.sum() / counts.size
    statistic = ((counts - expected) ** 2 / expected).sum()
    low, high = chi2.ppf([1e-6, 1 - 1e-6], counts.size - 1)
    return low < statistic < high


@pytest.fixture(scope="module")
def orders():
    """Where each of 16 positions leads, in each of 4,096 epochs."""
    return np.stack([epoch_order(16, epoch=epoch) for epoch in range(4096)])


@pytest.mark.parametrize("position", [0, 1, 15])
def test_over_many_epochs_a_position_leads_everywhere_equally_often(orders, position):
    assert uniform(np.bincount(orders[:, position], minlength=16))


def test_over_many_epochs_a_row_lands_everywhere_equally_often(orders):
    assert uniform(np.bincount(np.argmin(orders, axis=1), minlength=16))


def test_over_many_epochs_neighbours_are_as_far_apart_as_chance_has_it():
    n, positions = 1257, [0, 1, 36, 1256]  # as many rows as the digits
    met = np.stack([epoch_order(n, epoch=epoch)[positions] for epoch in range(4096)])
    for left, right in pairwise(range(4)):
        apart = (met[:, left] - met[:, right]) % n
        assert uniform(np.bincount((apart - 1) // 157, minlength=8))


def test_from_one_epoch_to_the_next_a_row_keeps_no_place(orders):
    places = np.argsort(orders, axis=1)[:, 0]
    assert uniform(np.bincount((places[1:] - places[:-1]) % 16, minlength=16))
