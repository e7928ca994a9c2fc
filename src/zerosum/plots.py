"""Pictures of samples: a sheet of images, a plot of points, whatever the points are.

Rows that are no numbers are left out of a plot, and very large ones stand at its edge.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Points = NDArray[np.floating[Any]]
INK, PAPER = "#1b4f8f", "#c9c9c9"
"""Samples, and the data behind them: dark blue on gray, which every eye tells apart."""

FARTHEST = 1e30
"""Numbers beyond are drawn there: widths of float32 numbers then stay float32 numbers, and so do shares of one."""

NARROW = 1e-9
"""Share of its place below which a width is rounding."""

FEW = 3
"""Points of which none would be left between a thousandth at either end."""


def sheet(images: NDArray[np.uint8], columns: int | None = None, side: int = 640) -> Image.Image:
    """Images in rows and columns, each enlarged by a whole factor, on a gray ground.

    Args:
        images: (n, h, w, c) with c = 1 (gray), 3 (RGB) or 4 (RGBA); of any other number, the first channel is shown.
        columns: How many in a row; about square if absent.
        side: Pixels that the sheet should be wide, roughly.

    >>> sheet(np.zeros((4, 8, 8, 1), np.uint8)).size
    (679, 679)
    """
    n, height, width, channels = images.shape
    columns = columns or max(1, int(np.ceil(np.sqrt(n))))
    rows = -(-n // columns)
    factor = max(1, side // (columns * max(height, width)))
    gap = max(1, factor // 3)
    images = images if channels in (1, 3, 4) else images[..., :1]
    images = images.repeat(factor, axis=1).repeat(factor, axis=2)
    tall, wide = images.shape[1] + gap, images.shape[2] + gap
    page = np.full((rows * tall + gap, columns * wide + gap, images.shape[3]), 128, np.uint8)
    for number, image in enumerate(images):
        top, left = gap + number // columns * tall, gap + number % columns * wide
        page[top : top + tall - gap, left : left + wide - gap] = image
    return single(page)


def single(image: NDArray[np.uint8]) -> Image.Image:
    """One image (h, w, c), pixel by pixel; of 2 or more than 4 channels, the first."""
    image = image if image.shape[2] in (1, 3, 4) else image[..., :1]
    return Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)


def plot(points: Points, data: Points | None = None, title: str = "") -> Image.Image:
    """Samples, over data where it is given: a histogram in one dimension, a scatter of the first two in more.

    Args:
        points: (n, d) samples.
        data: (m, d) real points.
        title: Above the picture.
    """
    return _drawn(_scatter if points.shape[1] > 1 else _histogram, points, data, title)


def import_matplotlib() -> None:
    """Import matplotlib, whatever display the environment asks it for: only pictures in memory are drawn here.

    A notebook names a display in MPLBACKEND to every process it starts, and where that one is not installed, matplotlib
    cannot be imported. What the user wants is put back for his own figures.
    """
    if "matplotlib" in sys.modules:
        return
    wanted = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if wanted is not None:
            os.environ["MPLBACKEND"] = wanted
    with suppress(ValueError):
        if wanted:
            matplotlib.rcParams["backend"] = wanted


@contextmanager
def _our_style() -> Iterator[None]:
    """Draw as matplotlib does by default, and say nothing of letters that its font does not have."""
    import_matplotlib()
    from matplotlib import style

    with warnings.catch_warnings(), style.context("default"):
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def _drawn(
    draw: Callable[[Any, Points, Points | None], None], points: Points, data: Points | None, title: str = ""
) -> Image.Image:
    """Points over data, with a legend below: tall for a plane, flat for a line."""
    with _our_style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 5 if points.shape[1] > 1 else 3.5), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        draw(axes, _drawable(points), None if data is None else _drawable(data))
        axes.set_title(_writable(title), fontsize=11, parse_math=False)  # a name may hold a dollar
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside lower center", ncols=2, fontsize=9)  # inside, it would hide points
        buffer = BytesIO()
        FigureCanvasAgg(figure).print_png(buffer)
    return Image.open(buffer).convert("RGB")


def _drawable(points: Points) -> Points:
    """The rows whose first two numbers are numbers, of which none is very large."""
    if points.dtype not in (np.float32, np.float64):
        points = points.astype(np.float64)
    return points[np.isfinite(points[:, :2]).all(1)].clip(-FARTHEST, FARTHEST)


def _writable(text: str) -> str:
    """A text that fonts can be asked for: names of files may hold what is no character, or ends a line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _histogram(axes: Any, points: Points, data: Points | None) -> None:
    bins = _bins(points if data is None else np.concatenate([data, points]))
    looks = {"density": True, "bins": bins}
    if data is not None and _meets(data, bins):
        axes.hist(data[:, 0], color=PAPER, label="data", **looks)
    if _meets(points, bins):
        axes.hist(points[:, 0], histtype="step", color=INK, linewidth=1.6, label="samples", **looks)
    axes.set_xlabel("x")
    axes.set_ylabel("density")


