import torch
from torch import nn

from zerosum.nets.mlp import Maxout, discriminator, generator, goodfellow2014_discriminator, goodfellow2014_generator

SHAPE = (1, 28, 28)


def test_a_residual_layer_is_the_formula_of_its_module():
    D = discriminator((3,), width=5, depth=3)
    first, second, third, _ = D.features[1]
    x = torch.randn(4, 3)
    h = x @ first.weight.T + first.bias
    for layer in (second, third):
        h = h + h.clamp(min=0) @ layer.weight.T + layer.bias
    torch.testing.assert_close(D(x), (h.clamp(min=0) @ D.head.weight.T + D.head.bias).squeeze(1))


def test_images_are_bounded_and_points_are_not():
    z = 1000 * torch.randn(50, 4)
    assert generator(SHAPE, 4)(z).abs().max() <= 1
    assert generator((2,), 4)(z).abs().max() > 1


def test_maxout_is_the_largest_of_its_pieces():
    layer, x = Maxout(3, 2, 4), torch.randn(5, 3)
    each = torch.stack([x @ weight.T + bias for weight, bias in zip(*parts(layer), strict=True)], dim=2)
    torch.testing.assert_close(layer(x), each.amax(2))


def parts(layer):
    return (
        [layer.linear.weight.unflatten(0, (2, 4))[:, piece] for piece in range(4)],
        [layer.linear.bias.unflatten(0, (2, 4))[:, piece] for piece in range(4)],
    )


def test_the_2014_pair_has_the_sizes_and_the_start_of_its_source():
    G, D = goodfellow2014_generator(SHAPE, 100), goodfellow2014_discriminator(SHAPE)
    linear = lambda net: [layer for layer in net.modules() if isinstance(layer, nn.Linear)]  # noqa: E731
    assert [tuple(layer.weight.shape) for layer in linear(G)] == [(1200, 100), (1200, 1200), (784, 1200)]
    assert [tuple(layer.weight.shape) for layer in linear(D)] == [(1200, 784), (1200, 240), (1, 240)]
    assert [layer.p for layer in D.modules() if isinstance(layer, nn.Dropout)] == [0.2, 0.5, 0.5]
    for net, bound in ((G, 0.05), (D, 0.005)):
        for layer in linear(net):
            assert 0.9 * bound < layer.weight.abs().max() <= bound
            assert not layer.bias.any()


def test_the_first_samples_of_2014_have_the_mean_image_of_the_data():
    mean = torch.rand(SHAPE) * 1.8 - 0.9
    G = goodfellow2014_generator(SHAPE, 100, mean)
    with torch.no_grad():
        G[0].weight.zero_()
        torch.testing.assert_close(G(torch.randn(1, 100))[0], mean, rtol=0, atol=1e-4)


def test_dropout_in_grey_values_drops_to_black_not_to_grey():
    D = goodfellow2014_discriminator(SHAPE).train()
    black = -torch.ones(3, *SHAPE)
    torch.testing.assert_close(D.features[1](black.flatten(1)), torch.zeros(3, 784))
