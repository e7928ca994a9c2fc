"""What verdicts.json says, in the order in which a reader needs it: what is sick, healthy, not known."""

import json
from dataclasses import dataclass
from typing import Any

from zerosum.app.report.curves import number
from zerosum.diagnostics import PROGRESS
from zerosum.run import RunFolder

Verdict = dict[str, Any]


@dataclass(frozen=True)
class Verdicts:
    """A diagnosis, sorted."""

    step: int | None
    """The round that was judged."""
    sick: list[Verdict]
    healthy: list[Verdict]
    unknown: list[Verdict]

    @property
    def summary(self) -> str:
        """The diagnosis in a sentence."""
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


def verdicts(folder: RunFolder) -> Verdicts | None:
    """The diagnosis of a run, or None where there is none that can be read."""
    try:
        found = json.loads(folder.verdicts.read_text(encoding="utf-8"))
        rows = [told(verdict) for verdict in found["verdicts"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    sick, healthy, unknown = ([row for row in rows if row.get("sick") is state] for state in (True, False, None))
    return Verdicts(found.get("step"), sick, healthy, unknown)


def told(verdict: Verdict) -> Verdict:
    """A verdict whose evidence is text; what it does not say is empty."""
    return {
        **dict.fromkeys(("name", "question", "answer", "advice"), ""),
        **verdict,
        "evidence": [evidence(row) for row in verdict.get("evidence", [])],
    }


def evidence(row: dict[str, Any]) -> dict[str, str]:
    """A measured number and what it is held against.

    >>> evidence({"name": "coverage", "value": 0.93, "threshold": 0.6, "healthy": "above"})["wanted"]
    'above 0.6'
    """
    threshold = row.get("threshold")
    wanted = "" if threshold is None else f"{row.get('healthy', '')} {shown(threshold)}".strip()
    parts = {"name": row.get("name", ""), "value": shown(row.get("value")), "source": row.get("source", "")}
    return {**{key: str(value) for key, value in parts.items()}, "wanted": wanted}


def shown(value: Any) -> str:
    """A number with four digits; any other word as it is; a dash for none."""
    if value is None:
        return "–"
    figure = number(value)
    return f"{figure:.4g}" if figure == figure else str(value)  # noqa: PLR0124  a NaN is not itself
