"""The order in which data is met: a keyed permutation, evaluated index by index.

Epoch e uses the permutation of key (seed, e). Nothing is stored and nothing is remembered: the rows of any round follow
from the round's number alone, so a run can be resumed, replayed or shared between processes at any point.

The permutation is a Feistel network on the smallest square a x a that holds n: an index is a pair (left, right), and
each round swaps the two and adds a keyed hash of one to the other, modulo a. That can be undone, so no index is met
twice. An index that lands at n or beyond goes through again until it lies below (cycle walking; few do).

Source: Black & Rogaway 2002, "Ciphers with arbitrary finite domains", CT-RSA; four rounds: Luby & Rackoff 1988.
"""

from functools import lru_cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8
"""Rounds of the network; four suffice in theory, for large sides. At n = 16, pairs of rows need eight to be uniform."""

AHEAD = 64
"""Batches whose rows are computed together: one at a time, the calls take longer than the arithmetic."""

TOGETHER = 2**13
"""Rows computed together, unless a single batch has more: large batches gain nothing, and would wait for rows."""

Indices = NDArray[np.int64]


def permute(position: Indices, n: int, seed: int, epoch: int) -> Indices:
    """Where each position of an epoch leads.

    Args:
        position: Numbers in [0, n).
        n: How many rows there are.
        seed: Of the run.
        epoch: Which permutation.

    Returns:
        Numbers in [0, n), each once as `position` runs over all.

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
    """The finaliser of splitmix64: every bit of the result depends on every bit of x."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def rows_of(batch: int, size: int, n: int, seed: int) -> Indices:
    """The rows of a batch: batches follow each other through the epochs without a gap or a short one.

    Args:
        batch: The number of the batch since the run began.
        size: Rows in a batch.
        n: Rows in the data set.
        seed: Of the run.

    >>> first, second = rows_of(0, 3, 6, seed=0), rows_of(1, 3, 6, seed=0)
    >>> sorted([*first.tolist(), *second.tolist()])
    [0, 1, 2, 3, 4, 5]
    """
    count = max(1, min(AHEAD, TOGETHER // size))
    return _stretch(batch // count, count, size, n, seed)[batch % count]


@lru_cache(maxsize=4)
def _stretch(number: int, count: int, size: int, n: int, seed: int) -> Indices:
    """The rows (count, size) of batches that follow each other; the stretches are numbered."""
    position = np.arange(number * count * size, (number + 1) * count * size, dtype=np.int64)
    epochs = position // n
    parts = [permute(position[epochs == epoch] % n, n, seed, int(epoch)) for epoch in np.unique(epochs)]
    return np.concatenate(parts).reshape(count, size)
