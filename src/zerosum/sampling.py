"""Samples from a trained generator, as arrays and files.

`Sampler.load(run)` reads only the run folder; the data set is not needed. The same seed gives the same samples: the
first 10 of 100 samples equal the 10 of a smaller draw, and no batch size changes them.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zerosum import build, checkpoint, files, memory, plots
from zerosum.checkpoint import Checkpoint, Layout
from zerosum.config.recipes import is_code
from zerosum.config.registry import lookup
from zerosum.config.settings import Config
from zerosum.engine import SINGLE, World
from zerosum.engine.precision import master_dtype
from zerosum.errors import CheckpointError, ConfigError, SystemFault, UsageError, named, typed, unknown
from zerosum.files import write
from zerosum.game.forward import call
from zerosum.nets import NETS, ConditionalGenerator
from zerosum.run import RunFolder, belongs_to_run, trust
from zerosum.run.folder import SHEET_NAME, Say, refuse_name, silent
from zerosum.spec import SampleSpec

MAX_SAMPLE_VALUES = 2**27
"""Largest number of values in one sample, e.g. an image of 11,000 x 11,000."""

MAX_CALL_VALUES = 2**26
"""Largest number of values that one call of G makes; large samples are made in parts of a block, to limit memory."""

Side = Annotated[int, Field(ge=1, le=MAX_SAMPLE_VALUES)]

BLOCK = 256
"""Samples in a block; the latents of a block depend only on the seed and the block's number."""


