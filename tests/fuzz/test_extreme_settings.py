"""Extreme numbers in every setting: a game that is played with finite readings, or a sentence.

What can be set is read from the schema and from the signatures of the tables' rows: a new setting is tried, too.
"""

import json
import math
import re
import sys
from collections import deque
from typing import Annotated, Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from pydantic import BaseModel, TypeAdapter, ValidationError

from zerosum import build, config
from zerosum.config import settings
from zerosum.config.registry import keywords
from zerosum.config.settings import Choice, Config, Schedule
from zerosum.data import from_array
from zerosum.errors import ConfigError, DataError, Diverged, UsageError
from zerosum.game.losses import LOSSES
from zerosum.game.optimizers import OPTIMIZERS, factor
from zerosum.game.penalties import PENALTIES
from zerosum.nets import NETS
from zerosum.resolved import PLAYERS, look_up, resolve
from zerosum.run import RunFolder
from zerosum.training.loop import fit

LOST = (ConfigError, Diverged, DataError, UsageError)
"""How a game may end that is not played to its end."""

FULL_BATCH = (
    0, -1, 1, 2, 3, 7, 15, 64, 255, 1000, 4096, 10_000, 2**16, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63,
    10**30,
)  # fmt: skip
REAL = (
    0.0, -0.0, 5e-324, 1e-300, 1e-45, 1e-38, 1e-10, 1e-3, 0.5, 1 - 2**-53, 1.0, 1 + 2**-52, 3.0, 1e4, 1e10, 1e19, 1e30,
    1.1e30, 3.4e38, 1e39, 1e150, sys.float_info.max, math.inf, math.nan, -1e-300, -0.5, -1.0, -1e30, -1e39, -math.inf,
)  # fmt: skip

ASKED = {"train.rounds", "train.threads", "train.processes", "train.seed"}
"""Settings of the machine and of how long is played; a seed is any."""

LONG = {"game.k": 5, "game.accumulate": 5} | {
    f"nets.{player}.{count}": 5 for player in PLAYERS for count in ("depth", "blocks", "pieces")
}
"""Counts of what takes time as asked, and the most that is played here."""

MOST = 500e6
"""Bytes that the memory of both players may take here: weights, gradients, moments and the average."""


def numeric(annotation):
    """The kind of number that an annotation asks for: int, float, or None."""
    kinds = [annotation, *get_args(annotation)]
    for kind in kinds:
        if kind is int or kind is float:
            return kind
        if kind is not annotation and (found := numeric(kind)):
            return found
    return None


def settings_of(model: type[BaseModel], prefix: str = ""):
    """(name, annotation) of every number in a section and those below it."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, Choice):
            yield from settings_of(kind, f"{prefix}{name}.")
        elif numeric(kind) and not isinstance(field.default, dict | tuple | Choice):
            yield f"{prefix}{name}", bounded(field)


def bounded(field):
    """The annotation of a field with its bounds."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def options_of(*functions):
    """(name, annotation) of every number among the options of a row."""
    for function in functions:
        hints = get_type_hints(function, include_extras=True)
        yield from ((name, hints[name]) for name in keywords(function) if numeric(hints[name]))


ROWS = {
    "loss": {name: dict(options_of(row.discriminator, row.generator)) for name, row in LOSSES.items()},
    "optimizers.generator": {name: dict(options_of(row)) for name, row in OPTIMIZERS.items()},
    "optimizers.discriminator": {name: dict(options_of(row)) for name, row in OPTIMIZERS.items()},
    "nets.generator": {name: dict(options_of(row.generator)) for name, row in NETS.items()},
    "nets.discriminator": {name: dict(options_of(row.discriminator)) for name, row in NETS.items()},
    "penalties": {name: dict(options_of(row)) for name, row in PENALTIES.items()},
}
"""Where a table is used -> its rows -> the numbers among their options."""

SETTINGS = dict(settings_of(Config))
PENALTY = dict(settings_of(settings.PenaltyChoice))
EVERY = {
    **SETTINGS,
    **{f"penalties.0.{name}": kind for name, kind in PENALTY.items()},
    **{
        f"{where} ({row}).{name}": kind
        for where, rows in ROWS.items()
        for row in rows
        for name, kind in rows[row].items()
    },
}


def takes(annotation, value):
    """Whether a setting takes a value."""
    try:
        TypeAdapter(annotation, config={"strict": True, "allow_inf_nan": False}).validate_python(value)
    except ValidationError:
        return False
    return True


