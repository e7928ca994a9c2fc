"""A zoo of sick and healthy runs: the diagnosis is calibrated on one half of them and tested on the other.

    python experiments/zoo.py [--folder FOLDER] [--jobs 2] [--only WORD ...]   train what is missing (two hours)
    python experiments/zoo.py --table [--folder FOLDER]                          write docs/zoo.md from what is there

Each fault is planted by a setting, a data set or a network (plants.py) that causes it, at two strengths. The thresholds
in src/zerosum/health/ were chosen by looking at runs with even seeds; runs with odd seeds, and those on a data
set that no threshold has met, say whether they are right. Of a run only its readings are kept, so that a change of the
rules costs no training. What is there is not trained again.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
CHECKUPS = 30
"""Of each run; a verdict within a third of a run is one within ten of them."""


class Base(NamedTuple):
    """A healthy game, and how many seeds of it are played."""

    recipe: str
    rounds: int
    settings: tuple[str, ...]
    sick: int
    healthy: int


BASES = {
    "ring": Base("ring", 900, ("schedule.end=900",), 10, 30),
    "digits": Base("digits", 900, (), 5, 30),
    "mnist": Base(
        "conditional-mnist",
        1500,
        ('nets.conditions="none"', "nets.generator.width=256", "nets.discriminator.width=256", "game.batch=64",
         "schedule.end=1500", "ema.half_life=10000.0"),
        1,
        4,
    ),
    "grid": Base("grid", 1800, ("schedule.end=1800",), 2, 30),
    "mixture-1d": Base("mixture-1d", 900, ("schedule.end=900",), 2, 20),
}  # fmt: skip

NEW = ("grid", "mixture-1d")
"""Trained last."""

GAMES = ("minimax", "non-saturating", "likelihood", "least-squares", "hinge", "relativistic", "wasserstein")
"""Played with the base's networks, rates and penalty, to see how hard each is to train."""

D, G = "optimizers.discriminator.lr", "optimizers.generator.lr"
BARE = "penalties=[]"


def data(name, **options):
    return [f'data.name="plants:{name}"', *(f"data.{key}={json.dumps(value)}" for key, value in options.items())]


def net(name, **options):
    return [f'nets.name="plants:{name}"', *(f"nets.generator.{key}={value}" for key, value in options.items())]


def faults(base):
    """Fault -> settings of its two strengths, mild and severe."""
    of = BASES[base].recipe if base != "mnist" else "mnist"
    points = base in ("ring", "grid", "mixture-1d")
    rate = {"ring": 3e-3, "grid": 3e-3, "digits": 2e-3, "mnist": 5e-4, "mixture-1d": 1e-3}[base]
    small = {"ring": (32, 16), "grid": (50, 25), "digits": (64, 20), "mnist": (100, 20)}.get(base, (32, 16))
    fits = {"ring": (40, 20), "grid": (75, 38), "digits": (200, 64), "mnist": (200, 60)}.get(base, (40, 20))
    slow = (30, 60) if points else (20, 40)
    wide = {"ring": {"sigma": 0.3}, "grid": {"sigma": 1.0}}.get(base, {})  # else the modes would be points themselves
    planted = {
        "total collapse": (net("deaf", share=0.003), net("deaf", share=0.0)),
        "partial collapse": (net("coded", codes=5), net("coded", codes=2)),
        "dropped modes": (data("dropped", of=of, share=0.3), data("dropped", of=of, share=0.5)),
        "D too strong": tuple(
            [BARE, "loss=minimax", "game.k=5", f"{G}={rate / part}"] for part in (30, 300)
        ),
        "D too weak": (["game.flip=0.47"], [f"{D}={rate * 1e-4}"]),
        "D over-fits": tuple(
            [*data("few", of=of, rows=rows, **wide), BARE, "game.batch=16", "nets.discriminator.width=256"]
            for rows in fits
        ),
        "oscillating": tuple(["schedule.decay=none", f"{D}={rate / part}"] for part in slow),
        "diverging": (
            [BARE, "loss=wasserstein"],
            [BARE, "loss=wasserstein", f"{D}={10 * rate}", f"{G}={10 * rate}"],
        ),
        "memorising": (
            [*data("few", of=of, rows=small[0], **wide), "game.batch=16"],
            [*data("few", of=of, rows=small[1], **wide), "game.batch=16"],
        ),
        "range mismatch": (
            (data("shifted", of=of, scale=20.0, shift=0.0), data("shifted", of=of, scale=30.0, shift=200.0))
            if points
            else (net("lifted", low=-0.4), data("squeezed", of=of, factor=30.0))
        ),
    }  # fmt: skip
    if not points:
        planted["blurry"] = (net("smeared", sigma=0.6), net("smeared", sigma=1.2))
    return planted


