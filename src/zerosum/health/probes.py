"""A checkup: the signs of a run's health, measured now and then while it plays.

Three clouds of at most 512 rows meet: held-out rows, training rows, and samples from latents that stay the same.

    of the averaged G's samples     distance, spread, missing, covered, near, told, nearer; edges and detail of images
    of G as it is now               cells: which share of its samples lies in which part of the space; unreached
    of D's logits                   auc, auc_seen: held-out or training rows above samples; overfit: training rows above
                                    held-out ones; slope: |d logit / d sample|, per usual distance
    of the way from D to G          push: |d cost_G / d logit|;  steer: |d cost_G / d sample|, per usual distance

Nothing here touches the game: no parameter, no buffer, no gradient, and no random number that a round will draw.
`diagnostics` reads the signs; a number that is not finite is null there, and so is what cannot be measured: all that
counts in usual distances where held-out rows are all alike, sharpness beside flat images, samples that are no numbers.
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
    coverage,
    energy_distance,
    memorization,
    mode_deficit,
    nn_accuracy,
    pairwise_distances,
    precision,
    spread_ratio,
)

ROWS = 512
"""Rows of each kind: a share is then known to within 0.02."""

NUMBERS = 2048 * 784
"""Numbers in the rows among which nearest ones are sought: 2,048 images of MNIST."""

FEWEST = 40
"""Held-out rows below which training rows stand in for them."""

CELLS = 8
"""Parts of the space whose shares of samples are followed."""

LOOKED_AT = 2**22
"""Numbers from which the data's span is taken."""

FAINT = torch.finfo(torch.float32).eps
"""Share of the images' own values below which their edges are rounding."""

CLOUD: dict[str, Callable[[TwoSampleDistances], float]] = {
    "distance": energy_distance,
    "spread": spread_ratio,
    "missing": mode_deficit,
    "covered": coverage,
    "near": precision,
    "told": nn_accuracy,
}
"""Signs of where samples lie among held-out rows."""

OF_DATA = ("distance", "missing", "covered", "told")
"""Those that training rows are put to as well."""

Signs = dict[str, Any]


@dataclass(frozen=True)
class EncodedRows:
    """Rows as the players see them, and their classes where the players are told."""

    x: Tensor
    c: Condition

    @property
    def flat(self) -> Tensor:
        """(n, d) in float32."""
        return self.x.flatten(1).float()


