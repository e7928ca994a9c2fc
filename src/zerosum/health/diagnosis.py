"""Readings to verdicts, and how they are kept.

Every checkup (see `probes`) leaves its signs in readings.jsonl.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from math import isinf
from typing import Any

from zerosum.config.settings import Config
from zerosum.errors import SystemFault
from zerosum.health.advice import option
from zerosum.health.measures import RECENT, History, Reading, checkups, measure, sign
from zerosum.health.questions import QUESTIONS
from zerosum.health.verdict import Evidence, Finding, Question, Verdict
from zerosum.run import RunFolder, read
from zerosum.run.folder import Say, silent

FEWEST = 8
"""Checkups below which nothing is said: at first every G is narrow, far off and on the move."""

SETTLED = 12
"""Checkups below which no run is called finished."""

WINDOW = 5
"""Checkups, at least, in which nothing must have been gained for that."""


def diagnose(readings: Sequence[Reading], config: Config) -> list[Verdict]:
    """Answer every question about a run.

    Args:
        readings: Every line of readings.jsonl, oldest first, or those up to some round.
        config: The settings of the run: advice depends on them.

    Returns:
        A verdict for each question, and one on progress.
    """
    history = checkups(readings)
    if len(history) < FEWEST:
        few = f"Cannot be told: {len(history)} checkups, and {FEWEST} are needed"
        needed = FEWEST * config.train.check_every
        denser = option("train.check_every", str(max(1, config.train.rounds // (2 * FEWEST))))
        more = f"waiting for round {needed:,}" if config.train.rounds >= needed else denser
        asked = [*((one.name, one.asks) for one in QUESTIONS), PROGRESS]
        return [Verdict(name, None, asks, few, (), more) for name, asks in asked]
    return [*(answer(question, history, config) for question in QUESTIONS), on_progress(history)]


def answer(question: Question, history: History, config: Config) -> Verdict:
    """Answer one question."""
    known = Known(history)
    met = [(finding, weighed(finding, known)) for finding in question.findings]
    for finding, evidence in met:
        if len(evidence) == len(finding.limits) and all(one.sick for one in evidence):
            says = said(finding.answer, known)
            return Verdict(question.name, True, question.asks, says, tuple(evidence), question.advice(config))
    everything = tuple(dict.fromkeys(one for _, evidence in met for one in evidence))
    if not everything:
        return Verdict(question.name, None, question.asks, "Cannot be told: nothing here measures it.")
    return Verdict(question.name, False, question.asks, said(question.well, known), everything)


def weighed(finding: Finding, known: "Known") -> list[Evidence]:
    """The limits of a finding with what was measured, less those that nothing measures here."""
    pairs = [(limit, known[limit.measure]) for limit in finding.limits]
    return [limit.evidence(value) for limit, value in pairs if value is not None]


class Known(dict[str, float | None]):
    """The measures of a history, each computed when it is asked for."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self.history = history

    def __missing__(self, name: str) -> float | None:
        self[name] = measure(name, self.history)
        return self[name]


def said(sentence: str, known: Known) -> str:
    """A sentence with its measures put in."""
    return sentence.format_map(Spoken(known)) + "."


class Spoken(dict[str, Any]):
    """Measures as words: one that is not known is said to be so, whatever the format."""

    def __init__(self, known: Known) -> None:
        super().__init__()
        self.known = known

    def __missing__(self, name: str) -> Any:
        value = self.known[name]
        return Unknown() if value is None else value


class Unknown:
    """Stands in a sentence for a number that was not measured."""

    def __format__(self, how: str) -> str:
        return "an unknown share" if "%" in how else "unknown"


PROGRESS = "progress", "Is it still getting better?"


