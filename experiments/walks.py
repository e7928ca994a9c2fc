"""Walks: through which files of the library a value passes on its way to where it is used.

    python experiments/walks.py

A setting is given on the command line with a value that occurs nowhere else. Every function of the library that holds
the value in a local variable (in a text, or in lists and dicts up to three levels deep) is noted; what only holds a
whole `Config`, `Resolved` or `Game` in which the value lies is not. Among those found are bystanders, for the reader to
tell: the whole command is kept for messages (`cli/console.py`), all settings are written into config.toml (`run/`).
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from zerosum import session
from zerosum.cli import main

ROOT = Path(session.__file__).parent
SMALL = ["--rounds", "1", "--set", "game.batch=8", "--set", "train.threads=1", "--device", "cpu"]


def holds(value, wanted, depth=3):
    """Whether a value is, or contains, the wanted one."""
    if isinstance(wanted, str) and isinstance(value, str):
        return wanted in value
    if type(value) is type(wanted) and not isinstance(value, torch.Tensor | np.ndarray):
        if value == wanted:
            return True
    elif value is wanted:
        return True
    if depth and type(value) in (list, tuple, set):
        return any(holds(one, wanted, depth - 1) for one in value)
    if depth and type(value) is dict:
        return any(holds(one, wanted, depth - 1) for one in (*value, *value.values()))
    return isinstance(wanted, float | int) and isinstance(value, str) and str(wanted) in value


def files_of(action, found):
    """Files of the library in which a function ran that satisfies `found`, in the order of the first time."""
    seen = {}

    def watch(frame, event, _):
        if event not in ("call", "return"):
            return
        path = Path(frame.f_code.co_filename)
        if ROOT in path.parents and path not in seen and found(frame):
            seen[path] = None

    sys.setprofile(watch)
    try:
        action()
    except SystemExit:
        pass
    finally:
        sys.setprofile(None)
    return [str(path.relative_to(ROOT)) for path in seen]


def of_setting(name, text, wanted, used=()):
    """The files through which a setting passes; `used`: functions in which it is at work."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "rows.csv"
        rows = np.random.default_rng(0).normal(size=(80, 2))
        lines = [f"{a:.3f},{b:.3f},{'uv'[int(a > 0)]}" for a, b in rows]
        table.write_text("\n".join(["x,y,kindofrow", *lines]))
        data = ["--data", str(table)] if name.startswith("data.") else []
        sys.argv = ["zerosum", "train", "digits" if not data else "mixture-1d", *data, *SMALL, "--set", text,
                    "--out", f"{folder}/run", "--json"]  # fmt: skip

        def found(frame):
            return frame.f_code.co_name in used or any(holds(one, wanted) for one in list(frame.f_locals.values()))

        return files_of(main.main, found)


if __name__ == "__main__":
    session.Run.try_report = lambda self, say: None  # what comes after the training is another walk
    session.Run.summary = lambda self, played: {}
    for name, text, wanted, used in (
        ("loss", "loss=hinge", "hinge", ("hinge_discriminator",)),
        ("game.k", "game.k=37", 37, ()),
        ("penalties.0.weight", "penalties.0.weight=0.7654321", 0.7654321, ()),
        ("data.labels", "data.labels=kindofrow", "kindofrow", ()),
    ):
        walk = of_setting(name, text, wanted, used)
        print(f"{name}: {len(walk)} files: {', '.join(walk)}")
