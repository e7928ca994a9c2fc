"""The rows of `zerosum list` (recipes, losses, runs ...) and the facts of `zerosum doctor`."""

import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from inspect import getdoc
from pathlib import Path
from time import perf_counter
from typing import Any

from zerosum import config, files, memory, run
from zerosum.errors import RunError, SystemFault, UsageError, unknown
from zerosum.run import manifest

Row = dict[str, Any]


def list_rows(what: str) -> list[Row]:
    """Return name and description of every row of a table.

    Raises:
        UsageError: There is no such table.
    """
    tables: dict[str, Callable[[], list[Row]]] = {
        "recipes": recipes,
        "losses": losses,
        "penalties": lambda: _functions("zerosum.game.penalties", "PENALTIES"),
        "nets": nets,
        "datasets": lambda: _functions("zerosum.data", "DATASETS"),
        "optimizers": lambda: _functions("zerosum.game.optimizers", "OPTIMIZERS"),
        "claims": claims,
        "runs": runs,
    }
    if what not in tables:
        raise UsageError(unknown("list of", what, tables))
    return tables[what]()


def recipes() -> list[Row]:
    """List the recipes that come with zerosum."""
    loaded = [config.load(name) for name in config.shipped()]
    return [{"name": one.name, "about": one.about, "source": one.source, "result": one.result} for one in loaded]


def losses() -> list[Row]:
    """List the losses."""
    from zerosum.game.losses import LOSSES

    return [{"name": name, "about": _first_line(loss.generator)} for name, loss in LOSSES.items()]


def nets() -> list[Row]:
    """List the pairs of networks."""
    from zerosum.nets import NETS

    return [{"name": name, "about": f"for {pair.suits}"} for name, pair in NETS.items()]


def claims() -> list[Row]:
    """List the claims that `zerosum theory` checks."""
    from zerosum.lab.claims import CLAIMS

    return [{"name": name, "about": claim.says} for name, claim in CLAIMS.items()]


def runs() -> list[Row]:
    """List the runs under runs/.

    Raises:
        SystemFault: The folder cannot be read.
    """
    found = []
    for folder in map(run.RunFolder, _entries(Path("runs"))):
        try:
            folder.config.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            pass  # an unreadable folder may be a run: its row gives the error
        last = (run.read(folder) or [{"round": 0}])[-1]["round"]
        row: Row = {"name": folder.path.name, "round": last}
        try:
            rounds = folder.read_config().train.rounds
            about = f"{last:,} of {rounds:,} rounds" + manifest.remark(folder)
            found.append(row | {"about": about, "rounds": rounds})
        except RunError as error:  # one broken run does not hide the others
            found.append(row | {"about": str(error), "rounds": None})
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SystemFault(f"cannot look into {folder}: {files.reason(error)}") from None


def _functions(module: str, table: str) -> list[Row]:
    from importlib import import_module

    rows = getattr(import_module(module), table)
    return [{"name": name, "about": _first_line(getattr(row, "function", row))} for name, row in rows.items()]


def _first_line(row: Any) -> str:
    return (getdoc(row) or "").partition("\n")[0]


def machine_facts() -> Row:
    """Describe this machine: versions, processor, memory, disk, device."""
    import torch

    from zerosum import __version__
    from zerosum.engine.device import best_device

    return {
        "zerosum": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "processor": f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "matrix_speed": f"{matmul_speed():.0f} GFLOP/s in float32",
        "memory": _memory(),
        "disk_free": f"{shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB here",
        "device": _device(best_device()),
        "processes": _processes(),
        "extra_tensorboard": _installed("tensorboard"),
    }


def matmul_speed(side: int = 1024, seconds: float = 0.3) -> float:
    """Measure the GFLOP/s of a product of square matrices: the best of all repetitions within `seconds`."""
    import torch

    a = torch.rand(side, side)
    best, until = float("inf"), perf_counter() + seconds
    while perf_counter() < until:
        began = perf_counter()
        a @ a
        best = min(best, perf_counter() - began)
    return 2 * side**3 / best / 1e9


def _memory() -> str:
    total = memory.total()
    return "unknown" if total is None else f"{total / 2**30:.1f} GiB"


def _device(name: str) -> str:
    import torch

    return f"{name} ({torch.cuda.get_device_name()})" if name == "cuda" else name


def _processes() -> str:
    """Name the available distributed backends and the number of GPUs."""
    import torch
    from torch import distributed

    backends = ["gloo"] * distributed.is_gloo_available() + ["nccl"] * distributed.is_nccl_available()
    return f"several, over {', '.join(backends)}; {torch.cuda.device_count()} GPU(s)"


def _installed(package: str) -> str:
    try:
        return f"installed ({version(package)})"
    except PackageNotFoundError:
        return f"not installed: pip install {package}"
