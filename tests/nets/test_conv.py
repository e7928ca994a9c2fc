import pytest
import torch
from torch import nn

from zerosum.nets.conv import cs231n_discriminator, cs231n_generator, dcgan_discriminator, dcgan_generator, halvings


def layers(net, kind):
    return [layer for layer in net.modules() if isinstance(layer, kind)]


def test_the_cs231n_pair_on_mnist_has_the_sizes_of_its_source():
    G, D = cs231n_generator((1, 28, 28), 96), cs231n_discriminator((1, 28, 28))
    assert [tuple(layer.weight.shape) for layer in layers(D, nn.Conv2d)] == [(32, 1, 5, 5), (64, 32, 5, 5)]
    assert [tuple(layer.weight.shape) for layer in layers(D, nn.Linear)] == [(1024, 4 * 4 * 64), (1, 1024)]
    assert [tuple(layer.weight.shape) for layer in layers(G, nn.Linear)] == [(1024, 96), (7 * 7 * 128, 1024)]
    assert [tuple(layer.weight.shape) for layer in layers(G, nn.ConvTranspose2d)] == [(128, 64, 4, 4), (64, 1, 4, 4)]
    assert sum(weight.numel() for weight in D.parameters()) == 1_102_721


def test_the_cs231n_pair_starts_as_glorot_says():
    D = cs231n_discriminator((1, 28, 28))
    for layer in layers(D, nn.Linear):
        bound = (6 / sum(layer.weight.shape)) ** 0.5
        assert layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
        assert not layer.bias.any()


def test_dcgan_starts_with_deviation_002_and_normalises_all_but_the_first_layer_of_d():
    G, D = dcgan_generator((3, 64, 64), 100), dcgan_discriminator((3, 64, 64))
    for layer in [*layers(G, nn.ConvTranspose2d), *layers(D, nn.Conv2d)]:
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert len(layers(D, nn.Conv2d)) == len(layers(D, nn.BatchNorm2d)) + 1 == 4
    assert [layer.out_channels for layer in layers(D, nn.Conv2d)] == [64, 128, 256, 512]
    assert not layers(dcgan_discriminator((3, 64, 64), normalize=False), nn.BatchNorm2d)


@pytest.mark.parametrize(
    ("size", "last"),
    [((8, 8), (4, 4)), ((28, 28), (4, 4)), ((32, 48), (4, 6)), ((128, 128), (4, 4)), ((9, 17), (3, 5))],
)
def test_sizes_are_halved_until_about_4(size, last):
    sizes = halvings(*size)
    assert sizes[0] == size
    assert sizes[-1] == last


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 17), (2, 128, 40), (13, 96, 160)])
def test_dcgan_takes_any_size_and_any_number_of_channels(shape):
    G, D = dcgan_generator(shape, 7, width=4), dcgan_discriminator(shape, width=4)
    x = G(torch.randn(2, 7))
    assert x.shape == (2, *shape)
    assert D(x).shape == (2,)
