"""Frechet's distance and the kernel distance: closed forms, references, invariance."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.metrics.pairwise import polynomial_kernel

from zerosum.metrics.distances import Moments, frechet, frechet_distance, frechet_from_rows, kernel_distance


def clouds(n=300, m=400, d=8, seed=0):
    rng = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=rng)
    return torch.randn(n, d, generator=rng) @ mix, torch.randn(m, d, generator=rng) + 0.3


def as_published(x, y):
    """The formula of the FID paper, as everyone writes it: numpy's covariance and scipy's root of a product."""
    x, y = x.double().numpy(), y.double().numpy()
    s, t = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    shared = np.trace(sqrtm(s @ t).real)
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * shared


@pytest.mark.parametrize("d", [2, 8, 64])
def test_frechet_equals_the_published_formula(d):
    x, y = clouds(d=d)
    assert frechet(Moments.of(x), Moments.of(y)) == pytest.approx(as_published(x, y), rel=1e-9)


def test_frechet_of_exact_gaussians():
    """N(0, I) and N(m, s^2 I): |m|^2 + d (1 - s)^2, from moments that are exact."""
    d, m, s = 5, 0.7, 1.8
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * d)  # mean 0, covariance n/(n-1) I
    scale = ((len(corners) - 1) / len(corners)) ** 0.5
    one, other = Moments.of(corners * scale), Moments.of(corners * scale * s + m)
    assert frechet(one, other) == pytest.approx(d * m**2 + d * (1 - s) ** 2, rel=1e-7)


def test_moments_stream_merge_and_take_away():
    x, y = clouds()
    whole, shift = Moments.of(torch.cat([x, y])), x.double().mean(0)
    parts = Moments.of(x, shift) + Moments.of(y, shift)
    torch.testing.assert_close(parts.covariance(), whole.covariance(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(parts.mean(), whole.mean(), rtol=1e-10, atol=1e-12)
    less = parts - Moments.of(y, shift)
    torch.testing.assert_close(less.covariance(), Moments.of(x).covariance(), rtol=1e-10, atol=1e-12)


def test_moments_keep_their_digits_far_from_the_origin():
    x, _ = clouds()
    torch.testing.assert_close(
        Moments.of(x.double() + 1e6).covariance(), Moments.of(x).covariance(), rtol=1e-6, atol=1e-6
    )


def test_frechet_is_zero_for_a_cloud_and_itself_and_symmetric():
    x, y = Moments.of(clouds()[0]), Moments.of(clouds()[1])
    assert frechet(x, x) == pytest.approx(0, abs=1e-6)
    assert frechet(x, y) == pytest.approx(frechet(y, x), rel=1e-9)


def test_frechet_takes_clouds_with_fewer_rows_than_numbers():
    x, y = clouds(n=30, m=40, d=100)
    assert frechet(Moments.of(x), Moments.of(y)) == pytest.approx(as_published(x, y), rel=1e-6)
    assert frechet_from_rows(x, y) == pytest.approx(as_published(x, y), rel=1e-6)
    assert frechet_distance(x, y).value == pytest.approx(as_published(x, y), rel=1e-6)


@pytest.mark.parametrize("d", [2, 30, 200])
def test_rows_and_moments_give_the_same(d):
    x, y = clouds(n=60, m=50, d=d)
    assert frechet_from_rows(x, y) == pytest.approx(frechet(Moments.of(x), Moments.of(y)), rel=1e-7)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_rows_of_any_order_and_type_give_the_same(distance):
    x, y = clouds()
    found = distance(x, y).value
    assert distance(x.flip(0), y.flip(0).double()).value == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_distances_grow_with_noise(distance):
    x, _ = clouds()
    noise = torch.randn(len(x), 8, generator=torch.Generator().manual_seed(1))
    found = [distance(x, x + strength * noise).value for strength in (0.5, 1.0, 2.0, 4.0)]
    assert found == sorted(found)


def test_kernel_distance_equals_the_published_estimator():
    x, y = clouds()
    xx, yy, xy = (polynomial_kernel(a.double(), b.double(), degree=3, gamma=1 / 8, coef0=1)
                  for a, b in ((x, x), (y, y), (x, y)))  # fmt: skip
    n, m = len(x), len(y)
    by_hand = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1)) - 2 * xy.mean()
    assert kernel_distance(x, y).value == pytest.approx(by_hand, rel=1e-10)


@pytest.mark.parametrize(("shift", "low", "high"), [(0.3, 0.6, 1.4), (0.0, 0.9, 2.0)])
def test_errors_are_those_of_repeated_draws(shift, low, high):
    """Forty draws: the stated error against the spread of the distances; at equality it is too large on purpose."""
    rng = torch.Generator().manual_seed(0)
    found = []
    for _ in range(40):
        x, y = torch.randn(2, 200, 4, generator=rng)
        found.append(kernel_distance(x, y + shift))
    values, errors = torch.tensor(found).T
    assert low < errors.mean() / values.std() < high


def test_the_error_of_frechet_is_that_of_repeated_draws_of_samples():
    rng = torch.Generator().manual_seed(0)
    real = torch.randn(2000, 4, generator=rng)
    found = torch.tensor([frechet_distance(real, torch.randn(400, 4, generator=rng) * 1.5) for _ in range(40)])
    assert 0.6 < found[:, 1].mean() / found[:, 0].std() < 1.5


def test_the_kernel_distance_of_one_distribution_is_zero_in_the_mean():
    rng = torch.Generator().manual_seed(0)
    found = torch.tensor([kernel_distance(*torch.randn(2, 100, 4, generator=rng)).value for _ in range(60)])
    assert abs(found.mean()) < 4 * found.std() / 60**0.5


@pytest.mark.parametrize(("n", "m"), [(0, 5), (1, 5), (5, 0), (5, 1)])
@pytest.mark.parametrize("d", [1, 40])
def test_of_fewer_than_two_rows_no_distance_is_known(n, m, d):
    x, y = torch.randn(n, d), torch.randn(m, d)
    for value, error in (frechet_distance(x, y), kernel_distance(x, y)):
        assert np.isnan(value)
        assert np.isnan(error)
    assert np.isnan(frechet_from_rows(x, y))
    assert np.isnan(frechet(Moments.of(x), Moments.of(y)))


@pytest.mark.parametrize("d", [1, 40])
def test_few_rows_have_a_distance_and_one_more_has_an_error(d):
    x = torch.randn(12, d)
    for m in (2, 3, 7):
        y = torch.randn(m, d)
        assert frechet_distance(x, y).value == pytest.approx(frechet_from_rows(x, y), rel=1e-9)
        for distance in (frechet_distance, kernel_distance):
            assert np.isfinite(distance(x, y).value)
            assert np.isnan(distance(x, y).error) == (m == 2)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
@pytest.mark.parametrize("d", [2, 90])
def test_rows_that_are_no_numbers_have_no_distance(bad, distance, d):
    x, y = torch.randn(30, d), torch.randn(30, d)
    y[3, 0] = bad
    assert np.isnan(distance(x, y).value)
    assert np.isnan(distance(y, x).value)


def test_numbers_beyond_all_numbers_are_not_known():
    x, y = torch.randn(2, 30, 2, dtype=torch.float64)
    assert np.isnan(kernel_distance(1e150 * x, y).value)
    assert np.isnan(frechet_distance(1e200 * x, y).value)
    assert frechet_distance(1e30 * x, 1e30 * y).value == pytest.approx(1e60 * frechet_distance(x, y).value, rel=1e-9)


def test_the_kernel_distance_of_large_features_says_how_few_digits_are_left():
    """Cubes of x + 1e9 are 1e54, their differences in the 18th digit: the error is 1e39, and the value within it."""
    x, y = torch.randn(2, 100, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    value, error = kernel_distance(x + 1e9, y + 1e9)
    assert 1e39 < error < 1e40
    assert abs(value) < error
    assert kernel_distance(x, y).error < 0.5
