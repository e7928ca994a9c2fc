"""Settings of any kind, as options and as recipes: a `Config`, or a sentence that says which setting is wrong.

Whatever is taken is printed by `show` so that it reads back the same. A case follows from its number alone.
"""

import json
import sys

import numpy as np
import pytest

from zerosum import config
from zerosum.cli import main
from zerosum.config.settings import Config
from zerosum.errors import ConfigError, Untrusted, printable
from zerosum.resolved import fill_options

DEFAULTS = config.flat(config.load("digits").model_dump())
NAMES = list(DEFAULTS)
NAMES += ["train", "game", "nets", "penalties", "penalties.0", "penalties.1.name", "loss", "loss.smoothing", "data.key"]
NAMES += ["optimizers.generator", "optimizers", "optimizers.generator.lr", "schedule", "name", "about", "game.clip"]
NAMES += ["", ".", "a", "train.", ".steps", "train..steps", "train.rounds.more", "penalties.-1.weight", "penalties.x"]
NAMES += [
    "penalties.99999999999999999999.weight",
    "__class__",
    "train.__dict__",
    "größe",
    "TRAIN.steps",
    "model_config",
]
NAMES += ["nets.generator.\x1b[2J", "train.rounds\n", '"train".steps', "train . steps", "\udcff", "name.name.name.name"]
VALUES = [
    "0",
    "1",
    "-1",
    "2.5",
    "1e5",
    "1e400",
    "-0.0",
    "nan",
    "inf",
    "-inf",
    "true",
    "false",
    '""',
    '"x"',
    "x",
    "",
    " ",
]
VALUES += [
    "9" * 25,
    "9" * 5000,
    str(2**63),
    str(2**63 - 1),
    str(-(2**63)),
    "0x10",
    "0b1",
    "0o7",
    "1_000",
    "1__0",
    "+1",
    "1e-320",
]
VALUES += [
    "[]",
    "[1]",
    "[[]]",
    "[1, 'a']",
    "{}",
    "{a=1}",
    "{name='x'}",
    "{name='hinge', smoothing=0.1}",
    "{name=1}",
    "[{}]",
]
VALUES += [
    "['r1']",
    "[{name='r1'}]",
    "[{name='r1', weight=0}]",
    "'digits'",
    "digits",
    "/",
    "~",
    "../x.csv",
    "x.csv",
    "a:b",
]
VALUES += [
    "os:system",
    ":",
    "'''a'''",
    '"\\u0000"',
    '"\\ud800"',
    "2020-01-01",
    "12:30:00",
    "[" * 2000,
    "{a=" * 500,
    "[1,]",
]
VALUES += [
    "\x00",
    "\x1b[2J",
    "\u202e",
    "größe",
    "\udcff",
    "a\nb",
    "#",
    "=",
    "==",
    "'",
    '"',
    "'a",
    "{",
    "1 2",
    "none",
    "None",
]
VALUES += [
    "normal",
    "adam",
    "linear",
    "labels",
    "cpu",
    "auto",
    "float64",
    "simultaneous",
    "x" * 10_000,
    "4096",
    "10000",
]
LINES = [
    "x = 1",
    "[train]",
    "[[penalties]]",
    "name = 'a'",
    "data = 'digits'",
    "\ufeff",
    "[train",
    "]]",
    "= 1",
    "a.b.c = 1",
]
LINES += [
    "[nets.generator]",
    "[a]\n[a]",
    "rounds = 1\nrounds = 2",
    "\x00",
    "\xff",
    "'''",
    '"""',
    "[" * 3000,
    "a = [" + "{}," * 999,
]
LINES += [
    "a." * 500 + "b = 1",
    "[" + "a." * 500 + "b]",
    "x = " + "9" * 5000,
    "x = 1979-05-27T07:32:00Z",
    "\r",
    "#" * 10_000,
]


def pick(rng, among):
    return among[rng.integers(len(among))]


ROWS = (
    "hinge",
    "wasserstein",
    "r1",
    "r2",
    "adam",
    "sgd",
    "mlp",
    "residual",
    "ring",
    "x.csv",
    "a:b",
    "größe",
    "a'b",
    'a"b',
)


def likely(rng):
    """A setting that there is, with a value of the right type."""
    name = pick(rng, list(DEFAULTS))
    kind = type(DEFAULTS[name])
    numbers = (0, 1, 2, 3, 17, 999, 2**16, 2**40)
    values = {bool: ("true", "false"), int: numbers, float: (0.5, 1e-3, 1e3, *numbers), str: ROWS}
    return f"{name}={pick(rng, values.get(kind, ROWS))}"


