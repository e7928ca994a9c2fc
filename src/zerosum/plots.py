"""Pictures of samples: sheets of images, plots of points.

A plot omits rows that are not finite, and clips very large values. Pillow draws sheets, matplotlib points: run folders
hold pictures, and 5,000 points take 20 kB as PNG in base64, 69 kB as an SVG path. matplotlib is imported when the first
points are drawn. The line charts of a report are SVG: see `report.charts`.
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
DARK, PALE = "#1b4f8f", "#c9c9c9"
"""Colors of samples (dark blue) and data (gray), which color-blind readers can distinguish."""

MAX_DRAWN = 1e30
"""Larger values are clipped to this, so that differences of float32 numbers and their fractions stay in range."""

MIN_WIDTH = 1e-9
"""Width, as a share of the largest absolute value, below which it is rounding error."""

MIN_POINTS = 3
"""Up to this number of points, the range of a histogram is their minimum and maximum instead of quantiles."""


def sheet(images: NDArray[np.uint8], columns: int | None = None, side: int = 640) -> Image.Image:
    """Draw images in rows and columns, each enlarged by an integer factor, on a gray background.

    Args:
        images: (n, h, w, c) with c = 1 (gray), 3 (RGB) or 4 (RGBA); for other c, the first channel is shown.
        columns: Images per row; by default the sheet is about square.
        side: Approximate width of the sheet in pixels.

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
    return to_image(page)


def to_image(image: NDArray[np.uint8]) -> Image.Image:
    """Convert an array (h, w, c) to an image; for c = 2 or c > 4, the first channel."""
    image = image if image.shape[2] in (1, 3, 4) else image[..., :1]
    return Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)


def plot(points: Points, data: Points | None = None, title: str = "") -> Image.Image:
    """Plot samples over the data, if given: a histogram if d = 1, else a scatter plot of the first two coordinates.

    Args:
        points: (n, d) samples.
        data: (m, d) real points.
        title: Title of the plot.
    """
    return _render(_scatter if points.shape[1] > 1 else _histogram, points, data, title)


def import_matplotlib() -> None:
    """Import matplotlib even if MPLBACKEND names a backend that is not installed; only pictures in memory are drawn.

    Jupyter sets MPLBACKEND for every process it starts, and matplotlib cannot be imported if that backend is missing.
    The variable and the backend are restored afterwards for the user's own figures.
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
def default_style() -> Iterator[None]:
    """Use matplotlib's default style, without warnings about missing glyphs."""
    import_matplotlib()
    from matplotlib import style

    with warnings.catch_warnings(), style.context("default"):
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def _render(
    draw: Callable[[Any, Points, Points | None], None], points: Points, data: Points | None, title: str = ""
) -> Image.Image:
    """Render a figure with title and legend to an image; it is taller for two-dimensional points."""
    with default_style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 5 if points.shape[1] > 1 else 3.5), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        draw(axes, _drawable(points), None if data is None else _drawable(data))
        axes.set_title(_printable(title), fontsize=11, parse_math=False)  # a name may contain "$"
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside lower center", ncols=2, fontsize=9)  # inside, it would hide points
        buffer = BytesIO()
        FigureCanvasAgg(figure).print_png(buffer)
    return Image.open(buffer).convert("RGB")


def _drawable(points: Points) -> Points:
    """Keep the rows whose first two values are finite, and clip large values."""
    if points.dtype not in (np.float32, np.float64):
        points = points.astype(np.float64)
    return points[np.isfinite(points[:, :2]).all(1)].clip(-MAX_DRAWN, MAX_DRAWN)