def drawn(rng, name, annotation):
    """An extreme value of a setting, mostly one that it takes."""
    pool = [*(FULL_BATCH if numeric(annotation) is int else REAL)]
    if "tuple" in str(annotation):
        pool = [[value, other] for value, other in zip(pool, rng.permutation(pool).tolist(), strict=True)]
    within = [value for value in pool if takes(annotation, value)]
    pool = within if within and rng.random() < 0.85 else pool
    value = pool[rng.integers(len(pool))]
    return min(value, LONG[name]) if name in LONG and takes(annotation, value) else value


def put(tree, name, value):
    """Set what a dotted name leads to."""
    *parents, last = name.split(".")
    for parent in parents:
        tree = tree[int(parent)] if isinstance(tree, list) else tree.setdefault(parent, {})
    tree[last] = value


def chosen(rng, rows, *favourites):
    """A row of a table, mostly a favourite."""
    return str(rng.choice(favourites if favourites and rng.random() < 0.8 else list(rows)))


def case_of(seed):
    """The tree of settings that a seed stands for."""
    rng = np.random.default_rng(seed)
    small = {"width": 8}
    tree: dict[str, Any] = {
        "latent": {"size": 4, "distribution": chosen(rng, ["normal", "uniform"])},
        "loss": {"name": chosen(rng, LOSSES)},
        "game": {"batch": 8, "order": chosen(rng, ["discriminator-first", "generator-first", "simultaneous"])},
        "optimizers": {player: {"name": chosen(rng, OPTIMIZERS)} for player in PLAYERS},
        "schedule": {"decay": chosen(rng, ["none", "linear", "cosine", "exponential"]), "end": 3},
        "nets": {"name": chosen(rng, NETS, "mlp"), "conditions": chosen(rng, ["none", "labels"])},
        "penalties": [{"name": chosen(rng, PENALTIES)}] if rng.random() < 0.5 else [],
        "train": {
            "rounds": 3, "threads": 1, "device": "cpu", "log_every": 1, "check_every": 3,
            "precision": chosen(rng, ["float32", "float64", "bfloat16"]),
        },
    }  # fmt: skip
    options = {
        f"nets.{player}.{name}": kind
        for player in PLAYERS
        for name, kind in ROWS[f"nets.{player}"][tree["nets"]["name"]].items()
    }
    for name in options:
        put(tree, name, small.get(name.rpartition(".")[2], 2))
    numbers = {name: kind for name, kind in SETTINGS.items() if name not in ASKED} | options
    numbers |= {f"loss.{name}": kind for name, kind in ROWS["loss"][tree["loss"]["name"]].items()}
    for player in PLAYERS:
        rows = ROWS[f"optimizers.{player}"][tree["optimizers"][player]["name"]]
        numbers |= {f"optimizers.{player}.{name}": kind for name, kind in rows.items()}
    if tree["penalties"]:
        numbers |= {f"penalties.0.{name}": kind for name, kind in PENALTY.items()}
        numbers |= {
            f"penalties.0.{name}": kind for name, kind in ROWS["penalties"][tree["penalties"][0]["name"]].items()
        }
    for name in rng.choice(sorted(numbers), int(rng.integers(1, 4)), replace=False):
        put(tree, str(name), drawn(rng, str(name), numbers[name]))
    return tree


def bytes_of(resolved):
    """What both players take in memory: weights, gradients, two moments, the average and a copy. 0: cannot be built."""
    settings = resolved.config
    pair, shape, told = NETS[settings.nets.name], DATA.spec.shape, settings.nets.label_size
    plain = {name: value for name, value in settings.nets.discriminator.items() if name != "spectral"}
    try:
        with torch.device("meta"):
            nets = (
                pair.generator(shape, settings.latent.size + told, **settings.nets.generator),
                pair.discriminator(shape, **plain),
            )
    except (RuntimeError, ConfigError):  # of a network that cannot be built
        return 0
    return 6 * 8 * sum(weight.numel() for net in nets for weight in net.parameters())


def picture_rows(n=64):
    """Images of two classes."""
    rng = np.random.default_rng(0)
    return from_array(rng.integers(0, 256, (n, 8, 8), dtype=np.uint8), np.arange(n) % 2, held_out=0.25)


DATA = picture_rows()


