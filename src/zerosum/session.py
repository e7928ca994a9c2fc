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
from zerosum.data import DATASETS, Data, source
from zerosum.engine import World
from zerosum.errors import SystemFault, UsageError, ZerosumError, named, printable, typed
from zerosum.evaluation import MetricRow
from zerosum.health import Verdict
from zerosum.metrics.classes import ClassTable
from zerosum.metrics.density import mode_coverage
from zerosum.run import RunFolder, trust
from zerosum.run.folder import Say, silent
from zerosum.sampling import Sampler, Samples
from zerosum.training import loop

TIMEOUT = 3600.0
"""Seconds that the processes of an evaluation wait for each other: one of them may have to train a classifier."""

N_SAMPLES = 2500
"""Samples used for mode coverage, as in the published tables."""


def warn(sentence: str) -> None:
    """Issue a message to the user as a Python warning."""
    warnings.warn(printable(sentence), stacklevel=3)


def print_message(sentence: str) -> None:
    """Print a message to the user on standard output."""
    print(printable(sentence))  # noqa: T201  the default of `say`


@dataclass(frozen=True)
class Run:
    """A run that was started, read from its folder.

    Args:
        folder: The run folder.
        trusted: Whether to use the code and data that the settings name although the run was not made here.
        say: Called with one sentence for each damaged file that was skipped.
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
        """All settings of the run."""
        return self.folder.read_config()

    def readings(self) -> list[dict[str, Any]]:
        """Return every logged round, oldest first."""
        return run.read(self.folder, self.say)

    def sampler(self) -> Sampler:
        """Load the averaged (EMA) generator of the newest valid checkpoint.

        Raises:
            CheckpointError: There is none.
            Untrusted: The run was not made here, and its settings name code.
        """
        return Sampler.load(self.path, trusted=self.trusted, say=self.say)

    def sample(self, n: int, seed: int = 0, label: str | None = None) -> Samples:
        """Make n samples with the averaged generator of the newest checkpoint; the same seed gives the same samples.

        In a script started by torchrun, each process makes a part of the samples, and all processes return all of them.

        Args:
            n: Number of samples.
            seed: Seed of the latents.
            label: The class to generate, for a conditional generator.
        """
        with engine.join_world(TIMEOUT, "cpu") as world:
            return self.sampler().draw(n, seed, label, world)

    def walk(self, waypoints: int, seed: int = 0, label: str | None = None) -> Samples:
        """Make samples along a closed interpolation path through `waypoints` random latents."""
        return self.sampler().walk(waypoints, seed, label=label)

    def evaluate(
        self, n: int | None = None, features: str | None = None, seed: int = 0, data: str | Path | None = None
    ) -> list[MetricRow]:
        """Compute all metrics of the samples, of held-out data and of noise; append them to metrics.jsonl.

        In a script started by torchrun, the processes share the work.

        Args:
            n: Number of samples; as many as there are held-out rows if absent.
            features: pixels, classifier, inception or "module:callable"; chosen by the kind of data if absent.
            seed: Seed of the samples.
            data: Path of the data if it is no longer where the settings say; it must be the same data.
        """
        return self.evaluate_newest(n, features, seed, data)[1]

    def evaluate_newest(
        self, n: int | None = None, features: str | None = None, seed: int = 0, data: str | Path | None = None
    ) -> tuple[int, list[MetricRow]]:
        """Evaluate, and return the round of the checkpoint that was used, too."""
        data = None if data is None else run.choice.refuse_name(data, "data")
        with engine.join_world(TIMEOUT, "cpu") as world:
            at_round, rows = evaluation.evaluate(
                self.folder, n, features, seed, world=world, trusted=self.trusted, data=data, say=self.say
            )
        if world.is_main:
            try:
                evaluation.record(self.folder, rows, at_round)
            except SystemFault as error:
                self.say(f"the numbers are not kept: {error}")
        return at_round, rows

    def classes(self, features: str | None = None, data: str | Path | None = None) -> ClassTable:
        """Compute the Frechet distances between the data's classes, and between two halves of each class.

        Args:
            features: As for `evaluate`.
            data: Path of the data if it is no longer where the settings say.
        """
        settings = self.config
        data = None if data is None else run.choice.refuse_name(data, "data")
        with trust.permitted(self.folder, settings, self.trusted):
            opened = build.open_data(settings) if data is None else evaluation.open_data_at(settings, data)
        return evaluation.class_distances(opened, evaluation.get_extractor(features, opened))

    def diagnose(self) -> list[Verdict]:
        """Diagnose the run from its readings alone: is it healthy, on what evidence, which setting should change?

        Returns:
            One verdict per question, and one on progress. They are also written to verdicts.json.
        """
        return health.diagnose_run(self.folder, self.say)

    def verdict(self) -> str:
        """Return the diagnosis in one sentence."""
        return health.headline(health.compute_verdicts(self.folder))

    def report(self, out: str | Path | None = None) -> Path:
        """Write report.html, one self-contained file, into the run folder.

        Args:
            out: Write this file instead.

        Raises:
            SystemFault: The folder is not writable.
            CheckpointError: There is no checkpoint to make samples from.
            Untrusted: The run was not made here, and its settings name code.
        """
        from zerosum.report import write  # imported late: it loads the page's templates

        return write(self.folder, None if out is None else Path(out), self.trusted, self.say)

    def try_report(self, say: Say) -> None:
        """Write the report at the end of a training; if that fails, say why.

        A failed report must not make a finished training fail.
        """
        try:
            self.report()
        except (ZerosumError, OSError, MemoryError, RuntimeError) as error:
            short = memory.is_out_of_memory(error)
            if isinstance(error, RuntimeError) and not short:
                raise
            reason = memory.OUT_OF_MEMORY if short else files.reason(error) if isinstance(error, OSError) else error
            say(f"no report: {reason}. `zerosum report {typed(self.path)}` tries again")

    def picture(self) -> Path | None:
        """Return the path of the newest image of samples, or None."""
        sheets = self.folder.sheets()
        return sheets[-1] if sheets else None

    def summary(self, played: int) -> dict[str, Any]:
        """Summarize a training; `played` is the number of rounds played by this call."""
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
        """For mixtures: count the modes found by 2,500 samples, and the share within 3 standard deviations of a mode.

        Returns None if the density of the data is not known.
        """
        sampler = self.sampler()
        if sampler.spec.kind == "images" or self.config.data.name not in DATASETS:
            return None  # without opening the data, which may be large
        mixture = build.open_data(self.config).mixture
        if mixture is None:
            return None
        samples = torch.from_numpy(sampler.draw(N_SAMPLES, seed).array)
        modes = mode_coverage(samples, *map(torch.from_numpy, (mixture.means, mixture.sigmas, mixture.weights)))
        return {"found": modes.found, "of": len(mixture.means), "within_3_sigma": modes.in_modes, "samples": N_SAMPLES}


def load(path: str | Path, *, trust: bool = False) -> Run:
    """Load a run from its folder, or by its name under runs/.

    Args:
        path: The folder, or a name under runs/.
        trust: Whether to use the code and data that the run's settings name although the run was not made on this
            machine, in this folder. Such code runs with all your rights.

    Raises:
        RunError: There is no such run.
    """
    return Run(run.open_folder(path), trust)


def check_output_path(run_: Run, out: str, force: bool) -> Path:
    """Return the output path as a Path, or refuse it.

    Args:
        run_: The run from which the output is made.
        out: The path that the user gave.
        force: Whether an existing file may be replaced.

    Raises:
        UsageError: The path exists, belongs to the run, or is its training data.
    """
    path = run.choice.refuse_name(out, "--out")
    data = run_.config.data.name
    data_path = Path(os.path.abspath(data)) if config.is_path(data) else None  # noqa: PTH100  without touching the disk
    candidates = {Path(os.path.abspath(path)), path.resolve()}  # noqa: PTH100
    if run.belongs_to_run(path) or any(
        data_path and (place == data_path or data_path in place.parents) for place in candidates
    ):
        raise UsageError(f"{named(path)} belongs to the run or is its data, which is not overwritten; choose another")
    if path.suffix and os.path.lexists(path) and not force:
        raise UsageError(f"{named(path)} is there already. Give another --out, or --force to replace it")
    return path


def load_settings(
    recipe: str | None, overrides: Sequence[str], say: Say = silent, code: bool = True
) -> tuple[Config, Data | None]:
    """Load the settings of a recipe; without a recipe, open the data and choose the recipe that suits it.

    Settings that depend on the machine (device, threads ...) stay open: a resumed run keeps those it started with.

    Args:
        recipe: A name, a .toml file, or None.
        overrides: "section.key=value".
        say: Called with the reason for the chosen recipe.
        code: Whether to import the code that the settings name.

    Returns:
        The settings, and the data if it was opened, else None.
    """
    wanted = config.load(recipe or "digits", overrides)
    if recipe is not None or wanted.data.name == "digits":
        return build.filled(wanted, code), None
    data = build.open_data(build.filled(wanted))
    recipe, changes, reason = source.suited(data)
    say(f"{data.describe()}\nrecipe {recipe}, pair {config.load(recipe).nets.name}: {reason}")
    changes = [f'name="{config.run_name(Path(data.name).stem)}"', *changes, *overrides]
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
        set: Further settings, "section.key=value".
        say: Called with one sentence for each message to the user.

    Returns:
        The run, finished.

    Raises:
        ZerosumError: One of its subclasses in `zerosum.errors`.
    """
    finished = parse_until(until)
    overrides = option_overrides(data, rounds, minutes, seed, device, precision, processes, accumulate) + list(set)
    with permission.to_train():
        settings, opened = load_settings(recipe, overrides, say)
    if settings.train.processes > 1 and not engine.under_torchrun():
        flags = [*["--fresh"] * fresh, *["--force"] * force, *(["--until", until] if until else [])]
        return _train_in_processes(settings, run.choose_folder(settings, out), flags, say)
    with engine.join_world(settings.train.timeout, settings.train.device) as world:
        folder = choose_shared_folder(settings, out, world)
        say = say if world.is_main else silent
        records = loop.fit(
            settings, folder, data=opened, fresh=fresh, force=force, until_finished=finished, say=say, world=world
        )
        deque(records, maxlen=0)
    run_ = Run(folder, trusted=True)
    if report and world.is_main:
        run_.try_report(say)
    return run_


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


def parse_until(until: str | None) -> bool:
    """Return whether training stops once the diagnosis says "finished"; raise UsageError for an unknown value."""
    if until not in (None, "finished"):
        raise UsageError(f"until = {until!r}: expected 'finished'; to stop after a number of rounds, say rounds=N")
    return until is not None


def option_overrides(
    data: str | Path | None,
    rounds: int | None,
    minutes: float | None,
    seed: int | None,
    device: str | None,
    precision: str | None,
    processes: int | None = None,
    accumulate: int | None = None,
) -> list[str]:
    """Convert the options that are given into overrides "section.key=value"."""
    named = {
        "data.name": None if data is None else _toml_string(Path(data).as_posix() if str(data) else ""),
        "train.rounds": rounds,
        "train.minutes": None if minutes is None else float(minutes),
        "train.seed": seed,
        "train.device": None if device is None else _toml_string(device),
        "train.precision": None if precision is None else _toml_string(precision),
        "train.processes": processes,
        "game.accumulate": accumulate,
    }
    return [f"{key}={value}" for key, value in named.items() if value is not None]


def _toml_string(text: str) -> str:
    """Quote a text as a TOML string."""
    return json.dumps(text, ensure_ascii=False)
