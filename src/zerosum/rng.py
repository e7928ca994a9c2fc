"""Randomness as a function of what it is for, never of what was drawn before.

Every draw names (seed, step, inner step, purpose); a generator is made from that name and thrown away afterwards.
So a checkpoint holds no random state, any round can be played again, and resuming is exact.
"""

from zlib import crc32

import numpy as np
import torch
from torch import Tensor


def seed_of(seed: int, *key: int | str) -> int:
    """63 bits that follow from the seed and the purpose.

    >>> seed_of(0, 3, "latent") == seed_of(0, 3, "latent") != seed_of(0, 4, "latent")
    True
    """
    words = [crc32(part.encode()) if isinstance(part, str) else part for part in key]
    return int(np.random.SeedSequence(seed, spawn_key=words).generate_state(1, np.uint64)[0] >> 1)


def generator(seed: int, *key: int | str) -> torch.Generator:
    """A generator on the CPU for one purpose: the same draws whatever the device."""
    return torch.Generator().manual_seed(seed_of(seed, *key))


def uniform(shape: tuple[int, ...], seed: int, *key: int | str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers in [0, 1)."""
    return torch.rand(shape, generator=generator(seed, *key), dtype=dtype)


def normal(shape: tuple[int, ...], seed: int, *key: int | str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=generator(seed, *key), dtype=dtype)


def set_global(seed: int, *key: int | str) -> None:
    """Set torch's own random state, from which networks draw their weights and their dropout.

    `torch.manual_seed` does the same for every kind of device there could be, and takes most of a millisecond.
    """
    number = seed_of(seed, *key)
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(number)
