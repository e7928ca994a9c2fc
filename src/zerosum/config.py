"""The settings of a run: what they mean, what they may be, where they come from.

A `Config` is frozen and holds no objects, only numbers and names. It is read from a recipe (TOML) that states only
what differs from the defaults below, then overridden by `--set section.key=value`. A `Choice` names a row of a table
(a loss, a pair of networks ...) and carries that row's options; `build` checks them against the row's signature.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zerosum.errors import ConfigError, unknown

LARGEST = 2**63 - 1
"""TOML's largest whole number."""

Positive = Annotated[int, Field(gt=0, le=LARGEST)]
Whole = Annotated[int, Field(ge=0, le=LARGEST)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Tree = dict[str, Any]
"""What a TOML file holds: names to numbers, texts, lists and further trees."""


class Section(BaseModel):
    """A group of settings: frozen, strictly typed, and closed to unknown names."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _keep_rows(cls, given: Any) -> Any:
        """Options of a choice without a name are those of the default row: `loss.smoothing = 0.1` alone will do."""
        if not isinstance(given, Mapping):
            return given
        rows = {key: field.default.name for key, field in cls.model_fields.items() if isinstance(field.default, Choice)}
        unnamed = {key: row for key, row in rows.items() if isinstance(given.get(key), Mapping)}
        return {**given, **{key: {"name": row, **given[key]} for key, row in unnamed.items()}}


class Choice(Section):
    """A row of a table and its options: `loss = "hinge"`, or a table with `name` and the options beside it."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(min_length=1)]
    """A row's name, or "module:callable" for one of your own."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @property
    def options(self) -> Tree:
        """The row's own options."""
        return dict(self.model_extra or {})


class PenaltyChoice(Choice):
    """A penalty on the discriminator."""

    weight: Annotated[float, Field(ge=0)] = 1.0
    """What the penalty is multiplied with (gamma of R1 and R2, lambda of WGAN-GP)."""
    every: Positive = 1
    """Rounds from one use to the next; the weight is multiplied by this, so the average strength stays."""


class Nets(Section):
    """The two players."""

    name: Annotated[str, Field(min_length=1)] = "mlp"
    """A pair of the NETS table."""
    generator: Tree = {}
    """Options of the pair's generator."""
    discriminator: Tree = {}
    """Options of the pair's discriminator."""
    conditions: Literal["none", "labels"] = "none"
    """`labels`: both players are told the class, G(z, c) and D(x, c)."""
    label_size: Positive = 16
    """Numbers that tell G a class."""


class Latent(Section):
    """The noise z."""

    law: Literal["normal", "uniform"] = "normal"
    """Standard normal, or uniform between `low` and `high`."""
    size: Positive = 64
    """How many numbers one z has."""
    low: float = -1.0
    """Lower end of the uniform law."""
    high: float = 1.0
    """Upper end of the uniform law."""

    @model_validator(mode="after")
    def _ordered(self) -> "Latent":
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} must lie below high = {self.high}")
        return self


Order = Literal["discriminator-first", "generator-first", "simultaneous"]


class Rules(Section):
    """How the game is played."""

    batch: Positive = 128
    """m: real samples, and as many fakes, in one step."""
    k: Positive = 1
    """Discriminator steps in one round (Algorithm 1)."""
    order: Order = "discriminator-first"
    """`discriminator-first`: Algorithm 1. `generator-first`: G moves, then D is trained on the fakes that were made
    before G moved. `simultaneous`: one evaluation of both gradients, then both move (the 2014 code)."""
    terms: Literal["summed", "halved"] = "summed"
    """D's two terms added up (-V; log 4 at equilibrium), or their mean (log 2 at equilibrium)."""
    flip: Share = 0.0
    """Share of the samples whose two logits are swapped in D's step: random label flips."""
    clip: Rate | None = None
    """Bound on the size of every weight of D, applied after each of its steps (WGAN's c). Absent: no bound."""

    @model_validator(mode="after")
    def _one_evaluation(self) -> "Rules":
        if self.order == "simultaneous" and self.k != 1:
            raise ValueError(f"order = 'simultaneous' evaluates both gradients once, so k = {self.k} must be 1")
        return self


class Average(Section):
    """The moving average of G's weights, from which samples are drawn."""

    half_life: Annotated[float, Field(ge=0)] = 10_000.0
    """Samples after which a weight's share has halved; 0 means no averaging."""
    ramp: Annotated[float, Field(gt=0)] | None = 0.05
    """At the start the half-life is at most this share of the samples seen so far. Absent: no ramp."""


