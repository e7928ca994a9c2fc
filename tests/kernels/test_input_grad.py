from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, softplus
from torch.utils.flop_counter import FlopCounterMode

from zerosum.kernels import with_fast_layers
from zerosum.kernels.discriminators import of_affine_layers
from zerosum.kernels.input_grad import value_and_input_grad
from zerosum.nets.conditional import FastGradientDiscriminator
from zerosum.nets.conv import cs231n_discriminator, dcgan_discriminator
from zerosum.nets.residual import discriminator

SHAPE = (2, 9, 8)


def fast(net, x):
    return value_and_input_grad(net, x, list(net.parameters()))


class Mixed(nn.Module):
    """Layers in every form that a convolution has, one used twice, and smooth activations."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False)
        self.second = nn.Conv2d(4, 4, (3, 1), padding=(2, 0), dilation=(2, 1), groups=2)
        self.last = nn.Linear(4, 3)
        self.head = nn.Linear(3, 1)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        h = h + self.second(nn.functional.leaky_relu(self.second(h)))
        h = nn.functional.relu(self.last(softplus(avg_pool2d(h, h.shape[2:]).flatten(1))))
        return self.head(h).squeeze(1)


class Places(nn.Module):
    """Pooling that returns indices."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2 * 4 * 4, 1)

    def forward(self, x):
        h, _ = nn.functional.max_pool2d(torch.tanh(x), 2, return_indices=True)
        return self.head(h.flatten(1)).squeeze(1)


NETS = {
    "residual": lambda: discriminator(SHAPE, width=32, blocks=1),
    "dcgan": lambda: dcgan_discriminator(SHAPE, width=4, normalize=False),
    "cs231n": lambda: cs231n_discriminator(SHAPE),
    "mixed": Mixed,
    "modules": lambda: FastGradientDiscriminator(
        nn.Sequential(
            nn.Conv2d(2, 3, 2), nn.LeakyReLU(0.3, inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1, dilation=1, ceil_mode=True), nn.MaxPool2d((2, 1), dilation=2),
            nn.Flatten(), nn.Linear(24, 5), nn.ReLU(),
        ), 5,
    ),
}  # fmt: skip
COSTS = {
    "logits": lambda logits, g: (logits * torch.linspace(-1, 2, len(logits)).to(logits)).exp().sum(),
    "slope": lambda logits, g: g.pow(4).sum() + g.sum(),
    "both": lambda logits, g: (logits.square()[:, None] * g.flatten(1).sin()).sum() + logits.exp().sum(),
}


@pytest.fixture(params=NETS)
def net(request):
    return NETS[request.param]().double()


@pytest.fixture
def x():
    return torch.randn(3, *SHAPE, dtype=torch.float64, requires_grad=True)


def by_autograd(net, x):
    logits = net(x)
    return logits, torch.autograd.grad(logits.sum(), x, create_graph=True)[0]


def test_logits_and_slopes_are_those_of_autograd(net, x):
    for mine, theirs in zip(fast(net, x), by_autograd(net, x), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("cost", COSTS)
def test_gradients_are_those_of_autograd(cost, net, x):
    by = [x, *net.parameters()]
    mine = torch.autograd.grad(COSTS[cost](*fast(net, x)), by, materialize_grads=True)
    theirs = torch.autograd.grad(COSTS[cost](*by_autograd(net, x)), by, materialize_grads=True)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_sample_has_its_own_slope(net, x):
    with torch.no_grad():
        alone = torch.cat([fast(net, one[None])[1] for one in x])
        torch.testing.assert_close(fast(net, x)[1], alone, rtol=1e-11, atol=1e-13)


def test_two_costs_can_be_learned_from_one_after_the_other(net, x):
    """As where both players' gradients are taken at one point."""
    logits, g = fast(net, x)
    parameters = list(net.parameters())
    first = torch.autograd.grad(g.square().sum(), parameters, retain_graph=True, materialize_grads=True)
    torch.autograd.grad(logits.sum(), x, retain_graph=True)
    again = torch.autograd.grad(g.square().sum(), parameters, materialize_grads=True)
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)


def test_a_frozen_layer_learns_nothing_and_the_others_the_same(net, x):
    free = torch.autograd.grad(COSTS["both"](*fast(net, x)), list(net.parameters()))
    frozen, *rest = net.parameters()
    frozen.requires_grad_(False)
    COSTS["both"](*fast(net, x)).backward(inputs=rest)
    assert frozen.grad is None
    for parameter, gradient in zip(rest, free[1:], strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-14)


def test_parameters_of_other_layers_are_refused():
    net = nn.Sequential(nn.Flatten(), nn.Linear(144, 4), nn.PReLU(), nn.Linear(4, 1), nn.Flatten(0))
    with pytest.raises(RuntimeError, match="linear layers and convolutions"):
        fast(net, torch.randn(3, *SHAPE))


def test_a_second_derivative_is_refused_rather_than_wrong(net, x):
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(fast(net, x)[0].sum(), x, create_graph=True)


@pytest.mark.parametrize("make", [partial(dcgan_discriminator, width=4, normalize=False), cs231n_discriminator])
def test_our_own_forms_of_layers_are_met_as_torchs(make):
    net = with_fast_layers(make((2, 32, 28)))  # in float32, its first layer is one of ours, and the last but one
    x = torch.randn(3, 2, 32, 28, requires_grad=True)
    parameters = list(net.parameters())
    mine, theirs = (
        (*both, *torch.autograd.grad(COSTS["both"](*both), parameters)) for both in (fast(net, x), by_autograd(net, x))
    )
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * other.abs().max().item())


@pytest.mark.parametrize("cost", COSTS)
def test_a_judge_can_be_given_a_head_for_each_sample(cost, x):
    net = cs231n_discriminator(SHAPE).double()
    head = torch.randn(3, 1024, dtype=torch.float64, requires_grad=True)

    def logits_of(x):
        return (net.features(x) * head).sum(1) + net.head.bias

    by = [x, head, net.head.bias, *net.features.parameters()]
    mine = torch.autograd.grad(COSTS[cost](*of_affine_layers(net, x, head)), by, materialize_grads=True)
    theirs = torch.autograd.grad(COSTS[cost](*by_autograd(logits_of, x)), by, materialize_grads=True)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_pooling_that_tells_where_it_found_the_largest_is_torchs():
    net = Places().double()
    x = torch.randn(3, *SHAPE, dtype=torch.float64, requires_grad=True)
    weights = list(net.parameters())
    mine, theirs = (torch.autograd.grad(COSTS["both"](*ask(net, x)), weights) for ask in (fast, by_autograd))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_outside_of_it_layers_are_torchs_own(net, x):
    fast(net, x)
    assert "Affine" not in type(nn.Linear(2, 1)(torch.ones(1, 2)).grad_fn).__name__


@pytest.mark.parametrize("cost", ["slope", "both"])
def test_torchs_own_counter_can_look_on_and_counts_four_walks_of_six(cost):
    """It has hooks on what modules are given. A pass is counted as one forward pass through all layers."""
    net, x = dcgan_discriminator((1, 16, 16), width=4, normalize=False).double(), torch.randn(2, 1, 16, 16).double()

    def operations(work):
        with FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops()

    def learn(ask):
        both = ask(net, x.clone().requires_grad_().clone())
        COSTS[cost](*both).backward(inputs=list(net.parameters()))

    forward_pass = operations(lambda: net(x))
    assert operations(lambda: learn(fast)) == 4 * forward_pass
    assert operations(lambda: learn(by_autograd)) > 5.5 * forward_pass
