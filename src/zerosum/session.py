"""Training, from a recipe and overrides to a finished run: the one orchestration behind `zs.train` and the commands.

run = zs.train("digits")
run.sample(64).save("digits.png")
"""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from tempfile import TemporaryDirectory
from typing import Any

from zerosum import config, engine, permission, run
from zerosum.config.recipes import Override
from zerosum.config.settings import Config
from zerosum.data import Data, source
from zerosum.engine import World
from zerosum.errors import UsageError, ZerosumError, printable
from zerosum.resolved import Resolved, look_up, open_data
from zerosum.results import Run
from zerosum.run import RunFolder
from zerosum.run.folder import Say, silent
from zerosum.training import loop
from zerosum.training.loop import RoundRecord

Watch = Callable[[Iterator[RoundRecord], RunFolder], Iterable[RoundRecord]]
"""Consumes the records of a training, e.g. to show a progress bar, and yields them on."""


def print_message(sentence: str) -> None:
    """Print a message to the user on standard output."""
    print(printable(sentence))  # noqa: T201  the default of `say`


def load_settings(recipe: str | None, overrides: Iterable[Override], say: Say = silent) -> tuple[Resolved, Data | None]:
    """Load the settings of a recipe; without a recipe, open the data and choose the recipe that suits it.

    Settings that depend on the machine (device, threads ...) stay open: a resumed run keeps those it started with.

    Args:
        recipe: A name, a .toml file, or None.
        overrides: ("section.key", value), or "section.key=value".
        say: Called with the reason for the chosen recipe.

    Returns:
        The settings with their names looked up, and the data if it was opened, else None.
    """
    overrides = list(overrides)
    wanted = config.load(recipe or "digits", overrides)
    if recipe is not None or wanted.data.name == "digits":
        return look_up(wanted), None
    data = open_data(wanted.data)
    recipe, changes, reason = source.suited(data)
    say(f"{data.describe()}\nrecipe {recipe}, pair {config.load(recipe).nets.name}: {reason}")
    name = config.run_name(Path(wanted.data.name).stem)
    return look_up(config.load(recipe, [("name", name), *changes, *overrides])), data


def train(
    recipe: str | None = None,
    *,
    data: str | Path | None = None,
    rounds: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    processes: int | None = None,
    accumulate: int | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    force: bool = False,
    until: str | None = None,
    report: bool = True,
    set: Sequence[str] | Mapping[str, Any] = (),
    say: Say = print_message,
) -> Run:
    """Train a recipe, or resume its run.

    Args:
        recipe: A name (`zerosum list recipes`) or a .toml file; without one, the recipe that suits the data.
        data: A .npy, .npz or .csv file, a folder of images, or the name of a data set, instead of the recipe's.
        rounds: Total number of rounds.
        minutes: Wall-clock limit, summed over resumes.
        seed: Seed of all random numbers.
        device: "cpu", "cuda" ...; the best available one if absent.
        precision: "auto", "bfloat16", "float32" or "float64".
        processes: Processes on this machine that share every batch. In a script started by torchrun, its processes
            are used; each of them returns the run, and rank 0 writes it.
        accumulate: Micro-batches per optimizer step; their gradients are summed.
        out: The run folder; runs/NAME if absent.
        fresh: Erase an existing run in the folder and start over.
        force: Also train in a folder that holds other files but no run; they are kept.
        until: "finished": stop when the samples no longer get better.
        report: Write report.html at the end, which takes a few seconds.
        set: Further settings, {"section.key": value}, or as on the command line, ["section.key=value"].
        say: Called with one sentence for each message to the user.

    Returns:
        The run, finished.

    Raises:
        ZerosumError: One of its subclasses in `zerosum.errors`.
    """
    overrides = option_overrides(data, rounds, minutes, seed, device, precision, processes, accumulate)
    overrides += set.items() if isinstance(set, Mapping) else set
    check_until(until)
    with permission.to_train():
        resolved, opened = load_settings(recipe, overrides, say)
    if needs_processes(resolved.config):
        flags = [*["--fresh"] * fresh, *["--force"] * force, *(["--until", until] if until else [])]
        return _train_in_processes(resolved.config, run.choose_folder(resolved.config, out), flags, say)
    return fit(resolved, opened, out=out, fresh=fresh, force=force, until=until, report=report, say=say)