class Animal(NamedTuple):
    """One run of the zoo."""

    base: str
    fault: str
    strength: str
    seed: int
    settings: tuple[str, ...]

    @property
    def name(self):
        return f"{self.base}/{self.fault}/{self.strength}-{self.seed}".replace(" ", "-")


def animals():
    """Every run of the zoo."""
    for base, about in BASES.items():
        for seed in range(about.healthy):
            yield Animal(base, "healthy", "healthy", seed, ())
        for name in GAMES if base in ("ring", "digits") else ():
            for seed in range(5):
                yield Animal(base, "game", name, seed, (f"loss={name}",))
        for fault, strengths in faults(base).items():
            for strength, settings in zip(("mild", "severe"), strengths, strict=True):
                for seed in range(about.sick):
                    yield Animal(base, fault, strength, seed, tuple(settings))


def train(animal, folder):
    """Train one run and keep its readings; how it ended is their last line."""
    from zerosum import config
    from zerosum.errors import DataError, Diverged
    from zerosum.resolved import resolve
    from zerosum.run import RunFolder
    from zerosum.training import loop

    base, kept = BASES[animal.base], folder / f"{animal.name}.jsonl"
    every = base.rounds // CHECKUPS
    overrides = [
        *base.settings, *animal.settings, f"train.rounds={base.rounds}", f"train.seed={animal.seed}", "train.threads=1",
        f"train.save_every={base.rounds}", f"train.sample_every={base.rounds}", f"train.check_every={every}",
        f"train.log_every={every}", "train.device=cpu",
    ]  # fmt: skip
    run, began, end = folder / f"{animal.name}.tmp-{os.getpid()}", time.time(), "finished"
    try:
        settings = resolve(config.load(base.recipe, overrides))
        for _ in loop.fit(settings, RunFolder(run), fresh=True):
            pass
    except Diverged as error:
        end = str(error)
    except DataError as error:  # MNIST, where it is not at hand
        return f"{animal.name}: left out, {error}"
    lines = (run / "readings.jsonl").read_text() if (run / "readings.jsonl").exists() else ""
    facts = {**animal._asdict(), "end": end, "rounds": base.rounds, "minutes": round((time.time() - began) / 60, 3)}
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(lines + json.dumps(facts) + "\n")
    shutil.rmtree(run)
    return f"{animal.name}: {end}, {time.time() - began:.0f} s"


NAMES = {"total collapse": "mode collapse", "partial collapse": "mode collapse", "dropped modes": "mode collapse"}
"""What a planted fault is called in a verdict, where that is another name."""

QUALITY = {"ring": {"covered": 0.95, "distance": 0.02}, "digits": {"covered": 0.75, "distance": 0.01}}
"""Reached at the end by a seed that counts as trained."""


class Judged(NamedTuple):
    """What the diagnosis said of one run."""

    facts: dict
    first: dict
    """Verdict -> checkup at which it was first given, from 1."""
    last: tuple
    """Verdicts at the end."""
    signs: dict
    """Of the last checkup."""

    @property
    def told(self):
        """Share of the run after which the planted fault was named; None: never."""
        when = self.first.get(NAMES.get(self.facts["fault"], self.facts["fault"]))
        return None if when is None else when / CHECKUPS


def judge(path):
    """Diagnose a run at every checkup, as it was diagnosed while it played."""
    from zerosum import config, health

    *lines, facts = map(json.loads, path.read_text().splitlines())
    base = BASES[facts["base"]]
    settings = config.load(base.recipe, [*base.settings, *facts["settings"]])
    first, last = {}, ()
    for number in range(1, len(lines) + 1):
        last = tuple(one.name for one in health.diagnose(lines[:number], settings) if one.sick)
        for name in last:
            first.setdefault(name, number)
    if facts["end"] != "finished":
        first.setdefault("diverging", len(lines) + 1)
    return Judged(facts, first, last, lines[-1]["signs"] if lines else {})


