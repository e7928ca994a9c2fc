"""The order of the training rows: a pseudorandom permutation for each epoch, evaluated index by index.

The key of epoch e is (seed, e). There is no state: the rows of a round depend only on its number, so a run can be
resumed, replayed or divided between processes at any point.

The permutation is a Feistel network on the smallest square a x a with a^2 >= n: an index is a pair (left, right), and
each Feistel round swaps the two and adds a keyed hash of one to the other, modulo a. This is invertible, so no index
occurs twice. A result of n or more is permuted again until it is below n (cycle walking; few are).

Source: Black & Rogaway 2002, "Ciphers with arbitrary finite domains", CT-RSA; four rounds: Luby & Rackoff 1988.
"""

from functools import lru_cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8
"""Feistel rounds; four suffice in theory for large a. At n = 16, eight are needed for uniform pairs of rows."""

PREFETCH_BATCHES = 64
"""Number of batches whose rows are computed together: for one batch, the numpy calls would dominate the time."""

PREFETCH_ROWS = 2**13
"""Maximum number of rows computed together, except for larger batches, which gain nothing from it."""

Indices = NDArray[np.int64]


def permute(position: Indices, n: int, seed: int, epoch: int) -> Indices:
    """Permute positions of an epoch to row numbers.

    Args:
        position: Integers in [0, n).
        n: Number of rows.
        seed: Seed of the run.
        epoch: Number of the epoch.

    Returns:
        Integers in [0, n), different for different positions.

    >>> sorted(permute(np.arange(5), 5, seed=0, epoch=0).tolist())
    [0, 1, 2, 3, 4]
    """
    keys = np.random.SeedSequence(seed, spawn_key=(epoch,)).generate_state(ROUNDS, np.uint64).astype(np.uint64)
    side = np.uint64(isqrt(n - 1) + 1)
    index = _feistel(position.astype(np.uint64), side, keys)
    while (outside := index >= n).any():
        index[outside] = _feistel(index[outside], side, keys)
    return index.astype(np.int64)


def _feistel(x: NDArray[np.uint64], side: np.uint64, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    left, right = np.divmod(x, side)
    for key in keys:
        left, right = right, (left + _hash(right ^ key) % side) % side
    return left * side + right


def _hash(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finalizer of splitmix64: every bit of the result depends on every bit of x."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def batch_rows(batch: int, size: int, n: int, seed: int) -> Indices:
    """Row numbers of a batch; a batch may span two epochs, so all batches have the same size.

    Args:
        batch: Index of the batch since the start of the run.
        size: Number of rows in a batch.
        n: Number of rows in the data set.
        seed: Seed of the run.

    >>> first, second = batch_rows(0, 3, 6, seed=0), batch_rows(1, 3, 6, seed=0)
    >>> sorted([*first.tolist(), *second.tolist()])
    [0, 1, 2, 3, 4, 5]
    """
    count = max(1, min(PREFETCH_BATCHES, PREFETCH_ROWS // size))
    return _block(batch // count, count, size, n, seed)[batch % count]


@lru_cache(maxsize=4)
def _block(number: int, count: int, size: int, n: int, seed: int) -> Indices:
    """Row numbers (count, size) of `count` consecutive batches, block `number` of them."""
    position = np.arange(number * count * size, (number + 1) * count * size, dtype=np.int64)
    epochs = position // n
    parts = [permute(position[epochs == epoch] % n, n, seed, int(epoch)) for epoch in np.unique(epochs)]
    return np.concatenate(parts).reshape(count, size)
