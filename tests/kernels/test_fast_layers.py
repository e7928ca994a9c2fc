from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import conv2d, conv_transpose2d, linear
from torch.nn.utils.parametrizations import spectral_norm

from zerosum.engine.precision import ComputeCopy
from zerosum.kernels import fast_layers, swap, with_fast_layers
from zerosum.kernels.fast_layers import Conv2d, ConvTranspose2d, FromImage, Linear, OneDnnLinear, ToImage, ToMaps
from zerosum.nets import NETS, ConditionalGenerator, ProjectionDiscriminator

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


FAST = {
    "mlp": ([], []),
    "goodfellow2014": ([], []),
    "cs231n": (["3", "7", "10"], ["features.0", "features.7"]),
    "dcgan": (["4", "8", "12"], ["features.1"]),
    "residual": ([], []),
}
"""Name of networks -> the layers of G and D on 28 x 28 that are fast."""


def fast(net):
    kinds = tuple(swap.FAST.values())
    return [name for name, layer in net.named_modules() if isinstance(layer, kinds)]


@pytest.mark.parametrize("name", FAST)
def test_fast_are_layers_at_the_image_transposed_ones_and_large_linear_ones_behind_the_first(name):
    shape = (1, 28, 28)
    G, D = NETS[name].generator(shape, 300), NETS[name].discriminator(shape)  # the first layers are large
    assert (fast(G), fast(D)) == ([], [])
    assert (fast(with_fast_layers(G)), fast(with_fast_layers(D))) == FAST[name]


def test_every_pair_of_networks_is_in_the_table_of_the_test_above():
    assert FAST.keys() == NETS.keys()


@pytest.mark.parametrize("name", ["cs231n", "dcgan"])
def test_wrapped_and_spectral_networks_have_the_same_fast_layers(name):
    shape = (1, 28, 28)
    G = with_fast_layers(ConditionalGenerator(NETS[name].generator(shape, 12), 3, 2))
    D = with_fast_layers(ProjectionDiscriminator(NETS[name].discriminator(shape, spectral=True), 3))
    assert (fast(G), fast(D)) == tuple([f"net.{layer}" for layer in layers] for layers in FAST[name])


UNFIT = {
    "grouped": partial(nn.Conv2d, 4, 4, 3, groups=2),
    "dilated": partial(nn.Conv2d, 1, 4, 3, dilation=2),
    "not square": partial(nn.Conv2d, 1, 4, (3, 1)),
    "two strides": partial(nn.Conv2d, 1, 4, 3, (1, 2)),
    "padded by name": partial(nn.Conv2d, 1, 4, 3, padding="same"),
    "reflected": partial(nn.Conv2d, 1, 4, 3, padding=1, padding_mode="reflect"),
    "1 x 1": partial(nn.Conv2d, 1, 4, 1),
    "from maps": partial(nn.Conv2d, 5, 4, 3),
    "output padding": partial(nn.ConvTranspose2d, 1, 4, 3, 2, output_padding=1),
    "small": partial(nn.Linear, 8, 8),
    "a subclass": type("Mine", (nn.ConvTranspose2d,), {}),
    "another kind": partial(nn.Conv1d, 1, 4, 3),
}


@pytest.mark.parametrize("make", UNFIT.values(), ids=UNFIT)
def test_other_layers_stay_torchs(make):
    layer = make() if isinstance(make, partial) else make(1, 4, 3)
    assert fast(with_fast_layers(nn.Sequential(nn.Conv2d(8, 8, 3), layer))) == []


def test_what_torch_gives_a_swapped_layer_gives_with_its_own_weights_hooks_and_parametrization():
    torchs = nn.Sequential(spectral_norm(nn.Conv2d(1, 8, 3)), nn.ConvTranspose2d(8, 1, 3)).eval()
    ours, seen, x = deepcopy(torchs), [], torch.randn(2, 1, 9, 9)
    weights = list(ours.parameters())
    ours[0].register_forward_hook(lambda *call: seen.append(call[0]))
    assert with_fast_layers(ours) is ours
    assert fast(ours) == ["0", "1"]
    assert fast(torchs) == []
    assert all(one is other for one, other in zip(ours.parameters(), weights, strict=True))
    torch.testing.assert_close(ours(x), torchs(x), rtol=1e-5, atol=1e-6)
    assert seen == [ours[0]]
    torchs.load_state_dict(ours.state_dict())


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", [lambda: nn.Conv2d(1, 8, 3), lambda: nn.ConvTranspose2d(8, 3, 3)])
def test_spectral_normalization_takes_one_power_iteration_a_pass(make, kind):
    torchs = spectral_norm(make()).to(kind)
    ours, x = with_fast_layers(deepcopy(torchs)), torch.randn(2, torchs.in_channels, 9, 9).to(kind)
    for _ in range(3):
        torch.testing.assert_close(ours(x), torchs(x), rtol=1e-5, atol=1e-6)
    assert torch.equal(ours.parametrizations.weight[0]._u, torchs.parametrizations.weight[0]._u)


def test_copies_have_fast_layers_and_compute_with_their_own_weights():
    net = with_fast_layers(nn.Sequential(spectral_norm(nn.Conv2d(1, 8, 3)), nn.ConvTranspose2d(8, 1, 3))).eval()
    x = torch.randn(2, 1, 9, 9)
    for copy in (deepcopy(net), ComputeCopy(net).net):
        assert fast(copy) == ["0", "1"]
        before = copy(x)
        with torch.no_grad():
            copy[1].bias += 1
        torch.testing.assert_close(copy(x), before + 1, rtol=0.01, atol=0.01)  # bfloat16's bias is rounded
