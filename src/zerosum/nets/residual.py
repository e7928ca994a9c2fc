"""A modern pair without normalization, for images of any size.

Both players have a stage at each size, every size half of the one before; a stage is `blocks` residual bottlenecks,

    h <- h + W3 f(W2 f(W1 h)),      W1, W3 1 x 1,      W2 3 x 3 in groups,      f = LeakyReLU 0.2

W3 starts small, so that every block starts near the identity; this replaces batch normalization, which would couple
D's input gradients across the batch. Bilinear resampling allows any size. G starts from a small learned map, whose
channels are scaled by a linear function of z. Its output is not bounded: without normalization a tanh saturates (on
MNIST, after 100 rounds, every sample was black).

Source: the idea of R3GAN, Huang et al. 2024, arXiv:2501.05441, section 3; start: Fixup, arXiv:1901.09321.
Differs: sizes and channels are for small machines, one 1 x 1 layer changes channels at each step.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from zerosum.config.settings import Layers, Size
from zerosum.nets.conditional import Discriminator, FastGradientDiscriminator, apply_spectral_norm
from zerosum.nets.conv import Images, Resized, halvings, image_shape

NEGATIVE_SLOPE = 0.2
INITIAL_SCALE = 0.1
"""Factor on the initial W3; not 0, as in Fixup, because spectral normalization would divide by it."""

GROUP_SIZE = 16
"""Channels per group of W2, as in R3GAN."""


class Bottleneck(nn.Module):
    """h + W3 f(W2 f(W1 h)); W2 is a grouped convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        groups = max(1, channels // GROUP_SIZE)
        self.narrow = nn.Conv2d(channels, channels, 1)
        self.spread = nn.Conv2d(channels, channels, 3, padding=1, groups=groups)
        self.widen = nn.Conv2d(channels, channels, 1, bias=False)
        for layer in (self.narrow, self.spread, self.widen):
            nn.init.kaiming_normal_(layer.weight, NEGATIVE_SLOPE)
        self.widen.weight.data.mul_(INITIAL_SCALE)

    def forward(self, h: Images) -> Images:  # noqa: D102
        inner = leaky_relu(self.spread(leaky_relu(self.narrow(h), NEGATIVE_SLOPE)), NEGATIVE_SLOPE)
        out: Tensor = h + self.widen(inner)
        return out


class Stem(nn.Conv2d):
    """1 x 1 convolution of the image; makes one channel explicitly channels-last, which torch cannot see in strides."""

    def forward(self, x: Images) -> Float[Tensor, "n o h w"]:  # noqa: D102
        n, c, h, w = x.shape
        return super().forward(x.reshape(n, h, w, 1).permute(0, 3, 1, 2) if c == 1 else x)


class Resize(nn.Module):
    """Bilinear resampling to a size (h, w); at half the size, each pixel is the mean of four."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, h: Images) -> Resized:  # noqa: D102
        return interpolate(h, self.size, mode="bilinear", align_corners=False)


class LearnedConstant(nn.Module):
    """A learned map (channels, h, w); a linear function of z (n, latent) scales each channel."""

    def __init__(self, latent: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.map = nn.Parameter(torch.randn(channels, *size))
        self.scale = nn.Linear(latent, channels)

    def forward(self, z: Float[Tensor, "n latent"]) -> Images:  # noqa: D102
        out: Tensor = self.map * self.scale(z)[:, :, None, None]
        return out


def channels_of(steps: int, width: int, most: int) -> list[int]:
    """Channels at each size, from the image down: width, doubled at each step, at most `most`."""
    return [min(most, width * 2**step) for step in range(steps)]


def generator(
    shape: tuple[int, ...], latent: int, *, width: Size = 32, most: Size = 256, blocks: Layers = 2
) -> nn.Module:
    """G of the pair `residual`.

    Args:
        shape: Shape (c, h, w) of one image.
        latent: Size of z.
        width: Channels at full size.
        most: Maximum number of channels at smaller sizes.
        blocks: Bottlenecks at each size.
    """
    c, h, w = image_shape(shape, "residual")
    sizes = halvings(h, w)
    channels = channels_of(len(sizes), width, most)
    layers: list[nn.Module] = [LearnedConstant(latent, channels[-1], sizes[-1])]
    for step in range(len(sizes) - 1, -1, -1):
        layers += [Bottleneck(channels[step]) for _ in range(blocks)]
        if step:
            layers += [nn.Conv2d(channels[step], channels[step - 1], 1), Resize(sizes[step - 1])]
    return nn.Sequential(*layers, nn.Conv2d(channels[0], c, 1))


def discriminator(
    shape: tuple[int, ...], *, width: Size = 32, most: Size = 256, blocks: Layers = 2, spectral: bool = False
) -> nn.Module:
    """D of the pair `residual`: G mirrored, then a depthwise convolution to one number per channel, then the logit.

    Args:
        shape: Shape (c, h, w) of one image.
        width: Channels at full size.
        most: Maximum number of channels at smaller sizes.
        blocks: Bottlenecks at each size.
        spectral: Use spectral normalization.
    """
    c, h, w = image_shape(shape, "residual")
    sizes = halvings(h, w)
    channels = channels_of(len(sizes), width, most)
    layers: list[nn.Module] = [Stem(c, channels[0], 1)]
    for step in range(len(sizes)):
        layers += [Bottleneck(channels[step]) for _ in range(blocks)]
        if step + 1 < len(sizes):
            layers += [Resize(sizes[step + 1]), nn.Conv2d(channels[step], channels[step + 1], 1)]
    last = channels[-1]
    features = nn.Sequential(*layers, nn.Conv2d(last, last, sizes[-1], groups=last), nn.Flatten())
    return apply_spectral_norm(Discriminator(features, last)) if spectral else FastGradientDiscriminator(features, last)
