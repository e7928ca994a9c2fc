"""The environment variables that torchrun sets: number of processes, ranks, restarts."""

import os

from zerosum.errors import ConfigError, named


def size() -> int:
    """Number of processes that torchrun started; 1 without torchrun.

    Raises:
        ConfigError: The variables are incomplete or invalid.
    """
    count = _integer("WORLD_SIZE", 1, 1)
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
    """Rank of this process, below `count`."""
    value = _integer("RANK", 0, 0)
    if value >= count:
        raise ConfigError(f"RANK = {value} in the environment, but WORLD_SIZE = {count}: ranks count from 0")
    return value


def local_rank() -> int:
    """Rank of this process on its machine."""
    return _integer("LOCAL_RANK", 0, 0)


def local_size() -> int:
    """Number of processes on this machine; 0 if unknown."""
    return _integer("LOCAL_WORLD_SIZE", 0, 0)


def restarts() -> int:
    """Number of times that torchrun restarted the processes after a failure."""
    return _integer("TORCHELASTIC_RESTART_COUNT", 0, 0)


def _integer(name: str, default: int, minimum: int) -> int:
    raw = os.environ.get(name)
    if raw is None:
        return default
    if not (raw.isascii() and raw.isdigit()) or len(raw) > 9 or int(raw) < minimum:
        raise ConfigError(
            f"{name} = {named(raw)!r} in the environment is no number of {minimum} or more. torchrun sets it; "
            f"to play without torchrun, unset {name}"
        )
    return int(raw)