def fit(
    resolved: Resolved,
    data: Data | None,
    *,
    out: str | Path | None,
    fresh: bool,
    force: bool,
    until: str | None,
    report: bool = True,
    say: Say = silent,
    watch: Watch | None = None,
) -> Run:
    """Train in this process, or in those that torchrun started; see `train`.

    Args:
        resolved: The settings.
        data: The data set, if it is open already.
        out: The run folder; runs/NAME if absent.
        fresh: Erase an existing run in the folder and start over.
        force: Also train in a folder that holds other files but no run.
        until: "finished": stop when the samples no longer get better.
        report: Write report.html at the end.
        say: Called with one sentence for each message to the user.
        watch: Watches the training on rank 0.
    """
    train = resolved.config.train
    with engine.join_world(train.timeout, train.device) as world:
        folder = choose_shared_folder(resolved.config, out, world)
        say = say if world.is_main else silent
        finished = until is not None
        records: Iterable[RoundRecord] = loop.fit(
            resolved,
            folder,
            data=data,
            fresh=fresh,
            force=force,
            until_finished=finished,
            say=say,
            world=world,
        )
        if watch and world.is_main:
            records = watch(iter(records), folder)
        deque(records, maxlen=0)
    run_ = Run(folder, trusted=True)
    if report and world.is_main:
        replace(run_, say=say).try_report(say)
    return run_


def needs_processes(settings: Config) -> bool:
    """Whether the settings want several processes and this is none of them."""
    return settings.train.processes > 1 and not engine.under_torchrun()


def _train_in_processes(settings: Config, folder: RunFolder, flags: Sequence[str], say: Say) -> Run:
    """Train in several processes, by running the command line with these settings in a recipe file."""
    with TemporaryDirectory() as place:
        recipe = Path(place) / "recipe.toml"
        recipe.write_text(config.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", "zerosum", "train", str(recipe), "--out", str(folder.path), "--json", *flags]
        with Popen(command, stdout=DEVNULL, stderr=PIPE, text=True, encoding="utf-8") as process:
            for line in process.stderr or ():
                say(line.rstrip("\n"))
    if process.returncode:
        error = ZerosumError(f"{settings.train.processes} processes ended with exit code {process.returncode}")
        error.exit_code = process.returncode
        raise error
    return Run(folder, trusted=True)


def choose_shared_folder(settings: Config, out: str | Path | None, world: World) -> RunFolder:
    """Choose the run folder on rank 0 and broadcast it to all ranks."""
    path = run.choose_folder(config.with_train(settings, processes=world.size), out).path if world.is_main else Path()
    return RunFolder(Path(world.broadcast(str(path).encode()).decode()))


def check_until(until: str | None) -> None:
    """Refuse an unknown value of `until`.

    Raises:
        UsageError: It is not "finished".
    """
    if until not in (None, "finished"):
        raise UsageError(f"until = {until!r}: expected 'finished'; to stop after a number of rounds, say rounds=N")


def option_overrides(
    data: str | Path | None,
    rounds: int | None,
    minutes: float | None,
    seed: int | None,
    device: str | None,
    precision: str | None,
    processes: int | None = None,
    accumulate: int | None = None,
) -> list[Override]:
    """The settings that the options give."""
    named = {
        "data.name": None if data is None else Path(data).as_posix() if str(data) else "",
        "train.rounds": rounds,
        "train.minutes": minutes,
        "train.seed": seed,
        "train.device": device,
        "train.precision": precision,
        "train.processes": processes,
        "game.accumulate": accumulate,
    }
    return [(key, value) for key, value in named.items() if value is not None]
