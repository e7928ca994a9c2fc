"""Pictures of samples: a sheet of images, a plot of points."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Points = NDArray[np.floating[Any]]
INK, PAPER = "#1b4f8f", "#c9c9c9"
"""Samples, and the data behind them: dark blue on grey, which every eye tells apart."""


def sheet(images: NDArray[np.uint8], columns: int | None = None, side: int = 640) -> Image.Image:
    """Images in rows and columns, each enlarged by a whole factor, on a grey ground.

    Args:
        images: (n, h, w, c) with c = 1 (grey), 3 (RGB) or 4 (RGBA); of any other number, the first channel is shown.
        columns: How many in a row; about square if absent.
        side: Pixels that the sheet should be wide, roughly.

    >>> sheet(np.zeros((4, 8, 8, 1), np.uint8)).size
    (679, 679)
    """
    n, height, width, channels = images.shape
    columns = columns or int(np.ceil(np.sqrt(n)))
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


def _drawn(
    draw: Callable[[Any, Points, Points | None], None], points: Points, data: Points | None, title: str = ""
) -> Image.Image:
    """Points over data, with a legend below: tall for a plane, flat for a line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5 if points.shape[1] > 1 else 3.5), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    draw(axes, points, data)
    axes.set_title(title, fontsize=11)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)  # inside, it would hide points
    buffer = BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return Image.open(buffer).convert("RGB")


def _histogram(axes: Any, points: Points, data: Points | None) -> None:
    low, high = np.quantile(points if data is None else np.concatenate([data, points]), [0.001, 0.999])
    bins = np.linspace(low, high, 80).tolist() if low < high else [low - 0.5, low + 0.5]
    if data is not None:
        axes.hist(data[:, 0], bins=bins, density=True, color=PAPER, label="data")
    axes.hist(points[:, 0], bins=bins, density=True, histtype="step", color=INK, linewidth=1.6, label="samples")
    axes.set_xlabel("x")
    axes.set_ylabel("density")


def _scatter(axes: Any, points: Points, data: Points | None) -> None:
    _plane(axes, points, data)
    axes.scatter(points[:, 0], points[:, 1], s=3, color=INK, linewidths=0, label="samples")


def _plane(axes: Any, points: Points, data: Points | None) -> None:
    """What lies behind points in their first two numbers: the data, and axes of one scale where there are no others."""
    if data is not None:
        axes.scatter(data[:, 0], data[:, 1], s=14, color=PAPER, linewidths=0, label="data")
    axes.set_xlabel("$x_1$")
    axes.set_ylabel("$x_2$")
    if points.shape[1] == 2:
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
    ImageDraw.Draw(page).text((6, picture.height + 4), text, fill="black", font=ImageFont.load_default(14))
    return page


def png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