@dataclass(frozen=True)
class Probe:
    """What every checkup of a run compares with.

    Args:
        game: The rules.
        images: Whether samples are images.
        held: Held-out rows, or every other training row where too few are held out.
        seen: Training rows, others than those.
        candidates: Training rows and as many held-out ones, among which nearest ones are sought; None: none held out.
        parts: (8, d) centres of the parts of the space.
        together: Rows that a player sees at once.
    """

    game: Game
    images: bool
    held: EncodedRows
    seen: EncodedRows
    candidates: tuple[Tensor, Tensor] | None
    parts: Tensor
    together: int

    def look(self, state: State) -> Signs:
        """The signs of this moment, in about the time of a few rounds."""
        rng.set_global(self.game.seed, state.round, "checkup")
        now, average = (self._samples(net) for net in (state.generator, state.average))
        found = {
            **self.constants,
            **dict(self._cloud(average)),
            "cells": self._shares(now),
            "unreached": self._unreached(now),
            **self._judged(state.discriminator, now),
        }
        return {name: plain(value) for name, value in found.items()}

    @cached_property
    def constants(self) -> Signs:
        """What the data itself scores."""
        real = self._among(self.seen.flat)
        x = self.held.flat
        some = x[: max(1, LOOKED_AT // x.shape[1])].flatten()[:LOOKED_AT]
        low, high = torch.quantile(some, torch.tensor([0.001, 0.999]).to(x)).tolist()
        return {
            "rows": len(self.held.x),
            "seen": len(self.seen.x),
            "held_out": self.candidates is not None,
            **{f"{name}_real": CLOUD[name](real) for name in OF_DATA},
            "cells_real": self._shares(self.held.flat),
            "data_span": (high - low) / 2,
            "data_centre": x.mean(0).abs().max().item(),
            "data_deviation": x.std(0).max().item(),
        }

    @torch.no_grad()
    def _samples(self, net: nn.Module) -> Tensor:
        """As many samples as there are held-out rows, batch by batch as in training."""
        z = self.game.latent(len(self.held.x), self.game.seed, "checkup").to(self.held.x)
        return torch.cat([call_stateless(net, z[part], c) for part, c in self._batches(len(z), self.held.c)])

    def _batches(self, n: int, c: Condition) -> Iterator[tuple[slice, Condition]]:
        """Slices of a batch each, with their classes; the last one joins the one before it if it is short."""
        size = self.together
        cuts = [*range(0, max(1, n - size // 2), size), n]
        for first, last in pairwise(cuts):
            part = slice(first, last)
            yield part, None if c is None else c[part]

    def _cloud(self, samples: Tensor) -> Iterator[tuple[str, float]]:
        """Where the samples lie, as a user would see them: images clipped to black and white."""
        samples = samples.clamp(-1, 1) if self.images else samples
        fake = samples.flatten(1).float()
        among = self._among(fake)
        for name, measure in CLOUD.items():
            yield name, measure(among)
        if self.candidates is not None:
            yield "nearer", memorization(fake, *self.candidates) if among.valid else math.nan
        if self.images and min(samples.shape[2:]) >= 4:
            sharp = self._sharpness
            yield "edges", edges(samples) / sharp[0]
            yield "detail", detail(samples) / sharp[1]

    def _among(self, rows: Tensor) -> TwoSampleDistances:
        """How rows lie among the held-out ones."""
        return TwoSampleDistances(self._real, pairwise_distances(rows), torch.cdist(self.held.flat, rows))

    @cached_property
    def _sharpness(self) -> tuple[float, float]:
        """Edges and detail of held-out images; NaN where there is nothing but rounding."""
        x = self.held.x
        steps, fine = edges(x), detail(x)
        energy = x.double().square().flatten(1).sum(1).mean().item()  # in each frequency, on the average
        return (
            steps if steps > FAINT * x.abs().mean().item() else math.nan,
            fine if fine > FAINT**2 * energy else math.nan,
        )

    @cached_property
    def _real(self) -> PairwiseDistances:
        """Distances between held-out rows."""
        return pairwise_distances(self.held.flat)

    def _shares(self, x: Tensor) -> list[float] | None:
        """Which share of the rows lies in each part of the space; None where nothing parts the space."""
        if not (self._real.has_scale and len(x) and x.isfinite().all()):
            return None
        part = torch.cdist(x.flatten(1).float(), self.parts).argmin(1)
        return (torch.bincount(part, minlength=len(self.parts)).double() / len(x)).tolist()

    def _unreached(self, samples: Tensor) -> float:
        """Share of the held-out numbers that lie beyond all that G makes: of images in all, of points in each."""
        if not samples.isfinite().all():
            return math.nan
        axes = (0, 1) if self.images else (0,)
        fake, real = samples.flatten(1).float(), self.held.flat
        low, high = fake.amin(axes), fake.amax(axes)
        slack = 0.05 * (real.amax(axes) - real.amin(axes))
        return ((real < low - slack) | (real > high + slack)).double().mean().item()

    def _judged(self, net: nn.Module, samples: Tensor) -> Signs:
        """What D says of held-out rows, training rows and samples, and what G learns from it."""
        held, seen = (self._logits(net, look.x, look.c) for look in (self.held, self.seen))
        fake = self._logits(net, samples, self.held.c)
        a = fake.detach().requires_grad_()
        with torch.enable_grad():
            cost = self.game.loss.generator(held if self.game.loss.uses_real else torch.full_like(held, torch.nan), a)
            (push,) = torch.autograd.grad(cost.sum(), a)
        real_score, fake_score, seen_score = (logits.flatten(1).mean(1) for logits in (held, fake, seen))
        signs = {
            "auc": auc(real_score, fake_score),
            "auc_seen": auc(seen_score, fake_score),
            "gap": (real_score.mean() - fake_score.mean()).item(),
            "logit_size": torch.cat([real_score, fake_score]).abs().median().item(),
            "push": push.abs().mean().item(),
            **self._slopes(net, samples),
        }
        if self.candidates is not None:
            signs["overfit"] = auc(seen_score, real_score)
        return signs

    @torch.no_grad()
    def _logits(self, net: nn.Module, x: Tensor, c: Condition) -> Tensor:
        logits = torch.cat([call_stateless(net, x[part], labels) for part, labels in self._batches(len(x), c)])
        return logits.unsqueeze(1) if logits.ndim == 1 else logits

    def _slopes(self, net: nn.Module, samples: Tensor) -> Signs:
        """How fast D's logit and G's cost change as a sample moves by the usual distance; of a batch of samples."""
        m, usually = self.together, self._real.mean if self._real.has_scale else math.nan
        c = None if self.held.c is None else self.held.c[:m]
        x = samples[:m].detach().requires_grad_()
        with torch.enable_grad():
            a = call_stateless(net, x, c)
            real = (
                call_stateless(net, self.held.x[:m], c).detach()
                if self.game.loss.uses_real
                else torch.full_like(a, torch.nan)
            )
            costs = {"slope": a.sum(), "steer": self.game.loss.generator(real, a).sum()}
            slopes = {name: torch.autograd.grad(cost, x, retain_graph=True)[0] for name, cost in costs.items()}
        return {name: slope.flatten(1).norm(dim=1).mean().item() * usually for name, slope in slopes.items()}


def prepare(setup: Setup) -> Probe:
    """Choose the rows of a run's checkups: the same every time, evenly spread over the data.

    Args:
        setup: The run.
    """
    data, like = setup.data, next(setup.state.discriminator.parameters())
    enough = len(data.test) >= FEWEST
    show = partial(_shown, setup.data, like, setup.game.conditional)
    held = show(data.test, 0, 1) if enough else show(data.train, 0, 2)
    seen = show(data.train, 0, 1) if enough else show(data.train, 1, 2)
    most = min(len(data.train), len(data.test), max(1, NUMBERS // math.prod(data.shape)))
    near_ones = tuple(show(rows, 0, 1, most).flat for rows in (data.train, data.test)) if enough else None
    pool = (near_ones[0] if near_ones else seen.flat if len(seen.x) else held.flat)[:2048]
    parts = kmeans_centers(pool, min(CELLS, len(pool)))
    together = setup.engine.largest(setup.game.batch)
    return Probe(setup.game, data.kind == "images", held, seen, near_ones, parts, together)  # type: ignore[arg-type]


def _shown(
    data: Data, like: Tensor, labelled: bool, rows: Split, first: int, step: int, most: int = ROWS
) -> EncodedRows:
    """At most so many of every `step`-th row from `first` on, encoded."""
    places = np.arange(first, len(rows), step)
    places = places[np.linspace(0, len(places) - 1, min(most, len(places))).astype(np.int64)]
    x, labels = rows[places]
    encoded = data.spec.encode(as_tensor(x)).to(like)
    c = torch.from_numpy(np.full(len(x), -1) if labels is None else labels).to(like.device) if labelled else None
    return EncodedRows(encoded, c)


def edges(x: Tensor) -> float:
    """Mean size of the step from a pixel to the next, across and down: what blur takes away first."""
    return (x.diff(dim=2).abs().mean() + x.diff(dim=3).abs().mean()).item()


def detail(x: Tensor) -> float:
    """Mean energy of the frequencies above half of the highest."""
    power = torch.fft.fft2(x.double()).abs().square()
    fy, fx = (torch.fft.fftfreq(size, dtype=torch.float64, device=x.device) for size in x.shape[2:])
    high = torch.maximum(fy.abs()[:, None], fx.abs()[None]) > 0.25
    return power[..., high].mean().item()


def plain(value: Any) -> Any:
    """A number with five digits; null where it is not finite; the same for each number of a list."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else None
