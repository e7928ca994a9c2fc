"""The order in which data is met: a keyed permutation, evaluated index by index.

Epoch e uses the permutation of key (seed, e). Nothing is stored and nothing is remembered: the rows of any round follow
from the round's number alone, so a run can be resumed, replayed or shared between processes at any point.

The permutation is a Feistel network on the smallest square 2^b x 2^b that holds n, walked until it lands below n: each
round swaps the two halves and adds a keyed hash of one to the other, which can be undone, so no index is met twice.
"""

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6
"""Rounds of the network; four make it pseudo-random for ideal hashes (Luby & Rackoff 1988), ours is a cheap one."""

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
    keys = np.random.SeedSequence(seed, spawn_key=(epoch,)).generate_state(ROUNDS, np.uint64)
    bits = max(1, (max(n - 1, 1).bit_length() + 1) // 2)
    index = _feistel(position.astype(np.uint64), bits, keys)
    while (outside := index >= n).any():
        index[outside] = _feistel(index[outside], bits, keys)
    return index.astype(np.int64)


def _feistel(x: NDArray[np.uint64], bits: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mask = np.uint64(2**bits - 1)
    left, right = x >> np.uint64(bits), x & mask
    for key in keys:
        left, right = right, left ^ (_hash(right ^ key) & mask)
    return (left << np.uint64(bits)) | right


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
    position = np.arange(batch * size, (batch + 1) * size, dtype=np.int64)
    epochs = position // n
    return np.concatenate(
        [permute(position[epochs == epoch] % n, n, seed, int(epoch)) for epoch in np.unique(epochs)]
    )
