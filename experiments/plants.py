"""Data sets and networks with something wrong, planted on purpose: settings name them "plants:few" and so on.

The zoo (zoo.py, beside this file) trains with them, to see whether the diagnosis finds what is wrong.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from zerosum.data import DATASETS, Data
from zerosum.data.dataset import Split
from zerosum.nets import NETS
from zerosum.nets.mlp import generator

SEED = 7
"""Of every choice made here: the fault is the same in all runs, the run's own seed is not."""


def few(*, of: str, rows: int, sigma: float | None = None) -> Data:
    """Only so many rows are trained on; what is held out stays. Modes of points may be made wider."""
    data = DATASETS[of]() if sigma is None else DATASETS[of](sigma=sigma)
    x, labels = data.train[np.random.default_rng(SEED).permutation(len(data.train))[:rows]]
    return replace(data, name=f"{of}-{rows}", train=Split(x, labels))


def dropped(*, of: str, share: float) -> Data:
    """A share of the classes is never trained on, so that G misses them in what is held out."""
    data = DATASETS[of]()
    labels, classes = data.train.all_labels(), len(data.classes)
    kept = np.random.default_rng(SEED).permutation(classes)[round(share * classes) :]
    x, labels = data.train[np.flatnonzero(np.isin(labels, kept))]
    return replace(data, name=f"{of}-less", train=Split(x, labels))


def squeezed(*, of: str, factor: float) -> Data:
    """Images whose declared range is too wide: the networks see hardly any contrast."""
    data = DATASETS[of]()
    low, high = data.range
    return replace(data, name=f"{of}-squeezed", range=(low, low + factor * (high - low)))


def shifted(*, of: str, scale: float, shift: float) -> Data:
    """Points in units of their own, which the networks see as they are."""
    data = DATASETS[of]()
    train, test = (Split((scale * rows.x + shift).astype(np.float32), rows.labels) for rows in (data.train, data.test))
    return replace(data, name=f"{of}-shifted", train=train, test=test, standardize=False, mixture=None)


class Times(nn.Module):
    """A factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, z: Tensor) -> Tensor:
        return self.factor * z


class Codes(nn.Module):
    """One of a few codes instead of z."""

    def __init__(self, size: int, count: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(SEED)
        self.register_buffer("choices", torch.randn(count, size, generator=draw))

    def forward(self, z: Tensor) -> Tensor:
        return self.choices[(z @ self.choices.T).argmax(1)]


class Blur(nn.Module):
    """A Gaussian filter of `sigma` pixels."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        line = torch.exp(-0.5 * (torch.arange(-3, 4) / sigma) ** 2)
        self.register_buffer("line", line / line.sum())

    def forward(self, x: Tensor) -> Tensor:
        kernel = (self.line[:, None] * self.line).expand(x.shape[1], 1, 7, 7)
        return nn.functional.conv2d(nn.functional.pad(x, (3, 3, 3, 3), mode="replicate"), kernel, groups=x.shape[1])


class Lift(nn.Module):
    """From [-1, 1] to [low, 1]."""

    def __init__(self, low: float) -> None:
        super().__init__()
        self.low = low

    def forward(self, x: Tensor) -> Tensor:
        return self.low + (1 - self.low) * (x + 1) / 2


def _hears(shape, latent, *, share: float, width: int = 128) -> nn.Module:
    return nn.Sequential(Times(share), generator(shape, latent, width=width))


def _picks(shape, latent, *, codes: int, width: int = 128) -> nn.Module:
    return nn.Sequential(Codes(latent, codes), generator(shape, latent, width=width))


def _smears(shape, latent, *, sigma: float, width: int = 128) -> nn.Module:
    return nn.Sequential(generator(shape, latent, width=width), Blur(sigma))


def _lifts(shape, latent, *, low: float, width: int = 128) -> nn.Module:
    return nn.Sequential(generator(shape, latent, width=width), Lift(low))


deaf = NETS["mlp"]._replace(generator=_hears)
"""G is given hardly any noise."""
coded = NETS["mlp"]._replace(generator=_picks)
"""G is given one of a few codes."""
smeared = NETS["mlp"]._replace(generator=_smears)
"""G's images are blurred at the end."""
lifted = NETS["mlp"]._replace(generator=_lifts)
"""G's numbers end above the lowest of the data, as after a sigmoid."""