def refuse(text):
    raise AssertionError(f"{text} in readings.jsonl")


@pytest.mark.parametrize("decay", ["none", "exponential"])
@pytest.mark.parametrize(("begin", "end"), [(3, 3), (7, 3)])
def test_an_end_that_means_nothing_to_a_decay_changes_nothing(decay, begin, end):
    given = {"decay": decay, "begin": begin, "factor": 0.5}
    for step in range(9):
        assert factor(Schedule(**given, end=end), step) == factor(Schedule(**given), step)


def play(seed, tmp_path):
    """Play what a seed stands for; how it ended."""
    folder = RunFolder(tmp_path / "run")
    try:
        settings = resolve(config.check(case_of(seed)))
        if bytes_of(settings) > MOST:
            return "large"
        deque(fit(settings, folder, data=DATA), maxlen=0)
    except LOST as error:
        assert len(str(error)) > 15
        return type(error).__name__
    finally:
        log = folder.path / "readings.jsonl"
        lines = (
            [json.loads(line, parse_constant=refuse) for line in log.read_text().splitlines()] if log.exists() else []
        )
    assert lines
    assert lines[-1]["round"] == 3 or settings.config.train.minutes is not None
    return "played"


def test_every_number_among_the_settings_is_found():
    """A few of each kind, lest what is read from annotations is read no more."""
    assert EVERY.keys() >= {
        "game.clip", "ema.ramp", "latent.low", "train.timeout", "penalties.0.weight", "loss (least-squares).b",
        "optimizers.generator (adam).betas", "nets.generator (mlp).depth", "nets.discriminator (residual).most",
    }  # fmt: skip
    assert len(EVERY) > 60


@pytest.mark.parametrize("name", [name for name, kind in EVERY.items() if numeric(kind) is float])
def test_no_setting_takes_a_number_that_float32_cannot_multiply(name):
    for value in (1.1e30, -1.1e30, math.inf, math.nan, sys.float_info.max):
        assert not takes(EVERY[name], [value, value] if "tuple" in str(EVERY[name]) else value)


@pytest.mark.parametrize("name", [name for name, kind in EVERY.items() if numeric(kind) is int])
def test_no_count_is_beyond_what_a_file_holds_and_none_of_a_network_beyond_what_can_be_built(name):
    assert not takes(EVERY[name], 2**63)
    assert not takes(EVERY[name], -1)
    if name.startswith("nets.") and "(" in name:
        assert not takes(EVERY[name], 0)
        assert not takes(EVERY[name], 2**16 + 1)
        assert takes(EVERY[name], 1000)


REFUSED = {
    "game.clip=1e150": "less than or equal to 1" + 30 * "0",
    "nets.generator.depth=1000000000": "less than or equal to 1000",
    "nets.discriminator.width=1000000000": "less than or equal to 65536",
    "game.k=1000000000000": "less than or equal to 10000",
    "game.accumulate=1000000000": "less than or equal to 10000",
    "train.timeout=1e300": "less than or equal to 1000000000",
    "train.processes=1000000": "less than or equal to 4096",
    "loss.smoothing=1.0": "less than 1",
    "loss.smoothing=-0.1": "greater than or equal to 0",
    "optimizers.generator.lr=1e31": "less than or equal to 1" + 30 * "0",
    "latent.high=1e31": "less than or equal to 1" + 30 * "0",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_could_not_be_played_is_refused_where_it_is_read(override):
    with pytest.raises(ConfigError, match=re.escape(REFUSED[override])):
        look_up(config.load("digits", [override]))


def test_the_deepest_networks_are_built_in_a_moment():
    overrides = [f"nets.{player}.{one}" for player in PLAYERS for one in ("depth=1000", "width=2")]
    settings = look_up(config.load("digits", overrides))
    assert sum(1 for _ in build.new_generator(settings.config, settings.networks, DATA.spec).modules()) > 1000
    assert sum(1 for _ in build.new_discriminator(settings.config, settings.networks, DATA.spec).modules()) > 1000


@pytest.fixture
def unhurried(monkeypatch):
    """The disk is not waited for."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("seed", range(40))
def test_extreme_settings_are_played_or_refused(seed, tmp_path):
    assert play(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("seed", range(1_000, 1_800))
def test_many_extreme_settings_are_played_or_refused(seed, tmp_path):
    assert play(seed, tmp_path)
