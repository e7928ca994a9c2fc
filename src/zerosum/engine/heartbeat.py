"""Who has died or hangs: each process says twice a second how far it is, and whoever waits in vain looks it up.

A process that was killed or stopped says nothing new. One that lives and hangs has taken part in fewer exchanges than
those that wait for it. One that ended with an error has left its last words.
"""

import threading
import time
from typing import NamedTuple

from torch.distributed import Store  # type: ignore[attr-defined]

from zerosum.errors import WorkerLost

PERIOD = 0.5
"""Seconds from one beat to the next."""

PATIENCE = 4
"""Beats that are waited for before a process counts as silent."""


class Beat(NamedTuple):
    """How far a process was when it was last heard."""

    number: int
    exchanges: int
    round: int


class Heartbeat(threading.Thread):
    """Says how far this process is, and reads how far the others are.

    Args:
        store: Where all processes of the team read and write.
        rank: Of this process.
        size: How many there are.
    """

    def __init__(self, store: Store, rank: int, size: int) -> None:
        super().__init__(name="pulse", daemon=True)
        self.store, self.rank, self.size = store, rank, size
        self.round, self.exchanges = 0, 0
        self.ended = threading.Event()

    def run(self) -> None:
        """Beat until the end, or until the store is gone."""
        number = 0
        while not self.ended.wait(PERIOD):
            number += 1
            try:
                self.store.set(f"pulse/{self.rank}", f"{number} {self.exchanges} {self.round}")
            except RuntimeError:
                return

    def leave(self, words: str) -> None:
        """End, and say why."""
        self.ended.set()
        try:
            self.store.set(f"words/{self.rank}", words)
        except RuntimeError:
            return

    def lost(self, error: Exception) -> WorkerLost:
        """Find out which process an exchange failed for; takes a few beats."""
        try:
            before = self._heard()
            time.sleep(PATIENCE * PERIOD)
            after = self._heard()
            words = {rank: self._read(f"words/{rank}") for rank in range(self.size)}
        except RuntimeError:
            return WorkerLost(f"the other processes cannot be reached, after round {self.round}: {_first_line(error)}")
        return WorkerLost(
            self._finding(before, after, words) or f"an exchange failed in round {self.round + 1}: {error}"
        )

    def _finding(
        self, before: dict[int, Beat | None], after: dict[int, Beat | None], words: dict[int, str | None]
    ) -> str | None:
        """The process that is to blame, and how one can tell."""
        others = [rank for rank in range(self.size) if rank != self.rank]
        last = {
            rank: max(self.round, _round(after[rank])) for rank in others
        }  # every round that is over had all of them
        for rank in others:
            if said := words[rank]:
                return f"process {rank} ended after round {last[rank]}: {said}"
        for rank in others:
            if before[rank] == after[rank]:
                return f"process {rank} of {self.size} died or was stopped: its last round was {last[rank]}"
        behind = min(others, key=lambda rank: _exchanges(after[rank]))
        if _exchanges(after[behind]) < self.exchanges:
            return f"process {behind} of {self.size} hangs in round {last[behind] + 1}: it lives, and says nothing"
        return None

    def _heard(self) -> dict[int, Beat | None]:
        """The last beat of every process; None before its first."""
        texts = {rank: self._read(f"pulse/{rank}") for rank in range(self.size)}
        return {rank: Beat(*map(int, text.split())) if text else None for rank, text in texts.items()}

    def _read(self, key: str) -> str | None:
        return self.store.get(key).decode() if self.store.check([key]) else None


def _round(beat: Beat | None) -> int:
    return beat.round if beat else 0


def _exchanges(beat: Beat | None) -> int:
    return beat.exchanges if beat else 0


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
