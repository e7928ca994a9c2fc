"""The Python interface to recipes and runs.

run = zs.train("digits")
run.sample(64).save("digits.png")
"""

import json
import os
import sys
import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from tempfile import TemporaryDirectory
from typing import Any

import torch

from zerosum import build, config, engine, evaluation, files, health, memory, permission, run
from zerosum.config.settings import Config
from zerosum.data import DATASETS, Data
from zerosum.engine import World
from zerosum.errors import SystemFault, UsageError, ZerosumError, named, printable
from zerosum.evaluation import Row
from zerosum.health import Verdict
from zerosum.metrics.classes import ClassTable
from zerosum.metrics.density import mode_coverage
from zerosum.run import RunFolder, trust
from zerosum.run.folder import Say, silent
from zerosum.sampling import Sampler, Samples
from zerosum.training import loop

WAIT = 3600.0
"""Seconds that processes which share an evaluation wait for each other: one may have a classifier to teach."""

LOOKED_AT = 2500
"""Samples from which mode coverage is computed, as in the published tables."""


def warn(sentence: str) -> None:
    """Say what a user should know as a Python warning."""
    warnings.warn(printable(sentence), stacklevel=3)


def told(sentence: str) -> None:
    """Say what a user should know on standard output."""
    print(printable(sentence))  # noqa: T201  what `say` is for, unless the caller has something better


@dataclass(frozen=True)
class Run:
    """A run that was begun: what its folder holds.

    Args:
        folder: Where it lies.
        trusted: Whether code and data that its settings name are used though it was not made here.
        say: Told in a sentence of whatever is damaged and was passed over.
    """

    folder: RunFolder
    trusted: bool = False
    say: Say = field(default=warn, repr=False, compare=False)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def config(self) -> Config:
        """All settings."""
        return self.folder.read_config()

    def readings(self) -> list[dict[str, Any]]:
        """Every logged round, oldest first."""
        return run.read(self.folder, self.say)

    def sampler(self) -> Sampler:
        """The averaged generator of the newest whole checkpoint.

        Raises:
            CheckpointError: There is none.
            Untrusted: The run was not made here, and its settings name code.
        """
        return Sampler.load(self.path, trusted=self.trusted, say=self.say)

    def sample(self, n: int, seed: int = 0, label: str | None = None) -> Samples:
        """Make n samples with the averaged generator of the newest checkpoint; the same seed gives the same ones.

        In a script that torchrun starts, each process makes a part of them, and has all in the end.

        Args:
            n: How many.
            seed: Of the latents.
            label: The class to ask for, of a generator that is told classes.
        """
        with engine.join_world(WAIT, "cpu") as world:
            return self.sampler().draw(n, seed, label, world)

    def walk(self, stations: int, seed: int = 0, label: str | None = None) -> Samples:
        """Samples on a closed walk through that many random latents."""
        return self.sampler().walk(stations, seed, label=label)

    def evaluate(
        self, n: int | None = None, features: str | None = None, seed: int = 0, data: str | Path | None = None
    ) -> list[Row]:
        """Measure the samples, beside what held-out data and noise score; the numbers are added to metrics.jsonl.

        In a script that torchrun starts, the processes share the work.

        Args:
            n: Samples; as many as there are held-out rows if absent.
            features: pixels, classifier, inception or "module:callable"; what suits the data if absent.
            seed: Of the samples.
            data: Where the data lies, if not where the settings say; it must be the same data.
        """
        data = None if data is None else run.folder.refuse_name(data, "data")
        with engine.join_world(WAIT, "cpu") as world:
            at_round, rows = evaluation.evaluate(
                self.folder, n, features, seed, world=world, trusted=self.trusted, data=data, say=self.say
            )
        if world.is_main:
            try:
                evaluation.record(self.folder, rows, at_round)
            except SystemFault as error:
                self.say(f"the numbers are not kept: {error}")
        return rows

    def classes(self, features: str | None = None, data: str | Path | None = None) -> ClassTable:
        """Distances of the data's classes to each other, beside two halves of each: does the distance see them?

        Args:
            features: As for `evaluate`.
            data: Where the data lies, if not where the settings say.
        """
        settings = self.config
        data = None if data is None else run.folder.refuse_name(data, "data")
        with trust.permitted(self.folder, settings, self.trusted):
            opened = build.open_data(settings) if data is None else evaluation.named_data(settings, data)
        return evaluation.between_classes(opened, evaluation.extractor(features, opened))

    def diagnose(self) -> list[Verdict]:
        """Answer, from the readings alone: is the run healthy, how can one tell, which setting should change?

        Returns:
            A verdict for each question, and one on progress; they are written to verdicts.json, too.
        """
        return health.diagnose_run(self.folder, self.say)

    def verdict(self) -> str:
        """The diagnosis in one sentence."""
        return health.headline(health.compute_verdicts(self.folder))

    def report(self, out: str | Path | None = None) -> Path:
        """Write report.html into the run folder: one file that needs nothing else.

        Args:
            out: Another file to write instead.

        Raises:
            SystemFault: The folder cannot be written to.
            CheckpointError: There is no checkpoint to make samples from.
            Untrusted: The run was not made here, and its settings name code.
        """
        from zerosum.report import write  # the page's templates are loaded only where they are asked for

        return write(self.folder, None if out is None else Path(out), self.trusted, self.say)

    def conclude(self, say: Say) -> None:
        """Write the report of a run that has just been played; whatever keeps it from being written is said.

        A training is not lost because its page could not be drawn.
        """
        try:
            self.report()
        except (ZerosumError, OSError, MemoryError, RuntimeError) as error:
            short = memory.ran_out(error)
            if isinstance(error, RuntimeError) and not short:
                raise
            why = memory.SHORT if short else files.reason(error) if isinstance(error, OSError) else error
            say(f"no report: {why}. `zerosum report {named(self.path)}` tries again")

    def picture(self) -> Path | None:
        """The newest picture of samples."""
        sheets = self.folder.sheets()
        return sheets[-1] if sheets else None

    def summary(self, played: int) -> dict[str, Any]:
        """What came of a training of which `played` rounds were played just now."""
        last = {"round": 0, "seconds": 0.0, "samples_per_second": 0.0, **(self.readings() or [{}])[-1]}
        return {
            "run": str(self.path),
            "rounds": last["round"],
            "played": played,
            "seconds": last["seconds"],
            "samples_per_second": last["samples_per_second"],
            "readings": last,
            "picture": str(self.picture()),
            "verdict": self.verdict(),
            "report": str(self.folder.report) if self.folder.report.exists() else None,
            "modes": self.modes(),
        }

    def modes(self, seed: int = 0) -> dict[str, Any] | None:
        """For mixtures: modes found by 2,500 samples, of how many, and the share within 3 deviations of one.

        None where the density of the data is not known.
        """
        sampler = self.sampler()
        if sampler.form.kind == "images" or self.config.data.name not in DATASETS:
            return None  # without opening the data, which may be large
        mixture = build.open_data(self.config).mixture
        if mixture is None:
            return None
        samples = torch.from_numpy(sampler.draw(LOOKED_AT, seed).array)
        modes = mode_coverage(samples, *map(torch.from_numpy, (mixture.means, mixture.sigmas, mixture.weights)))
        return {"found": modes.found, "of": len(mixture.means), "within_3_sigma": modes.near, "samples": LOOKED_AT}


