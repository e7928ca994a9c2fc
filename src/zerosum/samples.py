"""Generated samples, and the files that hold them: sheets, plots, animations, arrays, tables, folders of images."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zerosum import files, plots
from zerosum.errors import SystemFault, UsageError, named
from zerosum.files import write
from zerosum.run import belongs_to_run
from zerosum.run.choice import refuse_name
from zerosum.run.folder import SHEET_NAME


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
