import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import conv2d, conv_transpose2d, linear

from zerosum.kernels import fast_layers
from zerosum.kernels.fast_layers import Conv2d, ConvTranspose2d, FromImage, Linear, OneDnnLinear, ToImage, ToMaps
from zerosum.nets import conv

SHAPES = [
    (1, 5, 1, 0),
    (1, 4, 2, 1),
    (3, 4, 2, 1),
    (2, 3, 1, 1),
    (1, 1, 1, 0),
    (3, 5, 2, 2),
    (4, 3, 3, 0),
    (1, 2, 4, 0),
]
"""Channels on the image's side, taps, stride, padding; stride 4 leaves gaps between its taps."""

NAMES = ["channels", "taps", "stride", "padding"]


def draws(*shapes):
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.fixture(params=SHAPES, ids=lambda case: "-".join(f"{n}{v}" for n, v in zip(NAMES, case, strict=True)))
def case(request):
    return request.param


def through(function, stride, padding):
    return lambda x, kernel, bias: function.apply(x, kernel, bias, stride, padding)


def assert_the_same(ours, theirs, inputs):
    """Values and gradients; and the gradients of both are differentiable twice."""
    torch.testing.assert_close(ours(*inputs), theirs(*inputs), rtol=0, atol=1e-12)
    grad = torch.randn_like(theirs(*inputs))
    pairs = (torch.autograd.grad(layer(*inputs), inputs, grad) for layer in (ours, theirs))
    for mine, other in zip(*pairs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)
    assert gradcheck(ours, inputs)
    assert gradgradcheck(ours, inputs)


@pytest.mark.parametrize("function", [ToImage, ToMaps])
def test_a_transposed_convolution_is_torchs_in_float64_to_its_second_derivatives(case, function):
    channels, taps, stride, padding = case
    inputs = draws((2, 2, 2, 3), (2, channels, taps, taps), (channels,))
    assert_the_same(
        through(function, stride, padding), lambda x, kernel, b: conv_transpose2d(x, kernel, b, stride, padding), inputs
    )


@pytest.mark.parametrize("left_over", [0, 1])
def test_a_convolution_from_an_image_is_torchs_in_float64_to_its_second_derivatives(case, left_over):
    channels, taps, stride, padding = case
    height = 2 * stride + taps - 2 * padding + left_over  # with stride 2 or more, what is left over meets no kernel
    inputs = draws((2, channels, height, height + 1), (2, channels, taps, taps), (2,))
    assert_the_same(
        through(FromImage, stride, padding), lambda x, kernel, b: conv2d(x, kernel, b, stride, padding), inputs
    )


def test_without_a_bias_nothing_else_changes():
    x, kernel = draws((2, 3, 4, 4), (3, 1, 4, 4))
    for function in (ToImage, ToMaps):
        torch.testing.assert_close(function.apply(x, kernel, None, 2, 1), conv_transpose2d(x, kernel, None, 2, 1))
        assert torch.autograd.grad(function.apply(x, kernel, None, 2, 1).sum(), (x, kernel))


@pytest.mark.skipif(not hasattr(torch.ops.mkldnn, fast_layers.ONEDNN_LINEAR), reason="this torch has no oneDNN")
def test_onednns_linear_layer_is_torchs_to_its_second_derivatives():
    # float32 is all it knows: compared with torch in float64, to float32's precision
    inputs = draws((5, 4), (3, 4), (3,))
    grad = torch.randn(5, 3, dtype=torch.float64)

    def derivatives(layer, kind):
        given = [value.detach().to(kind).requires_grad_() for value in inputs]
        y = layer(*given).tanh()
        first = torch.autograd.grad(y, given, grad.to(kind), create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), given)
        return [y, *first, *second]

    pairs = zip(derivatives(OneDnnLinear.apply, torch.float32), derivatives(linear, torch.float64), strict=True)
    for mine, exact in pairs:
        torch.testing.assert_close(mine.double(), exact, rtol=1e-4, atol=1e-5)


LAYERS = [
    (lambda: Linear(512, 600), nn.Linear, (6, 512)),
    (lambda: Conv2d(1, 8, 5), nn.Conv2d, (4, 1, 12, 12)),
    (lambda: Conv2d(8, 4, 3), nn.Conv2d, (4, 8, 6, 6)),
    (lambda: ConvTranspose2d(8, 3, 4, 2, 1), nn.ConvTranspose2d, (4, 8, 5, 5)),
    (lambda: ConvTranspose2d(8, 16, 4, 2, 1, bias=False), nn.ConvTranspose2d, (4, 8, 5, 5)),
]


@pytest.mark.parametrize(("make", "torchs", "shape"), LAYERS)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
def test_a_layer_gives_what_torchs_gives_in_every_type(make, torchs, shape, kind):
    layer = make().to(kind)
    x = torch.randn(shape).to(kind).requires_grad_()
    y = layer(x)
    grad = torch.randn(y.shape).to(kind)
    ours = [y, *torch.autograd.grad(y, (x, layer.weight), grad)]
    other = torchs.forward(layer, x)
    theirs = [other, *torch.autograd.grad(other, (x, layer.weight), grad)]
    close = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.03}[kind]
    for mine, reference in zip(ours, theirs, strict=True):
        assert mine.dtype == kind
        assert (mine - reference).abs().max() <= close * reference.abs().max()


def test_an_image_that_a_stride_does_not_fit_has_its_gradient_everywhere():
    layer = Conv2d(1, 2, 4, 2, 1)
    x = torch.randn(1, 1, 9, 9, requires_grad=True)
    (grad,) = torch.autograd.grad(layer(x).sum(), x)
    (wanted,) = torch.autograd.grad(nn.Conv2d.forward(layer, x).sum(), x)
    torch.testing.assert_close(grad, wanted)


def test_a_users_own_autocast_is_respected():
    layer, x = ConvTranspose2d(4, 1, 4, 2, 1), torch.randn(2, 4, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16


def test_the_networks_hold_these_layers_under_torchs_names():
    G = conv.cs231n_generator((1, 28, 28), 96)
    assert {type(layer).__module__ for layer in G.modules() if isinstance(layer, nn.ConvTranspose2d)} == {
        "zerosum.kernels.fast_layers"
    }
    plain = nn.ConvTranspose2d(64, 1, 4, 2, 1)
    plain.load_state_dict({"weight": G[10].weight, "bias": G[10].bias})
