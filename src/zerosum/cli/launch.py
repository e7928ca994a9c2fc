"""`--processes N`: the same command in N processes of this machine, under torchrun's launcher."""

import logging
import os
import sys
from collections.abc import Sequence

from zerosum.errors import WorkerLost

CODES = (2, 3, 4, 5)
"""Exit codes that say what went wrong; anything else means that a process was lost."""


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `python -m zerosum ARGUMENTS` in so many processes that find each other; the exit code of the whole.

    The cores are shared out between them, unless $OMP_NUM_THREADS says otherwise. Signals are passed on.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    logging.disable()  # the processes say what happened
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    command = ["--standalone", f"--nproc-per-node={processes}", "-m", "zerosum", *arguments]
    try:
        run(parse_args(command))
    except SignalException as signal:
        return 128 + int(signal.sigval)
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        return next((code for code in codes if code in CODES), WorkerLost.exit_code)
    return 0


def leave(code: int) -> None:
    """End at once: after a loss, an ordinary exit would wait for exchanges that nobody answers."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