def _printable(text: str) -> str:
    """Replace unprintable characters, which file names may contain, by "?"."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _histogram(axes: Any, points: Points, data: Points | None) -> None:
    bins = _bins(points if data is None else np.concatenate([data, points]))
    looks = {"density": True, "bins": bins}
    if data is not None and _any_inside(data, bins):
        axes.hist(data[:, 0], color=PALE, label="data", **looks)
    if _any_inside(points, bins):
        axes.hist(points[:, 0], histtype="step", color=DARK, linewidth=1.6, label="samples", **looks)
    axes.set_xlabel("x")
    axes.set_ylabel("density")


def _bins(points: Points) -> list[float]:
    """Bin edges of a histogram between the quantiles 0.001 and 0.999."""
    if not len(points):
        return [-0.5, 0.5]
    limits = np.quantile(points, [0.001, 0.999]) if len(points) > MIN_POINTS else np.array([points.min(), points.max()])
    low, high = limits.tolist()
    if _has_width(limits):
        return np.linspace(low, high, 80).tolist()
    margin = max(0.5, 1e-3 * abs(low))
    return [low - margin, low + margin]


def _has_width(points: Points) -> bool:
    """Whether the extent of the points along an axis is larger than rounding error."""
    return bool(np.ptp(points, axis=0).max() > max(1 / MAX_DRAWN, MIN_WIDTH * np.abs(points).max()))


def _any_inside(points: Points, bins: list[float]) -> bool:
    """Whether any point lies inside the bins, so that the density can be normalized."""
    exact = points.astype(np.float64)
    return bool(((exact >= bins[0]) & (exact <= bins[-1])).any())


def _scatter(axes: Any, points: Points, data: Points | None) -> None:
    _background(axes, points, data)
    axes.scatter(points[:, 0], points[:, 1], s=3, color=DARK, linewidths=0, label="samples")


def _background(axes: Any, points: Points, data: Points | None) -> None:
    """Draw the data and the labels of the axes; with d = 2, both axes have the same scale."""
    if data is not None:
        axes.scatter(data[:, 0], data[:, 1], s=14, color=PALE, linewidths=0, label="data")
    axes.set_xlabel("$x_1$")
    axes.set_ylabel("$x_2$")
    seen = points if data is None else np.concatenate([data[:, :2], points[:, :2]])
    if points.shape[1] == 2 and len(seen) and _has_width(seen):
        axes.set_aspect("equal", adjustable="datalim")


def path(points: Points, data: Points | None = None) -> Image.Image:
    """Plot a closed path of samples over the data: the first two coordinates, or x against the position if d = 1.

    Args:
        points: (n, d) samples in the order of the path.
        data: (m, d) real points.
    """
    return _render(_path_2d if points.shape[1] > 1 else _path_1d, points, data)


def _path_2d(axes: Any, points: Points, data: Points | None) -> None:
    _background(axes, points, data)
    axes.plot(points[:, 0], points[:, 1], ".-", color=DARK, linewidth=0.8, markersize=3, label="samples on the way")


def _path_1d(axes: Any, points: Points, data: Points | None) -> None:
    if data is not None:
        position = np.linspace(0, 1, len(data))
        axes.scatter(position, data[:, 0], s=6, color=PALE, linewidths=0, label="data")
    axes.plot(np.linspace(0, 1, len(points)), points[:, 0], color=DARK, linewidth=1.6, label="samples on the way")
    axes.set_xlabel("way")
    axes.set_ylabel("x")


def with_neighbors(samples: NDArray[np.uint8], near: NDArray[np.uint8], blocks: int = 2) -> Image.Image:
    """Draw samples, each with its nearest data rows to the right of it.

    Args:
        samples: (n, h, w, c).
        near: (n, k, h, w, c), nearest first.
        blocks: Number of columns of samples.

    >>> with_neighbors(np.zeros((4, 8, 8, 1), np.uint8), np.zeros((4, 3, 8, 8, 1), np.uint8)).size
    (856, 204)
    """
    k, tall = near.shape[1], -(-len(samples) // blocks)
    sheets = []
    for first in range(0, len(samples), tall):
        part = slice(first, first + tall)
        sheets += [sheet(samples[part], 1, 100), sheet(near[part].reshape(-1, *near.shape[2:]), k, 100 * k)]
    gaps = [8 if place % 2 else 24 for place in range(len(sheets))]  # narrow before neighbors, wide before a column
    page = Image.new(sheets[0].mode, (sum(s.width for s in sheets) + sum(gaps[1:]), sheets[0].height), "white")
    left = -gaps[0]
    for gap, part_sheet in zip(gaps, sheets, strict=True):
        page.paste(part_sheet, (left + gap, 0))
        left += gap + part_sheet.width
    return page


def gif(frames: list[Image.Image], seconds: float = 0.08) -> bytes:
    """Encode pictures as an animated GIF that loops forever.

    Args:
        frames: Pictures of the same size.
        seconds: Duration of each frame in seconds.
    """
    buffer = BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=round(1000 * seconds), loop=0)
    return buffer.getvalue()


def with_caption(picture: Image.Image, text: str) -> Image.Image:
    """Add a line of text below a picture."""
    page = Image.new("L" if picture.mode == "L" else "RGB", (picture.width, picture.height + 24), "white")
    page.paste(picture, (0, 0))
    font = ImageFont.load_default(14)
    ImageDraw.Draw(page).text((6, picture.height + 4), _printable(text), fill="black", font=font)
    return page


def png(picture: Image.Image) -> bytes:
    """Encode a picture as a PNG file."""
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
