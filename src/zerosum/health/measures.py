"""Measures: one number of a stretch of checkups.

A sign's measure is its median over the last four checkups, so that one that is out of line decides nothing; the others
say how far something moved, grew or fell. A measure is None where nothing measures it: a sign that this data does not
have, too few checkups, or what is no number where one is expected, since readings come from a file.
"""

import math
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
    return [one for one in readings if isinstance(one, Mapping) and isinstance(one.get("signs"), Mapping)]


def number(value: Any) -> float | None:
    """A finite number; None for anything else.

    >>> number(0.5), number(None), number("0.5"), number(True), number(10**400), number(math.inf)
    (0.5, None, None, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # a whole number beyond all floating-point ones
        return None
    return found if math.isfinite(found) else None


def signs(name: str, history: History) -> list[float]:
    """A sign in each checkup that has it, oldest first."""
    found = (number(reading["signs"].get(name)) for reading in history)
    return [value for value in found if value is not None]


def sign(name: str, history: History) -> float | None:
    """The median of a sign over the last checkups; None where it is missing."""
    values = signs(name, history[-RECENT:])
    return number(median(values)) if values else None


def turnover(history: History) -> float | None:
    """Share of G's samples, from the same latents, that moved to another part of the space since the checkup before."""
    cells = [shares(reading["signs"].get("cells")) for reading in history[-RECENT - 1 :]]
    moves = [
        sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 2
        for one, other in pairwise(cells)
        if one and other and len(one) == len(other)
    ]
    return median(moves) if moves else None


def shares(value: Any) -> list[float] | None:
    """A list of numbers; None for anything else."""
    if not isinstance(value, list | tuple):
        return None
    found = [known for one in value if (known := number(one)) is not None]
    return found if len(found) == len(value) else None


def slope(history: History) -> float | None:
    """How fast D's logit changes with the sample; None where a logit has no scale of its own, as a critic's."""
    return None if history and history[-1].get("score") == "critic value" else sign("slope", history)


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
    values = signs("unreached", [reading for reading in history[-2 * RECENT :] if "edges" in reading["signs"]])
    most = max(values, default=0.0)
    return min(values) / most if most else None


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
    return number(MEASURES[name](history) if name in MEASURES else sign(name, history))
