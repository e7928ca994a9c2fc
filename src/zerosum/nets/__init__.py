"""Pairs of networks.

A row of NETS holds two functions that build a player from the shape of the encoded data:

    generator(shape, latent, **options) -> G        G(z) -> x, encoded, (n, *shape)
    discriminator(shape, **options)     -> D        D(x) -> logits, (n,) or (n, patches)

Wrappers add class conditions (see `conditional`); D must be a `Discriminator` for that. A generator function with an
argument `mean` receives the mean of the encoded training data.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from zerosum.nets import conv, mlp, residual
from zerosum.nets.conditional import (
    ConditionalGenerator,
    Discriminator,
    FastGradientDiscriminator,
    ProjectionDiscriminator,
    is_per_sample,
)


class Pair(NamedTuple):
    """The two functions that build the players."""

    generator: Callable[..., nn.Module]
    """(shape, latent size, **options) -> G."""
    discriminator: Callable[..., nn.Module]
    """(shape, **options) -> D."""
    suits: str
    """The data for which the pair is meant, for lists and messages."""
    large: bool = True
    """Whether bfloat16 pays: its matrices are so large that faster products outweigh the time to round them."""


NETS: dict[str, Pair] = {
    "mlp": Pair(mlp.generator, mlp.discriminator, "points, and images of up to 16 x 16", large=False),
    "goodfellow2014": Pair(
        mlp.goodfellow2014_generator, mlp.goodfellow2014_discriminator, "the 2014 paper's experiment on MNIST"
    ),
    "cs231n": Pair(conv.cs231n_generator, conv.cs231n_discriminator, "gray images of about 28 x 28"),
    "dcgan": Pair(conv.dcgan_generator, conv.dcgan_discriminator, "images from 8 x 8 to 128 x 128, square or not"),
    "residual": Pair(
        residual.generator,
        residual.discriminator,
        "images of any size; no batch normalization, so gradient penalties are per sample",
    ),
}

__all__ = [
    "NETS",
    "ConditionalGenerator",
    "Discriminator",
    "FastGradientDiscriminator",
    "Pair",
    "ProjectionDiscriminator",
    "is_per_sample",
]
