"""The run folder: the contract between training, which writes it, and every other command, which only reads it.

    config.toml        the whole resolved recipe        readings.jsonl     one line per logged round
    environment.json   versions, device, commit, run    samples/000500.png the same latents every time
    metrics.jsonl      one line per evaluation          verdicts.json      what the diagnosis found
    report.html        the page to look at
    checkpoints/000500/                                 lock               held while a process trains here

    folder.py    where everything lies, and what may be written or removed
    journal.py   readings.jsonl and metrics.jsonl: lines of JSON that may be damaged
    trust.py     whether a run was made here

Whatever is written here is written whole or not at all (see `zerosum.files`). A run folder may come from anybody: no
link below it is followed, nothing but regular files is opened, and their size is looked at first.
"""

from zerosum.run.folder import (
    RunFolder,
    adopt,
    choose_folder,
    erase,
    lock,
    make,
    new_identity,
    open_folder,
    owned,
    refuse_changes,
    refuse_strangers,
    sweep,
)
from zerosum.run.journal import append, cut, flush, read, read_metrics, record_metrics

__all__ = [
    "RunFolder", "adopt", "append", "choose_folder", "cut", "erase", "flush", "lock", "make", "new_identity",
    "open_folder", "owned", "read", "read_metrics", "record_metrics", "refuse_changes", "refuse_strangers", "sweep",
]  # fmt: skip
