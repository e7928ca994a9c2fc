"""Where a data set comes from: a name of the table, a file, a folder, a function of the user's own."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from zerosum.config.recipes import Override, is_file, is_path
from zerosum.config.registry import lookup
from zerosum.config.settings import MAX_LATENT, Choice
from zerosum.data import DATASETS, Data, from_file, from_folder
from zerosum.errors import ConfigError


def is_folder(name: str) -> bool:
    """Whether a data set is named by a folder of pictures: one that is there, or a path without an ending."""
    if name in DATASETS or not name:
        return False
    try:
        return Path(name).is_dir() or (is_path(name) and not is_file(name))
    except (OSError, ValueError):
        return False


def is_on_disk(name: str) -> bool:
    """Whether a data set is named by where it lies, and not by a row of DATASETS or a path to import."""
    return is_file(name) or is_folder(name)


def opener(choice: Choice) -> Callable[..., Data]:
    """The function that opens a data set; its keyword-only arguments are the options.

    Raises:
        ConfigError: There is no such data set.
        Untrusted: It is code, which the running command may not import.
    """
    if is_folder(choice.name):
        return partial(from_folder, choice.name)
    if is_file(choice.name):
        return partial(from_file, choice.name)
    found: Callable[..., Data] = lookup(DATASETS, choice.name, "data set")
    if not callable(found):
        raise ConfigError(f"data = {choice.name}: expected a function, found {type(found).__name__}")
    return found


def absolute(choice: Choice) -> Choice:
    """The same data file from any working folder."""
    if not is_on_disk(choice.name):
        return choice
    try:
        path = Path(choice.name).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"data = {choice.name!r} cannot be a file: {error}") from None
    return Choice(name=path.as_posix(), **choice.options)


def suited(data: Data) -> tuple[str, list[Override], str]:
    """The recipe to start from for a user's own data, what to change in it, and why.

    Points start from `mixture-1d`, with wider networks, twice the rounds (docs/results.md has the difference) and at
    least as many latent numbers as dimensions, lest the samples lie on a sheet. Images of up to 16 x 16 start from
    `digits`, larger ones from `dcgan-mnist`. Where there are few rows, a batch is a quarter of them.
    """
    batch = min(64, max(4, len(data.train) // 4))
    changes: list[Override] = [
        ("source", "the recipe that suits the data"), ("about", data.name), ("game.batch", batch),
    ]  # fmt: skip
    if data.kind == "points":
        why = "points have no neighbourhoods that a convolution could use, so both players are perceptrons"
        changes += [("nets.generator.width", 128), ("nets.discriminator.width", 128)]
        changes += [("train.rounds", 6000), ("schedule.end", 6000)]
        changes += [("latent.size", min(MAX_LATENT, max(8, data.shape[0])))]
        return "mixture-1d", changes, why
    size = f"images of {data.shape[1]} x {data.shape[2]}"
    if max(data.shape[1:]) <= 16 or min(data.shape[1:]) < 8:
        return "digits", changes, f"{size} are small enough for perceptrons over all pixels"
    return "dcgan-mnist", changes, f"{size} have neighbourhoods, which convolutions use"
