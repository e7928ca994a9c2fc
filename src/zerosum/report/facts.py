"""What the run was: its recipe, data and machine, and how to play it again."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zerosum.config.settings import Config
from zerosum.data import Data
from zerosum.run import RunFolder
from zerosum.run.folder import Say, silent


def facts(
    folder: RunFolder, config: Config, readings: Sequence[dict[str, Any]], data: Data | None, say: Say = silent
) -> dict[str, str]:
    """Name -> what is known, less what is not.

    Args:
        folder: The run's.
        config: Its settings.
        readings: Lines of readings.jsonl.
        data: The data set, where it is at hand.
        say: Told of what is damaged and passed over.
    """
    last, began = dict(readings[-1]) if readings else {}, folder.read_environment(say)
    last = {key: value for key, value in last.items() if value is not None}
    command = began.get("command")
    found = {
        "Recipe": config.name,
        "About": config.about,
        "Source": config.source,
        "Result of the recipe": config.result,
        "Data": data.describe() if data else config.data.name,
        "Source of the data": f"{data.source}; licence: {data.license}" if data else "",
        "Notes on the data": "; ".join(data.notes) if data else "",
        "Rounds": f"{last['round']:,} of {config.train.rounds:,}" if "round" in last else "",
        "Time": f"{last['seconds']:,.1f} s" if "seconds" in last else "",
        "Speed": f"{last['samples_per_second']:,.0f} real samples a second" if "samples_per_second" in last else "",
        "Machine": machine(began, config),
        "Versions": versions(began),
        "Command": shlex.join(map(str, command)) if isinstance(command, list) else "",
    }
    return {name: text for name, text in found.items() if text}


def machine(began: dict[str, Any], config: Config) -> str:
    """Where the run began."""
    threads = config.train.threads
    parts = [
        began.get("system"),
        began.get("accelerator") or began.get("processor"),
        config.train.device,
        config.train.precision,
        f"{threads} thread{'' if threads == 1 else 's'}" if threads else None,
    ]
    return ", ".join(str(part) for part in parts if part)


def versions(began: dict[str, Any]) -> str:
    """Of zerosum and what it stands on."""
    commit = f" (commit {str(began['commit'])[:12]})" if began.get("commit") else ""
    names = [f"{name} {began[name]}" for name in ("zerosum", "python", "torch", "numpy") if began.get(name)]
    return ", ".join([names[0] + commit, *names[1:]]) if names else commit.strip(" ()")


def repeat(folder: RunFolder) -> str:
    """The command that plays the same run again, elsewhere."""
    path = folder.path
    again = path.with_name(f"{path.name}-again") if path.name else Path("again")
    return shlex.join(["zerosum", "train", str(path / "config.toml"), "--out", str(again)])
