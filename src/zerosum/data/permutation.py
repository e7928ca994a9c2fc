"""The order of the training rows: a random permutation for each epoch, one epoch after the other.

The permutation of epoch e is a function of (seed, e) and is drawn again whenever it is needed. There is no state: the
rows of a batch depend only on its number, so a run can be resumed, replayed or divided between processes at any point.
A process holds the permutation of one epoch, 4 bytes a row.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from zerosum.rng import generator

Indices = NDArray[np.int32] | NDArray[np.int64]


def permutation(n: int, seed: int, *key: int | str) -> Indices:
    """Draw a permutation of range(n) for a key.

    Args:
        n: Number of rows.
        seed: Seed.
        key: Purpose and numbers, such as ("rows", epoch).

    Returns:
        (n,) row numbers: int32 if they fit, to halve the memory, else int64.

    >>> sorted(permutation(5, 0, "rows", 0).tolist())
    [0, 1, 2, 3, 4]
    """
    dtype = torch.int32 if n <= 2**31 else torch.int64
    return torch.randperm(n, generator=generator(seed, *key), dtype=dtype).numpy()


def row_order(n: int, size: int, seed: int) -> Callable[[int], NDArray[np.int64]]:
    """Make a function that returns row numbers: index of a batch since the start of the run -> (size,).

    A batch may span two epochs, so all batches have the same size.

    Args:
        n: Number of rows in the data set.
        size: Number of rows in a batch.
        seed: Seed of the run.

    >>> rows = row_order(6, 3, seed=0)
    >>> sorted([*rows(0).tolist(), *rows(1).tolist()])
    [0, 1, 2, 3, 4, 5]
    """
    epoch_order = lru_cache(maxsize=1)(lambda epoch: permutation(n, seed, "rows", epoch))

    def rows(batch: int) -> NDArray[np.int64]:
        first, last = batch * size, (batch + 1) * size
        epochs = range(first // n, (last - 1) // n + 1)
        parts = [epoch_order(epoch)[max(0, first - epoch * n) : last - epoch * n] for epoch in epochs]
        return np.concatenate(parts).astype(np.int64)

    return rows
