"""A checkup: computes the signs of a run's health at intervals during training.

It compares at most 512 held-out rows, as many training rows, and as many samples from fixed latents.

    samples of the averaged G   distance, spread, missing, covered, near, told, nearer; edges and detail of images
    samples of the current G    cells: share of samples in each k-means cell; unreached: share of data beyond G's range
    D's logits                  auc, auc_seen: P(held-out or training row scores above a sample); overfit: P(training
                                row scores above a held-out row); slope: |d logit / d sample| x mean distance
    gradients from D to G       push: |d cost_G / d logit|;  steer: |d cost_G / d sample| x mean distance

A checkup changes no parameter, buffer or gradient, and draws no random number of a round. Signs that are not finite or
cannot be computed are null in readings.jsonl: those in units of the mean distance if all held-out rows are equal, edges
and detail if the held-out images are flat, and all signs of samples that are not finite.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zerosum import rng
from zerosum.build import Setup
from zerosum.data import Data
from zerosum.data.dataset import Split
from zerosum.data.loader import as_tensor
from zerosum.game.forward import call_stateless
from zerosum.game.state import Condition, Game, State
from zerosum.metrics.data_copying import auc, kmeans_centers
from zerosum.metrics.two_sample import (
    PairwiseDistances,
    TwoSampleDistances,
    energy_distance,
    memorization,
    mode_deficit,
    nn_accuracy,
    pairwise_distances,
    spread_ratio,
    tolerant_coverage,
    tolerant_precision,
)

ROWS = 512
"""Largest number of held-out rows, training rows and samples: a share then has a standard error of about 0.02."""

NEIGHBOR_VALUES = 2048 * 784
"""Largest number of values in the rows that are searched for nearest neighbors: 2,048 MNIST images."""

MIN_HOLDOUT = 40
"""With fewer held-out rows than this, half of the training rows replace them."""

CELLS = 8
"""Number of k-means cells in which samples are counted."""

SPAN_VALUES = 2**22
"""Largest number of values from which the quantiles of the data are computed."""

FLAT = torch.finfo(torch.float32).eps
"""Edges smaller than this share of the images' mean |value| are rounding errors."""

TWO_SAMPLE: dict[str, Callable[[TwoSampleDistances], float]] = {
    "distance": energy_distance,
    "spread": spread_ratio,
    "missing": mode_deficit,
    "covered": tolerant_coverage,
    "near": tolerant_precision,
    "told": nn_accuracy,
}
"""Sign -> two-sample statistic of held-out rows and samples."""

ALSO_OF_TRAIN = ("distance", "missing", "covered", "told")
"""Statistics that are also computed for training rows, as a reference (sign NAME_real)."""

Signs = dict[str, Any]


@dataclass(frozen=True)
class EncodedRows:
    """Encoded rows, with their classes if the game is conditional."""

    x: Tensor
    c: Condition

    @property
    def flat(self) -> Tensor:
        """Rows as vectors, (n, d) in float32."""
        return self.x.flatten(1).float()