@dataclass(frozen=True)
class Samples:
    """Generated samples in the form of the data.

    Args:
        array: uint8 (n, h, w, c) for images, float32 (n, d) in data units for points.
        labels: (n,) class of each sample; None for an unconditional generator or a walk.
        round: The round of the generator's checkpoint; None if it was not loaded from one.
    """

    array: NDArray[Any]
    labels: NDArray[np.int64] | None = None
    round: int | None = None

    def __len__(self) -> int:
        return len(self.array)

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the samples in the format given by the file suffix.

        .png: one sheet, or a plot of points. .gif: an animation of the images. .npz: `samples`, and `labels` if there
        are any. .csv: one point per line. No suffix: a folder with one .png per image and nothing else.

        Args:
            path: The file or folder. An existing file is replaced, but never a run's own file.
            force: Also write into a folder that is not empty; samples of an earlier draw are removed from it.

        Returns:
            The path.

        Raises:
            UsageError: The suffix is unknown or does not fit the samples, or the path cannot be written.
            SystemFault: The disk is full or failed.
        """
        path = refuse_name(path, "the file to write")
        if belongs_to_run(path):
            raise UsageError(f"{named(path)} belongs to a run, whose files are not overwritten; choose another place")
        images = self.array.ndim == 4
        writers: dict[tuple[str, bool], Callable[[Path], Iterator[tuple[Path, bytes]]]] = {
            (".png", True): self._sheet,
            (".png", False): self._plot,
            (".gif", True): self._gif,
            (".npz", True): self._npz,
            (".npz", False): self._npz,
            (".csv", False): self._csv,
            ("", True): self._folder,
        }
        writer = writers.get((path.suffix.lower(), images))
        if writer is None:
            possible = ".png, .gif, .npz or a folder" if images else ".png, .npz or .csv"
            raise UsageError(f"cannot write {'images' if images else 'points'} to {named(path)}: give {possible}")
        if writer == self._folder:
            _refuse_folder(path, force)
        elif os.path.lexists(path) and not (path.is_symlink() or files.is_regular(path)):
            raise UsageError(f"cannot write {named(path)}: what is there is no regular file")
        needed = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for place, content in writer(path):
                needed = len(content)
                write(place, content)
        except OSError as error:
            kind = SystemFault if error.errno in files.DISK_ERRORS else UsageError
            raise kind(f"cannot write {named(path)}: {files.reason(error, needed, path)}") from None
        return path

    def _sheet(self, path: Path) -> Iterator[tuple[Path, bytes]]:
        yield path, plots.png(plots.sheet(self.array))

    def _plot(self, path: Path) -> Iterator[tuple[Path, bytes]]:
        yield path, plots.png(plots.plot(self.array))

    def _gif(self, path: Path) -> Iterator[tuple[Path, bytes]]:
        yield path, plots.gif([plots.sheet(image[None], side=256) for image in self.array])

    def _npz(self, path: Path) -> Iterator[tuple[Path, bytes]]:
        labels = {} if self.labels is None else {"labels": self.labels}
        buffer = BytesIO()  # given a path, numpy would add a second suffix to .NPZ
        np.savez_compressed(buffer, samples=self.array, **labels)  # type: ignore[arg-type]
        yield path, buffer.getvalue()

    def _csv(self, path: Path) -> Iterator[tuple[Path, bytes]]:
        names = ",".join(f"x{number}" for number in range(1, self.array.shape[1] + 1))
        buffer = BytesIO()
        np.savetxt(buffer, self.array, delimiter=",", header=names, comments="", fmt="%.9g")
        yield path, buffer.getvalue()

    def _folder(self, path: Path) -> Iterator[tuple[Path, bytes]]:
        path.mkdir(exist_ok=True)
        for earlier in path.iterdir():
            if SHEET_NAME.fullmatch(earlier.name) and not files.is_folder(earlier):
                earlier.unlink()
        for number, image in enumerate(self.array):
            yield path / f"{number:06d}.png", plots.png(plots.to_image(image))


def _refuse_folder(path: Path, force: bool) -> None:
    """Raise UsageError unless a folder for samples is new or empty, or `force` is given."""
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise UsageError(f"cannot write a folder of images to {named(path)}: what is there is no folder")
    if not force and any(path.iterdir()):
        raise UsageError(
            f"{named(path)} is not empty, and a folder holds one draw. Give another one; with --force, samples of an "
            "earlier draw are removed from it and everything else stays"
        )


class Sampler:
    """Draws samples from a generator.

    Args:
        generator: The network; usually the averaged (EMA) one.
        form: The specification of a sample: kind, shape, scale and classes.
        latent: (n, seed, *key) -> noise z (n, size).
        spherical_latent: Whether z is normal, so that latents lie near a sphere.
        round: The round of the checkpoint; None if the generator was not loaded from one.
    """

    def __init__(
        self,
        generator: nn.Module,
        form: SampleSpec,
        latent: Callable[..., Tensor],
        spherical_latent: bool = True,
        round: int | None = None,
    ) -> None:
        self.generator, self.spec, self.latent = generator, form, latent
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
            return cls.from_checkpoint(config, newest_checkpoint(folder, config, say), device)

    @classmethod
    def from_checkpoint(cls, config: Config, saved: Checkpoint, device: str = "cpu") -> "Sampler":
        """Build the averaged (EMA) generator from a checkpoint in memory."""
        form = spec_from_json(saved.state["data"])
        dtype = master_dtype(config.train.precision)
        generator = build.copy_of(build.new_generator(config, form)).to(device, dtype)
        checkpoint.restore_average(saved, generator)
        return cls(generator, form, build.latent(config.latent), config.latent.distribution == "normal", saved.round)

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


def newest_checkpoint(folder: RunFolder, config: Config, say: Say = silent) -> Checkpoint:
    """Load the averaged generator's tensors from the newest valid checkpoint of a run; see `checkpoint.load`.

    Args:
        folder: The run folder.
        config: The settings of the run.
        say: Called with one sentence for each damaged checkpoint that was skipped.

    Raises:
        CheckpointError: There is no checkpoint yet, or none is valid.
    """
    saved = checkpoint.load(folder.checkpoints, say, folder.run_id(say), partial(average_layout, config))
    if saved is None:
        raise CheckpointError(
            f"{named(folder.path)} has no checkpoint yet, so there is no generator. "
            f"Play the run first: zerosum train {typed(folder.config)} --out {typed(folder.path)}"
        )
    return saved


def average_layout(config: Config, state: dict[str, Any]) -> Layout:
    """Return shapes and dtypes of the averaged generator's tensors, without allocating them (on the meta device).

    Raises:
        CheckpointError: state.json and the settings do not describe a generator, or it does not fit the memory.
    """
    own_code = is_code(config.nets.name)  # user code may not support the meta device
    lookup(NETS, config.nets.name, "pair of networks")  # a failed import is not a damaged checkpoint
    try:
        with ExitStack() as contexts:
            if not own_code:
                contexts.enter_context(torch.device("meta"))
                contexts.enter_context(_SkipNormalInit())
            net = build.new_generator(config, spec_from_json(state["data"])).to(master_dtype(config.train.precision))
    except ConfigError as error:
        raise CheckpointError(f"checkpoint {state['round']:06d} does not fit the run's settings: {error}") from None
    average, available = checkpoint.specs_of(net), memory.total()
    needed = 3 * sum(one.nbytes for one in average.values())  # the file, its tensors and the network
    if available is not None and needed > available:
        raise CheckpointError(
            f"checkpoint {state['round']:06d}: its generator takes {needed / 1e9:,.1f} GB of memory to read, this "
            f"machine has {available / 1e9:,.1f}"
        )
    return {"average": average}


class _SkipNormalInit(TorchFunctionMode):
    """Skips normal initialization on the meta device, for which torch would import its compiler (seconds)."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in (Tensor.normal_, nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


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


def spec_to_json(form: SampleSpec) -> dict[str, Any]:
    """Convert the specification of a sample to JSON values."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(form).items()}


class _SampleSpecModel(BaseModel):
    """Validates a `SampleSpec` read from an untrusted file."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    kind: Literal["images", "points"]
    shape: tuple[Side, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    classes: tuple[str, ...] | None

    @model_validator(mode="after")
    def _check_consistency(self) -> "_SampleSpecModel":
        axes = {"images": 3, "points": 1}[self.kind]
        numbers = {1, *self.shape[:1]} if self.kind == "points" else {1}
        fits = len(self.shape) == axes and {len(self.shift), len(self.scale)} <= numbers
        if not fits or math.prod(self.shape) > MAX_SAMPLE_VALUES or 0 in self.scale:
            raise ValueError("shape, shift and scale do not agree")
        return self


def spec_from_json(facts: dict[str, Any]) -> SampleSpec:
    """Convert the JSON values of `spec_to_json` back, after validating them.

    Raises:
        CheckpointError: They are not a valid specification.
    """
    try:
        return SampleSpec(**dict(_SampleSpecModel.model_validate(facts)))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise CheckpointError(f"{where or 'data'} in state.json is not what a data set looks like") from None
