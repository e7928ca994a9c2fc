"""What no training could learn from, or no sample could show, is refused with its numbers."""

import numpy as np
import pytest

from zerosum.data import Data, Split, from_array, ring, validate
from zerosum.errors import DataError

N = 40
RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(N, 3))


def refusal(data):
    with pytest.raises(DataError) as caught:
        validate(data)
    return str(caught.value)


def parted(train, test, kind="images", span=(0.0, 255.0)):
    """A data set whose test rows are an array of their own."""
    return Data(name="own", kind=kind, train=Split(train), test=Split(test), range=span)


def gray(n=N, side=4):
    return RNG.integers(0, 256, (n, 1, side, side), np.uint8)


@pytest.mark.parametrize("value", [1e39, -1e39, 3.5e38, 1e300, -1e308])
@pytest.mark.parametrize("row", [0, 17, N - 1])
def test_numbers_that_samples_cannot_hold_are_refused_with_their_row(value, row):
    points = POINTS.copy()
    points[row, 1] = value
    assert refusal(from_array(points)) == (
        f"array: row {row} holds {value:g} (1 such values near it), samples can hold 3.4e+38 at most. "
        "Divide the column by a constant"
    )


def test_the_largest_number_that_samples_can_hold_is_allowed():
    points = POINTS.copy()
    points[3, 1] = np.finfo(np.float32).max
    assert np.isfinite((data := validate(from_array(points))).samples(data.train)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_test_rows_of_their_own_are_looked_at(value):
    points = POINTS.copy()
    points[5, 0] = value
    assert refusal(parted(POINTS, points, "points", None)).startswith("own: row 5 holds ")


def test_a_ring_larger_than_float32_is_refused_in_words():
    assert "holds NaN or infinity" in refusal(ring(radius=1e39))


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-100, 1e-45, 1e-39])
def test_numbers_too_small_for_float32_are_refused_with_their_column(size):
    said = refusal(from_array(POINTS * [1.0, size, 1.0]))
    assert said.startswith("array: column 1 (of 3, counted from 0) has mean ")
    assert said.endswith("Subtract an offset from it, or multiply it by a constant")


@pytest.mark.parametrize("size", [1e-37, 1e-30, 1e-6, 1e6, 1e30, 1e37])
def test_small_and_large_numbers_are_learned(size):
    data = validate(from_array(POINTS * size, held_out=0.0))
    shown = data.samples(data.train)
    np.testing.assert_allclose(np.sort(shown, 0), np.sort(POINTS * size, 0), rtol=1e-6, atol=1e-44)


@pytest.mark.parametrize(("offset", "lost"), [(1e3, False), (5e6, False), (1.7e7, True), (1.7e9, True), (-1e12, True)])
def test_variation_beside_a_large_offset_is_refused_where_float32_loses_it(offset, lost):
    points = POINTS / POINTS.std(0)
    points[:, 2] += offset
    data = from_array(points, held_out=0.0)
    if not lost:
        validate(data)
        return
    apart = float(np.spacing(np.float32(abs(offset))))
    mean, deviation = points[:, 2].mean(), points[:, 2].std()
    assert refusal(data) == (
        f"array: column 2 (of 3, counted from 0) has mean {mean:g} and deviation {deviation:g}; samples are float32, "
        f"whose numbers are {apart:.2g} apart there. Subtract an offset from it, or multiply it by a constant"
    )


def test_offsets_are_looked_at_where_nothing_is_standardised_too():
    assert "column 0" in refusal(from_array(POINTS + 1e12, standardize=False))


def test_what_is_float32_already_loses_nothing():
    points = np.zeros((N, 2), np.float32)
    points[:, 0] = np.arange(N)
    points[0, 1] = 1e-40
    validate(from_array(points + np.float32([1e9, 0]), held_out=0.0))


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 1e30, -1e-300])
def test_a_column_that_never_changes_is_allowed(value):
    points = POINTS.copy()
    points[:, 1] = value
    data = validate(from_array(points, held_out=0.0))
    assert data.spec.scale[1] == 1
    assert set(data.samples(data.train)[:, 1]) == {np.float32(value)}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, bool])
def test_pictures_that_are_all_the_same_are_refused(dtype):
    pictures = np.repeat(RNG.integers(0, 2, (1, 6, 5)), N, 0).astype(dtype)
    said = "array: all 36 rows are the same; there is nothing to learn"
    assert refusal(from_array(pictures, range=(0.0, 1.0) if dtype in (np.float32, np.float64) else None)) == said


def test_points_that_are_all_the_same_are_refused():
    assert (
        refusal(from_array(np.repeat(POINTS[:1], 1000, 0)))
        == "array: all 900 rows are the same; there is nothing to learn"
    )
    assert refusal(from_array(np.full((N, 2), 3))) == "array: every value is 3; there is nothing to learn"


@pytest.mark.parametrize("chunk", [16, 2**20])
@pytest.mark.parametrize("row", [0, 1, 15, 16, 500, 999])
def test_one_row_that_differs_is_enough(monkeypatch, chunk, row):
    monkeypatch.setattr("zerosum.data.checks.CHUNK", chunk)
    points = np.repeat(POINTS[:1], 1000, 0)
    points[row] += 1
    validate(from_array(points, held_out=0.0))


def test_a_row_that_differs_among_the_test_rows_alone_is_not_enough():
    points = np.repeat(POINTS[:1], 100, 0)
    (held_out,) = from_array(np.arange(100.0), held_out=0.01).test[np.arange(1)][0].ravel()
    points[int(held_out)] += 1
    assert "all 99 rows are the same" in refusal(from_array(points, held_out=0.01))


def test_test_rows_of_their_own_that_are_all_the_same_are_refused():
    same = np.repeat(gray(1), 9, 0)
    assert refusal(parted(gray(), same)) == "own: all 9 test rows are the same; they can measure nothing"
    validate(parted(gray(), same[:1]))
    validate(parted(gray(), same[:0]))


def test_rows_are_compared_until_two_differ(tmp_path):
    asked = []

    class Counted(Split):
        def __getitem__(self, indices):
            asked.append(len(indices))
            return super().__getitem__(indices)

    rows = Counted(gray(10_000))
    validate(Data(name="own", kind="images", train=rows, test=Split(rows.x, None, np.arange(0)), range=(0.0, 255.0)))
    assert sum(asked) <= 20  # bytes that cannot leave their range are not read for it, either


@pytest.mark.parametrize("top", [1e-3, 0.5, 1.0, 127.0, 1e9])
def test_pictures_of_one_shade_are_refused_with_the_range_they_have(top):
    pictures = RNG.uniform(0, top, (N, 4, 4))
    pictures[0, 0, :2] = 0, top
    said = refusal(from_array(pictures, range=(0.0, 1000.0 * top)))
    assert said == (
        f"array: values from 0 to {top:g} are one shade of gray in {[0.0, 1000.0 * top]}. "
        f"Declare the true range: --set data.range=[0,{top:g}]"
    )
    validate(from_array(pictures, range=(0.0, top)))
    validate(from_array(pictures, range=(0.0, 10 * top)))


@pytest.mark.parametrize("span", [(0.0, np.inf), (-np.inf, 1.0), (np.nan, 1.0), (0.0, np.nan), (-1.7e308, 1.7e308)])
def test_a_range_without_an_end_is_refused(span):
    pictures = np.linspace(0, 1, N * 16).reshape(N, 4, 4)
    said = f"array: the declared range {list(span)} has no end. Declare the true one: --set data.range=[0,1]"
    assert refusal(from_array(pictures, range=span)) == said