def override(rng):
    """A setting and a value; of any kind."""
    if rng.random() < 0.5:
        return likely(rng)
    text = pick(rng, NAMES) + pick(rng, ("=", "=", "=", "=", " = ", "", ":", "=="))
    text += pick(rng, VALUES)
    if rng.random() < 0.1:
        at = rng.integers(len(text) + 1)
        text = text[:at] + pick(rng, ("\0", " ", "=", ".", "\n", "\x1b", "é", '"', "[")) + text[at:]
    return text


def recipe(rng):
    """The text of a recipe of ours, changed."""
    text = config.recipe_text(pick(rng, sorted(config.shipped())))
    for _ in range(rng.integers(1, 5)):
        lines = text.split("\n")
        at = int(rng.integers(len(lines)))
        ways = (
            lambda lines=lines, at=at: "\n".join([*lines[:at], pick(rng, LINES), *lines[at:]]),
            lambda lines=lines, at=at: "\n".join([*lines[:at], *lines[at + 1 :]]),
            lambda lines=lines, at=at: "\n".join(
                [*lines[:at], lines[at].partition("=")[0] + "= " + pick(rng, VALUES), *lines[at + 1 :]]
            ),
            lambda lines=lines, at=at: "\n".join(
                [*lines[:at], pick(rng, NAMES) + " = " + pick(rng, VALUES), *lines[at:]]
            ),
            lambda lines=lines, at=at: "\n".join([*lines, *lines[at:]]),
            lambda text=text: text[: rng.integers(len(text) + 1)],
            lambda text=text: text.replace(
                pick(rng, ("=", "[", "]", '"', "\n", "0")), pick(rng, ("", "=", "\0", "[", '"')), 2
            ),
            lambda text=text: text[::-1],
        )
        text = pick(rng, ways)()
    return text


def sentence(error):
    """What must hold for everything that is said of settings."""
    text = str(error)
    assert text
    assert len(text) < 30_000
    for word in ("Traceback", "pydantic", "validation error", "ValidationError", "Type-check"):
        assert word not in text, text
    assert printable(text).encode()


def outcome(make):
    """Whether settings were taken, once all that must hold is seen to hold."""
    try:
        made = make()
        assert isinstance(made, Config)
        assert config.dumps(config.check(config.parse(config.dumps(made)))) == config.dumps(made)  # NaN is not NaN
        filled = fill_options(made)
        again = config.check(config.parse(config.dumps(filled)))
        assert config.dumps(again) == config.dumps(filled)
        assert config.dumps(fill_options(again)) == config.dumps(filled)
    except (ConfigError, Untrusted) as error:
        sentence(error)
        return 0
    return 1


def of_options(numbers):
    taken = 0
    for number in numbers:
        rng = np.random.default_rng([6, number])
        given = [override(rng) for _ in range(pick(rng, (1, 1, 1, 2, 5)))]
        taken += outcome(lambda given=given, rng=rng: config.load(pick(rng, ("digits", "ring", "dcgan-mnist")), given))
    return taken


def of_recipes(numbers, file):
    taken = 0
    for number in numbers:
        text = recipe(np.random.default_rng([7, number]))
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        taken += outcome(lambda: config.load(str(file)))
    return taken


def test_options_are_settings_or_a_sentence():
    assert 20 < of_options(range(560)) < 450


def test_recipes_are_settings_or_a_sentence(tmp_path):
    assert 5 < of_recipes(range(180), tmp_path / "x.toml") < 120


@pytest.mark.slow
def test_thousands_of_settings(tmp_path, bounded):
    with bounded(300):
        of_options(range(10_000, 12_000))
        of_recipes(range(10_000, 11_000), tmp_path / "x.toml")


@pytest.mark.parametrize("number", [*range(6), *(pytest.param(n, marks=pytest.mark.slow) for n in range(100, 160))])
def test_what_is_shown_reads_back_the_same(number, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng([8, number])
    words = [word for _ in range(3) for word in ("--set", override(rng))]
    shown = show(monkeypatch, capsys, "digits", *words)
    if shown is None:
        return
    file = tmp_path / "shown.toml"
    file.write_text(show(monkeypatch, capsys, "digits", *words), encoding="utf-8")
    again = show(monkeypatch, capsys, str(file), "--json")
    assert json.loads(again) == json.loads(show(monkeypatch, capsys, "digits", *words, "--json"))


def show(monkeypatch, capsys, *words):
    """What `show` prints; None where it refused in a sentence."""
    monkeypatch.setattr(sys, "argv", ["zerosum", "show", *words])
    with pytest.raises(SystemExit) as end:
        main.main()
    out, err = capsys.readouterr()
    assert end.value.code in (0, 2, 3), err
    assert "fault of zerosum" not in err
    return out if end.value.code == 0 else None
