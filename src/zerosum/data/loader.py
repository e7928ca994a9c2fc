"""Batches of encoded rows, in the dtype and on the device of the networks.

Data of up to `RESIDENT` bytes are kept on the device: uint8 images as stored and encoded batch by batch (a quarter of
the memory), other data encoded once. Larger data are read and encoded batch by batch. Data other than uint8 are encoded
in float64, since large numbers such as dates would lose precision in float32.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zerosum.data.dataset import Data
from zerosum.data.permutation import row_order
from zerosum.errors import ConfigError

RESIDENT = 2**30
"""Maximum size in bytes of training data that are kept on the device."""


def batch_loader(
    data: Data,
    size: int,
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
    labelled: bool = False,
    mine: slice = slice(None),
) -> Callable[[int], tuple[Tensor, Tensor | None]]:
    """Make a function that returns batches: index of a batch since the start of the run -> (x, c).

    Args:
        data: The data set.
        size: Number of rows in a batch.
        seed: Seed of the run; it determines the order of the rows.
        device: Device of x and c.
        dtype: Data type of x.
        labelled: Whether c contains the classes (-1: unknown); otherwise it is None.
        mine: Slice of each batch to return (the rows of this rank).

    Raises:
        ConfigError: A batch has more rows than the training data.
    """
    n = len(data.train)
    if n < size:
        raise ConfigError(
            f"game.batch = {size} is more than the {n} training rows. Try --set game.batch={max(1, n // 4)}"
        )
    rows_of, fetch = row_order(n, size, seed), row_fetcher(data, device, dtype)
    labels = torch.from_numpy(data.train.all_labels()).to(device) if labelled else None

    def batch(number: int) -> tuple[Tensor, Tensor | None]:
        rows = rows_of(number)[mine]
        return fetch(rows), None if labels is None else labels[torch.from_numpy(rows).to(device)]

    return batch


def row_fetcher(data: Data, device: torch.device, dtype: torch.dtype) -> Callable[[NDArray[np.int64]], Tensor]:
    """Make a function: row numbers -> encoded rows."""
    encode, is_uint8 = data.spec.encode, data.train.x.dtype == np.uint8
    encode_float64 = lambda x: encode(as_tensor(x)).to(dtype)  # noqa: E731
    to_device = lambda x: torch.from_numpy(np.ascontiguousarray(x)).to(device)  # noqa: E731
    if data.train.nbytes > RESIDENT:
        if is_uint8:
            return lambda rows: encode(to_device(data.train[rows][0]).to(dtype))
        return lambda rows: encode_float64(data.train[rows][0]).to(device)
    samples = data.train.all_samples()
    if is_uint8:
        stored = to_device(samples)
        return lambda rows: encode(stored[torch.from_numpy(rows).to(device)].to(dtype))
    encoded = encode_float64(samples).to(device)
    return lambda rows: encoded[torch.from_numpy(rows).to(device)]


def as_tensor(x: NDArray[np.generic]) -> Tensor:
    """Convert an array of any real type to a float64 tensor; torch lacks some types (uint16, other byte orders)."""
    return torch.from_numpy(np.ascontiguousarray(x).astype(np.float64))
