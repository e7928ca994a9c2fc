"""What torchrun says of this process in its environment: how many play, and which of them this is."""

import os

from zerosum.errors import ConfigError, named


def size() -> int:
    """How many processes torchrun has started; 1 where it did not start this one.

    Raises:
        ConfigError: The environment says something that torchrun does not say.
    """
    count = _number("WORLD_SIZE", 1, 1)
    if count > 1:
        rank(count)
        missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        if missing:
            raise ConfigError(
                f"WORLD_SIZE = {count} in the environment says that {count} processes play, but {missing[0]} is not "
                "set. torchrun sets both; to play alone, unset WORLD_SIZE"
            )
    return count


def rank(count: int) -> int:
    """Which of so many processes this is, from 0."""
    found = _number("RANK", 0, 0)
    if found >= count:
        raise ConfigError(f"RANK = {found} in the environment, but WORLD_SIZE = {count}: ranks count from 0")
    return found


def local_rank() -> int:
    """Which of the processes of this machine this is."""
    return _number("LOCAL_RANK", 0, 0)


def local_size() -> int:
    """How many of the processes are on this machine; 0 where nobody says."""
    return _number("LOCAL_WORLD_SIZE", 0, 0)


def restarts() -> int:
    """How often torchrun has started this process anew, after one of them was lost."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0, 0)


def _number(name: str, default: int, least: int) -> int:
    text = os.environ.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < least:
        raise ConfigError(
            f"{name} = {named(text)!r} in the environment is no number of {least} or more. torchrun sets it; "
            f"to play without torchrun, unset {name}"
        )
    return int(text)
