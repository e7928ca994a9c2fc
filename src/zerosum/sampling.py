"""Samples from a trained generator: the one way from a run to pictures, arrays and files.

`Sampler.load(run)` reads the run folder alone; the data set need not be there any more. The same seed gives the same
samples, the first ten of a hundred are the same as ten, and no batch size shows in them.
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
from zerosum.data.dataset import SampleSpec
from zerosum.engine import SINGLE, World
from zerosum.engine.precision import master_dtype
from zerosum.errors import CheckpointError, ConfigError, SystemFault, UsageError, named, unknown
from zerosum.files import write
from zerosum.game.forward import call
from zerosum.nets import NETS, ConditionalGenerator
from zerosum.run import RunFolder, belongs_to_run, trust
from zerosum.run.folder import SHEET_NAME, Say, refuse_name, silent

LARGEST = 2**27
"""Numbers in one sample: an image of 11,000 x 11,000."""

PIECE = 2**26
"""Numbers that G makes at once: fewer samples than a block has where they are large, lest a block fills the memory."""

Side = Annotated[int, Field(ge=1, le=LARGEST)]

BLOCK = 256
"""Samples that are made at a time; each block has latents of its own."""


@dataclass(frozen=True)
class Samples:
    """Generated samples in the form of the data.

    Args:
        array: uint8 (n, h, w, c) for images, float32 (n, d) in data units for points.
        labels: (n,) classes, where the generator was asked for them.
        round: The round of the generator that made them; None: it was not saved.
    """

    array: NDArray[Any]
    labels: NDArray[np.int64] | None = None
    round: int | None = None

    def __len__(self) -> int:
        return len(self.array)

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the samples; the ending says how.

        .png: one sheet, or a plot of points. .gif: one image after the other. .npz: `samples`, and `labels` where there
        are any. .csv: points, one a line. A folder (no ending): one .png for each image, and nothing else in it.

        Args:
            path: Where to. A file that is there is replaced, a run's own files never.
            force: Write into a folder that is not empty, too; samples of an earlier draw are removed from it.

        Raises:
            UsageError: Another ending, or one that does not suit the samples, or a place that holds something else.
            SystemFault: The disk refused.
        """
        path = refuse_name(path, "the file to write")
        if belongs_to_run(path):
            raise UsageError(f"{named(path)} belongs to a run, whose files are not overwritten; choose another place")
        images = self.array.ndim == 4
        writers: dict[tuple[str, bool], Callable[[Path], Iterator[tuple[Path, bytes]]]] = {
            (".png", True): self._sheet,
            (".png", False): self._plot,
            (".gif", True): self._film,
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

    def _film(self, path: Path) -> Iterator[tuple[Path, bytes]]:
        yield path, plots.gif([plots.sheet(image[None], side=256) for image in self.array])

    def _npz(self, path: Path) -> Iterator[tuple[Path, bytes]]:
        labels = {} if self.labels is None else {"labels": self.labels}
        buffer = BytesIO()  # numpy itself would add a second ending to .NPZ, and write in pieces
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
            yield path / f"{number:06d}.png", plots.png(plots.single(image))


def _refuse_folder(path: Path, force: bool) -> None:
    """Make sure that a folder will hold one draw.

    Raises:
        UsageError: Something is in it already, or it is no folder.
    """
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
    """A generator that is ready to be asked.

    Args:
        generator: Usually the moving average.
        form: What a sample looks like.
        latent: (n, seed, *key) -> noise z (n, size).
        spherical_latent: Whether z is normal, and so lies near a sphere.
        round: The round of the run at which it was saved; None: not saved.
    """

    def __init__(
        self,
        generator: nn.Module,
        form: SampleSpec,
        latent: Callable[..., Tensor],
        spherical_latent: bool = True,
        round: int | None = None,
    ) -> None:
        self.generator, self.form, self.latent = generator, form, latent
        self.spherical_latent, self.round = spherical_latent, round

    @classmethod
    def load(cls, run: str | Path, device: str = "cpu", *, trusted: bool = False, say: Say = silent) -> "Sampler":
        """The averaged generator of a run, from its newest whole checkpoint.

        Args:
            run: The run folder.
            device: Where samples are made.
            trusted: Whether code that the run's settings name may be imported though it was not made here.
            say: Told of damaged checkpoints that were passed over.

        Raises:
            RunError: There is no run.
            CheckpointError: It has no checkpoint yet, or none is whole.
            Untrusted: The run was not made here, and its settings name code.
        """
        folder = RunFolder(Path(run))
        config = folder.read_config()
        with trust.permitted(folder, config, trusted):
            return cls.of(config, newest(folder, config, say), device)

    @classmethod
    def of(cls, config: Config, saved: Checkpoint, device: str = "cpu") -> "Sampler":
        """The averaged generator in a checkpoint that is read already."""
        form = spec_from_json(saved.state["data"])
        dtype = master_dtype(config.train.precision)
        generator = build.copy_of(build.new_generator(config, form)).to(device, dtype)
        checkpoint.restore_average(saved, generator)
        return cls(generator, form, build.latent(config.latent), config.latent.distribution == "normal", saved.round)

    @torch.no_grad()
    def draw(self, n: int, seed: int = 0, label: str | None = None, world: World = SINGLE) -> Samples:
        """Make samples.

        Args:
            n: How many, at least 1.
            seed: The same seed gives the same samples.
            label: The class to ask for, of a generator that is told classes. Absent: every class as often as another.
            world: Processes that make a part of them each, and have all in the end.

        Raises:
            UsageError: n is not positive, the seed is negative, or there is no such class to ask for.
        """
        if n < 1:
            raise UsageError(f"cannot make {n} samples: ask for at least 1")
        if seed < 0:
            raise UsageError(f"seed = {seed}: expected 0 or more")
        self._refuse_more_than_memory(n)
        asked = self._class_of(label)
        count = -(-n // BLOCK)
        samples = world.map_rows(count, lambda block: self._block(seed, block, self._labels(block, asked)))[:n]
        told = [c.cpu().numpy() for block in range(count) if (c := self._labels(block, asked)) is not None]
        return Samples(samples, np.concatenate(told)[:n] if told else None, self.round)

    def _block(self, seed: int, block: int, c: Tensor | None) -> NDArray[Any]:
        """Samples that are made together."""
        return self._made(self.latent(BLOCK, seed, block, "sample").to(self._like), c)

    def _made(self, z: Tensor, c: Tensor | None) -> NDArray[Any]:
        """What G makes of latents."""
        rows = max(1, PIECE // math.prod(self.form.shape))
        told = [None] * len(z) if c is None else c.split(rows)
        return np.concatenate(
            [self.form.decode(call(self.generator, part, of)) for part, of in zip(z.split(rows), told, strict=False)]
        )

    @torch.no_grad()
    def walk(self, stations: int, seed: int = 0, steps: int = 12, label: str | None = None) -> Samples:
        """Samples on a closed walk through random latents: along great circles for the normal law, straight otherwise.

        A straight line between two normal latents passes nearer to the origin than any latent G has met.

        Args:
            stations: Latents that are passed, at least 2.
            seed: The same seed gives the same walk.
            steps: Samples from one to the next.
            label: The class to ask for; it stays the same all the way, the first one if absent.

        Raises:
            UsageError: Fewer than two stations, or there is no such class.
        """
        if stations < 2:
            raise UsageError(f"a walk needs at least 2 stations, not {stations}")
        self._refuse_more_than_memory(stations * steps)
        asked = self._class_of(label) or 0
        z = self.latent(stations, seed, "walk").to(self._like)
        between = slerp if self.spherical_latent else torch.lerp
        path = [
            between(z[i], z[(i + 1) % stations], torch.tensor(t / steps).to(z))
            for i in range(stations)
            for t in range(steps)
        ]
        c = torch.full((len(path),), asked, device=z.device) if self.conditional else None
        return Samples(self._made(torch.stack(path), c), round=self.round)

    @property
    def conditional(self) -> bool:
        """Whether the generator is told classes."""
        return isinstance(self.generator, ConditionalGenerator)

    def _refuse_more_than_memory(self, n: int) -> None:
        """Refuse what would fill the memory before the first sample is made: blocks, and the whole made of them."""
        needed = 2 * n * math.prod(self.form.shape) * (1 if self.form.kind == "images" else 4)
        there = memory.total()
        if there is not None and needed > there:
            raise UsageError(
                f"{n:,} samples take {needed / 1e9:,.1f} GB of memory, this machine has {there / 1e9:,.1f}. "
                "Ask for fewer, with several seeds"
            )

    @property
    def _like(self) -> Tensor:
        return next(self.generator.parameters(), torch.zeros(()))

    def _class_of(self, label: str | None) -> int | None:
        """The number of a class, given by its name."""
        if label is None:
            return None
        if not self.conditional:
            raise UsageError(f"cannot ask for class '{label}': this generator was trained without conditions")
        classes = self.form.classes or ()
        if label not in classes:
            raise UsageError(unknown("class", label, classes))
        return classes.index(label)

    def _labels(self, block: int, asked: int | None) -> Tensor | None:
        """Classes for a block: the one asked for, or all in turn."""
        if not self.conditional:
            return None
        first, classes = block * BLOCK, len(self.form.classes or ())
        every = torch.arange(first, first + BLOCK) % classes
        return (every if asked is None else torch.full((BLOCK,), asked)).to(self._like.device)


def newest(folder: RunFolder, config: Config, say: Say = silent) -> Checkpoint:
    """The newest whole checkpoint of a run, of which the average is kept; see `checkpoint.load`.

    Args:
        folder: The run.
        config: Its settings.
        say: Told of damaged ones that were passed over.

    Raises:
        CheckpointError: It has none yet, or none is whole.
    """
    saved = checkpoint.load(folder.checkpoints, say, folder.run_id(say), partial(average_of, config))
    if saved is None:
        raise CheckpointError(
            f"{named(folder.path)} has no checkpoint yet, so there is no generator. "
            f"Play the run first: zerosum train {named(folder.config)} --out {named(folder.path)}"
        )
    return saved


def average_of(config: Config, state: dict[str, Any]) -> Layout:
    """What the tensors of the averaged generator are like, told without the memory that they take.

    Raises:
        CheckpointError: state.json and the settings do not describe a generator.
    """
    own_code = is_code(config.nets.name)  # whose maker may not know of devices
    lookup(NETS, config.nets.name, "pair of networks")  # what cannot be imported is no damage to a checkpoint
    try:
        with ExitStack() as thrifty:
            if not own_code:
                thrifty.enter_context(torch.device("meta"))
                thrifty.enter_context(_Undrawn())
            net = build.new_generator(config, spec_from_json(state["data"])).to(master_dtype(config.train.precision))
    except ConfigError as error:
        raise CheckpointError(f"checkpoint {state['round']:06d} does not fit the run's settings: {error}") from None
    average, there = checkpoint.likeness(net), memory.total()
    needed = 3 * sum(one.nbytes for one in average.values())  # the file, its tensors and the network that they go into
    if there is not None and needed > there:
        raise CheckpointError(
            f"checkpoint {state['round']:06d}: its generator takes {needed / 1e9:,.1f} GB of memory to read, this "
            f"machine has {there / 1e9:,.1f}"
        )
    return {"average": average}


class _Undrawn(TorchFunctionMode):
    """Weights without memory stay without numbers: to draw normal ones, torch imports its compiler, for seconds."""

    def __torch_function__(self, function: Any, kinds: Any, given: Any = (), options: Any = None) -> Any:
        options = options or {}
        if function in (Tensor.normal_, nn.init.normal_):
            return given[0] if given else options["tensor"]
        return function(*given, **options)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """From a to b along the great circle through them; their lengths change evenly.

    Source: Shoemake 1985, "Animating rotation with quaternion curves"; for latents: White 2016, arXiv:1609.04468.

    >>> slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor(0.5))
    tensor([0.7071, 0.7071])
    """
    angle = torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    if angle < 1e-6:
        return torch.lerp(a, b, t)
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


def spec_to_json(form: SampleSpec) -> dict[str, Any]:
    """What a sample looks like, as JSON can hold it."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(form).items()}


class _Form(BaseModel):
    """A `Form` in a file that may have been changed by anybody."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    kind: Literal["images", "points"]
    shape: tuple[Side, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    classes: tuple[str, ...] | None

    @model_validator(mode="after")
    def _agrees(self) -> "_Form":
        axes = {"images": 3, "points": 1}[self.kind]
        numbers = {1, *self.shape[:1]} if self.kind == "points" else {1}
        fits = len(self.shape) == axes and {len(self.shift), len(self.scale)} <= numbers
        if not fits or math.prod(self.shape) > LARGEST or 0 in self.scale:
            raise ValueError("shape, shift and scale do not agree")
        return self


def spec_from_json(facts: dict[str, Any]) -> SampleSpec:
    """The same, read back.

    Raises:
        CheckpointError: It is not what a data set looks like.
    """
    try:
        return SampleSpec(**dict(_Form.model_validate(facts)))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise CheckpointError(f"{where or 'data'} in state.json is not what a data set looks like") from None
