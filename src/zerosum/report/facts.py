"""Facts about a run: recipe, data, machine and versions, and the command to repeat it."""

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
    """Return the known facts about a run, name -> text.

    Args:
        folder: The run folder.
        config: Settings of the run.
        readings: Lines of readings.jsonl.
        data: The data set, if available.
        say: Called with a sentence for each damaged file that is skipped.
    """
    last, environment = dict(readings[-1]) if readings else {}, folder.read_environment(say)
    last = {key: value for key, value in last.items() if value is not None}
    command = environment.get("command")
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
        "Machine": machine(environment, config),
        "Versions": versions(environment),
        "Command": shlex.join(map(str, command)) if isinstance(command, list) else "",
    }
    return {name: text for name, text in found.items() if text}


def machine(environment: dict[str, Any], config: Config) -> str:
    """Describe the machine on which the run started."""
    threads = config.train.threads
    parts = [
        environment.get("system"),
        environment.get("accelerator") or environment.get("processor"),
        config.train.device,
        config.train.precision,
        f"{threads} thread{'' if threads == 1 else 's'}" if threads else None,
    ]
    return ", ".join(str(part) for part in parts if part)


def versions(environment: dict[str, Any]) -> str:
    """List the versions of zerosum, Python, torch and numpy."""
    commit = f" (commit {str(environment['commit'])[:12]})" if environment.get("commit") else ""
    names = [f"{name} {environment[name]}" for name in ("zerosum", "python", "torch", "numpy") if environment.get(name)]
    return ", ".join([names[0] + commit, *names[1:]]) if names else commit.strip(" ()")


def repeat(folder: RunFolder) -> str:
    """Return the command that repeats the run in another folder."""
    path = folder.path
    again = path.with_name(f"{path.name}-again") if path.name else Path("again")
    return shlex.join(["zerosum", "train", str(path / "config.toml"), "--out", str(again)])
