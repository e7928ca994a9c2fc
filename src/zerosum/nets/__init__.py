"""Networks: torch's own layers only; `zerosum.kernels` makes finished networks faster.

A row of NETS holds two functions that build a player from the shape of the encoded data, and what is to be known of the
players before they are built:

    generator(shape, latent, **options) -> G        G(z) -> x, encoded, (n, *shape)
    discriminator(shape, **options)     -> D        D(x) -> logits, (n,) or (n, patches)

Wrappers add class conditions (see `conditional`); D must be a `Discriminator` for that. A generator function with an
argument `mean` receives the mean of the encoded training data.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from zerosum.nets import conv, mlp, residual
from zerosum.nets.conditional import (
    ConditionalGenerator,
    Discriminator,
    FastGradientDiscriminator,
    ProjectionDiscriminator,
    without_spectral_norm,
)


class Networks(NamedTuple):
    """A generator and a discriminator; a row of NETS, or `my_module:networks` of your own."""

    generator: Callable[..., nn.Module]
    """(shape, latent size, **options) -> G."""
    discriminator: Callable[..., nn.Module]
    """(shape, **options) -> D."""
    per_sample: bool | Callable[..., bool] = False
    """Whether D's logit of a sample depends on that sample alone, so that D may see real and fake as one batch; where
    options decide, a function (shape, **options of D) -> bool."""
    bf16: bool | Callable[..., bool] = False
    """Whether bfloat16 pays: large matrices, whose faster products outweigh the time to round them, and no need for
    more digits; where options decide, a function (**options of D) -> bool. `train.precision = "auto"` reads it."""
    suits: str = "data of your own"
    """The data for which the networks are meant, for lists and messages."""


def declared(value: bool | Callable[..., bool], /, *shape: tuple[int, ...], **options: Any) -> bool:
    """The value of `per_sample` or `bf16` for these options."""
    return value(*shape, **options) if callable(value) else value


NETS: dict[str, Networks] = {
    "mlp": Networks(mlp.generator, mlp.discriminator, per_sample=True, suits="points, and images of up to 16 x 16"),
    "goodfellow2014": Networks(
        mlp.goodfellow2014_generator,
        mlp.goodfellow2014_discriminator,
        per_sample=True,
        bf16=True,
        suits="the 2014 paper's experiment on MNIST",
    ),
    "cs231n": Networks(
        conv.cs231n_generator,
        conv.cs231n_discriminator,
        per_sample=True,
        bf16=without_spectral_norm,
        suits="gray images of about 28 x 28",
    ),
    "dcgan": Networks(
        conv.dcgan_generator,
        conv.dcgan_discriminator,
        per_sample=conv.dcgan_per_sample,
        bf16=without_spectral_norm,
        suits="images from 8 x 8 to 128 x 128, square or not",
    ),
    "residual": Networks(
        residual.generator,
        residual.discriminator,
        per_sample=True,
        bf16=without_spectral_norm,
        suits="images of any size; no batch normalization, so gradient penalties are per sample",
    ),
}

__all__ = [
    "NETS",
    "ConditionalGenerator",
    "Discriminator",
    "FastGradientDiscriminator",
    "Networks",
    "ProjectionDiscriminator",
    "declared",
]