@dataclass(frozen=True)
class Probe:
    """Computes the signs of a run; holds the rows that every checkup compares with.

    Args:
        game: The game.
        images: Whether samples are images.
        holdout: Held-out rows, or every other training row if too few are held out.
        train: Training rows, disjoint from `holdout`.
        candidates: As many training as held-out rows (k, d), searched for nearest neighbors; None: too few held out.
        centers: Centers of the k-means cells, (8, d).
        batch: Rows in one call of a network.
    """

    game: Game
    images: bool
    holdout: EncodedRows
    train: EncodedRows
    candidates: tuple[Tensor, Tensor] | None
    centers: Tensor
    batch: int

    def measure(self, state: State) -> Signs:
        """Compute all signs of a state; takes about as long as a few rounds."""
        rng.set_global(self.game.seed, state.round, "checkup")
        current, average = (self._samples(net) for net in (state.generator, state.average))
        found = {
            **self.constants,
            **dict(self._sample_signs(average)),
            "cells": self._cell_shares(current),
            "unreached": self._unreached(current),
            **self._discriminator_signs(state.discriminator, current),
        }
        return {name: plain(value) for name, value in found.items()}

    @cached_property
    def constants(self) -> Signs:
        """Signs of the data itself, which are the same at every checkup."""
        real = self._two_sample(self.train.flat)
        x = self.holdout.flat
        some = x[: max(1, SPAN_VALUES // x.shape[1])].flatten()[:SPAN_VALUES]
        low, high = torch.quantile(some, torch.tensor([0.001, 0.999]).to(x)).tolist()
        return {
            "rows": len(self.holdout.x),
            "seen": len(self.train.x),
            "held_out": self.candidates is not None,
            **{f"{name}_real": TWO_SAMPLE[name](real) for name in ALSO_OF_TRAIN},
            "cells_real": self._cell_shares(self.holdout.flat),
            "data_span": (high - low) / 2,
            "data_centre": x.mean(0).abs().max().item(),
            "data_deviation": x.std(0).max().item(),
        }

    @torch.no_grad()
    def _samples(self, net: nn.Module) -> Tensor:
        """Generate one sample per held-out row from fixed latents, in batches as in training."""
        z = self.game.latent(len(self.holdout.x), self.game.seed, "checkup").to(self.holdout.x)
        return torch.cat([call_stateless(net, z[part], c) for part, c in self._batches(len(z), self.holdout.c)])

    def _batches(self, n: int, c: Condition) -> Iterator[tuple[slice, Condition]]:
        """Yield slices of n rows with their classes; a short last batch is merged with the one before it."""
        size = self.batch
        cuts = [*range(0, max(1, n - size // 2), size), n]
        for first, last in pairwise(cuts):
            part = slice(first, last)
            yield part, None if c is None else c[part]

    def _sample_signs(self, samples: Tensor) -> Iterator[tuple[str, float]]:
        """Compute the signs of the averaged G's samples; images are clipped to [-1, 1], as they are when saved."""
        samples = samples.clamp(-1, 1) if self.images else samples
        fake = samples.flatten(1).float()
        among = self._two_sample(fake)
        for name, measure in TWO_SAMPLE.items():
            yield name, measure(among)
        if self.candidates is not None:
            yield "nearer", memorization(fake, *self.candidates) if among.valid else math.nan
        if self.images and min(samples.shape[2:]) >= 4:
            sharp = self._sharpness
            yield "edges", edges(samples) / sharp[0]
            yield "detail", detail(samples) / sharp[1]

    def _two_sample(self, rows: Tensor) -> TwoSampleDistances:
        """Compute the distances of rows to each other and to the held-out rows."""
        return TwoSampleDistances(
            self._holdout_distances, pairwise_distances(rows), torch.cdist(self.holdout.flat, rows)
        )

    @cached_property
    def _sharpness(self) -> tuple[float, float]:
        """Edges and detail of held-out images; NaN if they are below the rounding error."""
        x = self.holdout.x
        steps, fine = edges(x), detail(x)
        energy = x.double().square().flatten(1).sum(1).mean().item()  # mean energy per frequency, by Parseval
        return (
            steps if steps > FLAT * x.abs().mean().item() else math.nan,
            fine if fine > FLAT**2 * energy else math.nan,
        )

    @cached_property
    def _holdout_distances(self) -> PairwiseDistances:
        """Distances between held-out rows."""
        return pairwise_distances(self.holdout.flat)

    def _cell_shares(self, x: Tensor) -> list[float] | None:
        """Share of the rows in each k-means cell; None if held-out rows are equal or a row is not finite."""
        if not (self._holdout_distances.has_scale and len(x) and x.isfinite().all()):
            return None
        part = torch.cdist(x.flatten(1).float(), self.centers).argmin(1)
        return (torch.bincount(part, minlength=len(self.centers)).double() / len(x)).tolist()

    def _unreached(self, samples: Tensor) -> float:
        """Share of held-out values outside G's range (5 % slack): the range of all pixels, or that of each column."""
        if not samples.isfinite().all():
            return math.nan
        axes = (0, 1) if self.images else (0,)
        fake, real = samples.flatten(1).float(), self.holdout.flat
        low, high = fake.amin(axes), fake.amax(axes)
        slack = 0.05 * (real.amax(axes) - real.amin(axes))
        return ((real < low - slack) | (real > high + slack)).double().mean().item()

    def _discriminator_signs(self, net: nn.Module, samples: Tensor) -> Signs:
        """Compute the signs of D's logits of held-out rows, training rows and samples, and of G's gradients."""
        real, train = (self._logits(net, rows.x, rows.c) for rows in (self.holdout, self.train))
        fake = self._logits(net, samples, self.holdout.c)
        a = fake.detach().requires_grad_()
        with torch.enable_grad():
            cost = self.game.loss.generator(real if self.game.loss.uses_real else torch.full_like(real, torch.nan), a)
            (push,) = torch.autograd.grad(cost.sum(), a)
        real_score, fake_score, train_score = (logits.flatten(1).mean(1) for logits in (real, fake, train))
        signs = {
            "auc": auc(real_score, fake_score),
            "auc_seen": auc(train_score, fake_score),
            "gap": (real_score.mean() - fake_score.mean()).item(),
            "logit_size": torch.cat([real_score, fake_score]).abs().median().item(),
            "push": push.abs().mean().item(),
            **self._input_gradients(net, samples),
        }
        if self.candidates is not None:
            signs["overfit"] = auc(train_score, real_score)
        return signs

    @torch.no_grad()
    def _logits(self, net: nn.Module, x: Tensor, c: Condition) -> Tensor:
        logits = torch.cat([call_stateless(net, x[part], labels) for part, labels in self._batches(len(x), c)])
        return logits.unsqueeze(1) if logits.ndim == 1 else logits

    def _input_gradients(self, net: nn.Module, samples: Tensor) -> Signs:
        """Mean norm of the input gradients of D's logit and of G's cost over one batch, times the mean distance."""
        m, scale = self.batch, self._holdout_distances.mean if self._holdout_distances.has_scale else math.nan
        c = None if self.holdout.c is None else self.holdout.c[:m]
        x = samples[:m].detach().requires_grad_()
        with torch.enable_grad():
            a = call_stateless(net, x, c)
            real = (
                call_stateless(net, self.holdout.x[:m], c).detach()
                if self.game.loss.uses_real
                else torch.full_like(a, torch.nan)
            )
            costs = {"slope": a.sum(), "steer": self.game.loss.generator(real, a).sum()}
            gradients = {name: torch.autograd.grad(cost, x, retain_graph=True)[0] for name, cost in costs.items()}
        return {name: gradient.flatten(1).norm(dim=1).mean().item() * scale for name, gradient in gradients.items()}


def prepare(setup: Setup) -> Probe:
    """Make the probe of a run, from rows that are evenly spaced over the data and thus always the same."""
    data, template = setup.data, next(setup.state.discriminator.parameters())
    enough = len(data.test) >= MIN_HOLDOUT
    encode = partial(_encode_rows, setup.data, template, setup.game.conditional)
    holdout = encode(data.test, 0, 1) if enough else encode(data.train, 0, 2)
    train = encode(data.train, 0, 1) if enough else encode(data.train, 1, 2)
    limit = min(len(data.train), len(data.test), max(1, NEIGHBOR_VALUES // math.prod(data.shape)))
    neighbors = tuple(encode(rows, 0, 1, limit).flat for rows in (data.train, data.test)) if enough else None
    pool = (neighbors[0] if neighbors else train.flat if len(train.x) else holdout.flat)[:2048]
    centers = kmeans_centers(pool, min(CELLS, len(pool)))
    batch = setup.engine.largest(setup.game.batch)
    return Probe(setup.game, data.kind == "images", holdout, train, neighbors, centers, batch)  # type: ignore[arg-type]


def _encode_rows(
    data: Data, template: Tensor, labelled: bool, rows: Split, first: int, step: int, limit: int = ROWS
) -> EncodedRows:
    """Encode at most `limit` rows, evenly spaced over rows[first::step]."""
    indices = np.arange(first, len(rows), step)
    indices = indices[np.linspace(0, len(indices) - 1, min(limit, len(indices))).astype(np.int64)]
    x, labels = rows[indices]
    encoded = data.spec.encode(as_tensor(x)).to(template)
    c = torch.from_numpy(np.full(len(x), -1) if labels is None else labels).to(template.device) if labelled else None
    return EncodedRows(encoded, c)


def edges(x: Tensor) -> float:
    """Mean |difference| of neighboring pixels, horizontal plus vertical; blur reduces it."""
    return (x.diff(dim=2).abs().mean() + x.diff(dim=3).abs().mean()).item()


def detail(x: Tensor) -> float:
    """Mean energy of the frequencies above half the Nyquist frequency."""
    power = torch.fft.fft2(x.double()).abs().square()
    fy, fx = (torch.fft.fftfreq(size, dtype=torch.float64, device=x.device) for size in x.shape[2:])
    high = torch.maximum(fy.abs()[:, None], fx.abs()[None]) > 0.25
    return power[..., high].mean().item()


def plain(value: Any) -> Any:
    """Round a float, or each float of a list, to five digits for JSON; None if it is not finite."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else None
