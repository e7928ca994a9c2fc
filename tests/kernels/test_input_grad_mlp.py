import pytest
import torch

from zerosum.kernels.discriminators import of_mlp
from zerosum.kernels.input_grad_mlp import mlp_value_and_input_grad
from zerosum.nets.mlp import discriminator


def d_and_samples(depth, shape=(3,), spectral=False):
    """A D in float64, and samples some of whose features are zero."""
    D = discriminator(shape, width=6, depth=depth, spectral=spectral).double()
    x = torch.randn(7, *shape, dtype=torch.float64, requires_grad=True)
    return D, x


def by_autograd(D, x):
    logits = D(x)
    return logits, torch.autograd.grad(logits.sum(), x, create_graph=True)[0]


def cost_of_both(logits, g):
    """Any function of both, different for each sample."""
    weights = torch.linspace(-1, 2, len(logits), dtype=logits.dtype)
    return (weights * logits.square()).sum() + g.pow(4).flatten(1).sum(1) @ weights + (g.sin().sum())


COSTS = {
    "logits": lambda logits, g: logits.exp().sum(),
    "slope": lambda logits, g: g.pow(4).sum(),
    "both": cost_of_both,
}


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("shape", [(3,), (1, 2, 4)])
def test_logits_and_slopes_are_those_of_autograd(depth, shape):
    D, x = d_and_samples(depth, shape)
    for mine, theirs in zip(of_mlp(D, x), by_autograd(D, x), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("spectral", [False, True])
def test_gradients_by_weights_and_biases_are_those_of_autograd(cost, depth, spectral):
    D, x = d_and_samples(depth, spectral=spectral)
    D.eval()  # a power iteration for each pass would be another D
    weights = list(D.parameters())
    mine = torch.autograd.grad(COSTS[cost](*of_mlp(D, x)), weights, materialize_grads=True)
    theirs = torch.autograd.grad(COSTS[cost](*by_autograd(D, x)), weights, materialize_grads=True)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_gradients_by_samples_are_those_of_autograd():
    D, x = d_and_samples(3)
    mine, theirs = (torch.autograd.grad(cost_of_both(*both), x)[0] for both in (of_mlp(D, x), by_autograd(D, x)))
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("depth", [1, 3])
def test_a_judge_can_be_given_a_head_for_each_sample(cost, depth):
    D, x = d_and_samples(depth)
    head = torch.randn(7, 6, dtype=torch.float64, requires_grad=True)
    by = [x, head, D.head.bias, *D.features.parameters()]
    mine = torch.autograd.grad(COSTS[cost](*of_mlp(D, x, head)), by, materialize_grads=True)
    theirs = by_autograd(lambda x: (D.features(x) * head).sum(1) + D.head.bias, x)
    for one, other in zip(mine, torch.autograd.grad(COSTS[cost](*theirs), by, materialize_grads=True), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_gradients_are_finite_differences():
    D, x = d_and_samples(2)
    layers = [layer for layer in D.modules() if isinstance(layer, torch.nn.Linear)]
    weights, biases = ([getattr(layer, name) for layer in layers] for name in ("weight", "bias"))
    flat_call = lambda *flat: mlp_value_and_input_grad(flat[0], list(flat[1:4]), list(flat[4:]))  # noqa: E731
    assert torch.autograd.gradcheck(flat_call, (x, *weights, *biases))


def test_a_feature_of_exactly_zero_has_no_slope_as_in_torch():
    D, x = d_and_samples(3)
    with torch.no_grad():
        for weight in D.parameters():
            weight.zero_()
        D.head.weight.fill_(1.0)
    assert not of_mlp(D, x)[1].any()
    assert not by_autograd(D, x)[1].any()


def test_a_second_derivative_is_refused_rather_than_wrong():
    D, x = d_and_samples(2)
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(of_mlp(D, x)[0].sum(), x, create_graph=True)
