"""Where settings come from: recipes (TOML) that state only what differs from the defaults, and `--set` on top of them.

What is wrong is said in the user's words: the setting, what it was, and the nearest right one.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from importlib import resources
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, get_args

import tomli_w
from pydantic import BaseModel, ValidationError

from zerosum import files
from zerosum.config.settings import Config, Tree
from zerosum.errors import ConfigError, named, unknown

FREE = (
    "train.rounds", "train.minutes", "train.keep", "train.check_every", "train.processes", "train.timeout",
    "about", "source", "result",
)  # fmt: skip
"""Settings that may change when a run is resumed: they do not touch the game that was played so far."""

AUTOMATIC = ("device", "precision", "threads")
"""Settings of `train` that a machine decides where the user does not, and that then stay with the run."""


FILES = (".npy", ".npz", ".csv")
"""Endings of files that hold data: no row of DATASETS and no callable has one."""

OLD = {
    "optimisers": "optimizers", "average": "ema", "train.steps": "train.rounds", "latent.law": "latent.distribution",
    "game.terms": 'game.reduction ("sum" or "mean")', "data.colour": "data.color",
}  # fmt: skip
"""Settings of zerosum 0.1.0 under another name; the options `rate` and `memory` of optimizers are `lr` and `alpha`."""

MOST = 4 * files.MIB
"""Bytes of a recipe."""


def shipped() -> dict[str, Path]:
    """Name and file of every recipe that comes with zerosum."""
    folder = Path(str(resources.files("zerosum"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def recipe_text(recipe: str) -> str:
    """The TOML text of a recipe, given by its name or by the path of a file.

    Raises:
        ConfigError: There is no such recipe, or the file cannot be read.
    """
    known = shipped()
    if recipe in known:
        return known[recipe].read_text(encoding="utf-8")
    if not recipe.endswith(".toml"):
        raise ConfigError(unknown("recipe", recipe, known) + ". A file of your own ends in .toml")
    try:
        return files.read(Path(recipe), MOST, follow=True).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        why = files.reason(error) if isinstance(error, OSError) else error
        raise ConfigError(f"cannot read the recipe {named(recipe)}: {why}") from None


def load(recipe: str, overrides: Sequence[str] = ()) -> Config:
    """The settings of a recipe, with overrides of the form "section.key=value".

    Args:
        recipe: A name (see `shipped`) or the path of a .toml file.
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
            raise ConfigError(f"'{text}' sets nothing: write section.key=value, for example train.rounds=2000")
        if not is_text(text):
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
    old = [f"{name} is now {OLD[name]}" for name in OLD if _holds(tree, name.split("."))]
    if old:
        raise ConfigError(f"{where}: settings of zerosum 0.1.0, of which some changed their names: {'; '.join(old)}")
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error, Config, where)) from None


def _holds(tree: Any, path: list[str]) -> bool:
    """Whether a tree has something at a path."""
    for name in path:
        if not isinstance(tree, Mapping) or name not in tree:
            return False
        tree = tree[name]
    return True


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


def is_file(name: str) -> bool:
    """Whether a data set is named by its file: an ending tells."""
    return name.lower().endswith(FILES) or (":" not in name and bool(Path(name).suffix))


def is_path(name: str) -> bool:
    r"""Whether a data set is named by where it lies; told from the name alone, without a look at the disk.

    >>> [is_path(name) for name in ("points.csv", "/a/b", r"C:\b", "a/b", "mnist", "my_lab:faces")]
    [True, True, True, True, False, False]
    """
    whole = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
    return whole or is_file(name) or (":" not in name and "/" in name)


def is_code(name: str) -> bool:
    """Whether a name is that of something to import, "module:name"."""
    return ":" in name and not is_path(name)


def code_names(config: Config) -> list[tuple[str, str]]:
    """Every setting whose value is code, and the code: nothing else in the settings is ever imported."""
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
    """The settings as TOML; what is absent (None) is left out.

    >>> load("digits") == check(parse(dumps(load("digits"))))
    True

    Raises:
        ConfigError: A text in it holds bytes that are no UTF-8: TOML has no way to say them.
    """
    odd = [key for key, value in flat(config.model_dump()).items() if isinstance(value, str) and not is_text(value)]
    if odd:
        raise ConfigError(f"{odd[0]} holds bytes that are no UTF-8 text; give another name")
    return tomli_w.dumps(_present(config.model_dump(exclude_none=True)), multiline_strings=False)


def is_text(value: str) -> bool:
    """Whether UTF-8 can say it: a name of a file may hold any bytes."""
    return value == value.encode(errors="replace").decode()


def _present(tree: Tree) -> Tree:
    """A tree without None; pydantic leaves it in where a setting is itself a tree."""
    return {
        name: _present(value) if isinstance(value, dict) else value for name, value in tree.items() if value is not None
    }


def differences(new: Config, old: Config) -> list[str]:
    """What a resumed run may not change: one line "section.key: old -> new" for each setting that differs."""
    before, after = flat(old.model_dump()), flat(new.model_dump())
    free = FREE if new.train.processes == old.train.processes else (*FREE, "train.threads")
    keys = [key for key in sorted(before | after) if key not in free]
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