class Schedule(Section):
    """The factor on both step sizes as a function of the round."""

    warmup: Whole = 0
    """Rounds over which the factor rises from 0 to 1."""
    decay: Literal["none", "linear", "cosine", "exponential"] = "none"
    """How the factor falls."""
    begin: Whole = 0
    """The round at which the decay begins."""
    end: Positive | None = None
    """The round at which `linear` and `cosine` reach `floor`; absolute, so a longer run follows the same curve."""
    factor: Annotated[float, Field(gt=0, le=1)] = 1.0
    """What `exponential` multiplies with each round."""
    floor: Share = 0.0
    """The factor never falls below this."""

    @model_validator(mode="after")
    def _end_is_known(self) -> "Schedule":
        if self.decay in ("linear", "cosine") and (self.end is None or self.end <= self.begin):
            raise ValueError(f"decay = '{self.decay}' needs end (a round) after begin = {self.begin}")
        return self


class Optimisers(Section):
    """How each player moves."""

    generator: Choice = Choice(name="adam")
    """A row of OPTIMISERS with its options."""
    discriminator: Choice = Choice(name="adam")
    """The same for D."""


class Train(Section):
    """How long, where, and what is kept."""

    steps: Positive = 2000
    """Rounds to play in all."""
    minutes: Rate | None = None
    """Wall-clock limit in minutes, summed over resumes. Absent: none."""
    seed: Whole = 0
    """Everything random follows from it."""
    device: str | None = None
    """`cpu`, `cuda`, `cuda:1`, `mps`. Absent: the best there is."""
    precision: Literal["float32", "float64"] = "float32"
    """The type of weights and arithmetic."""
    threads: Annotated[int, Field(gt=0, le=4096)] | None = None
    """CPU threads. Absent: torch's choice. Part of the run, since it decides the order of sums."""
    log_every: Positive = 50
    """Rounds from one reading to the next; there is one with each checkpoint, too."""
    save_every: Positive = 500
    """Rounds from one checkpoint to the next."""
    sample_every: Positive = 500
    """Rounds from one picture of samples to the next."""
    keep: Positive = 3
    """Checkpoints kept."""


class Config(Section):
    """All settings of one run."""

    name: Annotated[str, Field(pattern=r"^[\w.-]*[\w-][\w.-]*$", max_length=100)] = "run"
    """The recipe's name, and its run folder's."""
    about: str = ""
    """What it is, in a sentence."""
    source: str = ""
    """Where it comes from: paper and section, and what differs."""
    result: str = ""
    """What it got when it was run: number, seeds, time, machine."""
    data: Choice = Choice(name="digits")
    """A row of DATASETS, or the path of a .npy, .npz or .csv file, with its options."""
    nets: Nets = Nets()
    latent: Latent = Latent()
    loss: Choice = Choice(name="non-saturating")
    """A row of LOSSES."""
    penalties: Annotated[tuple[PenaltyChoice, ...], Field(strict=False)] = ()
    """Rows of PENALTIES, each with weight and interval."""
    game: Rules = Rules()
    average: Average = Average()
    optimisers: Optimisers = Optimisers()
    schedule: Schedule = Schedule()
    train: Train = Train()


FREE = ("train.steps", "train.minutes", "train.keep", "about", "source", "result")
"""Settings that may change when a run is resumed: they do not touch the game that was played so far."""

AUTOMATIC = ("device", "threads")
"""Settings of `train` that a machine decides where the user does not, and that then stay with the run."""