def on_progress(history: History) -> Verdict:
    """Whether samples still get nearer to held-out data."""
    known = Known(history)
    if known["distance"] is None:
        says = "Cannot be told: how far the samples are from held-out data is not known."
        return Verdict(PROGRESS[0], None, PROGRESS[1], says)
    gained = gains(history)
    evidence = tuple(Evidence(f"{name} gained", gain, GAINS[name], "above", NOISE) for name, gain in gained.items())
    done = at_rest(history, gained)
    says = "No, it is finished: nothing was gained in the last third of the run" if done else "Yes"
    where = said("the distance to held-out data is {distance:.2g}, real data scores {distance_real:.2g}", known)
    advice = "" if done else "train on: --rounds with a larger number, or --until finished"
    return Verdict(PROGRESS[0], False, PROGRESS[1], f"{says}; {where}", evidence, advice)


NOISE = "the spread of a share of 512 rows"

GAINS = {"distance": 0.1, "told": 0.03, "covered": 0.02}
"""Sign -> what is a gain: of the distance as a share of itself, else as it is."""


def gains(history: History) -> dict[str, float]:
    """What each sign has gained lately."""
    return {name: better(history, name) for name in GAINS}


def at_rest(history: History, gained: dict[str, float]) -> bool:
    """Whether there were checkups enough to tell, and nothing was gained."""
    return len(history) >= SETTLED and all(gain <= GAINS[name] for name, gain in gained.items())


def better(history: History, name: str) -> float:
    """How far the best recent median of a sign lies beyond the best before the last third."""
    cut = max(RECENT, len(history) - max(WINDOW, len(history) // 3))
    direction = 1 if name == "covered" else -1
    medians = [sign(name, history[: end + 1]) for end in range(RECENT - 1, len(history))]
    values = [(direction * value if value is not None else float("-inf")) for value in medians]
    before, now = max(values[: cut - RECENT + 1]), max(values[cut - RECENT + 1 :])
    if isinf(before) or isinf(now):
        return 0.0  # it could not be measured: nothing is known to be gained
    scale = max(abs(before), 0.01) if name == "distance" else 1.0
    return (now - before) / scale


def finished(readings: Sequence[Reading]) -> bool:
    """Whether a run has stopped getting better, so that `train --until finished` stops."""
    history = checkups(readings)
    return len(history) >= SETTLED and at_rest(history, gains(history))


def headline(verdicts: Sequence[Verdict]) -> str:
    """One sentence: what is wrong, or that nothing is."""
    sick = [verdict for verdict in verdicts if verdict.sick]
    if sick:
        rest = f" (and {len(sick) - 1} more)" if len(sick) > 1 else ""
        return f"{sick[0].name}{rest}: {sick[0].answer}"
    if all(verdict.sick is None for verdict in verdicts):
        return verdicts[0].answer
    if verdicts[-1].sick is None:
        return "healthy: no fault found; whether it still gets better cannot be told"
    going = verdicts[-1].advice  # to train on
    return f"healthy: no fault found, and {'still getting better' if going else 'finished: nothing gained lately'}"


def of_run(folder: RunFolder) -> list[Verdict]:
    """The verdicts on a run, from its readings.

    Raises:
        RunError: There is no run in the folder.
    """
    return diagnose(read(folder), folder.read_config())


def diagnose_run(folder: RunFolder, say: Say = silent) -> list[Verdict]:
    """The same, written to verdicts.json as well where the folder can be written to.

    Args:
        folder: The run.
        say: Told of readings that are damaged.

    Raises:
        RunError: There is no run in the folder.
    """
    config = folder.read_config()
    readings = read(folder, say)
    verdicts = diagnose(readings, config)
    with suppress(SystemFault):
        record(folder, verdicts, readings[-1]["round"] if readings else 0)
    return verdicts


def record(folder: RunFolder, verdicts: Sequence[Verdict], at_round: int) -> None:
    """Write verdicts.json."""
    facts = {"round": at_round, "verdicts": [verdict.facts() for verdict in verdicts]}
    folder.write(folder.verdicts, json.dumps(facts, indent=1).encode())


__all__ = [
    "QUESTIONS", "Evidence", "Verdict", "checkups", "diagnose", "diagnose_run", "finished", "headline", "of_run",
    "record",
]  # fmt: skip
