"""Lines of options, of any words: a command does what it is told, or ends in a usage error or a `ZerosumError`.

The commands run in this process, below the broad `except` at the top of the command line; what takes long (rounds,
classifiers, claims, other processes) is cut short. A case follows from its number alone.
"""

import json
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest

import zerosum as zs
from zerosum import evaluation
from zerosum.cli import launch, listing, main, theory_text
from zerosum.errors import USER_CODE_NOTE, Stopped, ZerosumError, printable
from zerosum.metrics.features import pixels
from zerosum.training import loop

WORDS = [
    "",
    " ",
    "-",
    "--",
    "0",
    "1",
    "-1",
    "3",
    "2.5",
    "1e3",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "9" * 30,
    "x",
    "é",
    "\x1b[2J",
]
WORDS += [
    "\udcff",
    "\u202e",
    "a\nb",
    "a b",
    "'",
    '"',
    "~",
    "/",
    ".",
    "..",
    "*",
    "?",
    "$HOME",
    "`id`",
    ";",
    "|",
    "%s",
    "{}",
]
WORDS += [
    "\\",
    "C:\\x",
    "//x/y",
    "x" * 300,
    "x" * 5000,
    "None",
    "true",
    "=",
    "=1",
    "a=b",
    "@x",
    "cpu",
    "cuda",
    "meta",
    "gpu:x",
]
NAMES = [
    "digits",
    "ring",
    "mixture-1d",
    "digit",
    "dcgan-mnist",
    "one",
    "runs/one",
    "none",
    "small.toml",
    "odd.toml",
    "empty",
]
NAMES += [
    "points.csv",
    "points.npy",
    "pictures",
    "odd.npy",
    "empty.csv",
    "runs",
    "runs/odd",
    "odd",
    "hinge",
    "adam",
    "losses",
]
NAMES += [
    "runs/one/config.toml",
    "runs/one/checkpoints",
    "nothing/x.toml",
    "pixels",
    "classifier",
    "inception",
]
NAMES += [
    "payload:thing",
    "os:getcwd",
    ":",
    "finished",
    "auto",
    "float64",
    "bfloat16",
    "recipes",
    "runs",
    "claims",
    "1",
    "envelope",
    "7",
]
PLACES = [
    "a.png",
    "b.npz",
    "c.csv",
    "d.gif",
    "e",
    "f/g/h.png",
    "i.toml",
    "j.html",
    "runs/one",
    "runs/one/report.html",
    "odd.npy",
]
PLACES += ["pictures", "points.csv", "runs/one/x.png", "a.png/b", "odd.toml/x.png", "l.PNG", "m.jpg", ".", "k.npz"]
SETTINGS = [
    "train.rounds=1",
    "nets.name=residual",
    "loss=hinge",
    "loss=payload:thing",
    "game.k=2",
    "train.seed=3",
    "x=1",
    "=",
    "",
]
SETTINGS += [
    "game.batch=4",
    "latent.size=2",
    "nets.conditions=labels",
    "penalties=['r1']",
    "data.size=8",
    "data.held_out=0.5",
]
SETTINGS += [
    "optimizers.generator=sgd",
    "train.precision=float64",
    "game.clip=0.01",
    "game.flip=1",
    "train.keep=1",
    "name=a",
]
OPTIONS = {
    "train": (
        "--data --data-root --rounds --minutes --seed --device --precision --out --processes --accumulate "
        "--until --set",
        True,
    ),
    "sample": ("-n --seed --label --out", True),
    "evaluate": ("-n --features --seed --data --data-root", True),
    "diagnose": ("", True),
    "report": ("--out --data-root", True),
    "theory": ("--figures", False),
    "list": ("", False),
    "show": ("--set", False),
    "copy": ("", False),
    "doctor": ("", False),
}
FLAGS = [
    "--json",
    "--trust",
    "--force",
    "--fresh",
    "--dry-run",
    "--classes",
    "--trained",
    "--help",
    "-h",
    "--nonsense",
    "-x",
]
QUICK = ["nets.generator.width=8", "nets.discriminator.width=8", "game.batch=8", "train.threads=1"]


def pick(rng, among):
    return among[rng.integers(len(among))]


def value(rng, option):
    """Something to stand behind an option: mostly of the right sort."""
    if rng.random() < 0.35:
        return pick(rng, WORDS)
    if option == "--set":
        return pick(rng, SETTINGS)
    if option in ("--out", "--figures", "--data-root"):
        return pick(rng, PLACES)
    if option in ("-n", "--seed", "--rounds", "--minutes", "--processes", "--accumulate"):
        return str(pick(rng, (0, 1, 2, 3, 50, 60, -1)))
    return pick(rng, NAMES)