def recipes() -> dict[str, Path]:
    """Name and file of every recipe that comes with zerosum."""
    folder = Path(str(files("zerosum"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def recipe_text(recipe: str) -> str:
    """The TOML text of a recipe, given by its name or by the path of a file.

    Raises:
        ConfigError: There is no such recipe, or the file cannot be read.
    """
    known = recipes()
    if recipe in known:
        return known[recipe].read_text(encoding="utf-8")
    if not recipe.endswith(".toml"):
        raise ConfigError(unknown("recipe", recipe, known) + ". A file of your own ends in .toml")
    try:
        return Path(recipe).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"cannot read the recipe {recipe}: {error}") from None


def load(recipe: str, overrides: Sequence[str] = ()) -> Config:
    """The settings of a recipe, with overrides of the form "section.key=value".

    Args:
        recipe: A name (see `recipes`) or the path of a .toml file.
        overrides: Applied in order; values are TOML, and a bare word is a text.

    Raises:
        ConfigError: The recipe or an override is wrong; the message names the setting and the nearest right one.
    """
    tree = parse(recipe_text(recipe), where=recipe)
    tree.setdefault("name", plain(Path(recipe).stem))
    return check(override(tree, overrides), where=recipe)


def plain(text: str) -> str:
    """A text as the name of a run and of its folder.

    >>> plain("my faces (2)")
    'my-faces--2-'
    """
    return re.sub(r"[^\w.-]", "-", text)[:100] or "run"


def parse(text: str, where: str = "the recipe") -> Tree:
    """The tree of a TOML text.

    Raises:
        ConfigError: It is not valid TOML.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5000 digits is a plain ValueError
        raise ConfigError(f"{where} is not valid TOML: {error}") from None


def override(tree: Tree, overrides: Sequence[str]) -> Tree:
    """A copy of the tree with "section.key=value" put in, in order.

    Raises:
        ConfigError: An override is malformed or leads nowhere.
    """
    try:
        tree = deepcopy(tree)
    except RecursionError:
        raise ConfigError("the settings are nested too deeply") from None
    for text in overrides:
        key, separator, value = text.partition("=")
        path = [part.strip() for part in key.split(".")]
        if not separator or not all(path):
            raise ConfigError(f"'{text}' sets nothing: write section.key=value, for example train.steps=2000")
        if text != text.encode(errors="replace").decode():
            raise ConfigError(f"{text!r} holds bytes that are no UTF-8 text")
        _put(tree, path, _value(value.strip()), text)
    return tree


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _put(tree: Any, path: list[str], value: Any, text: str) -> None:
    *parents, last = path
    try:
        for name in parents:
            tree = tree[int(name)] if isinstance(tree, list) else _branch(tree, name)
        if isinstance(tree, list):
            tree[int(last)] = value
            return
        if parents and last == "name" and tree.get("name") != value:
            tree.clear()  # the options of another row mean nothing to the new one
        tree[last] = value
    except (ValueError, IndexError, TypeError, AttributeError):
        raise ConfigError(f"'{text}' cannot be set: {'.'.join(path)} leads nowhere") from None


def _branch(tree: Tree, name: str) -> Any:
    """The subtree of that name; a choice that was given as a bare word becomes a table."""
    below = tree.setdefault(name, {})
    if isinstance(below, str):
        below = tree[name] = {"name": below}
    return below


def check(tree: Mapping[str, Any], where: str = "the settings") -> Config:
    """The settings in a tree.

    Raises:
        ConfigError: One line for every setting that is unknown or has a wrong value.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error, Config, where)) from None


def explain(
    error: ValidationError, model: type[BaseModel], where: str, prefix: str = "", beside: Sequence[str] = ()
) -> str:
    """Pydantic's findings, each in one line in the user's words."""
    lines = []
    for finding in error.errors(include_url=False):
        path = [str(part) for part in finding["loc"]]
        name = ".".join([prefix, *path] if prefix else path) or '""'
        if finding["type"] == "extra_forbidden":
            siblings = [*_settings_beside(model, path), *beside]
            near = unknown("setting", path[-1], siblings).partition("'.")[2]
            lines.append(f"{name} is not a setting.{near}")
        else:
            reason = re.sub(r"^(Value error, |Input )", "", finding["msg"])
            lines.append(f"{name} = {_short(finding['input'])}: {reason[:1].lower()}{reason[1:]}")
    return f"{where}: " + "\n".join(lines)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # too many digits, too many levels
        return "..."
    return text if len(text) <= 60 else text[:57] + "..."


def _settings_beside(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path[:-1]:
        field = model.model_fields.get(part)
        model = next(iter(_models(field.annotation)), model) if field else model
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def dumps(config: Config) -> str:
    """The settings as TOML; what is absent (None) is left out.

    >>> load("digits") == check(parse(dumps(load("digits"))))
    True
    """
    return tomli_w.dumps(_present(config.model_dump(exclude_none=True)), multiline_strings=False)


def _present(tree: Tree) -> Tree:
    """A tree without None; pydantic leaves it in where a setting is itself a tree."""
    return {
        name: _present(value) if isinstance(value, dict) else value for name, value in tree.items() if value is not None
    }


def differences(new: Config, old: Config) -> list[str]:
    """What a resumed run may not change: one line "section.key: old -> new" for each setting that differs."""
    before, after = flat(old.model_dump()), flat(new.model_dump())
    keys = [key for key in sorted(before | after) if key not in FREE]
    return [f"{key}: {before.get(key)} -> {after.get(key)}" for key in keys if before.get(key) != after.get(key)]


def flat(tree: Any, prefix: str = "") -> Tree:
    """A tree as one level of dotted names.

    >>> flat({"game": {"k": 1}, "penalties": [{"name": "r1"}]})
    {'game.k': 1, 'penalties.0.name': 'r1'}
    """
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
    leaves: Tree = {}
    for name, value in items:
        key = f"{prefix}{name}"
        nested = isinstance(value, Mapping | list | tuple)
        leaves.update(flat(value, f"{key}.") if nested else {key: value})
    return leaves


def with_train(config: Config, **settings: Any) -> Config:
    """The same settings with some of `train` replaced."""
    return config.model_copy(update={"train": config.train.model_copy(update=settings)})
