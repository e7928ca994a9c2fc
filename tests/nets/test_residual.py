import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, leaky_relu

from zerosum.nets.residual import Bottleneck, Resize, Stem, discriminator, generator


def test_a_block_starts_near_the_identity():
    block, h = Bottleneck(32), torch.randn(20, 32, 5, 5)
    added = block(h) - h
    assert 0 < added.std() < 0.3 * h.std()


def test_a_block_is_the_formula_of_its_module():
    block, h = Bottleneck(32), torch.randn(2, 32, 5, 5)
    inner = leaky_relu(block.spread(leaky_relu(block.narrow(h), 0.2)), 0.2)
    torch.testing.assert_close(block(h), h + block.widen(inner))


def test_halving_is_the_mean_of_four():
    h = torch.randn(2, 3, 8, 12)
    torch.testing.assert_close(Resize((4, 6))(h), avg_pool2d(h, 2))


def test_the_first_samples_fill_the_range_without_saturating():
    x = generator((3, 32, 32), 64)(torch.randn(16, 64))
    assert 0.02 < x.std() < 0.6
    assert x.abs().max() < 1


def test_no_player_normalises_over_a_batch():
    for net in (generator((1, 28, 28), 8), discriminator((1, 28, 28))):
        assert not any("Norm" in type(layer).__name__ for layer in net.modules())


@pytest.mark.parametrize("channels", [1, 3])
def test_all_maps_of_a_d_with_channels_last_have_them_last(channels):
    D = discriminator((channels, 28, 28), width=16, blocks=1).to(memory_format=torch.channels_last)
    x, met = torch.randn(2, channels, 28, 28).to(memory_format=torch.channels_last), []
    for layer in D.modules():
        layer.register_forward_hook(lambda *call: met.append(call[2]))
    D(x)
    maps = [h for h in met if h.ndim == 4 and h.shape[2] > 1]
    assert len(maps) > 15
    assert all(h.is_contiguous(memory_format=torch.channels_last) for h in maps)


def test_the_layer_from_a_grey_image_is_a_convolution():
    layer, x = Stem(1, 4, 1), torch.randn(3, 1, 5, 6)
    torch.testing.assert_close(layer(x), conv2d(x, layer.weight, layer.bias))
    torch.testing.assert_close(layer(x[:, :, ::2]), conv2d(x[:, :, ::2], layer.weight, layer.bias))
