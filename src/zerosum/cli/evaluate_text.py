"""An evaluation as text."""

from collections.abc import Sequence

from zerosum.metric_rows import MetricRow, number
from zerosum.metrics.classes import ClassTable

HEADINGS = ("metric", "samples", "+-", "real data", "noise", "better", "features")


def format_table(rows: Sequence[MetricRow]) -> str:
    """Format each metric beside its values for held-out data and for noise under the same protocol."""
    cells = [HEADINGS] + [
        (row.name, number(row.value), number(row.error), number(row.real), number(row.noise), row.better, row.features)
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            text.rjust(width) if 0 < place < 5 else text.ljust(width) for place, (text, width) in enumerate(pairs)
        )
        for pairs in (list(zip(row, widths, strict=True)) for row in cells)
    ]
    n = f"{rows[0].n:,} samples; real data: held-out rows under the same protocol" if rows else "nothing to measure"
    notes = [f"{row.name}: {row.note}" for row in rows if row.note]
    return "\n".join([*(line.rstrip() for line in lines), *notes, n])


def format_class_table(found: ClassTable) -> str:
    """Format the distances between all pairs of classes; the diagonal compares two halves of one class."""
    cells = [["", *found.names]]
    cells += [[name, *map(number, row)] for name, row in zip(found.names, found.distance.tolist(), strict=True)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in cells]
    seen = (
        "every class is nearer to itself than to any other"
        if found.separates_classes
        else "some class is nearer to another one"
    )
    return "\n".join([*lines, f"on the diagonal: two halves of one class; {seen}"])
