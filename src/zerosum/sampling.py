"""Samples from a trained generator: the one way from a run to pictures, arrays and files.

`Sampler.load(run)` reads the run folder alone; the data set need not be there any more. The same seed gives the same
samples, the first ten of a hundred are the same as ten, and no batch size shows in them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zerosum import build, checkpoint, pictures
from zerosum.data.record import Form
from zerosum.errors import CheckpointError, UsageError
from zerosum.run import RunFolder, write

BLOCK = 256
"""Samples that are made at a time; each block has latents of its own."""


@dataclass(frozen=True)
class Samples:
    """Generated samples in the form of the data.

    Args:
        array: uint8 (n, h, w, c) for images, float32 (n, d) in data units for points.
        labels: (n,) classes, where the generator was asked for them.
    """

    array: NDArray[Any]
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.array)

    def save(self, path: str | Path) -> Path:
        """Write the samples; the ending says how.

        .png: one sheet, or a plot of points. .npz: `samples`, and `labels` where there are any. .csv: points, one a
        line. A folder (no ending): one .png for each image.

        Raises:
            UsageError: Another ending, or one that does not suit the samples.
        """
        path = Path(path)
        images = self.array.ndim == 4
        writers: dict[tuple[str, bool], Callable[[Path], None]] = {
            (".png", True): self._save_sheet,
            (".png", False): self._save_plot,
            (".npz", True): self._save_npz,
            (".npz", False): self._save_npz,
            (".csv", False): self._save_csv,
            ("", True): self._save_folder,
        }
        writer = writers.get((path.suffix.lower(), images))
        if writer is None:
            possible = ".png, .npz or a folder" if images else ".png, .npz or .csv"
            raise UsageError(f"cannot write {'images' if images else 'points'} to {path}: give {possible}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            writer(path)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
        return path

    def _save_sheet(self, path: Path) -> None:
        write(path, pictures.png(pictures.sheet(self.array)))

    def _save_plot(self, path: Path) -> None:
        write(path, pictures.png(pictures.plot(self.array)))

    def _save_npz(self, path: Path) -> None:
        labels = {} if self.labels is None else {"labels": self.labels}
        buffer = BytesIO()  # numpy itself would add a second ending to .NPZ, and write in pieces
        np.savez_compressed(buffer, samples=self.array, **labels)  # type: ignore[arg-type]
        write(path, buffer.getvalue())

    def _save_csv(self, path: Path) -> None:
        names = ",".join(f"x{number}" for number in range(1, self.array.shape[1] + 1))
        np.savetxt(path, self.array, delimiter=",", header=names, comments="", fmt="%.9g")

    def _save_folder(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        for number, image in enumerate(self.array):
            write(path / f"{number:06d}.png", pictures.png(pictures.sheet(image[None], side=1).crop(_inner(image))))


def _inner(image: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """An image on its sheet, without the frame."""
    return 1, 1, image.shape[1] + 1, image.shape[0] + 1


class Sampler:
    """A generator that is ready to be asked.

    Args:
        generator: Usually the moving average.
        form: What a sample looks like.
        latent: (n, seed, *key) -> noise z (n, size).
    """

    def __init__(self, generator: nn.Module, form: Form, latent: Callable[..., Tensor]) -> None:
        self.generator, self.form, self.latent = generator, form, latent

    @classmethod
    def load(cls, run: str | Path, device: str = "cpu") -> "Sampler":
        """The averaged generator of a run, from its newest whole checkpoint.

        Raises:
            RunError: There is no run.
            CheckpointError: It has no checkpoint yet, or none is whole.
        """
        folder = RunFolder(Path(run))
        config = folder.read_config()
        saved = checkpoint.load(folder.checkpoints)
        if saved is None:
            raise CheckpointError(f"{folder.path} has no checkpoint yet")
        form = form_from(saved.state["data"])
        dtype = getattr(torch, config.train.precision)
        generator = build.copy_of(build.new_generator(config, form)).to(device, dtype)
        checkpoint.restore_average(saved, generator)
        return cls(generator, form, build.latent(config.latent))

    @torch.no_grad()
    def draw(self, n: int, seed: int = 0) -> Samples:
        """Make samples.

        Args:
            n: How many, at least 1.
            seed: The same seed gives the same samples.

        Raises:
            UsageError: n is not positive, or the seed is negative.
        """
        if n < 1:
            raise UsageError(f"cannot make {n} samples: ask for at least 1")
        if seed < 0:
            raise UsageError(f"seed = {seed}: expected 0 or more")
        like = next(self.generator.parameters(), torch.zeros(()))
        blocks = []
        for block in range(-(-n // BLOCK)):
            z = self.latent(BLOCK, seed, block, "sample").to(like)
            blocks.append(self.form.decode(self.generator(z)))
        return Samples(np.concatenate(blocks)[:n])


def form_to(form: Form) -> dict[str, Any]:
    """What a sample looks like, as JSON can hold it."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(form).items()}


def form_from(facts: dict[str, Any]) -> Form:
    """The same, read back."""
    known: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
    return Form(**known)
