"""Multilayer perceptrons: a pair for points in any dimension and small images, and the pair of the 2014 paper.

Both players of `mlp` are the same stack of `depth` hidden layers h of size `width`, without normalization, so that D's
logit depends on one sample alone, as gradient penalties require. All hidden layers but the first are residual,

    h <- W x + b,      h <- h + W f(h) + b   (depth - 1 times),      out = W f(h) + b,      f(h) = max(0, h)

benchmarks/README.md compares this with layers that are not residual and with LeakyReLU.
"""

from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from zerosum.config.settings import Layers, Size
from zerosum.nets.conditional import Discriminator, apply_spectral_norm


class Residual(nn.Linear):
    """Residual layer: h + W f(h) + b."""

    def forward(self, h: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:  # noqa: D102
        return h + super().forward(relu(h))


def hidden_layers(inputs: int, width: int, depth: int) -> nn.Sequential:
    """`depth` hidden layers of size `width`, then ReLU."""
    hidden = [Residual(width, width) for _ in range(depth - 1)]
    return nn.Sequential(nn.Linear(inputs, width), *hidden, nn.ReLU())


def generator(shape: tuple[int, ...], latent: int, *, width: Size = 128, depth: Layers = 3) -> nn.Module:
    """G of the pair `mlp`; tanh bounds images to [-1, 1], points are unbounded.

    Args:
        shape: Shape of one sample.
        latent: Size of z.
        width: Size of each hidden layer.
        depth: Number of hidden layers.
    """
    bound = [nn.Tanh()] if len(shape) == 3 else []
    return nn.Sequential(
        hidden_layers(latent, width, depth), nn.Linear(width, prod(shape)), nn.Unflatten(1, shape), *bound
    )


def discriminator(shape: tuple[int, ...], *, width: Size = 128, depth: Layers = 3, spectral: bool = False) -> nn.Module:
    """D of the pair `mlp`.

    Args:
        shape: Shape of one sample.
        width: Size of each hidden layer.
        depth: Number of hidden layers.
        spectral: Use spectral normalization.
    """
    net = MlpDiscriminator(nn.Sequential(nn.Flatten(), hidden_layers(prod(shape), width, depth)), width)
    return apply_spectral_norm(net) if spectral else net


class MlpDiscriminator(Discriminator):
    """A discriminator whose features are a flattening, then `hidden_layers`."""

    features: nn.Sequential


class Maxout(nn.Module):
    """Each of `width` outputs is the maximum of `pieces` linear functions of the input.

    Source: Goodfellow et al. 2013, arXiv:1302.4389, section 3.
    """

    def __init__(self, inputs: int, width: int, pieces: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, width * pieces)
        self.pieces = pieces

    def forward(self, h: Float[Tensor, "n inputs"]) -> Float[Tensor, "n width"]:  # noqa: D102
        out: Tensor = self.linear(h).unflatten(1, (-1, self.pieces)).amax(2)
        return out


class ToUnitRange(nn.Module):
    """Rescale images from [-1, 1], our encoding, to [0, 1], that of the 2014 paper."""

    def forward(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:  # noqa: D102
        return (x + 1) / 2


def goodfellow2014_generator(
    shape: tuple[int, ...], latent: int, mean: Tensor | None = None, *, width: Size = 1200
) -> nn.Module:
    """G of the 2014 paper on MNIST: two hidden ReLU layers, sigmoid outputs.

    Weights start uniform in [-0.05, 0.05], biases at zero, except that the last bias is the logit of the data's mean
    image, so that the first samples resemble it. The sigmoid of a in [0, 1] is tanh(a/2) in our [-1, 1].

    Args:
        shape: Shape (c, h, w) of one image.
        latent: Size of z (in the paper 100, uniform in +-sqrt(3)).
        mean: Mean of the encoded training data (*shape), from `build`; None: the last bias is zero.
        width: Size of each hidden layer.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, section 5, and its published code, mnist.yaml.
    """
    last = nn.Linear(width, prod(shape))
    net = nn.Sequential(
        nn.Linear(latent, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        last,
        HalfTanh(),
        nn.Unflatten(1, shape),
    )
    init_uniform(net, 0.05)
    if mean is not None:
        gray = (mean.flatten() + 1) / 2
        last.bias.data.copy_(torch.logit(gray.clamp(1e-3, 1 - 1e-3)))
    return net


class HalfTanh(nn.Module):
    """tanh(a/2) = 2 sigmoid(a) - 1."""

    def forward(self, a: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:  # noqa: D102
        return torch.tanh(a / 2)


def goodfellow2014_discriminator(
    shape: tuple[int, ...], *, width: Size = 240, pieces: Size = 5, dropout: bool = True
) -> nn.Module:
    """D of the 2014 paper on MNIST: two maxout layers; dropout of 0.2 on the input and 0.5 after each layer.

    Args:
        shape: Shape (c, h, w) of one image.
        width: Maxout units per layer.
        pieces: Linear functions per unit.
        dropout: Use dropout. In `simultaneous` games, both players' costs use the same masks for the fakes.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, section 5, and its published code, mnist.yaml.
    """
    drop = [nn.Dropout(share) if dropout else nn.Identity() for share in (0.2, 0.5, 0.5)]
    first, second = Maxout(prod(shape), width, pieces), Maxout(width, width, pieces)
    net = Discriminator(nn.Sequential(nn.Flatten(), ToUnitRange(), drop[0], first, drop[1], second, drop[2]), width)
    init_uniform(net, 0.005)
    return net


def init_uniform(net: nn.Module, bound: float) -> None:
    """Initialize weights uniformly in [-bound, bound], biases with zero."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)
