"""An evaluation as a person reads it."""

from collections.abc import Sequence

from zerosum.evaluation import Row, number
from zerosum.metrics.classes import ClassTable

HEADINGS = ("metric", "samples", "+-", "real data", "noise", "better", "features")


def table(rows: Sequence[Row]) -> str:
    """Each number beside what held-out data and noise score under the same protocol."""
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


def class_square(found: ClassTable) -> str:
    """Each class against each; on the diagonal, two halves of one."""
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
