"""The charts of readings.jsonl, with equilibrium values and a note on how to read each."""

from collections.abc import Callable, Sequence
from functools import partial
from math import log
from statistics import fmean
from typing import Any

from zerosum.config.settings import Config
from zerosum.report.charts import Chart, Point, chart
from zerosum.report.marks import LOGISTIC, EquilibriumValues, equilibrium_values, with_name

Readings = Sequence[dict[str, Any]]
Draw = Callable[..., Chart | None]
"""`charts.chart` with the last round on the axis fixed."""

RECENT = 10
"""Number of last readings that are averaged, since one batch is noisy."""

NOT_PENALTIES = ("cost", "gradient_norm")
"""Readings of a player that are not penalties."""

COST_G_NOTES = {
    "likelihood": "Against the best D the expected cost is −1 for every G: its value says nothing about G.",
    "wasserstein": "This is minus the critic's value of the samples. Its zero drifts, so that neither height nor fall "
    "means anything by itself.",
    "hinge": "This is minus D's score of the samples. Its zero drifts, so that a fall is not progress by itself.",
}
"""Loss -> how to read G's cost, if `COST_G_NOTE` does not apply."""

COST_G_NOTE = (
    "G's cost is measured by the current D. A falling cost is not progress by itself: D may have become worse, and "
    "a rising one may mean that D has become better."
)

COST_D_NOTE = (
    "At the line D cannot tell data from samples. Far below it D is confident, and G learns little from that. A cost "
    "at the line proves nothing by itself: a weak D cannot tell them apart either."
)

CRITIC_NOTE = (
    "The critic's cost is minus the difference it finds. Near 0 it finds none; a cost that grows without bound means "
    "that the critic's gradient is not bounded."
)

SCORE_NOTES = {
    "probability": "D's mean answer to “is it real?”. Where both lines meet at 1/2 it cannot tell; where they lie at "
    "the two edges it is confident.",
    "score": "D's mean score of data and of samples. Where both lines meet, D cannot tell.",
    "critic value": "Only the gap between the lines counts: where it closes, D finds no difference. Their common "
    "height is free to drift.",
}

NORM_NOTE = (
    "Steady is healthy. A norm that climbs without end announces divergence; one that falls to nothing means that this "
    "player no longer learns."
)

PENALTY_NOTE = "Weighted. A penalty much larger than D's cost dominates the training; one near 0 changes nothing."

DISTANCE_NOTE = (
    "This is the curve to watch: it says how good the samples are, whatever D thinks. It counts in parts of the usual "
    "distance between two rows of data, and training data shows how low it can get."
)


def charts(readings: Readings, config: Config) -> list[Chart]:
    """Return every chart that has values.

    Args:
        readings: Lines of readings.jsonl, oldest first.
        config: Settings of the run; they determine the equilibrium values.
    """
    theory, last = equilibrium_values(config), float(max((line["round"] for line in readings), default=0)) or 1.0
    draw = partial(chart, last=last)
    every = (
        distance(readings, draw),
        cost_of_d(readings, config, theory, draw),
        cost_of_g(readings, config, theory, draw),
        value_of_game(readings, config, theory, draw),
        scores(readings, theory, draw),
        norms(readings, draw),
        penalties(readings, draw),
    )
    return [drawn for drawn in every if drawn]


def note(config: Config) -> str:
    """Return the note on the equilibrium values of this game."""
    return equilibrium_values(config).note


def unit(config: Config) -> str:
    """Unit of both players' costs."""
    return "nats" if config.loss.name in (*LOGISTIC, "relativistic") else "cost"


def cost_of_d(readings: Readings, config: Config, theory: EquilibriumValues, draw: Draw) -> Chart | None:
    """Chart of D's cost without penalties."""
    curves = {"D's cost": series(readings, "discriminator_cost")}
    default = COST_D_NOTE if theory.discriminator is not None else ""
    how = CRITIC_NOTE if config.loss.name == "wasserstein" else default
    return draw("Cost of D", unit(config), curves, how, _level(theory.discriminator))


