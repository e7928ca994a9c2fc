"""Data sets: what comes with zerosum, and whatever the user has."""

from zerosum.data.arrays import from_array, from_file
from zerosum.data.dataset import Data, Mixture, Opener, Rows, checked
from zerosum.data.digits import digits
from zerosum.data.folder import from_folder
from zerosum.data.mnist import mnist
from zerosum.data.toy import grid, mixture_1d, ring

DATASETS: dict[str, Opener] = {"digits": digits, "mnist": mnist, "ring": ring, "grid": grid, "mixture-1d": mixture_1d}

__all__ = ["DATASETS", "Data", "Mixture", "Opener", "Rows", "checked", "from_array", "from_file", "from_folder"]
