"""The digits data set of scikit-learn: 1,797 handwritten digits, 8 x 8, gray.

The compressed table in scikit-learn's package is read without importing scikit-learn, which would take longer than the
first rounds of training. Gray values 0..16 are scaled to uint8 0..255.
"""

import csv
import gzip
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zerosum.data.dataset import Data, Split
from zerosum.data.reasons import DAMAGED, explain
from zerosum.errors import DataError, named


def digits() -> Data:
    """Handwritten digits of scikit-learn.

    The split is that of `train_test_split(test_size=0.3, random_state=0, stratify=y)`; its 540 test row numbers are
    stored in digits-test-rows.npy, and a test compares them with scikit-learn's result.
    """
    x, y = _table()
    held_out = np.zeros(len(x), dtype=bool)
    held_out[np.load(Path(__file__).with_name("digits-test-rows.npy"))] = True
    return Data(
        name="digits",
        kind="images",
        train=Split(x[~held_out], y[~held_out]),
        test=Split(x[held_out], y[held_out]),
        range=(0.0, 255.0),
        classes=tuple("0123456789"),
        source="E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI 1998; scikit-learn's copy",
        license="CC BY 4.0",
    )


@cache
def _table() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("the digits come with scikit-learn, which is not installed: pip install scikit-learn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        with gzip.open(path, "rt") as file:
            table = np.array([[int(float(cell)) for cell in row] for row in csv.reader(file)])
        gray = np.round(table[:, :64] * (255 / 16)).astype(np.uint8)
        return gray.reshape(-1, 1, 8, 8), table[:, 64].astype(np.int64)
    except (*DAMAGED, csv.Error) as error:
        raise DataError(f"{named(path)} cannot be read: {explain(error)}. Install scikit-learn anew") from None
