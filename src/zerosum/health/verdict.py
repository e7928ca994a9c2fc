"""What is asked of a run, and what is answered: questions, limits, evidence, verdicts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from zerosum.config.settings import Config

ZOO = "the zoo of sick and healthy runs, docs/zoo.md"

Side = Literal["above", "below"]


class Evidence(NamedTuple):
    """A number that an answer rests on."""

    name: str
    value: float
    threshold: float
    healthy: Side
    """On which side of the threshold a healthy run lies."""
    source: str
    """Where the threshold comes from."""

    @property
    def sick(self) -> bool:
        """Whether the value lies on the sick side."""
        return self.value > self.threshold if self.healthy == "below" else self.value < self.threshold


class Verdict(NamedTuple):
    """A question about a run, answered."""

    name: str
    sick: bool | None
    """None: cannot be told."""
    question: str
    answer: str
    evidence: tuple[Evidence, ...] = ()
    advice: str = ""
    """What to change, as options of `zerosum train`; empty where nothing needs to."""

    def facts(self) -> dict[str, Any]:
        """The verdict as JSON holds it."""
        return {**self._asdict(), "evidence": [one._asdict() for one in self.evidence]}


@dataclass(frozen=True)
class Limit:
    """A measure that is sick on one side of a threshold."""

    measure: str
    sick: Side
    threshold: float

    def evidence(self, value: float) -> Evidence:
        """The measure, its value and its threshold."""
        return Evidence(self.measure, value, self.threshold, "below" if self.sick == "above" else "above", ZOO)


def above(measure: str, threshold: float) -> Limit:
    """Sick above the threshold."""
    return Limit(measure, "above", threshold)


def below(measure: str, threshold: float) -> Limit:
    """Sick below the threshold."""
    return Limit(measure, "below", threshold)


@dataclass(frozen=True)
class Finding:
    """Limits that mean something where all are broken at once."""

    answer: str
    """What is then said; {measure} stands for its value."""
    limits: tuple[Limit, ...]


@dataclass(frozen=True)
class Question:
    """What is asked of every run."""

    name: str
    asks: str
    findings: tuple[Finding, ...]
    well: str
    """What is said where nothing is found."""
    advice: Callable[[Config], str]
