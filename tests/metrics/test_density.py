from math import exp, inf, log

import numpy as np
import pytest
import torch

from zerosum.data import DATASETS
from zerosum.metrics.density import coverage_of_counts, log_likelihood, mode_coverage


@pytest.mark.parametrize(("name", "modes"), [("ring", 8), ("grid", 25)])
def test_true_samples_find_every_mode_and_score_what_theory_says(name, modes):
    data = DATASETS[name]()
    means, sigmas = torch.from_numpy(data.mixture.means), torch.from_numpy(data.mixture.sigmas)
    samples = torch.from_numpy(data.test.x)
    found, share, kl, missed, *_ = mode_coverage(samples, means, sigmas)
    assert (found, missed) == (modes, ())
    assert kl < 3 * (modes - 1) / (2 * len(samples))  # a perfect sampler has a third of that, in the mean
    assert share == pytest.approx(1 - exp(-4.5), abs=4 * (0.98889 * 0.01111 / len(samples)) ** 0.5)


@pytest.mark.parametrize("missing", [1, 3, 7])
def test_dropped_modes_are_counted_exactly(missing):
    mixture = DATASETS["ring"]().mixture
    points, component = mixture.sample(2500, seed=3)
    kept = torch.from_numpy(points[component >= missing])
    found = mode_coverage(kept, torch.from_numpy(mixture.means), torch.from_numpy(mixture.sigmas))
    assert found.found == 8 - missing
    assert found.missed == tuple(range(missing))
    assert found.kl == pytest.approx(log(8 / (8 - missing)), abs=0.01)


def test_samples_between_the_modes_find_none():
    mixture = DATASETS["grid"]().mixture
    between = torch.from_numpy(mixture.means) + 1.0
    assert mode_coverage(between, torch.from_numpy(mixture.means), torch.from_numpy(mixture.sigmas))[:3] == (
        0,
        0.0,
        inf,
    )


def test_the_errors_of_counts_are_those_of_drawing_again():
    """Against many fresh draws of the same size."""
    shares = torch.tensor([0.5, 0.3, 0.19, 0.01])
    rng = np.random.default_rng(3)
    draws = rng.multinomial(100, [0.5, 0.3, 0.19, 0.01], 300)
    fresh = [coverage_of_counts(torch.from_numpy(draw).double(), shares, 100) for draw in draws]
    found, kl = np.std([one.found for one in fresh]), np.std([one.kl for one in fresh])
    assert np.mean([one.found_error for one in fresh if one.found == 4]) == pytest.approx(found, rel=0.35)
    assert kl <= np.mean([one.kl_error for one in fresh]) <= 2 * kl  # near zero, drawing again says too much


def test_no_sample_anywhere_has_no_error_to_state():
    none = coverage_of_counts(torch.zeros(3), torch.full((3,), 1 / 3), 50)
    assert (none.found, none.in_modes, none.kl) == (0, 0, float("inf"))
    assert np.isnan(none.kl_error)


@pytest.mark.parametrize(("n", "v", "t"), [(0, 5, 5), (5, 0, 5), (5, 5, 0)])
def test_without_samples_or_points_no_likelihood_is_known(n, v, t):
    assert np.isnan(log_likelihood(torch.zeros(n, 2), torch.zeros(v, 2), torch.zeros(t, 2))).all()


def test_one_validation_point_chooses_the_window():
    """One sample at 0, one point at 1/2 in one dimension: sigma = 1/2 is the best of all, 0.46416 of those on offer."""
    found = log_likelihood(torch.zeros(1, 1), torch.full((1, 1), 0.5), torch.zeros(1, 1))
    assert found.sigma == pytest.approx(0.4641589)
    assert found.value == pytest.approx(-log(found.sigma * (2 * np.pi) ** 0.5))
    assert found.error == 0.0
