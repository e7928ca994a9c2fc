"""`--processes N`: the same command in N processes of this machine, started by torchrun's launcher."""

import logging
import os
import sys
from collections.abc import Sequence

from zerosum.errors import WorkerLost

ERROR_CODES = (2, 3, 4, 5)
"""Exit codes that name a cause; any other code of a child means that the process was lost."""


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `python -m zerosum ARGUMENTS` in several connected processes; return one exit code for all of them.

    Each process gets an equal share of the cores unless $OMP_NUM_THREADS is set. Signals are forwarded.

    Raises:
        ConfigError: This torch cannot be trusted with several processes.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    from zerosum.engine.world import refuse_aborting_torch

    refuse_aborting_torch()
    logging.disable()  # the processes print their errors themselves
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    command = ["--standalone", f"--nproc-per-node={processes}", "-m", "zerosum", *arguments]
    try:
        run(parse_args(command))
    except SignalException as signal:
        return 128 + int(signal.sigval)
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        return next((code for code in codes if code in ERROR_CODES), WorkerLost.exit_code)
    return 0


def exit_now(code: int) -> None:
    """Exit without cleanup: after a process was lost, a normal exit would wait for collectives that never complete."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
