"""What readings.jsonl holds, as charts with the theory's marks and a sentence on how to read each."""

from collections.abc import Callable, Sequence
from functools import partial
from math import log
from statistics import fmean
from typing import Any

from zerosum.config.settings import Config
from zerosum.report.charts import Chart, Point, chart
from zerosum.report.marks import LOGISTIC, Marks, marks, named

Readings = Sequence[dict[str, Any]]
Draw = Callable[..., Chart | None]
"""`chart` with the last round on its axis."""

LATELY = 10
"""Readings of which the mean is taken: one batch alone says little."""

BESIDE = ("cost", "gradient_norm")
"""What a player's numbers are besides penalties."""

OF_G = {
    "likelihood": "Against the best D the expected cost is −1 for every G: its value says nothing, its slope does.",
    "wasserstein": "This is minus the critic's value of the samples. Its zero drifts, so that neither height nor fall "
    "means anything by itself.",
    "hinge": "This is minus D's score of the samples. Its zero drifts, so that a fall is not progress by itself.",
}
"""How to read G's cost, where it is not as usual."""

USUAL_G = (
    "G pays by what the D of the moment thinks. A falling cost is not progress by itself: D may have become worse, and "
    "a rising one may mean that D has become better."
)

OF_D = (
    "At the mark D cannot tell data from samples. Far below it D is sure, and G learns little from a sure D. Standing "
    "at the mark proves nothing yet: a weak D cannot tell either."
)

OF_CRITIC = (
    "The critic pays minus the difference it finds. Near 0 it finds none; a cost that grows without end says that "
    "the critic's slope is not held."
)

OF_SCORES = {
    "probability": "D's mean answer to “is it real?”. Where both lines meet at 1/2 it cannot tell; where they lie at "
    "the two edges it is sure.",
    "score": "D's mean score of data and of samples. Where both lines meet, D cannot tell.",
    "critic value": "Only the gap between the lines counts: where it closes, D finds no difference. Their common "
    "height is free to drift.",
}

OF_NORMS = (
    "Steady is healthy. A norm that climbs without end announces divergence; one that falls to nothing means that this "
    "player no longer learns."
)

OF_PENALTIES = "Weights included. A penalty much larger than D's cost rules the training; one near 0 changes nothing."

OF_DISTANCE = (
    "This is the curve to watch: it says how good the samples are, whatever D thinks. It counts in parts of the usual "
    "distance between two rows of data, and training data shows how low it can get."
)


def charts(readings: Readings, config: Config) -> list[Chart]:
    """Every chart for which there are numbers.

    Args:
        readings: Lines of readings.jsonl, oldest first.
        config: The run's settings, from which the marks follow.
    """
    theory, last = marks(config), float(max((line["round"] for line in readings), default=0)) or 1.0
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
    """What a reader should know about the marks of this game."""
    return marks(config).note


def unit(config: Config) -> str:
    """In what both players pay."""
    return "nats" if config.loss.name in (*LOGISTIC, "relativistic") else "cost"


def cost_of_d(readings: Readings, config: Config, theory: Marks, draw: Draw) -> Chart | None:
    """What D pays, its penalties not counted."""
    curves = {"D's cost": series(readings, "discriminator_cost")}
    usual = OF_D if theory.discriminator is not None else ""
    says = OF_CRITIC if config.loss.name == "wasserstein" else usual
    return draw("What D pays", unit(config), curves, says, _level(theory.discriminator))


def cost_of_g(readings: Readings, config: Config, theory: Marks, draw: Draw) -> Chart | None:
    """What G pays."""
    curves = {"G's cost": series(readings, "generator_cost")}
    paid_in = "cost" if config.loss.name == "likelihood" else unit(config)
    return draw("What G pays", paid_in, curves, OF_G.get(config.loss.name, USUAL_G), _level(theory.generator))


def value_of_game(readings: Readings, config: Config, theory: Marks, draw: Draw) -> Chart | None:
    """V, which D raises and G lowers."""
    name = "The critic's difference" if config.loss.name == "wasserstein" else "V, the value of the game"
    value = series(readings, "value")
    return draw(name, unit(config), {"V": value}, of_value(value, config), _level(theory.value))


def of_value(value: Sequence[Point], config: Config) -> str:
    """How to read V: what it bounds."""
    if config.loss.name == "wasserstein":
        return (
            "Mean critic value of data less that of samples: where the critic's slope is held to 1, an estimate of the "
            "distance W1 from below. It should fall towards 0; at 0 the critic finds no difference."
        )
    if config.loss.name not in LOGISTIC:
        return "D raises it and G lowers it: the lower it is, the less difference D finds."
    lately = [y for _, y in value[-LATELY:] if y == y]  # noqa: PLR0124  a NaN is not itself
    bound = max(0.0, (fmean(lately) + log(4)) / 2) if lately else 0.0
    return (
        "V is at most 2 JSD − log 4, so that (V + log 4)/2 bounds from below how far samples are from data. "
        f"Lately that is {bound:.3f} nats of at most log 2 = 0.693, as far as this D and its batches can tell."
    )


def scores(readings: Readings, theory: Marks, draw: Draw) -> Chart | None:
    """What D says of data and of samples."""
    reads = next((line["score"] for line in readings if line.get("score") in OF_SCORES), "critic value")
    curves = {"data": series(readings, "real_score"), "samples": series(readings, "fake_score")}
    span = (0.0, 1.0) if reads == "probability" else None
    return draw("D's scores of data and samples", reads, curves, OF_SCORES[reads], _level(theory.score), span=span)


def norms(readings: Readings, draw: Draw) -> Chart | None:
    """How long both players' gradients are."""
    names = {"D's": "discriminator_gradient_norm", "G's": "generator_gradient_norm"}
    curves = {label: series(readings, name) for label, name in names.items()}
    return draw("Gradient norms", "norm", curves, OF_NORMS, logarithmic=True)


def penalties(readings: Readings, draw: Draw) -> Chart | None:
    """At most four penalties, by their names."""
    known = {f"discriminator_{name}" for name in BESIDE}
    names = dict.fromkeys(key for line in readings for key in line if key.startswith("discriminator_"))
    others = [name for name in names if name not in known][:4]
    curves = {name.partition("_")[2]: series(readings, name) for name in others}
    return draw("What the penalties add to D's cost", "cost", curves, OF_PENALTIES)


def distance(readings: Readings, draw: Draw) -> Chart | None:
    """How far the samples are from held-out data, where checkups measured it."""
    lines = [{"round": line["round"], **line["signs"]} for line in readings if isinstance(line.get("signs"), dict)]
    curves = {"samples": series(lines, "distance"), "training data": series(lines, "distance_real")}
    curves = {label: points for label, points in curves.items() if points}
    return draw("How far the samples are from held-out data", "energy distance", curves, OF_DISTANCE)


def series(readings: Readings, name: str) -> list[Point]:
    """One number over the rounds; NaN where it is written but is none."""
    return [(float(line["round"]), number(line[name])) for line in readings if name in line]


def number(value: Any) -> float:
    """A number of a file: null and whatever else is none become NaN, and "inf" what it says."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _level(value: float | None) -> dict[str, float | None]:
    return {} if value is None else {f"at rest: {named(value)}": value}
