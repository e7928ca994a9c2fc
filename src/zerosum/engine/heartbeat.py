"""Heartbeat: every rank publishes its progress twice a second; after a failed collective, the others find the culprit.

The beat number of a process that was killed or stopped no longer changes. A process that hangs has taken part in fewer
collective operations than those that wait for it. A process that ended with an error has published its message.

`torch.distributed.monitored_barrier` cannot replace this: it tells only rank 0 who is missing, and every other survivor
that rank 0 is; where rank 0 is stopped, it waits without limit; dead and hanging are one, and the reason is unknown.
"""

import threading
import time
from typing import NamedTuple

from torch.distributed import Store  # type: ignore[attr-defined]

from zerosum.errors import WorkerLost

PERIOD = 0.5
"""Seconds from one beat to the next."""

SILENT_BEATS = 4
"""Beats after which a process whose beat number has not changed counts as dead."""


class Beat(NamedTuple):
    """Progress of a process: beat number, collective operations so far, last finished round."""

    number: int
    collectives: int
    round: int


class Heartbeat(threading.Thread):
    """Publishes the progress of this process, and reads that of the others.

    Args:
        store: Key-value store shared by all ranks.
        rank: Rank of this process.
        size: Number of processes.
    """

    def __init__(self, store: Store, rank: int, size: int) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.store, self.rank, self.size = store, rank, size
        self.round, self.collectives = 0, 0
        self.stopped = threading.Event()

    def run(self) -> None:
        """Publish a beat every `PERIOD` seconds until stopped, or until the store is gone."""
        number = 0
        while not self.stopped.wait(PERIOD):
            number += 1
            try:
                self.store.set(f"heartbeat/{self.rank}", f"{number} {self.collectives} {self.round}")
            except RuntimeError:
                return

    def report_exit(self, message: str) -> None:
        """Stop, and publish why this process ends."""
        self.stopped.set()
        try:
            self.store.set(f"exit/{self.rank}", message)
        except RuntimeError:
            return

    def diagnose(self, error: Exception) -> WorkerLost:
        """Find out which process made a collective operation fail; takes `SILENT_BEATS` beats."""
        try:
            before = self._read_beats()
            time.sleep(SILENT_BEATS * PERIOD)
            after = self._read_beats()
            messages = {rank: self._read(f"exit/{rank}") for rank in range(self.size)}
        except RuntimeError:
            reason = str(error).partition("\n")[0]
            return WorkerLost(f"the other processes cannot be reached, after round {self.round}: {reason}")
        return WorkerLost(
            self._finding(before, after, messages) or f"an exchange failed in round {self.round + 1}: {error}"
        )

    def _finding(self, before: dict[int, Beat], after: dict[int, Beat], messages: dict[int, str]) -> str | None:
        """A sentence that names the process at fault; None if none can be found."""
        others = [rank for rank in range(self.size) if rank != self.rank]
        # all ranks took part in every finished round
        last = {rank: max(self.round, after[rank].round) for rank in others}
        for rank in others:
            if message := messages[rank]:
                return f"process {rank} ended after round {last[rank]}: {message}"
        for rank in others:
            if before[rank] == after[rank]:
                return f"process {rank} of {self.size} died or was stopped: its last round was {last[rank]}"
        behind = min(others, key=lambda rank: after[rank].collectives)
        if after[behind].collectives < self.collectives:
            return f"process {behind} of {self.size} hangs in round {last[behind] + 1}: it lives, and says nothing"
        return None

    def _read_beats(self) -> dict[int, Beat]:
        """The last beat of every rank; zeros before its first."""
        texts = {rank: self._read(f"heartbeat/{rank}") for rank in range(self.size)}
        return {rank: Beat(*map(int, (text or "0 0 0").split())) for rank, text in texts.items()}

    def _read(self, key: str) -> str:
        return self.store.get(key).decode() if self.store.check([key]) else ""
