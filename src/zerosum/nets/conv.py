"""Convolutional pairs: the CS231n networks for MNIST, and DCGAN for images of any size.

Layers of stride 2 lead from a small map of many channels to the image in G, and back in D. Where a side is not a power
of two times the small one, G generates slightly more and crops it, and D pads by a row or column.

    cs231n   G: z > 1024 > 128 maps > 64 maps (twice the side) > image (twice again)     D: two 5 x 5 layers, pooled
    dcgan    G: z > maps of about 4 x 4, then halve the channels and double the side     D: its mirror image
"""

from math import ceil
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from zerosum.config.settings import Size
from zerosum.errors import ConfigError
from zerosum.nets.conditional import Discriminator, FastGradientDiscriminator, apply_spectral_norm

Images = Float[Tensor, "n c h w"]
Resized = Float[Tensor, "n c h2 w2"]


class Crop(nn.Module):
    """Crop images to their upper left height x width pixels."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Images) -> Resized:  # noqa: D102
        return x[..., : self.height, : self.width]


class PadToEven(nn.Module):
    """Pad each odd side with a row or column of zeros."""

    def forward(self, x: Images) -> Resized:  # noqa: D102
        return pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))


def image_shape(shape: tuple[int, ...], pair: str) -> tuple[int, int, int]:
    """Check that a shape is that of images of at least 8 x 8 pixels; return it as (c, h, w).

    Raises:
        ConfigError: The data is points, or its images are smaller.
    """
    if len(shape) != 3 or min(shape[1:]) < 8:
        raise ConfigError(f"the pair {pair} plays images of at least 8 x 8, the data has shape {shape}. Try mlp")
    c, h, w = shape
    return c, h, w


def init_glorot(net: nn.Module) -> None:
    """Initialize weights uniformly with the variance of Glorot & Bengio 2010, biases with zero."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            layer.bias.data.zero_()  # type: ignore[union-attr]


def cs231n_generator(shape: tuple[int, ...], latent: int) -> nn.Module:
    """G of the CS231n assignment on MNIST, for images of any size.

    1024 ReLU BN, 7 x 7 x 128 ReLU BN, transposed convolution to 64 maps ReLU BN, another to the image, tanh. In
    training, BN uses the statistics of the batch. The published snippet (TensorFlow 1) calls batch normalization
    without `training=True`: there it stays in inference mode, where it only scales and shifts.

    Args:
        shape: Shape (c, h, w) of one image; for 28 x 28, the first map is 7 x 7.
        latent: Size of z.

    Source: Stanford CS231n, assignment 3 (2017), as described in the notes that quote it.
    """
    c, h, w = image_shape(shape, "cs231n")
    top, left = ceil(h / 4), ceil(w / 4)
    net = nn.Sequential(
        nn.Linear(latent, 1024), nn.ReLU(), nn.BatchNorm1d(1024),
        nn.Linear(1024, 128 * top * left), nn.ReLU(), nn.BatchNorm1d(128 * top * left),
        nn.Unflatten(1, (128, top, left)),
        nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.ReLU(), nn.BatchNorm2d(64),
        nn.ConvTranspose2d(64, c, 4, 2, 1), Crop(h, w), nn.Tanh(),
    )  # fmt: skip
    init_glorot(net)
    return net


