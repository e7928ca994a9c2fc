"""Names to objects, and options checked against signatures.

A name is that of a row of a table, or "module:name" for the user's own code. The options of a row are its keyword-only
arguments; names, types, ranges and defaults are read from the signature.
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

_MODULE_FOLDERS: set[Path] = set()
"""Folders from which the user's modules were imported so far."""


def lookup(table: Mapping[str, Any], name: str, kind: str) -> Any:
    """Look up a row of a table, or import "module:name" if the command has the permission (see `permission`).

    Raises:
        ConfigError: There is no such row, or the import failed.
        Untrusted: The name refers to code, which this command may not import.
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
        return getattr(_import(module, folder), attribute)
    except (ImportError, AttributeError, ValueError, TypeError, SyntaxError) as error:
        where = f". Modules of your own are looked for in {folder}" if isinstance(error, ModuleNotFoundError) else ""
        raise ConfigError(f"the {kind} '{named(name)}' cannot be imported: {error}{where}") from None


def _import(name: str, folder: Path) -> ModuleType:
    """Import an installed module, or one in `folder`, whatever the working folder is; installed ones come first.

    Raises:
        ConfigError: A module of that name from another place is already loaded.
    """
    package = name.partition(".")[0]
    with _with_module_folder(folder):
        found, loaded = PathFinder.find_spec(package), getattr(sys.modules.get(package), "__spec__", None)
        if found and loaded and found.origin != loaded.origin and folder in Path(found.origin or "").parents:
            raise ConfigError(
                f"the module '{package}' in {named(folder)} cannot be imported, since another of that name is in use: "
                f"{named(loaded.origin)}. Use them in two processes"
            )
        return importlib.import_module(name)


@contextmanager
def _with_module_folder(folder: Path) -> Iterator[None]:
    """In the block, search installed modules, then `folder`, and no other folder (such as the working folder).

    Afterwards `folder` stays last in sys.path, for later imports by its modules.
    """
    before, module_folders = sys.path[:], {Path.cwd(), *_MODULE_FOLDERS, folder}
    _MODULE_FOLDERS.add(folder)
    sys.path[:] = [entry for entry in before if Path(entry).absolute() not in module_folders] + [str(folder)]
    try:
        yield
    finally:
        sys.path[:] = before if str(folder) in before else [*before, str(folder)]


def options(
    given: Mapping[str, Any],
    where: str,
    *functions: Callable[..., Any],
    takes: Sequence[str] | None = None,
    siblings: Sequence[str] = (),
) -> Tree:
    """Check options against the keyword-only arguments of functions; return them, completed by defaults.

    Args:
        given: Options, name -> value.
        where: Name of the setting that holds them, for messages.
        functions: Rows of a table, or the user's own functions.
        takes: Names of the positional arguments of the later call; None: do not check them.
        siblings: Other valid names at this place, for hints on misspelled ones.

    Raises:
        ConfigError: An option is unknown or has a wrong type or range, or a function cannot be called this way.
    """
    fields: Tree = {}
    for function in functions:
        hints, keywords = _signature_of(function, where, takes)
        for name, parameter in keywords.items():
            required = parameter.default is inspect.Parameter.empty
            fields[name] = (hints.get(name, Any), ... if required else parameter.default)
    closed = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    model: type[BaseModel] = create_model("Options", __config__=closed, **fields)
    try:
        return model.model_validate(dict(given)).model_dump()
    except ValidationError as error:
        raise ConfigError(explain(error, model, "the settings", prefix=where, siblings=siblings)) from None


def keywords(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only arguments of a function."""
    parameters = inspect.signature(function).parameters.items()
    return {name: parameter for name, parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def _signature_of(
    function: Callable[..., Any], where: str, takes: Sequence[str] | None
) -> tuple[Tree, dict[str, inspect.Parameter]]:
    """Type hints and keyword-only arguments of a function; checks that it can be called with `takes`."""
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
    """Return `found` if it is an instance of `kind`; else raise ConfigError."""
    if not isinstance(found, kind):
        raise ConfigError(f"{where}: expected {kind.__name__}, found {type(found).__name__}")
    return found
