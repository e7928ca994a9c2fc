"""The run folder: the contract between training, which writes it, and every other command, which only reads it.

    config.toml        all settings, as a recipe        readings.jsonl     one line per logged round
    environment.json   versions, device, commit, id     samples/000500.png the same latents every time
    metrics.jsonl      one line per evaluation          verdicts.json      verdicts of the diagnosis
    report.html        the report                       lock               held while a process trains here
    checkpoints/000500/

    folder.py    paths; reading, writing and removing files
    journal.py   readings.jsonl and metrics.jsonl, any line of which may be damaged
    trust.py     whether a run was made here

All files are written atomically (see `zerosum.files`). A run folder may come from an untrusted source: no link below it
is followed, and only regular files of limited size are read.
"""

from zerosum.run.folder import (
    RunFolder,
    automatic_choices,
    belongs_to_run,
    choose_folder,
    erase,
    lock,
    make,
    new_run_id,
    open_folder,
    refuse_changes,
    refuse_foreign_files,
    remove_temporary,
)
from zerosum.run.journal import append, flush, read, read_metrics, record_metrics, truncate

__all__ = [
    "RunFolder", "append", "automatic_choices", "belongs_to_run", "choose_folder", "erase", "flush", "lock", "make",
    "new_run_id", "open_folder", "read", "read_metrics", "record_metrics", "refuse_changes", "refuse_foreign_files",
    "remove_temporary", "truncate",
]  # fmt: skip