def cs231n_discriminator(shape: tuple[int, ...], *, spectral: bool = False) -> nn.Module:
    """D of the CS231n assignment on MNIST, for images of any size.

    Convolution to 32 maps, pooled by 2, to 64 maps, pooled by 2, both 5 x 5; 1024 features; one logit; LeakyReLU 0.01.
    The convolutions are padded only if a side is below 16, where nothing would be left otherwise. Max pooling comes
    before LeakyReLU, not after it: since LeakyReLU is monotone, the result is bit-identical and takes less work.

    Args:
        shape: Shape (c, h, w) of one image.
        spectral: Use spectral normalization.

    Source: Stanford CS231n, assignment 3 (2017), as described in the notes that quote it.
    """
    c, h, w = image_shape(shape, "cs231n")
    padding = 0 if min(h, w) >= 16 else 2
    sides = (((side - 4 + 2 * padding) // 2 - 4 + 2 * padding) // 2 for side in (h, w))
    top, left = sides
    features = nn.Sequential(
        nn.Conv2d(c, 32, 5, padding=padding), nn.MaxPool2d(2), nn.LeakyReLU(0.01),
        nn.Conv2d(32, 64, 5, padding=padding), nn.MaxPool2d(2), nn.LeakyReLU(0.01),
        nn.Flatten(), nn.Linear(64 * top * left, 1024), nn.LeakyReLU(0.01),
    )  # fmt: skip
    net = Discriminator(features, 1024) if spectral else FastGradientDiscriminator(features, 1024)
    init_glorot(net)
    return apply_spectral_norm(net) if spectral else net


def halvings(height: int, width: int, smallest: int = 4) -> list[tuple[int, int]]:
    """The sizes (h, w) from an image down to a map of about 4 x 4, each half of the one before, rounded up.

    >>> halvings(28, 28)
    [(28, 28), (14, 14), (7, 7), (4, 4)]
    """
    sizes = [(height, width)]
    while min(sizes[-1]) > smallest:
        h, w = sizes[-1]
        sizes.append((ceil(h / 2), ceil(w / 2)))
    return sizes


def init_dcgan(net: nn.Module) -> None:
    """Initialize weights from N(0, 0.02^2), scales of batch normalization from N(1, 0.02^2), biases with zero."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
        if isinstance(bias := getattr(layer, "bias", None), nn.Parameter):
            nn.init.zeros_(bias)


def dcgan_generator(shape: tuple[int, ...], latent: int, *, width: Size = 64) -> nn.Module:
    """G of DCGAN: a small map of many channels, then 4 x 4 transposed convolutions with BN and ReLU, then tanh.

    Args:
        shape: Shape (c, h, w) of one image.
        latent: Size of z.
        width: Channels of the last hidden layer; each smaller size has twice as many.

    Source: Radford et al. 2016, arXiv:1511.06434, section 3; theirs are 5 x 5 kernels on 64 x 64 images, width 128.
    """
    c, h, w = image_shape(shape, "dcgan")
    sizes = halvings(h, w)
    steps = len(sizes) - 1
    maps = [width * 2**step for step in range(steps)]
    top, left = sizes[-1]
    layers: list[nn.Module] = [
        nn.Linear(latent, maps[-1] * top * left, bias=False), nn.Unflatten(1, (maps[-1], top, left)),
        nn.BatchNorm2d(maps[-1]), nn.ReLU(),
    ]  # fmt: skip
    for step in range(steps - 1, 0, -1):
        layers += [nn.ConvTranspose2d(maps[step], maps[step - 1], 4, 2, 1, bias=False), Crop(*sizes[step])]
        layers += [nn.BatchNorm2d(maps[step - 1]), nn.ReLU()]
    net = nn.Sequential(*layers, nn.ConvTranspose2d(maps[0], c, 4, 2, 1), Crop(h, w), nn.Tanh())
    init_dcgan(net)
    return net


def dcgan_discriminator(
    shape: tuple[int, ...], *, width: Size = 64, spectral: bool = False, normalize: bool = True
) -> nn.Module:
    """D of DCGAN: 4 x 4 convolutions of stride 2, BN on all but the first, LeakyReLU 0.2, then the logit.

    Args:
        shape: Shape (c, h, w) of one image.
        width: Channels of the first layer; each smaller size has twice as many.
        spectral: Use spectral normalization.
        normalize: Use batch normalization; switch it off with a gradient penalty, which needs per-sample logits.

    Source: Radford et al. 2016, arXiv:1511.06434, section 3.
    """
    c, h, w = image_shape(shape, "dcgan")
    sizes = halvings(h, w)
    maps = [c] + [width * 2**step for step in range(len(sizes) - 1)]
    layers: list[nn.Module] = []
    for step in range(1, len(sizes)):
        batch_norm = normalize and step > 1
        layers += [PadToEven(), nn.Conv2d(maps[step - 1], maps[step], 4, 2, 1, bias=not batch_norm)]
        layers += [nn.BatchNorm2d(maps[step])] if batch_norm else []
        layers += [nn.LeakyReLU(0.2)]
    top, left = sizes[-1]
    make = Discriminator if normalize or spectral else FastGradientDiscriminator
    net = make(nn.Sequential(*layers, nn.Flatten()), maps[-1] * top * left)
    init_dcgan(net)
    return apply_spectral_norm(net) if spectral else net


def dcgan_per_sample(shape: tuple[int, ...], *, normalize: bool = True, **_: Any) -> bool:
    """Whether this D of DCGAN has no batch normalization: it is switched off, or D has one layer, which has none."""
    return not normalize or len(halvings(*shape[1:])) == 2
