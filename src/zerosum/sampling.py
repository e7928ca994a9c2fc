"""Samples from a generator: random draws, and walks through the latents.

`Sampler.load(run)` reads only the run folder; the data set is not needed. The same seed gives the same samples: the
first 10 of 100 samples equal the 10 of a smaller draw, and no batch size changes them.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zerosum import memory
from zerosum.config.settings import Config
from zerosum.engine import SINGLE, World
from zerosum.errors import UsageError, unknown
from zerosum.game.forward import call
from zerosum.nets import ConditionalGenerator
from zerosum.resolved import latent
from zerosum.run import RunFolder, trust
from zerosum.run.folder import Say, silent
from zerosum.samples import Samples
from zerosum.saved_generator import SavedGenerator, open_generator
from zerosum.spec import SampleSpec

MAX_CALL_VALUES = 2**26
"""Largest number of values that one call of G makes; large samples are made in parts of a block, to limit memory."""

BLOCK = 256
"""Samples in a block; the latents of a block depend only on the seed and the block's number."""


class Sampler:
    """Draws samples from a generator.

    Args:
        generator: The network; usually the averaged (EMA) one.
        spec: The specification of a sample: kind, shape, scale and classes.
        latent: (n, seed, *key) -> noise z (n, size).
        spherical_latent: Whether z is normal, so that latents lie near a sphere.
        round: The round of the checkpoint; None if the generator was not loaded from one.
    """

    def __init__(
        self,
        generator: nn.Module,
        spec: SampleSpec,
        latent: Callable[..., Tensor],
        spherical_latent: bool = True,
        round: int | None = None,
    ) -> None:
        self.generator, self.spec, self.latent = generator, spec, latent
        self.spherical_latent, self.round = spherical_latent, round

    @classmethod
    def load(cls, run: str | Path, device: str = "cpu", *, trusted: bool = False, say: Say = silent) -> "Sampler":
        """Load the averaged (EMA) generator of a run from its newest valid checkpoint.

        Args:
            run: The run folder.
            device: The device on which samples are made.
            trusted: Whether to import code that the run's settings name although the run was not made here.
            say: Called with one sentence for each damaged checkpoint that was skipped.

        Raises:
            RunError: There is no run.
            CheckpointError: There is no checkpoint yet, or none is valid.
            Untrusted: The run was not made here, and its settings name code.
        """
        folder = RunFolder(Path(run))
        config = folder.read_config()
        with trust.permitted(folder, config, trusted):
            return cls.of(config, open_generator(folder, config, say, device))

    @classmethod
    def of(cls, config: Config, saved: SavedGenerator) -> "Sampler":
        """Return the sampler of a run's averaged generator."""
        normal = config.latent.distribution == "normal"
        return cls(saved.generator, saved.spec, latent(config.latent), normal, saved.checkpoint.round)

    @torch.no_grad()
    def draw(self, n: int, seed: int = 0, label: str | None = None, world: World = SINGLE) -> Samples:
        """Make samples.

        Args:
            n: Number of samples, at least 1.
            seed: Seed of the latents, 0 or more.
            label: The class to generate, for a conditional generator; if absent, all classes in turn.
            world: Processes that each make a part of the samples; all of them return all samples.

        Raises:
            UsageError: n is not positive or too large for the memory, the seed is negative, or the class is unknown.
        """
        if n < 1:
            raise UsageError(f"cannot make {n} samples: ask for at least 1")
        if seed < 0:
            raise UsageError(f"seed = {seed}: expected 0 or more")
        self._refuse_too_large(n)
        class_index = self._class_index(label)
        count = -(-n // BLOCK)
        samples = world.map_rows(count, lambda block: self._block(seed, block, self._labels(block, class_index)))[:n]
        labels = [c.cpu().numpy() for block in range(count) if (c := self._labels(block, class_index)) is not None]
        return Samples(samples, np.concatenate(labels)[:n] if labels else None, self.round)

    def _block(self, seed: int, block: int, c: Tensor | None) -> NDArray[Any]:
        """Make the samples of one block."""
        return self._generate(self.latent(BLOCK, seed, block, "sample").to(self._weight), c)

    def _generate(self, z: Tensor, c: Tensor | None) -> NDArray[Any]:
        """Run G on latents, a limited number at a time; return the samples decoded to the form of the data."""
        rows = max(1, MAX_CALL_VALUES // math.prod(self.spec.shape))
        labels = [None] * len(z) if c is None else c.split(rows)
        return np.concatenate(
            [self.spec.decode(call(self.generator, z_i, c_i)) for z_i, c_i in zip(z.split(rows), labels, strict=False)]
        )

    @torch.no_grad()
    def walk(self, waypoints: int, seed: int = 0, steps: int = 12, label: str | None = None) -> Samples:
        """Make samples along a closed interpolation path through random latents.

        Normal latents are interpolated along great circles: a straight line would pass nearer to the origin than the
        latents that G was trained on. Other latents are interpolated linearly.

        Args:
            waypoints: Number of random latents on the path, at least 2.
            seed: Seed of the latents.
            steps: Samples from one waypoint to the next.
            label: The class of all samples, for a conditional generator; the first class if absent.

        Raises:
            UsageError: There are fewer than two waypoints, or the class is unknown.
        """
        if waypoints < 2:
            raise UsageError(f"a walk needs at least 2 waypoints, not {waypoints}")
        self._refuse_too_large(waypoints * steps)
        class_index = self._class_index(label) or 0
        z = self.latent(waypoints, seed, "walk").to(self._weight)
        interpolate = slerp if self.spherical_latent else torch.lerp
        path = [
            interpolate(z[i], z[(i + 1) % waypoints], torch.tensor(t / steps).to(z))
            for i in range(waypoints)
            for t in range(steps)
        ]
        c = torch.full((len(path),), class_index, device=z.device) if self.conditional else None
        return Samples(self._generate(torch.stack(path), c), round=self.round)

    @property
    def conditional(self) -> bool:
        """Whether the generator is class-conditional."""
        return isinstance(self.generator, ConditionalGenerator)

    def _refuse_too_large(self, n: int) -> None:
        """Raise UsageError if n samples, held twice (in blocks and joined), exceed the memory of this machine."""
        needed = 2 * n * math.prod(self.spec.shape) * (1 if self.spec.kind == "images" else 4)
        available = memory.total()
        if available is not None and needed > available:
            raise UsageError(
                f"{n:,} samples take {needed / 1e9:,.1f} GB of memory, this machine has {available / 1e9:,.1f}. "
                "Ask for fewer, with several seeds"
            )

    @property
    def _weight(self) -> Tensor:
        return next(self.generator.parameters(), torch.zeros(()))

    def _class_index(self, label: str | None) -> int | None:
        """Return the index of a class by its name."""
        if label is None:
            return None
        if not self.conditional:
            raise UsageError(f"cannot ask for class '{label}': this generator was trained without conditions")
        classes = self.spec.classes or ()
        if label not in classes:
            raise UsageError(unknown("class", label, classes))
        return classes.index(label)

    def _labels(self, block: int, class_index: int | None) -> Tensor | None:
        """Return the class of each sample of a block: the given class, or all classes in turn."""
        if not self.conditional:
            return None
        first, classes = block * BLOCK, len(self.spec.classes or ())
        in_turn = torch.arange(first, first + BLOCK) % classes
        return (in_turn if class_index is None else torch.full((BLOCK,), class_index)).to(self._weight.device)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation from a (t = 0) to b (t = 1), along the great circle through them.

    Source: Shoemake 1985, "Animating rotation with quaternion curves"; for latents: White 2016, arXiv:1609.04468.

    >>> slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor(0.5))
    tensor([0.7071, 0.7071])
    """
    angle = torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    if angle < 1e-6:
        return torch.lerp(a, b, t)
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