def load(path: str | Path, *, trust: bool = False) -> Run:
    """Open a run folder, or the run of that name under runs/.

    Args:
        path: The folder, or a name under runs/.
        trust: Whether code and data that the run's settings name are used though it was not made on this machine, at
            this place. Code that a run names can do whatever you can do.

    Raises:
        RunError: There is no such run.
    """
    return Run(run.open_folder(path), trust)


def refuse_place(run_: Run, out: str, force: bool) -> Path:
    """Where something that is made of a run may be written.

    Args:
        run_: The run.
        out: Where the user wants it.
        force: Whether a file that is there may be replaced.

    Raises:
        UsageError: There is something already, or it is the run's, or the data that it was trained on.
    """
    path = run.folder.refuse_name(out, "--out")
    data = run_.config.data.name
    of_data = Path(os.path.abspath(data)) if config.is_path(data) else None  # noqa: PTH100  the disk is not asked
    here = {Path(os.path.abspath(path)), path.resolve()}  # noqa: PTH100
    if run.owned(path) or any(of_data and (place == of_data or of_data in place.parents) for place in here):
        raise UsageError(f"{named(path)} belongs to the run or is its data, which is not overwritten; choose another")
    if path.suffix and os.path.lexists(path) and not force:
        raise UsageError(f"{named(path)} is there already. Give another --out, or --force to replace it")
    return path


