"""Measures: numbers computed from the signs of several checkups.

By default a measure is the median of a sign over the last four checkups, so that one outlier has no effect; the
functions of `MEASURES` compute changes over time. A measure is None if it is not available: the data has no such sign,
there are too few checkups, or the file holds no number there.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

Reading = Mapping[str, Any]
"""A line of readings.jsonl."""

History = Sequence[Reading]
"""Readings with signs, oldest first."""

RECENT = 4
"""Number of last checkups of which a measure is the median."""

LONG = 10
"""Largest number of checkups over which a change is measured."""


def checkups(readings: Sequence[Reading]) -> list[Reading]:
    """Return the readings that have signs."""
    return [one for one in readings if isinstance(one, Mapping) and isinstance(one.get("signs"), Mapping)]


def number(value: Any) -> float | None:
    """Convert a finite number to float; return None for anything else.

    >>> number(0.5), number(None), number("0.5"), number(True), number(10**400), number(math.inf)
    (0.5, None, None, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # an int above the largest float
        return None
    return found if math.isfinite(found) else None


def sign_values(name: str, history: History) -> list[float]:
    """Return the values of a sign, oldest first, without checkups that lack it."""
    found = (number(reading["signs"].get(name)) for reading in history)
    return [value for value in found if value is not None]


def recent_median(name: str, history: History) -> float | None:
    """Return the median of a sign over the last `RECENT` checkups; None if they lack it."""
    values = sign_values(name, history[-RECENT:])
    return number(median(values)) if values else None


def turnover(history: History) -> float | None:
    """Share of G's samples, from fixed latents, that changed their k-means cell since the checkup before."""
    cells = [finite_list(reading["signs"].get("cells")) for reading in history[-RECENT - 1 :]]
    moves = [
        sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 2
        for one, other in pairwise(cells)
        if one and other and len(one) == len(other)
    ]
    return median(moves) if moves else None


def finite_list(value: Any) -> list[float] | None:
    """Convert a list of finite numbers to floats; return None for anything else."""
    if not isinstance(value, list | tuple):
        return None
    found = [as_number for one in value if (as_number := number(one)) is not None]
    return found if len(found) == len(value) else None


def logit_slope(history: History) -> float | None:
    """Norm of D's input gradient, times the mean distance in the data; None for a critic, whose scale is arbitrary."""
    return None if history and history[-1].get("score") == "critic value" else recent_median("slope", history)


def growth(history: History) -> float | None:
    """Median |logit| of D, divided by its value when the run was half as long."""
    early, late = recent_median("logit_size", history[: len(history) // 2]), recent_median("logit_size", history)
    return None if not early or late is None else late / early


def early_and_late(name: str, history: History) -> tuple[float | None, float | None]:
    """Return the recent median of a sign before the last half of the checkups (at most ten of them), and now."""
    back = min(LONG, len(history) // 2)
    return recent_median(name, history[:-back]) if back else None, recent_median(name, history)


def progress(history: History) -> float | None:
    """Relative decrease of the distance to held-out data over the last half of the checkups (at most ten)."""
    early, late = early_and_late("distance", history)
    return None if not early or late is None else 1 - late / early


def excess(history: History) -> float | None:
    """Accuracy of the nearest-neighbour two-sample test, less the larger of 0.5 and its accuracy on real data."""
    told, real = recent_median("told", history), recent_median("told_real", history)
    return None if told is None or real is None else told - max(0.5, real)


def confined(history: History) -> float | None:
    """Smallest over largest share of data values outside G's range in the last eight checkups: 1 if it is constant.

    None for points, whose range a G does not bound.
    """
    values = sign_values("unreached", [reading for reading in history[-2 * RECENT :] if "edges" in reading["signs"]])
    most = max(values, default=0.0)
    return min(values) / most if most else None


def gained(history: History) -> float | None:
    """Increase of the coverage of held-out data over the last half of the checkups (at most ten).

    None before the tenth checkup: coverage that grows slowly at first has not yet stopped growing.
    """
    if len(history) < LONG:
        return None
    early, late = early_and_late("covered", history)
    return None if early is None or late is None else late - early


MEASURES: dict[str, Callable[[History], float | None]] = {
    "turnover": turnover,
    "slope": logit_slope,
    "growth": growth,
    "progress": progress,
    "excess": excess,
    "gained": gained,
    "confined": confined,
}


def measure(name: str, history: History) -> float | None:
    """Compute a measure by name; without a function in `MEASURES`, it is the recent median of the sign of that name."""
    return number(MEASURES[name](history) if name in MEASURES else recent_median(name, history))
