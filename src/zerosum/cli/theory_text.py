"""The claims of the theory: measured with a progress bar, shown as a table."""

import sys
from collections.abc import Iterable, Sequence
from io import StringIO
from itertools import groupby
from math import isfinite
from shutil import get_terminal_size
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from zerosum.lab.claims import GROUPS, Claim, Verdict

NARROW, WIDE = 100, 130
"""Terminal widths below which the table omits the closed form, and below which it omits the source."""


def run_claims(claims: Sequence[Claim], quiet: bool) -> list[Verdict]:
    """Check the claims, with a progress bar if standard error is a terminal; return their verdicts."""
    hidden = quiet or not sys.stderr.isatty()
    bar = track(claims, "measuring", console=Console(stderr=True), transient=True, disable=hidden)
    return [claim.run() for claim in bar]


def verdicts_to_json(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """Return the verdicts as JSON values; infinities and NaN become strings."""
    return {
        "claims": [
            {
                "group": claim.group,
                "name": claim.name,
                "source": claim.source,
                "expected": _number(found.expected),
                "measured": _number(found.measured),
                "error": _number(found.error),
                "tolerance": claim.tolerance,
                "holds": verdict.holds,
            }
            for verdict in verdicts
            for claim, found in [verdict]
        ]
    }


def _number(value: float) -> float | str:
    return value if isfinite(value) else str(value)


def format_table(verdicts: Sequence[Verdict], width: int | None = None) -> str:
    """Format the verdicts as one table per group, then describe each claim that does not hold."""
    width = width or get_terminal_size((150, 24)).columns
    out = StringIO()
    console = Console(file=out, width=width, highlight=False)
    for group, members in groupby(verdicts, key=lambda verdict: verdict.claim.group):
        console.print(_group_table(f"{group}. {GROUPS[group]}", list(members), width))
    failed = [verdict for verdict in verdicts if not verdict.holds]
    for claim, found in failed:
        console.print(f"\n{claim.name} does not hold: {claim.says}\n  {found.measured} where {found.relation} ", end="")
        console.print(f"{found.expected} was expected; error {found.error:.1e}, tolerance {claim.tolerance:.0e}")
    console.print(f"\n{len(verdicts) - len(failed)} of {len(verdicts)} claims hold")
    return out.getvalue().rstrip()


def _group_table(title: str, verdicts: Sequence[Verdict], width: int) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE, pad_edge=False, expand=True)
    table.add_column("claim", no_wrap=True, min_width=max(len(verdict.claim.name) for verdict in verdicts))
    if width >= NARROW:
        table.add_column("closed form", ratio=1)
    for heading in ("expected", "measured", "error", "tolerance"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("holds", no_wrap=True)
    if width >= WIDE:
        table.add_column("source", ratio=1)
    for verdict in verdicts:
        table.add_row(*_cells(verdict, width))
    return table


def _cells(verdict: Verdict, width: int) -> list[str]:
    claim, found = verdict
    relation = "" if found.relation == "=" else f"{found.relation} "
    return [
        claim.name,
        *([claim.formula] if width >= NARROW else []),
        f"{relation}{found.expected:.6g}",
        f"{found.measured:.6g}",
        f"{found.error:.0e}",
        f"{claim.tolerance:.0e}",
        "yes" if verdict.holds else "NO",
        *([claim.source] if width >= WIDE else []),
    ]
