"""Random numbers as a function of a seed and a key, independent of what was drawn before.

Every draw has a key such as (round, batch of the phase, purpose), and a new generator is made from it. So a checkpoint
contains no random state, any round can be replayed, and resuming is exact.
"""

from zlib import crc32

import numpy as np
import torch
from torch import Tensor


def derive_seed(seed: int, *key: int | str) -> int:
    """Derive a 63-bit seed from a seed and a key.

    >>> derive_seed(0, 3, "latent") == derive_seed(0, 3, "latent") != derive_seed(0, 4, "latent")
    True
    """
    words = [crc32(part.encode()) if isinstance(part, str) else part for part in key]
    return int(np.random.SeedSequence(seed, spawn_key=words).generate_state(1, np.uint64)[0] >> 1)


def generator(seed: int, *key: int | str) -> torch.Generator:
    """Make a CPU generator for a key, so that the draws do not depend on the device."""
    return torch.Generator().manual_seed(derive_seed(seed, *key))


def uniform(shape: tuple[int, ...], seed: int, *key: int | str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw uniform numbers in [0, 1)."""
    return torch.rand(shape, generator=generator(seed, *key), dtype=dtype)


def normal(shape: tuple[int, ...], seed: int, *key: int | str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw standard normal numbers."""
    return torch.randn(shape, generator=generator(seed, *key), dtype=dtype)


def set_global(seed: int, *key: int | str) -> None:
    """Seed torch's global generators, which initialization and dropout use.

    `torch.manual_seed` seeds all types of devices, which takes most of a millisecond; this seeds only those in use.
    """
    number = derive_seed(seed, *key)
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(number)
