"""The closed forms, against another implementation of them, and in limits that are known."""

import pytest
import torch
from sklearn.metrics import mutual_info_score
from torch.distributions import MultivariateNormal, kl_divergence

from zerosum.lab.theory import divergences as d
from zerosum.lab.theory.quadrature import float64


def random_gaussian(seed, size=3):
    rng = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=rng, dtype=torch.float64)
    return torch.randn(size, generator=rng, dtype=torch.float64), root @ root.T + torch.eye(size).double()


@pytest.mark.parametrize("seed", range(5))
def test_kl_of_gaussians_is_that_of_torch(seed):
    one, other = random_gaussian(seed), random_gaussian(seed + 100)
    expected = kl_divergence(MultivariateNormal(*one), MultivariateNormal(*other))
    torch.testing.assert_close(d.gaussian_kl(*one, *other), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("closed", [d.gaussian_kl, d.gaussian_hellinger, d.gaussian_chi_square])
def test_closed_forms_are_zero_at_equality_and_do_not_care_for_coordinates(closed):
    m, s = random_gaussian(7)
    n, t = m + 0.1, s + 0.2 * torch.eye(3).double()
    assert closed(m, s, m, s).item() == pytest.approx(0, abs=1e-12)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double())[0] * 2.5
    moved = closed(turn @ m, turn @ s @ turn.T, turn @ n, turn @ t @ turn.T)
    torch.testing.assert_close(moved, closed(m, s, n, t), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("measure", [d.kl, d.jsd, d.total_variation, d.chi_square, d.hellinger])
def test_a_divergence_is_zero_at_equality_and_grows_along_a_line(measure):
    p, q = float64([0.5, 0.3, 0.2]), float64([0.2, 0.3, 0.5])
    values = torch.stack([measure(p, torch.lerp(p, q, t)) for t in (0.0, 0.25, 0.5, 0.75, 1.0)])
    assert values[0].abs() < 1e-15
    assert (values.diff() > 0).all()


def test_jsd_is_the_mutual_information_of_a_table_of_counts():
    p, q = float64([0.5, 0.3, 0.2]), float64([0.2, 0.3, 0.5])
    counts = (1000 * torch.stack([p, q])).numpy()
    assert d.jsd(p, q).item() == pytest.approx(mutual_info_score(None, None, contingency=counts), rel=1e-10)


def test_wasserstein_of_two_points_is_the_distance_that_the_mass_travels():
    x = float64([0.0, 1.0, 4.0])
    assert d.wasserstein_1(x, float64([1.0, 0.0, 0.0]), float64([0.0, 0.5, 0.5])).item() == pytest.approx(2.5)


def test_wasserstein_of_gaussians_of_one_width_is_the_distance_of_their_means():
    assert d.gaussian_wasserstein_1(0.0, 1.0, 2.0, 1.0) == 2.0
    assert d.gaussian_wasserstein_1(0.0, 1.0, 2.0, 1.0 + 1e-9) == pytest.approx(2.0)