def cost_of_g(readings: Readings, config: Config, theory: EquilibriumValues, draw: Draw) -> Chart | None:
    """Chart of G's cost."""
    curves = {"G's cost": series(readings, "generator_cost")}
    g_unit = "cost" if config.loss.name == "likelihood" else unit(config)
    return draw("Cost of G", g_unit, curves, COST_G_NOTES.get(config.loss.name, COST_G_NOTE), _level(theory.generator))


def value_of_game(readings: Readings, config: Config, theory: EquilibriumValues, draw: Draw) -> Chart | None:
    """Chart of the value V of the game."""
    name = "The critic's difference" if config.loss.name == "wasserstein" else "V, the value of the game"
    value = series(readings, "value")
    return draw(name, unit(config), {"V": value}, value_note(value, config), _level(theory.value))


def value_note(value: Sequence[Point], config: Config) -> str:
    """Return the note on how to read V."""
    if config.loss.name == "wasserstein":
        return (
            "Mean critic value of data less that of samples: if the critic's gradient is at most 1, a lower bound of "
            "the distance W1. It should fall towards 0; at 0 the critic finds no difference."
        )
    if config.loss.name not in LOGISTIC:
        return "D raises it and G lowers it: the lower it is, the less difference D finds."
    recent = [y for _, y in value[-RECENT:] if y == y]  # noqa: PLR0124  a NaN is not itself
    bound = max(0.0, (fmean(recent) + log(4)) / 2) if recent else 0.0
    return (
        "V is at most 2 JSD − log 4, so that (V + log 4)/2 bounds from below how far samples are from data. "
        f"Lately that is {bound:.3f} nats of at most log 2 = 0.693, as far as this D and its batches can tell."
    )


def scores(readings: Readings, theory: EquilibriumValues, draw: Draw) -> Chart | None:
    """Chart of D's mean scores of data and of samples."""
    output = next((line["score"] for line in readings if line.get("score") in SCORE_NOTES), "critic value")
    curves = {"data": series(readings, "real_score"), "samples": series(readings, "fake_score")}
    span = (0.0, 1.0) if output == "probability" else None
    return draw("D's scores of data and samples", output, curves, SCORE_NOTES[output], _level(theory.score), span=span)


def norms(readings: Readings, draw: Draw) -> Chart | None:
    """Chart of both players' gradient norms."""
    names = {"D's": "discriminator_gradient_norm", "G's": "generator_gradient_norm"}
    curves = {label: series(readings, name) for label, name in names.items()}
    return draw("Gradient norms", "norm", curves, NORM_NOTE, logarithmic=True)


def penalties(readings: Readings, draw: Draw) -> Chart | None:
    """Chart of the penalties, at most four."""
    known = {f"discriminator_{name}" for name in NOT_PENALTIES}
    names = dict.fromkeys(key for line in readings for key in line if key.startswith("discriminator_"))
    others = [name for name in names if name not in known][:4]
    curves = {name.partition("_")[2]: series(readings, name) for name in others}
    return draw("What the penalties add to D's cost", "cost", curves, PENALTY_NOTE)


def distance(readings: Readings, draw: Draw) -> Chart | None:
    """Chart of the energy distance of samples to held-out data, from the checkups."""
    lines = [{"round": line["round"], **line["signs"]} for line in readings if isinstance(line.get("signs"), dict)]
    curves = {"samples": series(lines, "distance"), "training data": series(lines, "distance_real")}
    curves = {label: points for label, points in curves.items() if points}
    return draw("How far the samples are from held-out data", "energy distance", curves, DISTANCE_NOTE)


def series(readings: Readings, name: str) -> list[Point]:
    """Return (round, value) of one reading; NaN if the value is not a number."""
    return [(float(line["round"]), number(line[name])) for line in readings if name in line]


def number(value: Any) -> float:
    """Convert a JSON value to float: "inf" to infinity, null and anything else that is not a number to NaN."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _level(value: float | None) -> dict[str, float | None]:
    return {} if value is None else {f"equilibrium: {with_name(value)}": value}
