"""Charts as shapes: what lies where in a picture of 360 by 220, ready to be drawn as SVG by the page.

The picture is that small so that its letters can be read on a phone; on a wider page, several stand side by side. All
charts share one axis of rounds, from 0 to the last. Many points are thinned to the lowest and highest of each stretch,
so that no peak is lost. What is far beyond all other points is cut off, and said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from statistics import fmean
from typing import NamedTuple

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 26, 38
"""Margins, in which the letters stand."""

MOST = 500
"""Points in one curve."""

MANY, STRETCHES = 150, 75
"""Points from which on the mean of each of so many stretches is drawn, too."""

Point = tuple[float, float]


class Tick(NamedTuple):
    """A place on an axis and what is written there."""

    place: float
    text: str


class Line(NamedTuple):
    """A curve as SVG draws it."""

    label: str
    path: str
    trend: str = ""
    """Where points are many: the means of stretches of them, drawn above the path, which is then pale."""


class Level(NamedTuple):
    """A mark of the theory: a horizontal line."""

    place: float
    label: str


@dataclass(frozen=True)
class Chart:
    """A chart, drawn and explained.

    Args:
        title: What is shown.
        unit: Of the vertical axis.
        lines: Curves, at most four.
        levels: Marks of the theory.
        ticks: Of the vertical axis.
        rounds: Ticks of the horizontal axis.
        note: How to read it, in a sentence or two.
        warning: What is not shown.
        says: First and last numbers, for those who do not see the picture.
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
        title: What is shown.
        unit: Of the vertical axis.
        curves: label -> points (round, number) in the order of rounds; numbers may be NaN.
        note: How to read it.
        levels: label -> mark; None: there is none.
        last: The last round on the axis; that of the curves if absent.
        logarithmic: The vertical axis shows powers of ten.
        span: The ends of the vertical axis; what suits the points if absent.

    Returns:
        The chart, or None where there is no finite number to show.
    """
    usable = {label: [(x, y if _drawn(y, logarithmic) else float("nan")) for x, y in curves[label]] for label in curves}
    heights = [y for points in usable.values() for _, y in points if isfinite(y)]
    if not heights:
        return None
    marks = {label: value for label, value in (levels or {}).items() if value is not None}
    low, high, cut = (*span, 0) if span else limits(heights, list(marks.values()), logarithmic)
    scale = Scale(low, high, logarithmic)
    last = last or max(x for points in usable.values() for x, _ in points) or 1
    return Chart(
        title=title,
        unit=unit,
        lines=tuple(
            Line(label, path(thin(points), scale, last), path(trend(points), scale, last))
            for label, points in usable.items()
        ),
        levels=tuple(Level(scale.place(value), label) for label, value in marks.items()),
        ticks=scale.marked(),
        rounds=tuple(Tick(across(value, last), rounded(value)) for value in even(0.0, last, 4) if value == int(value)),
        note=note,
        warning=_warning(sum(not isfinite(y) for points in curves.values() for _, y in points), cut),
        says="; ".join(_ends(label, points) for label, points in usable.items()),
    )


def _drawn(y: float, logarithmic: bool) -> bool:
    return isfinite(y) and (y > 0 or not logarithmic)


def _ends(label: str, points: Sequence[Point]) -> str:
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
    """From numbers to heights in the picture."""

    low: float
    high: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Where it is drawn; what lies beyond is drawn at the edge."""
        value = min(max(value, self.low), self.high)
        low, high, now = ((log10(v) if self.logarithmic else v) for v in (self.low, self.high, value))
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (now - low) / (high - low), 1)

    def ticks(self) -> list[float]:
        """Round numbers between both ends."""
        if not self.logarithmic:
            return even(self.low, self.high, 5)
        first, last = floor(log10(self.low)), ceil(log10(self.high))
        stride = max(1, (last - first) // 5)
        steps = (1, 2, 5) if last - first <= 2 else (1,)
        every = [step * 10.0**power for power in range(first, last + 1, stride) for step in steps]
        return [value for value in every if self.low * 0.999 <= value <= self.high * 1.001]

    def marked(self) -> tuple[Tick, ...]:
        """Those, with short numbers beside them; with long ones, where the short ones would be alike."""
        values = self.ticks()
        texts = [tidy(value) for value in values]
        if len(set(texts)) < len(texts):
            texts = [f"{value:.12g}" for value in values]
        return tuple(Tick(self.place(value), text) for value, text in zip(values, texts, strict=True))


def limits(heights: Sequence[float], marks: Sequence[float], logarithmic: bool = False) -> tuple[float, float, int]:
    """The ends of the vertical axis, and how many points lie beyond them.

    The axis holds the middle 96 % of the points and as much again on both sides, and every mark.
    """
    if logarithmic:
        low, high = floor(log10(min(heights)) * 3) / 3, ceil(log10(max(heights)) * 3) / 3
        low, high = (low - 1, high + 1) if low == high else (low, high)
        return max(10.0**low, 1e-300), min(10.0**high, 1e300), 0
    ordered = sorted(heights)
    inner = ordered[int(0.02 * (len(ordered) - 1))], ordered[ceil(0.98 * (len(ordered) - 1))]
    wide = inner[1] - inner[0]
    low = min([max(ordered[0], inner[0] - wide), *marks])
    high = max([min(ordered[-1], inner[1] + wide), *marks])
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    low, high = low - room, high + room
    return low, high, sum(not low <= y <= high for y in heights)


def even(low: float, high: float, most: int) -> list[float]:
    """At most about so many round numbers from low to high.

    >>> even(0.0, 1500.0, 4)
    [0.0, 500.0, 1000.0, 1500.0]
    """
    rough = (high - low) / most
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [float(f"{step * k:.12g}") for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def tidy(value: float) -> str:
    """A number on an axis.

    >>> tidy(0.5), tidy(-1200.0), tidy(3e6), tidy(2e-5)
    ('0.5', '−1,200', '3e6', '2e-5')
    """
    size = abs(value)
    far = size >= 1e5 or 0 < size < 1e-3
    text = f"{value:.3g}" if far else f"{value:,.10g}"
    return text.replace("e+0", "e").replace("e+", "e").replace("e-0", "e-") if far else text.replace("-", "−")


def rounded(step: float) -> str:
    """A round on an axis, short enough to stand beside others.

    >>> rounded(1500.0), rounded(150_000.0), rounded(2_500_000.0)
    ('1,500', '150k', '2.5M')
    """
    if step >= 1e6:
        return f"{step / 1e6:g}M"
    return f"{step / 1e3:g}k" if step >= 2e4 else f"{step:,.0f}"


def across(step: float, last: float) -> float:
    """Where a round stands."""
    return round(LEFT + (WIDTH - LEFT - RIGHT) * step / last, 1)


def thin(points: Sequence[Point], most: int = MOST) -> list[Point]:
    """At most so many points: the lowest and the highest of each stretch, the first and the last."""
    if len(points) <= most:
        return list(points)
    size = -(-2 * len(points) // (most - 2))
    kept = [points[0]]
    for first in range(0, len(points), size):
        part = [point for point in points[first : first + size] if isfinite(point[1])] or [points[first]]
        kept += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return [*kept, points[-1]]


def trend(points: Sequence[Point]) -> list[Point]:
    """The mean of each stretch of many points, at its middle; nothing for few points."""
    if len(points) < MANY:
        return []
    size = -(-len(points) // STRETCHES)
    parts = [points[first : first + size] for first in range(0, len(points), size)]
    known = [[point for point in part if isfinite(point[1])] or part[:1] for part in parts]
    return [(fmean(x for x, _ in part), fmean(y for _, y in part)) for part in known]


def path(points: Sequence[Point], scale: Scale, last: float) -> str:
    """A curve in SVG's letters; a gap where a number is missing, a dot where one stands alone."""
    drawn, pen = [], False
    for x, y in points:
        if isfinite(y):
            place = f"{across(x, last):g} {scale.place(y):g}"
            drawn.append(f"L{place}" if pen else f"M{place}h0")
        pen = isfinite(y)
    return "".join(drawn)
