"""The Python interface: train a recipe, open a run, or play a game with networks of your own.

run = zs.train("digits")
run.sample(64).save("digits.png")

gan = zs.GAN(generator, discriminator, loss="hinge").fit(x, steps=1000)
gan.sample(64)
"""

import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from zerosum import build, checkpoint, config, diagnostics, evaluation, parallel, run, training
from zerosum.data import Data, checked, from_array
from zerosum.data.feed import feed
from zerosum.diagnostics import Verdict
from zerosum.errors import UsageError, ZerosumError
from zerosum.evaluation import Row
from zerosum.game import ask
from zerosum.lookup import lookup
from zerosum.losses import LOSSES, Loss
from zerosum.metrics.classes import ClassTable
from zerosum.metrics.density import mode_coverage
from zerosum.parallel import ALONE, Team
from zerosum.penalties import PENALTIES, Penalty
from zerosum.rules import Term
from zerosum.run import RunFolder
from zerosum.sampling import Sampler, Samples
from zerosum.schema import Config

WAIT = 3600.0
"""Seconds that processes which share an evaluation wait for each other: one may have a classifier to teach."""

LOOKED_AT = 2500
"""Samples from which mode coverage is computed, as in the published tables."""


@dataclass(frozen=True)
class Run:
    """A run that was begun: what its folder holds."""

    folder: RunFolder

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
        return run.read(self.folder)

    def sample(self, n: int, seed: int = 0, label: str | None = None) -> Samples:
        """Make n samples with the averaged generator of the newest checkpoint; the same seed gives the same ones.

        In a script that torchrun starts, each process makes a part of them, and has all in the end.

        Args:
            n: How many.
            seed: Of the latents.
            label: The class to ask for, of a generator that is told classes.
        """
        with parallel.joined(WAIT, "cpu") as team:
            return Sampler.load(self.path).draw(n, seed, label, team)

    def walk(self, stations: int, seed: int = 0, label: str | None = None) -> Samples:
        """Samples on a closed walk through that many random latents."""
        return Sampler.load(self.path).walk(stations, seed, label=label)

    def evaluate(self, n: int | None = None, features: str | None = None, seed: int = 0) -> list[Row]:
        """Measure the samples, beside what held-out data and noise score; the numbers are added to metrics.jsonl.

        In a script that torchrun starts, the processes share the work.

        Args:
            n: Samples; as many as there are held-out rows if absent.
            features: pixels, classifier, inception or "module:callable"; what suits the data if absent.
            seed: Of the samples.
        """
        with parallel.joined(WAIT, "cpu") as team:
            rows = evaluation.evaluate(self.folder, n, features, seed, team=team)
        if team.leads:
            evaluation.record(self.folder, rows, int(checkpoint.steps(self.folder.checkpoints)[0].name))
        return rows

    def classes(self, features: str | None = None) -> ClassTable:
        """Distances of the data's classes to each other, beside two halves of each: does the distance see them?"""
        data = build.open_data(self.config)
        return evaluation.between_classes(data, evaluation.extractor(features, data))

    def diagnose(self) -> list[Verdict]:
        """Answer, from the readings alone: is the run healthy, how can one tell, which setting should change?

        Returns:
            A verdict for each question, and one on progress; they are written to verdicts.json, too.
        """
        return diagnostics.diagnose_run(self.folder)

    def verdict(self) -> str:
        """The diagnosis in one sentence."""
        return diagnostics.headline(diagnostics.of_run(self.folder))

    def report(self) -> Path:
        """Write report.html into the run folder: one file that needs nothing else.

        Raises:
            RunError: The folder cannot be written to.
            CheckpointError: There is no checkpoint to make samples from.
        """
        from zerosum.app.report import write  # the page's templates are loaded only where they are asked for

        return write(self.folder)

    def conclude(self, say: Callable[[str], None]) -> None:
        """Write the report of a run that has just been played; whatever keeps it from being written is said.

        A training is not lost because its page could not be drawn.
        """
        try:
            self.report()
        except Exception as error:
            say(f"no report: {type(error).__name__}: {error}. `zerosum report {self.path}` tries again")

    def picture(self) -> Path | None:
        """The newest picture of samples."""
        sheets = self.folder.sheets()
        return sheets[-1] if sheets else None

    def summary(self, played: int) -> dict[str, Any]:
        """What came of a training of which `played` rounds were played just now."""
        last = (self.readings() or [{"step": 0, "seconds": 0.0, "samples_per_second": 0.0}])[-1]
        return {
            "run": str(self.path),
            "steps": last["step"],
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
        sampler = Sampler.load(self.path)
        if sampler.form.kind == "images" or build.is_on_disk(self.config.data.name):
            return None  # without opening the data, which may be large
        mixture = build.open_data(self.config).mixture
        if mixture is None:
            return None
        samples = torch.from_numpy(sampler.draw(LOOKED_AT, seed).array)
        modes = mode_coverage(samples, *map(torch.from_numpy, (mixture.means, mixture.sigmas, mixture.weights)))
        return {"found": modes.found, "of": len(mixture.means), "within_3_sigma": modes.near, "samples": LOOKED_AT}


def load(path: str | Path) -> Run:
    """Open a run folder, or the run of that name under runs/.

    Raises:
        RunError: There is no such run.
    """
    return Run(run.open_folder(path))


def settings_of(
    recipe: str | None, overrides: Sequence[str], say: Callable[[str], None] = lambda _: None
) -> tuple[Config, Data | None]:
    """Settings of a recipe; without one, of the recipe that suits the data, with the data if it was opened.

    What a machine decides stays open: a run that goes on keeps what it began with.

    Args:
        recipe: A name, a .toml file, or None.
        overrides: "section.key=value".
        say: Told why a recipe was chosen.
    """
    wanted = config.load(recipe or "digits", overrides)
    if recipe is not None or wanted.data.name == "digits":
        return build.filled(wanted), None
    data = build.open_data(build.filled(wanted))
    recipe, changes, why = build.suited(data)
    say(f"{data.describe()}\nrecipe {recipe}, pair {config.load(recipe).nets.name}: {why}")
    changes = [f'name="{config.plain(Path(data.name).stem)}"', *changes, *overrides]
    return build.filled(config.load(recipe, changes)), data


def train(
    recipe: str | None = None,
    *,
    data: str | Path | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    processes: int | None = None,
    accumulate: int | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    until: str | None = None,
    report: bool = True,
    set: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> Run:
    """Train a recipe, or take it up where it was left.

    Args:
        recipe: A name (`zerosum list recipes`) or a .toml file; without one, the recipe that suits the data.
        data: A .npy, .npz or .csv file, a folder of pictures, or the name of a data set, instead of the recipe's.
        steps: Rounds in all.
        minutes: Wall-clock limit, summed over resumes.
        seed: Everything random follows from it.
        device: "cpu", "cuda" ...; the best there is if absent.
        precision: "auto", "bfloat16", "float32" or "float64".
        processes: Processes on this machine that share every batch. In a script that torchrun starts, those that it
            started; each of them returns the run, and one writes it.
        accumulate: Passes in one step, whose gradients add up to that of a batch so many times as large.
        out: The run folder; runs/NAME if absent.
        fresh: Erase what is there and start over.
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
    overrides = overrides_of(data, steps, minutes, seed, device, precision, processes, accumulate) + list(set)
    settings, opened = settings_of(recipe, overrides, say)
    if settings.train.processes > 1 and not parallel.under_torchrun():
        return _launched(settings, run.choose_folder(settings, out), fresh, until, say)
    with parallel.joined(settings.train.timeout, settings.train.device) as team:
        folder = folder_of(settings, out, team)
        say = say if team.leads else silence
        moments = training.fit(settings, folder, data=opened, fresh=fresh, until_finished=finished, say=say, team=team)
        deque(moments, maxlen=0)
    run_ = Run(folder)
    if report and team.leads:
        run_.conclude(say)
    return run_


def _launched(settings: Config, folder: RunFolder, fresh: bool, until: str | None, say: Callable[[str], None]) -> Run:
    """Train in several processes: the command line does, with these settings whole."""
    with TemporaryDirectory() as place:
        recipe = Path(place) / "recipe.toml"
        recipe.write_text(config.dumps(settings), encoding="utf-8")
        flags = [*["--fresh"] * fresh, *(["--until", until] if until else [])]
        command = [sys.executable, "-m", "zerosum", "train", str(recipe), "--out", str(folder.path), "--json", *flags]
        with Popen(command, stdout=DEVNULL, stderr=PIPE, text=True, encoding="utf-8") as process:
            for line in process.stderr or ():
                say(line.rstrip("\n"))
    if process.returncode:
        error = ZerosumError(f"{settings.train.processes} processes ended with exit code {process.returncode}")
        error.exit_code = process.returncode
        raise error
    return Run(folder)


def folder_of(settings: Config, out: str | Path | None, team: Team) -> RunFolder:
    """The folder in which these settings are to be played; the leader chooses."""
    path = run.choose_folder(config.with_train(settings, processes=team.size), out).path if team.leads else Path()
    return RunFolder(Path(team.from_leader(str(path).encode()).decode()))


def silence(_: str) -> None:
    """What a process says that does not lead."""


def asks_until_finished(until: str | None) -> bool:
    """Whether a training is to stop by its diagnosis.

    Raises:
        UsageError: Something else was asked for.
    """
    if until not in (None, "finished"):
        raise UsageError(f"until = {until!r}: 'finished' is the one thing that can be waited for; for rounds, steps=N")
    return until is not None


def overrides_of(
    data: str | Path | None,
    steps: int | None,
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
        "train.steps": steps,
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


class GAN:
    """A game between two networks of your own, on an array of your own, in memory and in this process.

    For several processes, name a pair of networks "my_module:pair" in a recipe, and see docs/scale.md.

    Args:
        generator: z (n, latent) -> samples shaped like the data: images in [-1, 1] as (n, c, h, w), points (n, d).
        discriminator: Samples -> logits, (n,) or (n, patches): no sigmoid at the end.
        loss: A name (`zerosum list losses`) or a `Loss`.
        penalties: Names (`zerosum list penalties`), pairs (name, weight), or functions of a `Round`.
        latent: Numbers in one z.
        set: Further settings as on the command line: "game.k=5", "optimisers.generator.rate=1e-4"; networks with
            large matrices may be faster with "train.precision=bfloat16".

    Raises:
        ConfigError: A name or a setting is wrong.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: str | Loss = "non-saturating",
        *,
        penalties: Iterable[str | tuple[str, float] | Penalty | Term] = (),
        latent: int = 64,
        set: Sequence[str] = (),
    ) -> None:
        name = loss if isinstance(loss, str) else next(iter(LOSSES))
        overrides = [f'loss="{name}"', f"latent.size={latent}", *set]
        self.config = build.resolve(config.check(config.override({"name": "gan"}, overrides)))
        rules, rows = build.rules(self.config), self.config.game
        self.game = replace(
            rules,
            parts=ALONE.parts(rules.batch, rows.accumulate),
            loss=rules.loss if isinstance(loss, str) else loss,
            value=rules.value if isinstance(loss, str) else loss.discriminator,
            penalties=tuple(_term(penalty) for penalty in penalties) or rules.penalties,
            one_pass=False,  # your D may look at a batch as a whole
        )
        self.state = build.state_of(self.config, generator, discriminator, *build.place(self.config), self.game.parts)
        self.readings: list[dict[str, Any]] = []
        """A line every `train.log_every` rounds."""
        self._data: Data | None = None

    def fit(
        self,
        x: Any,
        labels: Any = None,
        *,
        steps: int = 2000,
        range: tuple[float, float] | None = None,
        standardise: bool = True,
    ) -> "GAN":
        """Play `steps` rounds; a second call plays on.

        Args:
            x: Points (n,) or (n, d), or images (n, h, w), (n, h, w, c), (n, c, h, w): array or tensor.
            labels: (n,) classes, kept with the data.
            steps: Rounds to play now.
            range: (black, white) of floating-point images.
            standardise: Points: the networks see mean 0 and deviation 1.

        Returns:
            This object.

        Raises:
            DataError: The data cannot be trained on.
            UsageError: The networks do not fit the data or each other.
            Diverged: A cost or gradient is not finite.
        """
        data = checked(from_array(x, labels, range=range, held_out=0.0, standardise=standardise))
        self._data = data
        like = next(self.state.generator.parameters())
        batches = feed(data, self.game.batch, self.game.seed, like.device, like.dtype)
        self._try_on(batches(0)[0])
        watch, log_every = training.Watch(), self.config.train.log_every
        last = self.state.step + steps
        for moment in training.rounds(self.state, self.game, batches, last):
            watch.note(moment)
            if moment.step % log_every == 0 or moment.step == last:
                watch.look()
                self.readings.append(training.describe(moment, self.game))
        return self

    def sample(self, n: int, seed: int = 0) -> Samples:
        """Make n samples with the averaged generator.

        Raises:
            UsageError: Nothing was trained yet.
        """
        if self._data is None:
            raise UsageError("this GAN has seen no data yet: call fit first")
        return Sampler(self.state.average, self._data.form, self.game.latent).draw(n, seed)

    @torch.no_grad()
    def _try_on(self, x: torch.Tensor) -> None:
        """See that both networks fit the data before the first round."""
        n = len(x)
        z = self.game.latent(n, 0, "try").to(x)
        try:
            fake = ask(build.copy_of(self.state.generator), z)
            logits = ask(build.copy_of(self.state.discriminator), x)
        except (RuntimeError, ValueError, TypeError) as error:
            raise UsageError(
                f"a network does not fit z {tuple(z.shape)} or x {tuple(x.shape)} (encoded data): {error}"
            ) from None
        if fake.shape != x.shape:
            raise UsageError(
                f"the generator made {tuple(fake.shape)} from z {tuple(z.shape)}, expected {tuple(x.shape)}"
            )
        if logits.ndim == 0 or len(logits) != n:
            raise UsageError(f"the discriminator gave {tuple(logits.shape)} for {n} samples, expected ({n},) logits")


def _term(penalty: str | tuple[str, float] | Penalty | Term) -> Term:
    if isinstance(penalty, Term):
        return penalty
    name, weight = penalty if isinstance(penalty, tuple) else (penalty, 1.0)
    if isinstance(name, str):
        return Term(name, lookup(PENALTIES, name, "penalty"), weight)
    return Term(getattr(name, "__name__", "penalty"), name, weight)
