"""Charts: the layout of line charts of 360 by 220 units, which the page draws as SVG.

The charts are small enough to be read on a phone; a wider page shows several in a row. All have the same horizontal
axis, rounds from 0 to the last. Long curves keep only the minimum and maximum of each segment, so no peak is lost.
Outliers are cut off, and a warning says how many.

Why not by matplotlib, which draws points and the laboratory's figures: the page colors these curves for light, dark and
paper and moves a mark over them to the round that is shown, and a training on images would import matplotlib only for
its report. Seven charts of 600 readings take 55 kB and 0.05 s here, 150 kB and 0.35 s by matplotlib, and 0.5 s to
import it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from statistics import fmean
from typing import NamedTuple

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 26, 38
"""Margins, which hold the text."""

MAX_POINTS = 500
"""Largest number of points of a curve."""

TREND_FROM, TREND_BINS = 150, 75
"""A curve of at least TREND_FROM points also gets a trend: its mean in each of TREND_BINS segments."""

Point = tuple[float, float]


class Tick(NamedTuple):
    """A position on an axis and its label."""

    place: float
    text: str


class Line(NamedTuple):
    """A curve as an SVG path."""

    label: str
    path: str
    trend: str = ""
    """SVG path of the segment means of a long curve, drawn over the path, which is then pale; else empty."""


class Level(NamedTuple):
    """A horizontal reference line: the value at the equilibrium."""

    place: float
    label: str


@dataclass(frozen=True)
class Chart:
    """The layout of a chart.

    Args:
        title: Title.
        unit: Unit of the vertical axis.
        lines: Curves, at most four.
        levels: Horizontal reference lines.
        ticks: Ticks of the vertical axis.
        rounds: Ticks of the horizontal axis.
        note: How to read the chart, in a sentence or two.
        warning: How many points are not shown; empty if none.
        says: First and last value of each curve, as a text for screen readers.
    """

    title: str
    unit: str
    lines: tuple[Line, ...]
    levels: tuple[Level, ...]
    ticks: tuple[Tick, ...]
    rounds: tuple[Tick, ...]
    note: str
    warning: str
    says: str


def chart(
    title: str,
    unit: str,
    curves: Mapping[str, Sequence[Point]],
    note: str,
    levels: dict[str, float | None] | None = None,
    last: float | None = None,
    logarithmic: bool = False,
    span: tuple[float, float] | None = None,
) -> Chart | None:
    """Lay out a chart.

    Args:
        title: Title.
        unit: Unit of the vertical axis.
        curves: label -> points (round, value) in the order of rounds; values may be NaN.
        note: How to read the chart.
        levels: label -> value of a reference line; None: no line.
        last: The last round on the axis (default: that of the curves).
        logarithmic: Whether the vertical axis is logarithmic.
        span: Limits of the vertical axis (default: computed from the points).

    Returns:
        The chart, or None if there is no finite value.
    """
    usable = {label: [(x, y if _valid(y, logarithmic) else float("nan")) for x, y in curves[label]] for label in curves}
    ys = [y for points in usable.values() for _, y in points if isfinite(y)]
    if not ys:
        return None
    marks = {label: value for label, value in (levels or {}).items() if value is not None}
    low, high, cut = (*span, 0) if span else axis_limits(ys, list(marks.values()), logarithmic)
    scale = Scale(low, high, logarithmic)
    last = last or max(x for points in usable.values() for x, _ in points) or 1
    return Chart(
        title=title,
        unit=unit,
        lines=tuple(
            Line(label, path(thin(points), scale, last), path(trend(points), scale, last))
            for label, points in usable.items()
        ),
        levels=tuple(Level(scale.y_position(value), label) for label, value in marks.items()),
        ticks=scale.labeled_ticks(),
        rounds=tuple(Tick(x_position(r, last), round_text(r)) for r in nice_ticks(0.0, last, 4) if r == int(r)),
        note=note,
        warning=_warning(sum(not isfinite(y) for points in curves.values() for _, y in points), cut),
        says="; ".join(_first_and_last(label, points) for label, points in usable.items()),
    )


def _valid(y: float, logarithmic: bool) -> bool:
    return isfinite(y) and (y > 0 or not logarithmic)


def _first_and_last(label: str, points: Sequence[Point]) -> str:
    known = [(x, y) for x, y in points if isfinite(y)] or [(0, float("nan"))]
    (first, begin), (last, end) = known[0], known[-1]
    return f"{label}: {begin:.4g} in round {first:,.0f}, {end:.4g} in round {last:,.0f}"


def _warning(broken: int, cut: int) -> str:
    numbers = (
        "1 number is not finite and leaves a gap."
        if broken == 1
        else f"{broken:,} numbers are not finite and leave gaps."
    )
    said = [numbers] if broken else []
    points = "1 point lies beyond the chart." if cut == 1 else f"{cut:,} points lie beyond the chart."
    said += [points] if cut else []
    return " ".join(said)


@dataclass(frozen=True)
class Scale:
    """The vertical axis: maps values to y coordinates."""

    low: float
    high: float
    logarithmic: bool = False

    def y_position(self, value: float) -> float:
        """Return the y coordinate of a value, clamped to the axis."""
        value = min(max(value, self.low), self.high)
        low, high, now = ((log10(v) if self.logarithmic else v) for v in (self.low, self.high, value))
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (now - low) / (high - low), 1)

    def ticks(self) -> list[float]:
        """Return round numbers between the limits."""
        if not self.logarithmic:
            return nice_ticks(self.low, self.high, 5)
        first, last = floor(log10(self.low)), ceil(log10(self.high))
        stride = max(1, (last - first) // 5)
        steps = (1, 2, 5) if last - first <= 2 else (1,)
        every = [value * 10.0**power for power in range(first, last + 1, stride) for value in steps]
        return [value for value in every if self.low * 0.999 <= value <= self.high * 1.001]

    def labeled_ticks(self) -> tuple[Tick, ...]:
        """Return the ticks with short labels; with 12 digits if the short ones are not distinct."""
        values = self.ticks()
        texts = [tick_text(value) for value in values]
        if len(set(texts)) < len(texts):
            texts = [f"{value:.12g}" for value in values]
        return tuple(Tick(self.y_position(value), text) for value, text in zip(values, texts, strict=True))


def axis_limits(ys: Sequence[float], marks: Sequence[float], logarithmic: bool = False) -> tuple[float, float, int]:
    """Return the limits (low, high) of the vertical axis and the number of points beyond them.

    The axis spans the middle 96 % of the points, extended by their range on both sides, and all reference lines.
    """
    if logarithmic:
        low, high = floor(log10(min(ys)) * 3) / 3, ceil(log10(max(ys)) * 3) / 3
        low, high = (low - 1, high + 1) if low == high else (low, high)
        return max(10.0**low, 1e-300), min(10.0**high, 1e300), 0
    ordered = sorted(ys)
    inner = ordered[int(0.02 * (len(ordered) - 1))], ordered[ceil(0.98 * (len(ordered) - 1))]
    width = inner[1] - inner[0]
    low = min([max(ordered[0], inner[0] - width), *marks])
    high = max([min(ordered[-1], inner[1] + width), *marks])
    margin = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin
    return low, high, sum(not low <= y <= high for y in ys)


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """Return about `most` round numbers at most, from low to high.

    >>> nice_ticks(0.0, 1500.0, 4)
    [0.0, 500.0, 1000.0, 1500.0]
    """
    rough = (high - low) / most
    power = 10.0 ** floor(log10(rough))
    value = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [float(f"{value * k:.12g}") for k in range(ceil(low / value - 1e-9), floor(high / value + 1e-9) + 1)]


def tick_text(value: float) -> str:
    """Format a value as a tick label.

    >>> tick_text(0.5), tick_text(-1200.0), tick_text(3e6), tick_text(2e-5)
    ('0.5', '−1,200', '3e6', '2e-5')
    """
    size = abs(value)
    far = size >= 1e5 or 0 < size < 1e-3
    text = f"{value:.3g}" if far else f"{value:,.10g}"
    return text.replace("e+0", "e").replace("e+", "e").replace("e-0", "e-") if far else text.replace("-", "−")


def round_text(value: float) -> str:
    """Format a round as a short tick label.

    >>> round_text(1500.0), round_text(150_000.0), round_text(2_500_000.0)
    ('1,500', '150k', '2.5M')
    """
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 2e4 else f"{value:,.0f}"


def x_position(value: float, last: float) -> float:
    """Return the x coordinate of a round."""
    return round(LEFT + (WIDTH - LEFT - RIGHT) * value / last, 1)


def thin(points: Sequence[Point], most: int = MAX_POINTS) -> list[Point]:
    """Reduce to at most `most` points: the first, the last, and the minimum and maximum of each segment."""
    if len(points) <= most:
        return list(points)
    size = -(-2 * len(points) // (most - 2))
    kept = [points[0]]
    for first in range(0, len(points), size):
        part = [point for point in points[first : first + size] if isfinite(point[1])] or [points[first]]
        kept += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return [*kept, points[-1]]


def trend(points: Sequence[Point]) -> list[Point]:
    """Return the mean point of each segment of a long curve; an empty list for a short one."""
    if len(points) < TREND_FROM:
        return []
    size = -(-len(points) // TREND_BINS)
    parts = [points[first : first + size] for first in range(0, len(points), size)]
    known = [[point for point in part if isfinite(point[1])] or part[:1] for part in parts]
    return [(fmean(x for x, _ in part), fmean(y for _, y in part)) for part in known]


def path(points: Sequence[Point], scale: Scale, last: float) -> str:
    """Return a curve as SVG path data, with gaps at NaN and dots for isolated points."""
    drawn, pen = [], False
    for x, y in points:
        if isfinite(y):
            place = f"{x_position(x, last):g} {scale.y_position(y):g}"
            drawn.append(f"L{place}" if pen else f"M{place}h0")
        pen = isfinite(y)
    return "".join(drawn)
