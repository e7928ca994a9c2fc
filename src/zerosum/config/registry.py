"""From a name to an object, and from a signature to checked options.

A name is a row of a table, or "module:name" for something of the user's own. What a row can be told are its
keyword-only arguments: their names, types and ranges are read from the signature, so that a function documents and
checks itself.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from zerosum import permission
from zerosum.config.recipes import explain
from zerosum.config.settings import Tree
from zerosum.errors import ConfigError, Untrusted, named, unknown

T = TypeVar("T")

_SEARCHED: set[Path] = set()
"""Folders in which modules of the user's own were looked for so far."""


def lookup(table: Mapping[str, Any], name: str, kind: str) -> Any:
    """The row of that name, or the object at "module:name", which only some commands may import (see `permission`).

    Raises:
        ConfigError: There is no such row, or nothing to import.
        Untrusted: It is code, and the command that runs may not import it.
    """
    if name in table:
        return table[name]
    if ":" not in name:
        raise ConfigError(unknown(kind, named(name), table) + '. One of your own is written "module:name"')
    folder = permission.current().code
    if folder is None:
        raise Untrusted(f"the {kind} '{named(name)}' is code, which was not imported. --trust says that it may be")
    module, _, attribute = name.partition(":")
    try:
        return getattr(_imported(module, folder), attribute)
    except (ImportError, AttributeError, ValueError, TypeError, SyntaxError) as error:
        where = f". Modules of your own are looked for in {folder}" if isinstance(error, ModuleNotFoundError) else ""
        raise ConfigError(f"the {kind} '{named(name)}' cannot be imported: {error}{where}") from None


def _imported(name: str, folder: Path) -> ModuleType:
    """A module that is installed, or lies in a folder: in that one alone, wherever the command was started.

    What lies there takes no installed module's place.

    Raises:
        ConfigError: Another module of that name, which lies elsewhere, is in use already.
    """
    top = name.partition(".")[0]
    with _searched_last(folder):
        found, there = PathFinder.find_spec(top), getattr(sys.modules.get(top), "__spec__", None)
        if found and there and found.origin != there.origin and folder in Path(found.origin or "").parents:
            raise ConfigError(
                f"the module '{top}' in {named(folder)} cannot be imported, since another of that name is in use: "
                f"{named(there.origin)}. Use them in two processes"
            )
        return importlib.import_module(name)


@contextmanager
def _searched_last(folder: Path) -> Iterator[None]:
    """Look for modules where they are installed and then in this folder; in the working folder only if it is that one.

    Afterwards the folder is searched last, for what its modules import later.
    """
    before, others = sys.path[:], {Path.cwd(), *_SEARCHED, folder}
    _SEARCHED.add(folder)
    sys.path[:] = [entry for entry in before if Path(entry).absolute() not in others] + [str(folder)]
    try:
        yield
    finally:
        sys.path[:] = before if str(folder) in before else [*before, str(folder)]


def options(
    given: Mapping[str, Any],
    where: str,
    *functions: Callable[..., Any],
    takes: Sequence[str] | None = None,
    beside: Sequence[str] = (),
) -> Tree:
    """The keyword-only arguments of functions: those given, checked, and the defaults of the others.

    Args:
        given: Names and values.
        where: The setting that holds them.
        functions: Rows of a table, or functions of the user's own.
        takes: What they are called with besides; None: that is not looked at.
        beside: Settings that stand beside the options, for a hint where one was misspelt.

    Raises:
        ConfigError: One that no function takes, a value of the wrong type or range, or a function that does not fit.
    """
    fields: Tree = {}
    for function in functions:
        hints, keywords = _declared(function, where, takes)
        for name, parameter in keywords.items():
            required = parameter.default is inspect.Parameter.empty
            fields[name] = (hints.get(name, Any), ... if required else parameter.default)
    closed = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    model: type[BaseModel] = create_model("Options", __config__=closed, **fields)
    try:
        return model.model_validate(dict(given)).model_dump()
    except ValidationError as error:
        raise ConfigError(explain(error, model, "the settings", prefix=where, beside=beside)) from None


def keywords(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only arguments of a function."""
    parameters = inspect.signature(function).parameters.items()
    return {name: parameter for name, parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def _declared(
    function: Callable[..., Any], where: str, takes: Sequence[str] | None
) -> tuple[Tree, dict[str, inspect.Parameter]]:
    """Types and keyword-only arguments of a function, once it is seen to take what it will be called with."""
    try:
        hints = get_type_hints(function.func if isinstance(function, partial) else function, include_extras=True)
        named = keywords(function)
        if takes is not None:
            inspect.signature(function).bind(*takes, **named)
    except (TypeError, ValueError, NameError) as error:
        call = "" if takes is None else f" with ({', '.join(takes)})"
        raise ConfigError(f"{where}: {function!r} cannot be called{call}: {error}") from None
    return hints, named


def expect(kind: type[T], found: Any, where: str) -> T:
    """What was found, once it is seen to be of that kind."""
    if not isinstance(found, kind):
        raise ConfigError(f"{where}: expected {kind.__name__}, found {type(found).__name__}")
    return found