def settings_of(
    recipe: str | None, overrides: Sequence[str], say: Say = silent, code: bool = True
) -> tuple[Config, Data | None]:
    """Settings of a recipe; without one, of the recipe that suits the data, with the data if it was opened.

    What a machine decides stays open: a run that goes on keeps what it began with.

    Args:
        recipe: A name, a .toml file, or None.
        overrides: "section.key=value".
        say: Told why a recipe was chosen.
        code: Whether code that they name is looked at.
    """
    wanted = config.load(recipe or "digits", overrides)
    if recipe is not None or wanted.data.name == "digits":
        return build.filled(wanted, code), None
    data = build.open_data(build.filled(wanted))
    recipe, changes, why = build.suited(data)
    say(f"{data.describe()}\nrecipe {recipe}, pair {config.load(recipe).nets.name}: {why}")
    changes = [f'name="{config.plain(Path(data.name).stem)}"', *changes, *overrides]
    return build.filled(config.load(recipe, changes)), data


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
    set: Sequence[str] = (),
    say: Say = told,
) -> Run:
    """Train a recipe, or take it up where it was left.

    Args:
        recipe: A name (`zerosum list recipes`) or a .toml file; without one, the recipe that suits the data.
        data: A .npy, .npz or .csv file, a folder of pictures, or the name of a data set, instead of the recipe's.
        rounds: Rounds in all.
        minutes: Wall-clock limit, summed over resumes.
        seed: Everything random follows from it.
        device: "cpu", "cuda" ...; the best there is if absent.
        precision: "auto", "bfloat16", "float32" or "float64".
        processes: Processes on this machine that share every batch. In a script that torchrun starts, those that it
            started; each of them returns the run, and one writes it.
        accumulate: Passes in one step, whose gradients add up to that of a batch so many times as large.
        out: The run folder; runs/NAME if absent.
        fresh: Erase what is there and start over.
        force: Play in a folder that holds other things and no run, too; they stay.
        until: "finished": stop when the samples no longer get better.
        report: Write report.html at the end, which takes a few seconds.
        set: Further settings, "section.key=value".
        say: Told in a sentence what a user should know.

    Returns:
        The run, finished.

    Raises:
        ZerosumError: See its tree for what can go wrong.
    """
    finished = asks_until_finished(until)
    overrides = overrides_of(data, rounds, minutes, seed, device, precision, processes, accumulate) + list(set)
    with permission.to_train():
        settings, opened = settings_of(recipe, overrides, say)
    if settings.train.processes > 1 and not engine.under_torchrun():
        flags = [*["--fresh"] * fresh, *["--force"] * force, *(["--until", until] if until else [])]
        return _launched(settings, run.choose_folder(settings, out), flags, say)
    with engine.join_world(settings.train.timeout, settings.train.device) as world:
        folder = folder_of(settings, out, world)
        say = say if world.is_main else silent
        moments = loop.fit(
            settings, folder, data=opened, fresh=fresh, force=force, until_finished=finished, say=say, world=world
        )
        deque(moments, maxlen=0)
    run_ = Run(folder, trusted=True)
    if report and world.is_main:
        run_.conclude(say)
    return run_


def _launched(settings: Config, folder: RunFolder, flags: Sequence[str], say: Say) -> Run:
    """Train in several processes: the command line does, with these settings whole."""
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


def folder_of(settings: Config, out: str | Path | None, world: World) -> RunFolder:
    """The folder in which these settings are to be played; the leader chooses."""
    path = run.choose_folder(config.with_train(settings, processes=world.size), out).path if world.is_main else Path()
    return RunFolder(Path(world.broadcast(str(path).encode()).decode()))


def asks_until_finished(until: str | None) -> bool:
    """Whether a training is to stop by its diagnosis.

    Raises:
        UsageError: Something else was asked for.
    """
    if until not in (None, "finished"):
        raise UsageError(f"until = {until!r}: 'finished' is the one thing that can be waited for; for a number of rounds, rounds=N")
    return until is not None


def overrides_of(
    data: str | Path | None,
    rounds: int | None,
    minutes: float | None,
    seed: int | None,
    device: str | None,
    precision: str | None,
    processes: int | None = None,
    accumulate: int | None = None,
) -> list[str]:
    """The everyday options as overrides."""
    named = {
        "data.name": None if data is None else _quoted(Path(data).as_posix() if str(data) else ""),
        "train.rounds": rounds,
        "train.minutes": None if minutes is None else float(minutes),
        "train.seed": seed,
        "train.device": None if device is None else _quoted(device),
        "train.precision": None if precision is None else _quoted(precision),
        "train.processes": processes,
        "game.accumulate": accumulate,
    }
    return [f"{key}={value}" for key, value in named.items() if value is not None]


def _quoted(text: str) -> str:
    """A text as TOML writes it: whatever is in a path, it stays what it is."""
    return json.dumps(text, ensure_ascii=False)