def table(runs):
    """docs/zoo.md: what was planted and what was named."""
    even, odd = ([run for run in runs if run.facts["seed"] % 2 == rest] for rest in (0, 1))
    minutes = sum(run.facts["minutes"] for run in runs)
    return "\n\n".join(
        [
            "# The zoo: does the diagnosis find what is wrong?",
            __doc__.split("\n\n", 2)[2].strip(),
            f"{len(runs)} runs, {minutes:.0f} minutes of one core; made by `python experiments/zoo.py` and then "
            "`python experiments/zoo.py --table`. `experiments/plants.py` holds the broken data sets and networks. "
            "A verdict "
            f"can be given at each of {CHECKUPS} checkups. *Named* counts runs in which the planted fault was named at "
            "any of them; *in time*, those in which that was within a third of the run, counted from its first round; "
            "*also* lists other verdicts at the end of a run, since one fault brings others with it.",
            headline(runs, odd),
            "## Planted faults, on a data set that no threshold has met",
            planted(runs, ["mixture-1d"]),
            MIXTURE,
            "## Planted faults, in runs that no threshold was chosen by",
            planted(odd, ["ring", "digits"]),
            "MNIST has one seed (0), which is even.",
            "## Planted faults, on the grid",
            GRID,
            planted(runs, ["grid"]),
            "## Planted faults, in the runs the thresholds were chosen by",
            planted(even, ["ring", "digits", "mnist"]),
            "## Healthy runs",
            healthy(runs),
            "## How hard each game is to train",
            difficulty(runs),
        ]
    )


GRID = """The grid was to be the data set that no threshold has met, and changed a rule instead: each planted fault
was named, but 17 of its 20 healthy runs were called collapsed for a while after the fifth checkup, as was one of the 20
of the digits, and one of the 4 of MNIST oscillating. Since then nothing is said before the eighth checkup, and nothing
is called at a stand before the tenth. The one-dimensional mixture took the grid's place."""


MIXTURE = """What was missed here, looked at afterwards and not mended, since then the data would no longer be new: on a
line D cannot know 20 rows by heart (`overfit` ends at 0.53 to 0.56), G cannot repeat 32 (`nearer` at 0.49), and a D
that is told wrong labels for 47 % still leads G close to the data: the plant is there and the fault is not. Where a D
without penalty is too strong, G ends on one of the two modes, which is named as collapse; a nearest neighbour
tells less on a line, so that `excess` stays below the limit of "D too strong"."""


def planted(runs, bases):
    lines = [
        "| data | fault | strength | named | in time | named after, median | also |",
        "|---|---|---|---|---|---|---|",
    ]
    total = [0, 0, 0]
    for base in bases:
        for fault in faults(base):
            for strength in ("mild", "severe"):
                these = [run for run in runs if group(run) == (base, fault, strength)]
                if not these:
                    continue
                told = sorted(run.told for run in these if run.told is not None)
                soon = [share for share in told if share <= 1 / 3 + 1e-9]
                middle = f"{told[len(told) // 2]:.0%} of the run" if told else "never"
                mine = NAMES.get(fault, fault)
                others = Counter(name for run in these for name in run.last if name != mine)
                also = ", ".join(f"{name} {count}" for name, count in others.most_common())
                lines.append(
                    f"| {base} | {fault} | {strength} | {len(told)} of {len(these)} | {len(soon)} of {len(these)} "
                    f"| {middle} | {also} |"
                )
                total = [a + b for a, b in zip(total, (len(told), len(soon), len(these)), strict=True)]
    named, soon, of = total
    return "\n".join([*lines, f"| all | | | **{named} of {of}** | **{soon} of {of}** | | |"])


