"""From rows to batches: encoded, in the type the networks want, on their device.

Small data stays on the device: uint8 images as they are, encoded batch by batch (a quarter of the memory), anything
else encoded once. More than `RESIDENT` bytes stay where they are: each batch is fetched and encoded when it is needed.
Encoding is done in float64 where the data is no uint8, since dates and other large numbers would lose their digits.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zerosum.data.dataset import Data
from zerosum.data.permutation import Indices, rows_of
from zerosum.errors import ConfigError

RESIDENT = 2**30
"""Bytes of training data that are kept on the device."""


def batch_loader(
    data: Data,
    size: int,
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
    labelled: bool = False,
    mine: slice = slice(None),
) -> Callable[[int], tuple[Tensor, Tensor | None]]:
    """Where batches come from: the number of a batch since the run began -> (x, c).

    Args:
        data: The data set.
        size: Rows in a batch.
        seed: Of the run: it decides their order.
        device: Where x is wanted.
        dtype: In which type.
        labelled: Whether c holds the classes (-1: not known); else it is None.
        mine: Which rows of each batch are wanted.

    Raises:
        ConfigError: There are fewer training rows than a batch has.
    """
    n = len(data.train)
    if n < size:
        raise ConfigError(
            f"game.batch = {size} is more than the {n} training rows. Try --set game.batch={max(1, n // 4)}"
        )
    fetch = row_fetcher(data, device, dtype)
    labels = torch.from_numpy(data.train.every_label()).to(device) if labelled else None

    def batch(number: int) -> tuple[Tensor, Tensor | None]:
        rows = rows_of(number, size, n, seed)[mine]
        return fetch(rows), None if labels is None else labels[torch.from_numpy(rows).to(device)]

    return batch


def row_fetcher(data: Data, device: torch.device, dtype: torch.dtype) -> Callable[[Indices], Tensor]:
    """Row numbers -> encoded rows."""
    encode, as_bytes = data.form.encode, data.train.x.dtype == np.uint8
    ready = lambda x: encode(as_tensor(x)).to(dtype)  # noqa: E731
    as_they_are = lambda x: torch.from_numpy(np.ascontiguousarray(x)).to(device)  # noqa: E731
    if data.train.nbytes > RESIDENT:
        if as_bytes:
            return lambda rows: encode(as_they_are(data.train[rows][0]).to(dtype))
        return lambda rows: ready(data.train[rows][0]).to(device)
    everything = data.train.everything()
    if as_bytes:
        stored = as_they_are(everything)
        return lambda rows: encode(stored[torch.from_numpy(rows).to(device)].to(dtype))
    encoded = ready(everything).to(device)
    return lambda rows: encoded[torch.from_numpy(rows).to(device)]


def as_tensor(x: NDArray[np.generic]) -> Tensor:
    """Numbers of any type as float64: torch does not know them all (uint16, foreign byte orders)."""
    return torch.from_numpy(np.ascontiguousarray(x).astype(np.float64))
