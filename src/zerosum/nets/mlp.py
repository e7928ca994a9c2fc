"""Perceptrons: a pair for points in any dimension and for small images.

Both players are the same stack of `depth` hidden layers of `width` numbers h, without normalisation, so that D judges
each sample by itself and penalties on its slope mean what they say. The first layer reads the input, the others add to
what is there,

    h <- W x + b,      h <- h + W f(h) + b   (depth - 1 times),      out = W f(h) + b,      f(h) = max(0, h)

benchmarks/README.md has the measurement against the plain stack and against a leaky f.
"""

from math import prod
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import relu

Size = Annotated[int, Field(gt=0)]


class Residual(nn.Linear):
    """A layer that adds to its input: h + W f(h) + b."""

    def forward(self, h: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:  # noqa: D102
        return h + super().forward(relu(h))


def stack(inputs: int, outputs: int, width: int, depth: int) -> nn.Sequential:
    """`depth` hidden layers of `width`, then a linear one."""
    hidden = [Residual(width, width) for _ in range(depth - 1)]
    return nn.Sequential(nn.Linear(inputs, width), *hidden, nn.ReLU(), nn.Linear(width, outputs))


class Generator(nn.Module):
    """z (n, latent) to samples (n, *shape); images end in a tanh, points are unbounded."""

    def __init__(self, shape: tuple[int, ...], latent: int, width: int, depth: int) -> None:
        super().__init__()
        self.shape = shape
        self.layers = stack(latent, prod(shape), width, depth)

    def forward(self, z: Float[Tensor, "n latent"]) -> Float[Tensor, "n *shape"]:  # noqa: D102
        x = self.layers(z).unflatten(1, self.shape)
        return torch.tanh(x) if len(self.shape) == 3 else x


class Discriminator(nn.Module):
    """x (n, *shape) to one logit each (n,)."""

    def __init__(self, shape: tuple[int, ...], width: int, depth: int) -> None:
        super().__init__()
        self.layers = stack(prod(shape), 1, width, depth)

    def forward(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, " n"]:  # noqa: D102
        logits: Tensor = self.layers(x.flatten(1)).squeeze(1)
        return logits


def generator(shape: tuple[int, ...], latent: int, *, width: Size = 128, depth: Size = 3) -> Generator:
    """G of the pair `mlp`.

    Args:
        shape: Of one sample.
        latent: Numbers in one z.
        width: Numbers in a hidden layer.
        depth: Hidden layers.
    """
    return Generator(shape, latent, width, depth)


def discriminator(shape: tuple[int, ...], *, width: Size = 128, depth: Size = 3) -> Discriminator:
    """D of the pair `mlp`.

    Args:
        shape: Of one sample.
        width: Numbers in a hidden layer.
        depth: Hidden layers.
    """
    return Discriminator(shape, width, depth)