def line(rng):
    """A command and its options."""
    command = pick(rng, [*OPTIONS, *OPTIONS, "train", "sample", "train", "sample", "evaluate", "frobnicate", ""])
    options, known = OPTIONS.get(command, ("--out", True))
    words = [command] if command else []
    for _ in range(pick(rng, (0, 1, 1, 1, 2))):
        words.append(pick(rng, NAMES) if rng.random() < 0.8 else pick(rng, WORDS))
    if command in ("sample", "evaluate", "report", "diagnose") and rng.random() < 0.7:
        words = [command, "one"]
    for _ in range(rng.integers(0, 5)):
        option = pick(rng, options.split()) if options and rng.random() < 0.7 else None
        words += [option, value(rng, option)] if option else [pick(rng, FLAGS)]
    return words


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A folder as a user's may be, with a run in it."""
    work = tmp_path_factory.mktemp("made") / "work"
    work.mkdir()
    rng = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        zs.train("digits", rounds=2, device="cpu", out="runs/one", report=False, set=QUICK, say=lambda _: None)
        np.savetxt("points.csv", rng.normal(size=(60, 2)), delimiter=",")
        np.save("points.npy", rng.normal(size=(60, 3)))
        Path("pictures").mkdir()
        for number in range(8):
            shutil.copy("runs/one/samples/000002.png", f"pictures/{number}.png")
        Path("odd.npy").write_bytes(b"odd")
        Path("odd.toml").write_bytes(b"[[[\xff")
        Path("small.toml").write_text('data = "digits"\n')
        Path("empty.csv").touch()
        Path("empty").mkdir()
        Path("runs/odd").mkdir()
        Path("runs/odd/config.toml").write_text("x = 1")
        Path("payload.py").write_text("thing = 5\n")
    return work


@pytest.fixture
def place(one, tmp_path, monkeypatch):
    """(number) -> that folder, whole again; nothing that runs in it takes long."""
    rounds = loop.rounds
    monkeypatch.setattr(loop, "rounds", lambda *given: islice(rounds(*given), 1))
    monkeypatch.setattr(evaluation, "classifier", lambda *_: pixels())
    monkeypatch.setattr(launch, "launch", lambda *_: 0)
    monkeypatch.setattr(theory_text, "run_claims", lambda *_: [])
    monkeypatch.setattr(listing, "matmul_speed", lambda: 1.0)
    monkeypatch.setattr("zerosum.lab.figures.FIGURES", {})
    monkeypatch.setenv("ZEROSUM_DATA", str(tmp_path / "data"))  # what --data-root sets is put back
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")

    def whole():
        work = tmp_path / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(one, work)
        monkeypatch.chdir(work)
        return work

    return whole


def end(words):
    """How a line ended: 0, or the class of its error."""
    try:
        code = main.app(words, standalone_mode=False)
    except (ZerosumError, Stopped) as error:
        said = str(error)
        assert printable(said).encode()
        for word in ("Traceback", "Type-check", "validation error for"):
            assert word not in said, words
        return type(error).__name__
    except Exception as error:
        if any(note.startswith(USER_CODE_NOTE) for note in getattr(error, "__notes__", ())):
            return "yours"
        if not hasattr(error, "format_message"):  # click's, or what typer made of it
            raise
        assert error.format_message() or not words  # no word at all is answered with the help
        return "usage"
    assert code in (None, 0), words
    return "0"


def play(numbers, place, capsys, unchanged):
    ends = {}
    work = place()
    for number in numbers:
        words = line(np.random.default_rng([9, number]))
        before = names(work)
        with unchanged(work.parent / "outside"):
            kind = end(words)
        ends[kind] = ends.get(kind, 0) + 1
        out, _ = capsys.readouterr()
        if kind == "0" and "--json" in words and not {"-h", "--help"} & {*words}:
            json.loads(out)
        assert {path.name for path in work.parent.iterdir()} <= {"work", "outside", "data"}, words
        changed = names(work) != before
        assert not changed or kind == "0" or words[0] == "train", words
        if changed or words[:1] == ["train"]:
            work = place()
    assert set(ends) <= {
        "0",
        "usage",
        "yours",
        "UsageError",
        "ConfigError",
        "RunError",
        "DataError",
        "Untrusted",
        "SystemFault",
        "Diverged",
    }
    return ends


def names(folder):
    return sorted(str(path) for path in folder.rglob("*"))


def test_lines_of_any_words_end_in_order(place, capsys, unchanged):
    ends = play(range(80), place, capsys, unchanged)
    assert ends["0"] > 5
    assert ends["usage"] > 5


@pytest.mark.slow
@pytest.mark.parametrize("stretch", range(5))
def test_many_lines_of_any_words_end_in_order(place, capsys, unchanged, bounded, stretch):
    with bounded(700):
        play(range(10_000 + 300 * stretch, 10_300 + 300 * stretch), place, capsys, unchanged)


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["list", "recipes"]], ids=" ".join)
def test_an_answer_that_nobody_reads_is_no_failure(words):
    with subprocess.Popen([sys.executable, "-m", "zerosum", *words], stdout=PIPE, stderr=PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
