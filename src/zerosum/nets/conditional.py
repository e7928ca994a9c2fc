"""Discriminators as features plus a linear head, and class conditions for every pair.

    D(x) = w . f(x) + b                    D(x, c) = w . f(x) + b + v_c . f(x)        G(z, c) = G([z, e_c])

The second is the projection discriminator of Miyato & Koyama 2018, arXiv:1802.05637, eq. (4): the optimal logit is a
term that does not depend on the class plus one that is linear in its one-hot code. G receives the class as a learned
embedding e_c, concatenated to z. The wrappers below add conditions to a pair, so that no network handles them itself.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

Samples = Float[Tensor, "n *shape"]
Logits = Float[Tensor, " n"]


class Discriminator(nn.Module):
    """D(x) = w . f(x) + b: features (n, f), then a linear head that gives the logits (n,)."""

    def __init__(self, features: nn.Module, width: int) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(width, 1)

    def forward(self, x: Samples) -> Logits:  # noqa: D102
        logits: Tensor = self.head(self.features(x)).squeeze(1)
        return logits


class FastGradientDiscriminator(Discriminator):
    """A discriminator that declares: a sample's logit depends on that sample alone, and all parameters are weights and
    biases of linear layers and 2-d convolutions. `zerosum.kernels` then computes its input gradients in fewer passes.
    """  # noqa: D205


class ClassEmbedding(nn.Embedding):
    """A learned vector for each class 0, 1, ...; zeros for -1 (class unknown)."""

    def __init__(self, classes: int, size: int) -> None:
        super().__init__(classes + 1, size, padding_idx=0)

    def forward(self, c: Int[Tensor, " n"]) -> Float[Tensor, "n size"]:  # noqa: D102
        return super().forward(c + 1)


class ConditionalGenerator(nn.Module):
    """G(z, c): a generator whose input is z and the embedding of the class.

    Args:
        net: A generator of latent + size inputs.
        classes: Number of classes.
        size: Size of the class embedding.
    """

    def __init__(self, net: nn.Module, classes: int, size: int) -> None:
        super().__init__()
        self.net = net
        self.labels = ClassEmbedding(classes, size)

    def forward(self, z: Float[Tensor, "n latent"], c: Int[Tensor, " n"]) -> Float[Tensor, "n *shape"]:  # noqa: D102
        x: Tensor = self.net(torch.cat([z, self.labels(c).to(z)], 1))
        return x


class ProjectionDiscriminator(nn.Module):
    """D(x, c): the projection discriminator.

    Args:
        net: An unconditional discriminator.
        classes: Number of classes.
    """

    def __init__(self, net: Discriminator, classes: int) -> None:
        super().__init__()
        self.net = net
        self.labels = ClassEmbedding(classes, net.head.in_features)
        nn.init.zeros_(self.labels.weight)  # so that D does not depend on the class at the start

    def forward(self, x: Samples, c: Int[Tensor, " n"]) -> Logits:  # noqa: D102
        f = self.net.features(x)
        logits: Tensor = self.net.head(f).squeeze(1) + (self.labels(c) * f).sum(1)
        return logits


def apply_spectral_norm(net: nn.Module) -> nn.Module:
    """Divide the weight of each linear layer and convolution by its largest singular value; return the network.

    Source: Miyato et al. 2018, arXiv:1802.05957; torch's parametrization, one power iteration per forward pass.
    """
    for layer in list(net.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            spectral_norm(layer)
    return net


def without_spectral_norm(*, spectral: bool = False, **_: Any) -> bool:
    """Whether a D with these options has no spectral normalization, which needs more digits than bfloat16 has."""
    return not spectral
