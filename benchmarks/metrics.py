"""The metrics beside the programs they must agree with: same features, same numbers, time and memory.

`python benchmarks/metrics.py` installs prdc and clean-fid, without what they depend on, into a folder of its own; of
clean-fid only the functions that take arrays are read, since importing it whole needs torchvision.
"""

import re
import resource
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from scipy import linalg

from zerosum.metrics.data_copying import data_copying_test
from zerosum.metrics.distances import frechet_distance, kernel_distance
from zerosum.metrics.prdc import prdc

ROWS, WIDTH = 10_000, 128


def fetched(folder):
    """The two programs: prdc's function, and clean-fid's two."""
    packages = ["prdc==0.2", "clean-fid==0.1.35"]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "-t", folder, *packages], check=True)
    sys.path.insert(0, folder)
    from prdc import compute_prdc

    text = Path(folder, "cleanfid/fid.py").read_text(encoding="utf-8")
    names = {"np": np, "linalg": linalg}
    for name in ("frechet_distance", "fid_from_feats", "kernel_distance"):
        exec(re.search(rf'^def {name}\([\s\S]*?(?=^def |^class |^""")', text, re.MULTILINE).group(0), names)
    return compute_prdc, names["fid_from_feats"], names["kernel_distance"]


def timed(call):
    began = perf_counter()
    with redirect_stdout(StringIO()):
        found = call()
    return found, perf_counter() - began


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main():
    rng = torch.Generator().manual_seed(0)
    real, fake, held_out = torch.randn(3, ROWS, WIDTH, generator=rng, dtype=torch.float64)
    fake = 1.05 * fake + 0.05
    x, y = real.numpy(), fake.numpy()
    before = peak()
    ours = {
        "Frechet": timed(lambda: frechet_distance(real, fake)),
        "kernel": timed(lambda: kernel_distance(real, fake)),
        "manifold": timed(lambda: prdc(real, fake)),
        "copying": timed(lambda: data_copying_test(real, held_out, fake)),
    }
    after = peak()
    seconds = sum(seconds for _, seconds in ours.values())
    print(f"ours: {seconds:.1f} s in all, {after:.2f} GiB at most ({before:.2f} before)")
    with tempfile.TemporaryDirectory() as folder:
        compute_prdc, fid, kid = fetched(folder)
    theirs = {
        "Frechet": timed(lambda: fid(x, y)),
        "kernel": timed(lambda: kid(x, y, num_subsets=1, max_subset_size=ROWS)),
        "precision, recall": timed(lambda: compute_prdc(x, y, 3)),
        "density, coverage": timed(lambda: compute_prdc(x, y, 5)),
    }
    three, five = theirs["precision, recall"][0], theirs["density, coverage"][0]
    found = ours["manifold"][0]
    both = [
        ("Frechet", ours["Frechet"][0].value, theirs["Frechet"][0]),
        ("kernel", ours["kernel"][0].value, theirs["kernel"][0]),
        ("precision", found.precision, three["precision"]),
        ("recall", found.recall, three["recall"]),
        ("density", found.density, five["density"]),
        ("coverage", found.coverage, five["coverage"]),
    ]
    for name, mine, other in both:
        away = abs(mine - other) / abs(other)
        print(f"{name:<10} ours {mine:.10g}  theirs {other:.10g}  relative difference {away:.1e}")
        assert away < 1e-6, name
    for name, (_, seconds) in theirs.items():
        print(f"theirs: {name:<18} {seconds:.1f} s")
    for name, (_, seconds) in ours.items():
        print(f"ours:   {name:<18} {seconds:.1f} s")
    print(f"peak with theirs {peak():.2f} GiB")


if __name__ == "__main__":
    main()
