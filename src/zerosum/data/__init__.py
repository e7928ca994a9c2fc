"""Data sets: those included in zerosum, and those made from a user's arrays, files and folders."""

from zerosum.data.arrays import from_array, from_file
from zerosum.data.checks import validate
from zerosum.data.dataset import Data, Factory, Split
from zerosum.data.digits import digits
from zerosum.data.folder import from_folder
from zerosum.data.mixture import Mixture
from zerosum.data.mnist import mnist
from zerosum.data.toy import grid, mixture_1d, ring

DATASETS: dict[str, Factory] = {"digits": digits, "mnist": mnist, "ring": ring, "grid": grid, "mixture-1d": mixture_1d}

__all__ = ["DATASETS", "Data", "Factory", "Mixture", "Split", "from_array", "from_file", "from_folder", "validate"]
