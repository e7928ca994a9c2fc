"""Recipes: TOML files that contain only differences from the default settings; `--set` overrides them.

An error message names the setting, its wrong value, and the nearest valid name.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from importlib import resources
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, get_args

import tomli_w
from pydantic import BaseModel, ValidationError

from zerosum import files
from zerosum.config.settings import Config, Tree
from zerosum.errors import ConfigError, named, typed, unknown

CHANGEABLE = (
    "train.rounds", "train.minutes", "train.keep", "train.check_every", "train.processes", "train.timeout",
    "about", "source", "result",
)  # fmt: skip
"""Settings that may differ when a run is resumed, because they do not affect the rounds played so far."""

AUTOMATIC = ("device", "precision", "threads")
"""Settings of `train` that are chosen for the machine when a run starts, unless the user sets them; then fixed."""

DATA_SUFFIXES = (".npy", ".npz", ".csv")
"""Suffixes of data files; no row of DATASETS and no callable has one."""

RENAMED = {
    "optimisers": "optimizers", "average": "ema", "train.steps": "train.rounds", "latent.law": "latent.distribution",
    "game.terms": 'game.reduction ("sum" or "mean")', "data.colour": "data.color",
    "nets.discriminator.normalise": "nets.discriminator.normalize",
}  # fmt: skip
"""Settings renamed since zerosum 0.1.0: old -> new; optimizer options `rate` and `memory` are `lr` and `alpha` now."""

Override = str | tuple[str, Any]
"""A changed setting: ("section.key", value), or as it is typed, "section.key=value"."""

MAX_BYTES = 4 * files.MIB
"""Maximum size of a recipe in bytes."""


def shipped() -> dict[str, Path]:
    """Map the name of each recipe that comes with zerosum to its file."""
    folder = Path(str(resources.files("zerosum"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def recipe_text(recipe: str) -> str:
    """Read the TOML text of a recipe, given its name or the path of a file.

    Raises:
        ConfigError: There is no such recipe, or its file cannot be read.
    """
    known = shipped()
    if recipe in known:
        return known[recipe].read_text(encoding="utf-8")
    if not recipe.endswith(".toml"):
        settings = Path(recipe) / "config.toml"
        hint = ". A file of your own ends in .toml"
        if "\0" not in recipe and os.path.isfile(settings):  # noqa: PTH113  False, too, where the name is too long
            hint = f". To go on with that run: zerosum train {typed(settings)} --out {typed(recipe)}"
        raise ConfigError(unknown("recipe", recipe, known) + hint)
    try:
        return files.read(Path(recipe), MAX_BYTES, follow=True).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        why = files.reason(error) if isinstance(error, OSError) else error
        raise ConfigError(f"cannot read the recipe {named(recipe)}: {why}") from None


def load(recipe: str, overrides: Iterable[Override] = ()) -> Config:
    """Load a recipe, apply overrides, and check the settings.

    Args:
        recipe: A name (see `shipped`) or the path of a .toml file.
        overrides: Applied in order; a typed value is TOML, or a string without quotes.

    Raises:
        ConfigError: The recipe or an override is invalid; the message names the setting and the nearest valid one.
    """
    tree = parse(recipe_text(recipe), where=recipe)
    tree.setdefault("name", run_name(Path(recipe).stem))
    return check(override(tree, overrides), where=recipe)


def run_name(text: str) -> str:
    """Make a valid run name from a text: replace characters that a folder name should not have.

    >>> run_name("my faces (2)")
    'my-faces--2-'
    """
    return re.sub(r"[^\w.-]", "-", text)[:100] or "run"


def parse(text: str, where: str = "the recipe") -> Tree:
    """Parse a TOML text.

    Raises:
        ConfigError: It is not valid TOML.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # an integer of 5000 digits raises a plain ValueError
        raise ConfigError(f"{where} is not valid TOML: {error}") from None


def override(tree: Tree, overrides: Iterable[Override]) -> Tree:
    """Return a copy of the tree with overrides applied in order.

    Raises:
        ConfigError: An override is malformed, or its key does not exist.
    """
    try:
        tree = deepcopy(tree)
    except RecursionError:
        raise ConfigError("the settings are nested too deeply") from None
    for given in overrides:
        key, value = _parse_override(given) if isinstance(given, str) else given
        text = given if isinstance(given, str) else f"{key}={_shorten(value)}"
        path = [part.strip() for part in key.split(".")]
        if not all(path):
            raise ConfigError(f"'{text}' sets nothing: write section.key=value, for example train.rounds=2000")
        if not is_utf8(key) or (isinstance(value, str) and not is_utf8(value)):
            raise ConfigError(f"{text!r} holds bytes that are no UTF-8 text")
        _set(tree, path, value.item() if hasattr(value, "item") else value, text)  # `item`: a number of numpy or torch
    return tree


def _parse_override(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"'{text}' sets nothing: write section.key=value, for example train.rounds=2000")
    return key, _value(value.strip())


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _set(tree: Any, path: list[str], value: Any, text: str) -> None:
    *parents, last = path
    try:
        for name in parents:
            tree = tree[int(name)] if isinstance(tree, list) else _subtree(tree, name)
        if isinstance(tree, list):
            tree[int(last)] = value
            return
        if parents and last == "name" and tree.get("name") != value:
            tree.clear()  # the options belong to the row that is replaced
        tree[last] = value
    except (ValueError, IndexError, TypeError, AttributeError):
        raise ConfigError(f"'{text}' cannot be set: {'.'.join(path)} leads nowhere") from None


