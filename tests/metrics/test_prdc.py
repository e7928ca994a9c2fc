import math

import pytest
import torch

from zerosum.metrics import prdc_estimates
from zerosum.metrics.prdc import prdc


def test_coverage_by_hand():
    real = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    assert prdc(real, torch.tensor([[0.5]]), k_density=1).coverage == 0.5
    assert prdc(real, torch.tensor([[50.0]]), k_density=1).coverage == 0.0
    assert prdc(real, real, k_density=1).coverage == 1.0


def test_a_perfect_sampler_covers_the_expected_share():
    """1 - prod_{i=1..k} (n - i) / (2n - i) for as many fakes as reals of the same distribution, about 1 - 2^-k."""
    n, k = 1000, 5
    factors = [(n - i) / (2 * n - i) for i in range(1, k + 1)]
    expected = 1 - torch.tensor(factors).prod().item()
    found = [prdc(torch.randn(n, 3), torch.randn(n, 3), k_density=k).coverage for _ in range(5)]
    assert sum(found) / 5 == pytest.approx(expected, abs=0.01)


def as_published(real, fake, k):
    """prdc's four numbers, from all distances at once."""
    real_real, fake_fake, real_fake = torch.cdist(real, real), torch.cdist(fake, fake), torch.cdist(real, fake)
    near, far = real_real.kthvalue(k + 1, 1).values, fake_fake.kthvalue(k + 1, 1).values
    inside = real_fake < near[:, None]
    return (
        inside.any(0).double().mean(),
        (real_fake < far).any(1).double().mean(),
        inside.sum(0).double().mean() / k,
        (real_fake.min(1).values < near).double().mean(),
    )


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
def test_the_four_numbers_equal_their_definitions(shift):
    real, fake = torch.randn(1300, 5, dtype=torch.float64), torch.randn(1100, 5, dtype=torch.float64) + shift
    found = prdc(real, fake, k=3, k_density=5)
    assert found[:2] == pytest.approx([part.item() for part in as_published(real, fake, 3)[:2]], abs=1e-12)
    assert found[2:] == pytest.approx([part.item() for part in as_published(real, fake, 5)[2:]], abs=1e-12)


def test_a_collapsed_generator_is_precise_and_covers_nothing():
    real = torch.randn(1000, 3)
    found = prdc(real, real[:1] * 0 + 0.01 * torch.randn(1000, 3))
    assert found.precision > 0.99
    assert found.recall < 0.01
    assert found.coverage < 0.1


def test_the_same_distribution_has_the_density_of_theory():
    found = prdc(torch.randn(2000, 3), torch.randn(2000, 3))
    assert found.density == pytest.approx(1, abs=0.05)
    assert found.coverage == pytest.approx(1 - 2**-5, abs=0.02)


def known(found):
    return [name for name, value in found._asdict().items() if not math.isnan(value)]


@pytest.mark.parametrize(
    ("n", "m", "names"),
    [
        (0, 9, []), (9, 0, []), (3, 9, ["recall"]), (5, 9, ["precision", "recall"]),
        (6, 3, ["precision", "density", "coverage"]), (6, 4, ["precision", "recall", "density", "coverage"]),
    ],
)  # fmt: skip
def test_each_number_is_known_from_as_many_rows_as_it_needs(n, m, names):
    assert known(prdc(torch.randn(n, 2), torch.randn(m, 2), k=3, k_density=5)) == names


@pytest.mark.parametrize("fake", [torch.zeros(60, 300), torch.ones(60, 300)])
def test_among_real_rows_that_are_alike_nothing_is_known(fake):
    assert known(prdc(torch.ones(60, 300) / 3, fake / 3)) == []


def test_some_real_rows_that_are_alike_do_not_hide_the_others():
    x = torch.randn(200, 3, dtype=torch.float64)
    x[:15] = x[0]
    assert len(known(prdc(x, torch.randn(100, 3)))) == 4
    x[:60] = x[0]
    assert known(prdc(x, torch.randn(100, 3))) == []


def test_rows_that_are_no_numbers_have_no_manifold():
    x = torch.randn(20, 3)
    assert known(prdc(x, torch.full((20, 3), torch.nan))) == []
    assert known(prdc(torch.full((20, 3), torch.inf), x)) == []


def test_shares_of_no_rows_are_not_known():
    for value, error in prdc_estimates(torch.randn(0, 2), torch.randn(3, 2)).values():
        assert math.isnan(value)
        assert math.isnan(error)
