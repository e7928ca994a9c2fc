"""The verdicts of verdicts.json, sorted for the page: faults, healthy, unknown."""

from dataclasses import dataclass
from typing import Any

from zerosum.health import PROGRESS
from zerosum.report.curves import number
from zerosum.run import RunFolder
from zerosum.run.folder import Say, silent
from zerosum.run.journal import is_count

Verdict = dict[str, Any]


@dataclass(frozen=True)
class Verdicts:
    """A diagnosis, sorted by outcome."""

    round: int | None
    """The round of the diagnosis."""
    sick: list[Verdict]
    healthy: list[Verdict]
    unknown: list[Verdict]

    @property
    def summary(self) -> str:
        """Summary of the diagnosis in a sentence."""
        progress = [verdict for verdict in self.healthy if verdict["name"] == PROGRESS[0]]
        judged = len(self.sick) + len(self.healthy) - len(progress)
        if not judged:
            return "Nothing could be judged yet."
        if not self.sick:
            still = "".join(f" {verdict['question']} {verdict['answer']}" for verdict in progress)
            return f"Healthy: none of {judged} sicknesses looked for was found.{still}"
        names = ", ".join(str(verdict.get("name", "")) for verdict in self.sick)
        there = "is there" if len(self.sick) == 1 else "are there"
        return f"{len(self.sick)} of {judged} sicknesses looked for {there}: {names}."


def verdicts(folder: RunFolder, say: Say = silent) -> Verdicts | None:
    """Read the diagnosis of a run; None if there is none, or if it is damaged, which `say` reports."""
    found = folder.read_json(folder.verdicts, say)
    if found is None:
        return None
    if not _is_diagnosis(found):
        say(f"{folder.verdicts.name} holds no diagnosis; it is passed over. `zerosum diagnose` writes it anew")
        return None
    rows = [as_text(verdict) for verdict in found["verdicts"]]
    sick, healthy, unknown = ([row for row in rows if row.get("sick") is state] for state in (True, False, None))
    return Verdicts(found.get("round"), sick, healthy, unknown)


def _is_diagnosis(found: Any) -> bool:
    if not isinstance(found, dict) or not isinstance(found.get("verdicts"), list):
        return False
    at_round = found.get("round")
    return (at_round is None or is_count(at_round)) and all(map(_is_verdict, found["verdicts"]))


def _is_verdict(verdict: Any) -> bool:
    if not isinstance(verdict, dict) or verdict.get("sick") not in (True, False, None):
        return False
    evidence_of = verdict.get("evidence", [])
    words = (verdict.get(key, "") for key in ("name", "question", "answer", "advice"))
    rows = isinstance(evidence_of, list) and all(isinstance(row, dict) for row in evidence_of)
    return rows and all(isinstance(word, str) for word in words)


def as_text(verdict: Verdict) -> Verdict:
    """Format the evidence of a verdict as text; missing fields become empty."""
    return {
        **dict.fromkeys(("name", "question", "answer", "advice"), ""),
        **verdict,
        "evidence": [evidence(row) for row in verdict.get("evidence", [])],
    }


def evidence(row: dict[str, Any]) -> dict[str, str]:
    """Format a measured value and its threshold as text.

    >>> evidence({"name": "coverage", "value": 0.93, "threshold": 0.6, "healthy": "above"})["wanted"]
    'above 0.6'
    """
    threshold = row.get("threshold")
    wanted = "" if threshold is None else f"{row.get('healthy', '')} {value_text(threshold)}".strip()
    parts = {"name": row.get("name", ""), "value": value_text(row.get("value")), "source": row.get("source", "")}
    return {**{key: str(value) for key, value in parts.items()}, "wanted": wanted}


def value_text(value: Any) -> str:
    """Format a number with four digits, other text unchanged, None as a dash."""
    if value is None:
        return "–"
    figure = number(value)
    return f"{figure:.4g}" if figure == figure else str(value)  # noqa: PLR0124  a NaN is not itself
