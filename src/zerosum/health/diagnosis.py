"""Diagnosis: compute verdicts from the signs in readings.jsonl (see `probes`) and write them to verdicts.json."""

import json
from collections.abc import Sequence
from contextlib import suppress
from math import isinf
from typing import Any

from zerosum.config.settings import Config
from zerosum.errors import SystemFault
from zerosum.health.advice import as_option
from zerosum.health.measures import RECENT, History, Reading, checkups, measure, recent_median
from zerosum.health.questions import QUESTIONS
from zerosum.health.verdict import Evidence, Finding, Question, Verdict
from zerosum.run import RunFolder, manifest, read
from zerosum.run.folder import Say, silent

MIN_CHECKUPS = 8
"""Checkups needed for a verdict: early in training every G has low diversity, is far from the data and moves."""

MIN_CHECKUPS_FINISHED = 12
"""Checkups needed before a run can be called finished."""

WINDOW = 5
"""Number of last checkups, at least, in which a finished run has gained nothing."""


def diagnose(readings: Sequence[Reading], config: Config) -> list[Verdict]:
    """Answer every question about a run.

    Args:
        readings: Lines of readings.jsonl, oldest first; all of them, or those up to some round.
        config: Settings of the run; the advice depends on them.

    Returns:
        One verdict for each question, and as the last one that on progress.
    """
    history = checkups(readings)
    if len(history) < MIN_CHECKUPS:
        few = f"Cannot be told: {len(history)} checkups, and {MIN_CHECKUPS} are needed"
        needed = MIN_CHECKUPS * config.train.check_every
        denser = as_option("train.check_every", str(max(1, config.train.rounds // (2 * MIN_CHECKUPS))))
        more = f"waiting for round {needed:,}" if config.train.rounds >= needed else denser
        questions = [*((one.name, one.text) for one in QUESTIONS), PROGRESS]
        return [Verdict(name, None, text, few, (), more) for name, text in questions]
    return [*(answer(question, history, config) for question in QUESTIONS), progress_verdict(history)]


def answer(question: Question, history: History, config: Config) -> Verdict:
    """Answer a question by its first finding whose limits are all broken; by "no" if there is none."""
    cache = MeasureCache(history)
    met = [(finding, evidence_for(finding, cache)) for finding in question.findings]
    for finding, evidence in met:
        if len(evidence) == len(finding.limits) and all(one.sick for one in evidence):
            says = fill_in(finding.answer, cache)
            return Verdict(question.name, True, question.text, says, tuple(evidence), question.advice(config))
    everything = tuple(dict.fromkeys(one for _, evidence in met for one in evidence))
    if not everything:
        return Verdict(question.name, None, question.text, "Cannot be told: nothing here measures it.")
    return Verdict(question.name, False, question.text, fill_in(question.healthy_answer, cache), everything)


def evidence_for(finding: Finding, cache: "MeasureCache") -> list[Evidence]:
    """Return evidence for the limits of a finding; skip limits whose measure is not available."""
    pairs = [(limit, cache[limit.measure]) for limit in finding.limits]
    return [limit.evidence(value) for limit, value in pairs if value is not None]


class MeasureCache(dict[str, float | None]):
    """Measures of a history by name; computed on first access."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self.history = history

    def __missing__(self, name: str) -> float | None:
        self[name] = measure(name, self.history)
        return self[name]


def fill_in(sentence: str, cache: MeasureCache) -> str:
    """Fill the measures into a sentence template."""
    return sentence.format_map(SentenceValues(cache)) + "."


class SentenceValues(dict[str, Any]):
    """Values for a sentence template; an unavailable measure becomes `Unknown`."""

    def __init__(self, cache: MeasureCache) -> None:
        super().__init__()
        self.cache = cache

    def __missing__(self, name: str) -> Any:
        value = self.cache[name]
        return Unknown() if value is None else value


class Unknown:
    """Formats as "unknown", whatever the format specification."""

    def __format__(self, spec: str) -> str:
        return "an unknown share" if "%" in spec else "unknown"


PROGRESS = "progress", "Is it still getting better?"


def progress_verdict(history: History) -> Verdict:
    """Return the verdict on whether samples still get closer to held-out data."""
    cache = MeasureCache(history)
    if cache["distance"] is None:
        says = "Cannot be told: how far the samples are from held-out data is not known."
        return Verdict(PROGRESS[0], None, PROGRESS[1], says)
    gained = gains(history)
    evidence = tuple(Evidence(f"{name} gained", gain, MIN_GAINS[name], "above", NOISE) for name, gain in gained.items())
    done = nothing_gained(history, gained)
    says = "No, it is finished: nothing was gained in the last third of the run" if done else "Yes"
    where = fill_in("the distance to held-out data is {distance:.2g}, real data scores {distance_real:.2g}", cache)
    advice = "" if done else "train on: --rounds with a larger number, or --until finished"
    return Verdict(PROGRESS[0], False, PROGRESS[1], f"{says}; {where}", evidence, advice)


NOISE = "the spread of a share of 512 rows"

MIN_GAINS = {"distance": 0.1, "told": 0.03, "covered": 0.02}
"""Sign -> smallest change that counts as an improvement; relative for `distance`, absolute for the others."""


def gains(history: History) -> dict[str, float]:
    """Return the recent improvement of each sign of `MIN_GAINS`."""
    return {name: improvement(history, name) for name in MIN_GAINS}


def nothing_gained(history: History, gained: dict[str, float]) -> bool:
    """Whether there are enough checkups and no sign improved by more than its threshold."""
    return len(history) >= MIN_CHECKUPS_FINISHED and all(gain <= MIN_GAINS[name] for name, gain in gained.items())


def improvement(history: History, name: str) -> float:
    """Return the best median of a sign in the last third of the checkups less the best before; positive is better."""
    cut = max(RECENT, len(history) - max(WINDOW, len(history) // 3))
    direction = 1 if name == "covered" else -1
    medians = [recent_median(name, history[: end + 1]) for end in range(RECENT - 1, len(history))]
    values = [(direction * value if value is not None else float("-inf")) for value in medians]
    before, now = max(values[: cut - RECENT + 1]), max(values[cut - RECENT + 1 :])
    if isinf(before) or isinf(now):
        return 0.0  # the sign was not available: no improvement is known
    scale = max(abs(before), 0.01) if name == "distance" else 1.0
    return (now - before) / scale


def finished(readings: Sequence[Reading]) -> bool:
    """Whether a run no longer improves: the criterion of `train --until finished`."""
    history = checkups(readings)
    return len(history) >= MIN_CHECKUPS_FINISHED and nothing_gained(history, gains(history))


def headline(verdicts: Sequence[Verdict]) -> str:
    """Summarize verdicts in one sentence: the first fault and the number of others, or that there is none."""
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


def compute_verdicts(folder: RunFolder) -> list[Verdict]:
    """Compute the verdicts on a run from its readings, without writing them.

    Raises:
        RunError: There is no run in the folder.
    """
    return diagnose(read(folder), folder.read_config())


def diagnose_run(folder: RunFolder, say: Say = silent) -> list[Verdict]:
    """Compute the verdicts on a run and write them to verdicts.json if the folder is writable.

    Args:
        folder: The run.
        say: Called with a sentence for each damaged reading and checkpoint.

    Raises:
        RunError: There is no run in the folder.
    """
    config = folder.read_config()
    manifest.say_faults(folder, say)
    readings = read(folder, say)
    verdicts = diagnose(readings, config)
    with suppress(SystemFault):
        write_verdicts(folder, verdicts, readings[-1]["round"] if readings else 0)
    return verdicts


def write_verdicts(folder: RunFolder, verdicts: Sequence[Verdict], at_round: int) -> None:
    """Write verdicts to verdicts.json, with the round at which they were computed."""
    facts = {"round": at_round, "verdicts": [verdict.facts() for verdict in verdicts]}
    folder.write(folder.verdicts, json.dumps(facts, indent=1).encode())


__all__ = [
    "QUESTIONS", "Evidence", "Verdict", "checkups", "compute_verdicts", "diagnose", "diagnose_run", "finished",
    "headline", "write_verdicts",
]  # fmt: skip