def _bins(points: Points) -> list[float]:
    """The edges of a histogram of all but a thousandth at either end."""
    if not len(points):
        return [-0.5, 0.5]
    ends = np.quantile(points, [0.001, 0.999]) if len(points) > FEW else np.array([points.min(), points.max()])
    low, high = ends.tolist()
    if _wide(ends):
        return np.linspace(low, high, 80).tolist()
    room = max(0.5, 1e-3 * abs(low))
    return [low - room, low + room]


def _wide(points: Points) -> bool:
    """Whether points have a width, along any axis, that can be drawn where they are."""
    return bool(np.ptp(points, axis=0).max() > max(1 / FARTHEST, NARROW * np.abs(points).max()))


def _meets(points: Points, bins: list[float]) -> bool:
    """Whether a point falls into a histogram, so that it has a density."""
    exact = points.astype(np.float64)
    return bool(((exact >= bins[0]) & (exact <= bins[-1])).any())


def _scatter(axes: Any, points: Points, data: Points | None) -> None:
    _plane(axes, points, data)
    axes.scatter(points[:, 0], points[:, 1], s=3, color=INK, linewidths=0, label="samples")


def _plane(axes: Any, points: Points, data: Points | None) -> None:
    """What lies behind points in their first two numbers: the data, and axes of one scale where there are no others."""
    if data is not None:
        axes.scatter(data[:, 0], data[:, 1], s=14, color=PAPER, linewidths=0, label="data")
    axes.set_xlabel("$x_1$")
    axes.set_ylabel("$x_2$")
    seen = points if data is None else np.concatenate([data[:, :2], points[:, :2]])
    if points.shape[1] == 2 and len(seen) and _wide(seen):
        axes.set_aspect("equal", adjustable="datalim")


def path(points: Points, data: Points | None = None) -> Image.Image:
    """A closed walk of samples: its first two numbers over data, or the one number against the way.

    Args:
        points: (n, d) samples in the order of the walk.
        data: (m, d) real points.
    """
    return _drawn(_path_in_plane if points.shape[1] > 1 else _path_in_line, points, data)


def _path_in_plane(axes: Any, points: Points, data: Points | None) -> None:
    _plane(axes, points, data)
    axes.plot(points[:, 0], points[:, 1], ".-", color=INK, linewidth=0.8, markersize=3, label="samples on the way")


def _path_in_line(axes: Any, points: Points, data: Points | None) -> None:
    if data is not None:
        way = np.linspace(0, 1, len(data))
        axes.scatter(way, data[:, 0], s=6, color=PAPER, linewidths=0, label="data")
    axes.plot(np.linspace(0, 1, len(points)), points[:, 0], color=INK, linewidth=1.6, label="samples on the way")
    axes.set_xlabel("way")
    axes.set_ylabel("x")


def with_neighbours(samples: NDArray[np.uint8], near: NDArray[np.uint8], blocks: int = 2) -> Image.Image:
    """Samples, each with its nearest rows to the right of it.

    Args:
        samples: (n, h, w, c).
        near: (n, k, h, w, c), from near to far.
        blocks: Stacks of samples that stand side by side.

    >>> with_neighbours(np.zeros((4, 8, 8, 1), np.uint8), np.zeros((4, 3, 8, 8, 1), np.uint8)).size
    (856, 204)
    """
    k, tall = near.shape[1], -(-len(samples) // blocks)
    sheets = []
    for first in range(0, len(samples), tall):
        part = slice(first, first + tall)
        sheets += [sheet(samples[part], 1, 100), sheet(near[part].reshape(-1, *near.shape[2:]), k, 100 * k)]
    gaps = [8 if place % 2 else 24 for place in range(len(sheets))]  # close to its neighbours, far from the next stack
    page = Image.new(sheets[0].mode, (sum(s.width for s in sheets) + sum(gaps[1:]), sheets[0].height), "white")
    left = -gaps[0]
    for gap, part_sheet in zip(gaps, sheets, strict=True):
        page.paste(part_sheet, (left + gap, 0))
        left += gap + part_sheet.width
    return page


def gif(frames: list[Image.Image], seconds: float = 0.08) -> bytes:
    """Pictures as a film that runs for ever.

    Args:
        frames: In order, all of one size.
        seconds: That each is shown.
    """
    buffer = BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=round(1000 * seconds), loop=0)
    return buffer.getvalue()


def captioned(picture: Image.Image, text: str) -> Image.Image:
    """A picture with a line of text below it."""
    page = Image.new("L" if picture.mode == "L" else "RGB", (picture.width, picture.height + 24), "white")
    page.paste(picture, (0, 0))
    font = ImageFont.load_default(14)
    ImageDraw.Draw(page).text((6, picture.height + 4), _writable(text), fill="black", font=font)
    return page


def png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
