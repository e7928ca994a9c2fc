"""What every pair shares: a discriminator is features, then one number.

    D(x) = w . f(x) + b                    D(x, c) = w . f(x) + b + v_c . f(x)        G(z, c) = G([z, e_c])

The second is the projection discriminator of Miyato & Koyama 2018, arXiv:1802.05637, eq. (4): where p and q differ by
class, the best logit is a part that knows no class and a part that is linear in it. G is told the class by a vector e_c
beside its noise. Conditions are put around a pair, so that no network needs to know of them.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from zerosum.kernels.input_grad import Samples, steep

Logits = Float[Tensor, " n"]
Rows = Float[Tensor, "n f"]


class Discriminator(nn.Module):
    """Features of a sample (n, f), then its logit (n,)."""

    def __init__(self, features: nn.Module, width: int) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(width, 1)

    def forward(self, x: Samples) -> Logits:  # noqa: D102
        logits: Tensor = self.head(self.features(x)).squeeze(1)
        return logits


class FastGradientDiscriminator(Discriminator):
    """A judge, all of whose parameters are in linear layers and convolutions."""

    def value_and_input_grad(self, x: Samples, head: Rows | None = None) -> tuple[Logits, Samples]:
        """Logits and their gradients by the samples, which can be differentiated once, by weights and samples.

        Args:
            x: Samples.
            head: w for each of them, if it is not the same for all.
        """
        if head is None:
            return steep(self, x, list(self.parameters()))
        learned = [head, *self.features.parameters()]
        logits, slope = steep(lambda x: torch.linalg.vecdot(self.features(x), head), x, learned)
        return logits + self.head.bias, slope


class Labels(nn.Embedding):
    """A vector for each class, and zeros for -1: not known."""

    def __init__(self, classes: int, size: int) -> None:
        super().__init__(classes + 1, size, padding_idx=0)

    def forward(self, c: Int[Tensor, " n"]) -> Float[Tensor, "n size"]:  # noqa: D102
        return super().forward(c + 1)


class ConditionalGenerator(nn.Module):
    """G(z, c): the class beside the noise.

    Args:
        net: A generator of latent + size numbers.
        classes: How many there are.
        size: Numbers that tell a class.
    """

    def __init__(self, net: nn.Module, classes: int, size: int) -> None:
        super().__init__()
        self.net = net
        self.labels = Labels(classes, size)

    def forward(self, z: Float[Tensor, "n latent"], c: Int[Tensor, " n"]) -> Float[Tensor, "n *shape"]:  # noqa: D102
        x: Tensor = self.net(torch.cat([z, self.labels(c).to(z)], 1))
        return x


class ProjectionDiscriminator(nn.Module):
    """D(x, c): the projection discriminator.

    Args:
        net: A discriminator without conditions.
        classes: How many there are.
    """

    def __init__(self, net: Discriminator, classes: int) -> None:
        super().__init__()
        self.net = net
        self.labels = Labels(classes, net.head.in_features)
        nn.init.zeros_(self.labels.weight)  # at first, no class says anything

    def forward(self, x: Samples, c: Int[Tensor, " n"]) -> Logits:  # noqa: D102
        f = self.net.features(x)
        logits: Tensor = self.net.head(f).squeeze(1) + (self.labels(c) * f).sum(1)
        return logits

    @property
    def value_and_input_grad(self) -> Callable[[Samples, Int[Tensor, " n"]], tuple[Logits, Samples]] | None:
        """What a `SteepJudge` tells, of (x, c), if the network is one."""
        tell: Any = getattr(self.net, "value_and_input_grad", None)
        return tell and (lambda x, c: tell(x, self.net.head.weight + self.labels(c)))


def is_per_sample(net: nn.Module) -> bool:
    """Whether D's answer about a sample is sure not to depend on the others in its batch."""
    coupled = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in net.modules())
    return isinstance(net, Discriminator | ProjectionDiscriminator) and not coupled


def spectrally_normed(net: nn.Module) -> nn.Module:
    """The same network, each of its matrices divided by its largest singular value.

    Source: Miyato et al. 2018, arXiv:1802.05957; torch's parametrisation, one power iteration per pass.
    """
    for layer in list(net.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            spectral_norm(layer)
    return net
