"""What a run gives: samples, metrics, verdicts and the report, read from its folder.

run = zs.load("digits")
run.sample(64).save("digits.png")
"""

import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from zerosum import config, engine, evaluation, files, health, memory, run
from zerosum.config.settings import Config
from zerosum.data import DATASETS
from zerosum.errors import SystemFault, UsageError, ZerosumError, named, printable, typed
from zerosum.health import Verdict
from zerosum.metric_rows import MetricRow
from zerosum.metrics.classes import ClassTable
from zerosum.metrics.density import mode_coverage
from zerosum.resolved import open_data
from zerosum.run import RunFolder, trust
from zerosum.run.folder import Say
from zerosum.samples import Samples
from zerosum.sampling import Sampler

TIMEOUT = 3600.0
"""Seconds that the processes of an evaluation wait for each other: one of them may have to train a classifier."""

N_SAMPLES = 2500
"""Samples used for mode coverage, as in the published tables."""


def warn(sentence: str) -> None:
    """Issue a message to the user as a Python warning."""
    warnings.warn(printable(sentence), stacklevel=3)


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
            opened = open_data(settings.data) if data is None else evaluation.open_data_at(settings, data)
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
        mixture = open_data(self.config.data).mixture
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
