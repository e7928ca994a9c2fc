"""A diagnosis as text."""

from collections.abc import Sequence
from textwrap import fill

from zerosum.health import Evidence, Verdict, headline


def format_verdicts(verdicts: Sequence[Verdict]) -> str:
    """Format the verdicts: first each problem with its evidence and advice, then one line per healthy verdict."""
    if all(verdict.sick is None for verdict in verdicts):
        return f"{headline(verdicts)}\ntry: {verdicts[0].advice}"
    sick = [verdict for verdict in verdicts if verdict.sick]
    healthy = [verdict for verdict in verdicts if not verdict.sick]
    width = max(len(verdict.name) for verdict in verdicts)
    lines = [headline(verdicts), ""]
    for verdict in sick:
        lines += [f"{verdict.name}: {verdict.question}", *indent(verdict.answer)]
        lines += [line for item in verdict.evidence for line in indent(format_evidence(item))]
        lines += [*indent(f"try: {verdict.advice}"), ""]
    lines += [f"{verdict.name:<{width}}  {verdict.answer}" for verdict in healthy]
    return "\n".join(lines)


def format_evidence(item: Evidence) -> str:
    """Format a measured value beside the range of healthy runs."""
    return f"{item.name} = {item.value:.3g}; healthy is {item.healthy} {item.threshold:g} ({item.source})"


def indent(text: str) -> list[str]:
    """Wrap and indent a paragraph; return its lines."""
    return fill(text, 110, initial_indent="    ", subsequent_indent="      ").splitlines()
