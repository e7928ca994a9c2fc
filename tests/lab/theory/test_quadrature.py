import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from zerosum.lab.theory.quadrature import float64, gauss_hermite, gauss_legendre, product_grid


def test_a_line_integrates_polynomials_of_its_order_exactly():
    grid = gauss_legendre(-1.0, 3.0, panels=1, order=5)
    assert (grid.weights @ grid.points[:, 0] ** 9).item() == pytest.approx((3**10 - 1) / 10, rel=1e-13)


@pytest.mark.parametrize("panels", [20, 40, 80])
def test_a_density_that_has_died_out_adds_up_to_one(panels):
    grid = gauss_legendre(-10.0, 10.0, panels)
    assert grid.masses(lambda x: Normal(0.3, 1.0).log_prob(x[:, 0])).sum().item() == pytest.approx(1, abs=1e-12)


def test_a_plane_integrates_a_slanted_gaussian():
    side = gauss_legendre(-9.0, 9.0, panels=6)
    law = MultivariateNormal(float64([0.2, -0.4]), float64([[1.0, 0.6], [0.6, 1.5]]))
    grid = product_grid(side, side)
    masses = grid.masses(law.log_prob)
    torch.testing.assert_close(masses @ grid.points, law.mean, rtol=0, atol=1e-10)
    torch.testing.assert_close((grid.points - law.mean).T @ (masses[:, None] * (grid.points - law.mean)),
                               law.covariance_matrix, rtol=0, atol=1e-10)  # fmt: skip


def test_normal_nodes_give_the_moments_of_a_normal_number():
    grid = gauss_hermite(32)
    z = grid.points[:, 0]
    moments = torch.stack([grid.weights @ z**k for k in range(7)])
    torch.testing.assert_close(moments, float64([1.0, 0, 1, 0, 3, 0, 15]), rtol=0, atol=1e-10)
    assert (grid.weights @ z.cos()).item() == pytest.approx(torch.tensor(-0.5).exp().item(), abs=1e-7)
