"""Measures: one number of a stretch of checkups.

A sign's measure is its median over the last four checkups, so that one that is out of line decides nothing; the others
say how far something moved, grew or fell. A measure is None where nothing measures it: a sign that this data does not
have, or too few checkups.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

Reading = Mapping[str, Any]
"""A line of readings.jsonl."""

History = Sequence[Reading]
"""Readings that hold signs, oldest first."""

RECENT = 4
"""Checkups whose median is a measure."""

LONG = 10
"""Checkups over which something has to move to count as moving."""


def checkups(readings: Sequence[Reading]) -> list[Reading]:
    """The readings that hold signs."""
    return [reading for reading in readings if "signs" in reading]


def sign(name: str, history: History) -> float | None:
    """The median of a sign over the last checkups; None where it is missing."""
    values = [one for reading in history[-RECENT:] if (one := reading["signs"].get(name)) is not None]
    return median(values) if values else None


def turnover(history: History) -> float | None:
    """Share of G's samples, from the same latents, that moved to another part of the space since the checkup before."""
    cells = [reading["signs"]["cells"] for reading in history[-RECENT - 1 :]]
    moves = [sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 2 for one, other in pairwise(cells)]
    return median(moves) if moves else None


def slope(history: History) -> float | None:
    """How fast D's logit changes with the sample; None where a logit has no scale of its own, as a critic's."""
    return None if history[-1].get("score") == "critic value" else sign("slope", history)


def growth(history: History) -> float | None:
    """Size of D's logits, over what it was when the run was half as long."""
    early, late = sign("logit_size", history[: len(history) // 2]), sign("logit_size", history)
    return None if not early or late is None else late / early


def then_and_now(name: str, history: History) -> tuple[float | None, float | None]:
    """A sign before the last half of the checkups, at most ten of them, and after it."""
    back = min(LONG, len(history) // 2)
    return sign(name, history[:-back]) if back else None, sign(name, history)


def progress(history: History) -> float | None:
    """Share of the distance to held-out data that was overcome in the last half of the checkups, at most in ten."""
    early, late = then_and_now("distance", history)
    return None if not early or late is None else 1 - late / early


def excess(history: History) -> float | None:
    """How much better than by chance, and than for real data, a nearest neighbour tells samples from data."""
    told, real = sign("told", history), sign("told_real", history)
    return None if told is None or real is None else told - max(0.5, real)


def confined(history: History) -> float | None:
    """How steady the share of values that G cannot reach is: the least of the last eight checkups over the largest.

    None for points, of which a G can make any.
    """
    recent = [reading["signs"] for reading in history[-2 * RECENT :]]
    values = [signs["unreached"] for signs in recent if "edges" in signs and signs.get("unreached") is not None]
    return min(values) / max(values) if values and max(values) else None


def gained(history: History) -> float | None:
    """How much more of the data samples came near in the last half of the checkups, at most in ten.

    None before the tenth: what grows slowly at first is not yet at a stand.
    """
    if len(history) < LONG:
        return None
    early, late = then_and_now("covered", history)
    return None if early is None or late is None else late - early


MEASURES: dict[str, Callable[[History], float | None]] = {
    "turnover": turnover,
    "slope": slope,
    "growth": growth,
    "progress": progress,
    "excess": excess,
    "gained": gained,
    "confined": confined,
}


def measure(name: str, history: History) -> float | None:
    """A measure of that name, or the recent median of the sign of that name."""
    return MEASURES[name](history) if name in MEASURES else sign(name, history)