def _subtree(tree: Tree, name: str) -> Any:
    """Get or create a subtree; a choice given as a string becomes {"name": string}."""
    subtree = tree.setdefault(name, {})
    if isinstance(subtree, str):
        subtree = tree[name] = {"name": subtree}
    return subtree


def check(tree: Mapping[str, Any], where: str = "the settings") -> Config:
    """Validate a tree of settings.

    Raises:
        ConfigError: Settings are unknown or have wrong values; one line each.
    """
    old = [f"{name} is now {RENAMED[name]}" for name in RENAMED if _contains(tree, name.split("."))]
    if old:
        raise ConfigError(f"{where}: settings of zerosum 0.1.0, of which some changed their names: {'; '.join(old)}")
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error, Config, where)) from None


def _contains(tree: Any, path: list[str]) -> bool:
    """Whether the tree has a value at a path; the options of the user's own code are not looked at."""
    for name in path:
        if not isinstance(tree, Mapping) or name not in tree or is_code(str(tree.get("name", ""))):
            return False
        tree = tree[name]
    return True


def explain(
    error: ValidationError, model: type[BaseModel], where: str, prefix: str = "", siblings: Sequence[str] = ()
) -> str:
    """Translate pydantic's errors into one line each, with the names of settings."""
    lines = []
    for finding in error.errors(include_url=False):
        path = [str(part) for part in finding["loc"]]
        name = ".".join([prefix, *path] if prefix else path) or '""'
        if finding["type"] == "extra_forbidden":
            known = [*_sibling_settings(model, path), *siblings]
            hint = unknown("setting", path[-1], known).partition("'.")[2]
            lines.append(f"{name} is not a setting.{hint}")
        else:
            reason = re.sub(r"^(Value error, |Input )", "", finding["msg"])
            lines.append(f"{name} = {_shorten(finding['input'])}: {reason[:1].lower()}{reason[1:]}")
    return f"{where}: " + "\n".join(lines)


def _shorten(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # too many digits or levels
        return "..."
    return text if len(text) <= 60 else text[:57] + "..."


def _sibling_settings(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path[:-1]:
        field = model.model_fields.get(part)
        model = next(iter(_models(field.annotation)), model) if field else model
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def is_file(name: str) -> bool:
    """Whether a data set's name is that of a file, judged by its suffix."""
    return name.lower().endswith(DATA_SUFFIXES) or (":" not in name and bool(Path(name).suffix))


def is_path(name: str) -> bool:
    r"""Whether a data set's name is a path, judged by the name alone, without disk access.

    >>> [is_path(name) for name in ("points.csv", "/a/b", r"C:\b", "a/b", "mnist", "my_lab:faces")]
    [True, True, True, True, False, False]
    """
    whole = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
    return whole or is_file(name) or (":" not in name and "/" in name)


def is_code(name: str) -> bool:
    """Whether a name refers to code to import, "module:name"."""
    return ":" in name and not is_path(name)


def code_settings(config: Config) -> list[tuple[str, str]]:
    """List (setting, "module:name") of all settings that refer to code; nothing else is ever imported."""
    named_rows = [
        ("data", config.data.name),
        ("nets.name", config.nets.name),
        ("loss", config.loss.name),
        *((f"penalties.{number}", penalty.name) for number, penalty in enumerate(config.penalties)),
        ("optimizers.generator", config.optimizers.generator.name),
        ("optimizers.discriminator", config.optimizers.discriminator.name),
    ]
    return [(setting, name) for setting, name in named_rows if (is_code(name) if setting == "data" else ":" in name)]


def dumps(config: Config) -> str:
    """Write the settings as TOML; None is left out.

    >>> load("digits") == check(parse(dumps(load("digits"))))
    True

    Raises:
        ConfigError: A string is not valid UTF-8, as TOML requires.
    """
    bad = [key for key, value in flat(config.model_dump()).items() if isinstance(value, str) and not is_utf8(value)]
    if bad:
        raise ConfigError(f"{bad[0]} holds bytes that are no UTF-8 text; give another name")
    return tomli_w.dumps(_no_none(config.model_dump(exclude_none=True)), multiline_strings=False)


def is_utf8(value: str) -> bool:
    """Whether a string can be encoded as UTF-8; a file name may hold other bytes."""
    return value == value.encode(errors="replace").decode()


def _no_none(tree: Tree) -> Tree:
    """Remove None at all levels; pydantic keeps it inside settings that are trees themselves."""
    return {
        name: _no_none(value) if isinstance(value, dict) else value for name, value in tree.items() if value is not None
    }


def differences(new: Config, old: Config) -> list[str]:
    """List settings that differ and may not, in a resumed run: "section.key: old -> new"."""
    before, after = flat(old.model_dump()), flat(new.model_dump())
    changeable = CHANGEABLE if new.train.processes == old.train.processes else (*CHANGEABLE, "train.threads")
    keys = [key for key in sorted(before | after) if key not in changeable]
    return [f"{key}: {before.get(key)} -> {after.get(key)}" for key in keys if before.get(key) != after.get(key)]


def flat(tree: Any, prefix: str = "") -> Tree:
    """Flatten a tree to a dict with dotted names.

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
    """Return a copy of the settings with some of `train` replaced."""
    return config.model_copy(update={"train": config.train.model_copy(update=settings)})
