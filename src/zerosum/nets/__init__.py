"""Pairs of networks.

A row gives two functions that make a player from the shape of the data:

generator(shape, latent, **options) -> G        G(z) or G(z, c) -> x, encoded, (n, *shape)
discriminator(shape, **options)     -> D        D(x) or D(x, c) -> logits, (n,) or (n, patches)
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from zerosum.nets import mlp


class Pair(NamedTuple):
    """Two makers of players."""

    generator: Callable[..., nn.Module]
    """(shape, latent size, **options) -> G."""
    discriminator: Callable[..., nn.Module]
    """(shape, **options) -> D."""
    independent: bool
    """Whether D judges each sample by itself (no batch statistics), so that real and fake may share a pass."""
    suits: str
    """What it is for."""


NETS: dict[str, Pair] = {
    "mlp": Pair(mlp.generator, mlp.discriminator, independent=True, suits="points, and images of up to 16 x 16"),
}
