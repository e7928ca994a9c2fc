"""A diagnosis as a person reads it."""

from collections.abc import Sequence
from textwrap import fill

from zerosum.health import Evidence, Verdict, headline


def page(verdicts: Sequence[Verdict]) -> str:
    """What is wrong first, with its evidence and what to change; then what is well, a line each."""
    if all(verdict.sick is None for verdict in verdicts):
        return f"{headline(verdicts)}\ntry: {verdicts[0].advice}"
    sick = [verdict for verdict in verdicts if verdict.sick]
    rest = [verdict for verdict in verdicts if not verdict.sick]
    width = max(len(verdict.name) for verdict in verdicts)
    lines = [headline(verdicts), ""]
    for verdict in sick:
        lines += [f"{verdict.name}: {verdict.question}", *indented(verdict.answer)]
        lines += [line for one in verdict.evidence for line in indented(told(one))]
        lines += [*indented(f"try: {verdict.advice}"), ""]
    lines += [f"{verdict.name:<{width}}  {verdict.answer}" for verdict in rest]
    return "\n".join(lines)


def told(one: Evidence) -> str:
    """A number, and what a healthy run has."""
    return f"{one.name} = {one.value:.3g}; healthy is {one.healthy} {one.threshold:g} ({one.source})"


def indented(text: str) -> list[str]:
    """A paragraph, set in from the left."""
    return fill(text, 110, initial_indent="    ", subsequent_indent="      ").splitlines()
