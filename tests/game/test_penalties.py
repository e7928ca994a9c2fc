import pytest
import torch
from torch import nn

from zerosum.game.penalties import PENALTIES, DiscriminatorPass, r1, r1_r2, r2, wgan_gp


def meeting(discriminator, real, fake, share=0.25):
    real, fake = real.requires_grad_(), fake.requires_grad_()
    draw = lambda purpose, shape: torch.full(shape, share)  # noqa: E731
    return DiscriminatorPass(real, fake, discriminator(real), discriminator(fake), discriminator, draw)


def linear(weight):
    return lambda x: x.flatten(1) @ weight


@pytest.fixture
def weight():
    return torch.tensor([3.0, 0.0, 4.0, 0.0], dtype=torch.float64, requires_grad=True)


@pytest.fixture
def batches():
    return torch.randn(5, 1, 2, 2, dtype=torch.float64), torch.randn(5, 1, 2, 2, dtype=torch.float64)


@pytest.mark.parametrize(("name", "expected"), [("r1", 12.5), ("r2", 12.5), ("r1+r2", 25.0), ("wgan-gp", 16.0)])
def test_on_a_linear_discriminator_a_penalty_is_a_function_of_its_weights(name, expected, weight, batches):
    """|g| = |w| = 5 over all four numbers of a sample: 1/2 |w|^2 and (|w| - 1)^2."""
    values = PENALTIES[name](meeting(linear(weight), *batches))
    torch.testing.assert_close(values, torch.full((5,), expected, dtype=torch.float64), rtol=1e-12, atol=0)


def test_every_penalty_is_in_the_table_of_the_test_above():
    assert PENALTIES.keys() == {"r1", "r2", "r1+r2", "wgan-gp"}


@pytest.mark.parametrize("name", PENALTIES)
def test_gradients_by_the_discriminators_weights_equal_finite_differences(name, batches):
    first = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    second = torch.randn(3, dtype=torch.float64, requires_grad=True)

    def penalty(first, second):
        discriminator = lambda x: torch.tanh(x.flatten(1) @ first) @ second  # noqa: E731
        real, fake = (batch.detach().clone() for batch in batches)
        return PENALTIES[name](meeting(discriminator, real, fake)).sum()

    assert torch.autograd.gradcheck(penalty, (first, second))


def test_r1_looks_at_data_and_r2_at_samples():
    square = lambda x: x.square().sum(1) / 2  # noqa: E731  the slope at x is x
    here, there = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])
    assert r1(meeting(square, here, there)).item() == 12.5
    assert r2(meeting(square, here, there)).item() == 2.0
    assert r1_r2(meeting(square, here, there)).item() == 14.5


def test_wgan_gp_mixes_each_pair_by_its_own_share():
    asked = []

    def discriminator(x):
        asked.append(x)
        return x.square().flatten(1).sum(1) / 2

    real, fake = torch.zeros(3, 1, 2, 2), torch.ones(3, 1, 2, 2)
    given = meeting(discriminator, real, fake)
    shares = torch.tensor([0.0, 0.5, 1.0]).reshape(3, 1, 1, 1)
    values = wgan_gp(DiscriminatorPass(**(vars(given) | {"uniform": lambda purpose, shape: shares.reshape(shape)})))
    torch.testing.assert_close(asked[-1].detach(), shares.expand(3, 1, 2, 2))
    torch.testing.assert_close(values.detach(), torch.tensor([1.0, 0.0, 1.0]))  # |y| = 2 share over four numbers


@pytest.mark.parametrize("name", PENALTIES)
def test_a_flat_discriminator_gives_no_nan(name, batches):
    weight = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    value = PENALTIES[name](meeting(linear(weight), *batches)).mean()
    (gradient,) = torch.autograd.grad(value, weight)
    assert torch.isfinite(value)
    assert torch.equal(gradient, torch.zeros(4, dtype=torch.float64))


def test_penalties_sum_over_the_patches_of_a_sample():
    patches = nn.Conv2d(1, 1, 2, bias=False)
    nn.init.ones_(patches.weight)
    values = r1(meeting(lambda x: patches(x).flatten(1), torch.randn(2, 1, 3, 3), torch.randn(2, 1, 3, 3)))
    slope = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])  # how many patches see each pixel
    torch.testing.assert_close(values, 0.5 * slope.square().sum().expand(2))
