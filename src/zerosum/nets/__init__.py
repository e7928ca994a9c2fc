"""Pairs of networks.

A row gives two functions that make a player from the shape of the data:

    generator(shape, latent, **options) -> G        G(z) -> x, encoded, (n, *shape)
    discriminator(shape, **options)     -> D        D(x) -> logits, (n,) or (n, patches)

Conditions are put around them, see `judge`; D must be a `Judge` for that. A generator that takes `mean` is handed the
mean of the encoded training data.
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
    """Two makers of players."""

    generator: Callable[..., nn.Module]
    """(shape, latent size, **options) -> G."""
    discriminator: Callable[..., nn.Module]
    """(shape, **options) -> D."""
    suits: str
    """What it is for."""
    large: bool = True
    """Whether its matrices are large enough to be multiplied faster in bfloat16 than it takes to round them."""


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
        "images of any size; no normalisation, so that penalties on the slope of D mean what they say",
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