def headline(runs, odd):
    """What it all comes to, in a sentence for each question."""
    sick = [
        run for run in odd if run.facts["base"] in ("ring", "digits") and run.facts["fault"] not in ("healthy", "game")
    ]
    new = [run for run in runs if run.facts["base"] == "mixture-1d" and run.facts["fault"] != "healthy"]
    well = [run for run in runs if run.facts["fault"] == "healthy"]
    faults_named = Counter(run.facts["fault"] for run in sick if run.told is not None)
    planted_ = Counter(run.facts["fault"] for run in sick)
    least = min(planted_, key=lambda fault: faults_named[fault] / planted_[fault])
    said = lambda these: f"{sum(run.told is not None for run in these)} of {len(these)}"  # noqa: E731
    soon = sum(run.told is not None and run.told <= 1 / 3 + 1e-9 for run in sick)
    alarms = sum(bool(run.first) for run in well)
    return (
        f"**In runs that no threshold was chosen by, {said(sick)} planted faults were named** (least often: {least}, "
        f"{faults_named[least]} of {planted_[least]}), {soon} of them within a third of the run; on a data set that "
        f"was not used at all, {said(new)}. **False alarms: {alarms} of {len(well)} healthy runs.**"
    )


def group(run):
    return run.facts["base"], run.facts["fault"], run.facts["strength"]


SEEDS = {
    "even, below 20": lambda seed: seed < 20 and seed % 2 == 0,
    "odd, below 20": lambda seed: seed < 20 and seed % 2 == 1,
    "20 to 29, played after the last change of a rule": lambda seed: seed >= 20,
}


def healthy(runs):
    lines = [
        "| data | seeds | runs | with a false alarm at any checkup | at the end | which |",
        "|---|---|---|---|---|---|",
    ]
    for base in BASES:
        mine = [run for run in runs if group(run)[:2] == (base, "healthy")]
        for seeds, belongs in SEEDS.items():
            these = [run for run in mine if belongs(run.facts["seed"])]
            if these:
                alarmed, ended = [run for run in these if run.first], [run for run in these if run.last]
                which = ", ".join(
                    f"{name} {count}" for name, count in Counter(n for r in these for n in r.first).items()
                )
                lines.append(f"| {base} | {seeds} | {len(these)} | {len(alarmed)} | {len(ended)} | {which} |")
    return "\n".join(lines)


def difficulty(runs):
    goals = "; ".join(
        f"{base}: "
        + ", ".join(f"{name} {'at least' if name == 'covered' else 'at most'} {goal}" for name, goal in goal.items())
        for base, goal in QUALITY.items()
    )
    lines = [
        "The same networks, rates and R1 + R2, no tuning for any of them, five seeds each; a seed counts as trained if "
        f"it ends with {goals}.",
        "",
        "| data | game | trained | verdicts at the end |",
        "|---|---|---|---|",
    ]
    for base, goals in QUALITY.items():
        for name in GAMES:
            these = [run for run in runs if group(run) == (base, "game", name)]
            good = [run for run in these if run.facts["end"] == "finished" and reached(run.signs, goals)]
            found = Counter(verdict for run in these for verdict in run.last)
            ends = ", ".join(f"{verdict} {count}" for verdict, count in found.most_common())
            stopped = sum(run.facts["end"] != "finished" for run in these)
            ends += f" stopped for numbers that are not finite: {stopped}" if stopped else ""
            lines.append(f"| {base} | {name} | {len(good)} of {len(these)} | {ends} |")
    return "\n".join(lines)


def reached(signs, goals):
    return all(
        signs[name] is not None and (signs[name] >= goal if name == "covered" else signs[name] <= goal)
        for name, goal in goals.items()
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/zoo"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=(), help="words that must stand in a run's name")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    if asked.table:
        with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
            runs = list(pool.map(judge, sorted(asked.folder.glob("*/*/*.jsonl")), chunksize=8))
        (HERE.parent / "docs" / "zoo.md").write_text(table(runs) + "\n")
        return
    todo = [animal for animal in animals() if all(word in animal.name for word in asked.only)]
    todo.sort(key=lambda animal: (animal.base in NEW, animal.seed % 2, animal.base == "mnist", animal.fault == "game"))
    todo = [animal for animal in todo if not (asked.folder / f"{animal.name}.jsonl").exists()]
    began = time.time()
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(train, animal, asked.folder) for animal in todo]
        for number, job in enumerate(as_completed(jobs), 1):
            print(f"{number}/{len(todo)} {job.result()} ({(time.time() - began) / 60:.1f} min in all)", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
