"""Types of the diagnosis: questions with findings and limits; verdicts with evidence."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from zerosum.config.settings import Config

ZOO = "the zoo of sick and healthy runs, docs/zoo.md"

Side = Literal["above", "below"]


class Evidence(NamedTuple):
    """A measured value with the threshold it is compared with."""

    name: str
    value: float
    threshold: float
    healthy: Side
    """Side of the threshold on which healthy runs lie."""
    source: str
    """Where the threshold comes from."""

    @property
    def sick(self) -> bool:
        """Whether the value lies beyond the threshold, on the unhealthy side."""
        return self.value > self.threshold if self.healthy == "below" else self.value < self.threshold


class Verdict(NamedTuple):
    """The answer to a question about a run."""

    name: str
    sick: bool | None
    """Whether the fault is present; None: unknown."""
    question: str
    answer: str
    evidence: tuple[Evidence, ...] = ()
    advice: str = ""
    """What to change, as options of `zerosum train`; empty if nothing."""

    def facts(self) -> dict[str, Any]:
        """Return the verdict as a JSON object."""
        return {**self._asdict(), "evidence": [one._asdict() for one in self.evidence]}


@dataclass(frozen=True)
class Limit:
    """A threshold of a measure; the limit is broken if the measure lies on the sick side."""

    measure: str
    sick_side: Side
    threshold: float

    def evidence(self, value: float) -> Evidence:
        """Return a value of the measure as evidence."""
        return Evidence(self.measure, value, self.threshold, "below" if self.sick_side == "above" else "above", ZOO)


def above(measure: str, threshold: float) -> Limit:
    """Return a limit that is broken above the threshold."""
    return Limit(measure, "above", threshold)


def below(measure: str, threshold: float) -> Limit:
    """Return a limit that is broken below the threshold."""
    return Limit(measure, "below", threshold)


@dataclass(frozen=True)
class Finding:
    """A fault that is present if all limits are broken at once."""

    answer: str
    """Template of the answer in that case; {measure} is replaced by its value."""
    limits: tuple[Limit, ...]


@dataclass(frozen=True)
class Question:
    """A question about a run, with the findings that answer it by yes."""

    name: str
    text: str
    findings: tuple[Finding, ...]
    healthy_answer: str
    """Template of the answer if there is no finding."""
    advice: Callable[[Config], str]
