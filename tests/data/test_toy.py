from math import pi

import numpy as np
import pytest
import torch
from scipy.stats import kstest, multivariate_normal, norm

from zerosum.config.settings import Choice
from zerosum.data import Mixture
from zerosum.data.toy import MODES, grid, mixture_1d, ring
from zerosum.errors import ConfigError, DataError
from zerosum.resolved import open_data

UNEVEN = Mixture(np.array([[-1.0], [0.5], [4.0]]), np.array([0.3, 1.0, 2.0]), np.array([0.2, 0.5, 0.3]))


def test_the_density_on_a_line_is_the_weighted_sum_of_normal_ones():
    x = np.linspace(-30, 30, 101)
    expected = sum(
        weight * norm.pdf(x, mean, sigma)
        for mean, sigma, weight in zip(UNEVEN.means[:, 0], UNEVEN.sigmas, UNEVEN.weights, strict=True)
    )
    np.testing.assert_allclose(UNEVEN.log_prob(torch.from_numpy(x)[:, None]).exp(), expected, rtol=1e-12)


@pytest.mark.parametrize("d", [2, 5])
def test_the_density_in_more_dimensions_is_the_weighted_sum_of_normal_ones(d):
    rng = np.random.default_rng(0)
    mixture = Mixture(rng.normal(size=(4, d)), rng.uniform(0.5, 2, 4), np.array([0.1, 0.2, 0.3, 0.4]))
    x = rng.normal(size=(50, d)) * 3
    expected = sum(
        weight * multivariate_normal(mean, sigma**2).pdf(x)
        for mean, sigma, weight in zip(mixture.means, mixture.sigmas, mixture.weights, strict=True)
    )
    np.testing.assert_allclose(mixture.log_prob(torch.from_numpy(x)).exp(), expected, rtol=1e-10)


def test_far_from_every_mode_the_log_density_is_still_a_number():
    assert UNEVEN.log_prob(torch.tensor([[1e6]])).item() == pytest.approx(norm.logpdf(1e6, 4, 2) + np.log(0.3))


def test_the_log_density_of_single_precision_points_is_in_double_precision():
    x = torch.tensor([[0.1]], dtype=torch.float32)
    assert torch.equal(UNEVEN.log_prob(x), UNEVEN.log_prob(x.double()))


def test_the_density_on_a_line_integrates_to_one():
    x = torch.linspace(-40, 40, 80_001, dtype=torch.float64)
    assert torch.trapezoid(UNEVEN.log_prob(x[:, None]).exp(), x).item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("data", [ring(modes=3, sigma=0.2), grid(side=2, sigma=0.3)], ids=lambda data: data.name)
def test_the_density_in_the_plane_integrates_to_one(data):
    line = torch.linspace(-4, 4, 401, dtype=torch.float64)
    plane = torch.cartesian_prod(line, line)
    density = data.mixture.log_prob(plane).exp().reshape(401, 401)
    assert torch.trapezoid(torch.trapezoid(density, line), line).item() == pytest.approx(1, abs=1e-9)


def test_samples_have_the_moments_of_their_component():
    x, component = UNEVEN.sample(100_000, seed=0)
    np.testing.assert_allclose(np.bincount(component) / len(x), UNEVEN.weights, atol=5 * 0.5 / 100_000**0.5)
    for number, (mean, sigma) in enumerate(zip(UNEVEN.means[:, 0], UNEVEN.sigmas, strict=True)):
        own = x[component == number, 0]
        assert own.mean() == pytest.approx(mean, abs=5 * sigma / len(own) ** 0.5)
        assert own.std() == pytest.approx(sigma, abs=5 * sigma / (2 * len(own)) ** 0.5)


def test_samples_follow_the_density_that_is_declared():
    x, _ = UNEVEN.sample(20_000, seed=1)
    cdf = lambda at: sum(  # noqa: E731
        w * norm.cdf(at, m, s) for m, s, w in zip(UNEVEN.means[:, 0], UNEVEN.sigmas, UNEVEN.weights, strict=True)
    )
    assert kstest(x[:, 0], cdf).pvalue > 1e-6


def test_a_seed_gives_its_own_samples_each_time():
    first, again, other = (UNEVEN.sample(5, seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("data", "modes", "d"),
    [(ring(), 8, 2), (ring(modes=3), 3, 2), (grid(), 25, 2), (grid(side=2), 4, 2), (mixture_1d(), 2, 1),
     (mixture_1d(means=[0.0], sigmas=[1.0]), 1, 1)],
)  # fmt: skip
def test_a_data_set_knows_how_many_modes_it_has(data, modes, d):
    assert data.modes == len(data.classes) == len(data.mixture.means) == modes
    assert data.shape == (d,)
    assert np.array_equal(np.unique(data.train.labels), np.arange(modes))
    assert data.mixture.weights.sum() == pytest.approx(1)


def test_the_modes_lie_on_a_circle():
    means = ring(modes=6, radius=2.5).mixture.means
    assert np.hypot(*means.T) == pytest.approx(np.full(6, 2.5))
    assert np.hypot(*(means - np.roll(means, 1, axis=0)).T) == pytest.approx(np.full(6, 2 * 2.5 * np.sin(pi / 6)))


def test_the_modes_lie_on_a_grid_around_the_origin():
    means = {tuple(mean) for mean in grid().mixture.means.tolist()}
    assert means == {(x, y) for x in (-4.0, -2.0, 0.0, 2.0, 4.0) for y in (-4.0, -2.0, 0.0, 2.0, 4.0)}


def test_the_labels_tell_the_nearest_mode():
    data = ring()
    nearest = np.linalg.norm(data.train.x[:1000, None] - data.mixture.means, axis=2).argmin(1)
    assert np.array_equal(nearest, data.train.labels[:1000])


def test_weights_may_have_any_sum():
    assert mixture_1d(weights=[1.0, 3.0]).mixture.weights.tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    "lists",
    [{"means": [1.0]}, {"sigmas": [1.0, 1.0, 1.0]}, {"weights": [1.0]}, {"means": []}, {"means": [], "sigmas": []}],
)
def test_lists_that_do_not_match_are_refused(lists):
    with pytest.raises(DataError, match="mixture-1d: "):
        mixture_1d(**lists)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("ring", {"modes": 0}),
        ("ring", {"modes": MODES + 1}),
        ("ring", {"sigma": 0.0}),
        ("ring", {"radius": -1.0}),
        ("grid", {"side": 0}),
        ("grid", {"side": 1000}),
        ("grid", {"spacing": float("nan")}),
        ("mixture-1d", {"means": "x"}),
        ("mixture-1d", {"sigmas": [0.0, 1.0]}),
        ("mixture-1d", {"weights": [-1.0, 2.0]}),
    ],
)
def test_options_that_make_no_density_are_refused(name, option):
    with pytest.raises(ConfigError, match=rf"data\.{next(iter(option))}"):
        open_data(Choice(name=name, **option))
