"""Texts that the commands print where no --json asks for facts."""

from typing import Any

from zerosum.errors import named, typed

PLACES = {"run": "run", "samples": "picture", "report": "report"}
"""What a training's answer calls the paths in its facts."""


def format_training(facts: dict[str, Any]) -> str:
    """Format the summary of a training."""
    lines = [
        f"{facts['rounds']:,} rounds are played, in {facts['seconds']:.1f} s"
        if facts["played"]
        else f"finished: all {facts['rounds']:,} rounds were played before"
    ]
    if facts["modes"]:
        lines.append(
            "modes found: {found} of {of}; {within_3_sigma:.1%} of {samples:,} samples within 3 sigma of one".format(
                **facts["modes"]
            )
        )
    lines.append(facts["verdict"])
    lines += [f"{what + ':':<9} {named(facts[key])}" for what, key in PLACES.items()]
    lines.append(f"next:     zerosum sample {typed(facts['run'])} -n 100 --out samples.png")
    return "\n".join(lines)


def format_dry_run(facts: dict[str, Any]) -> str:
    """Format the result of a dry run."""
    return f"{facts['config'].rstrip()}\n\n" + format_facts({key: facts[key] for key in facts if key != "config"})


def format_rows(rows: list[dict[str, Any]]) -> str:
    """Format one row per line: name and description."""
    names = [named(row["name"]) for row in rows]
    width = max(map(len, names), default=0)
    return "\n".join(f"{name:<{width}}  {row['about']}" for name, row in zip(names, rows, strict=True)) or "none"


def format_facts(facts: dict[str, Any]) -> str:
    """Format one name and value per line."""
    width = max(map(len, facts))
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {value}" for name, value in facts.items())
