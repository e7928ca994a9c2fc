"""The run folder: the contract between training, which writes it, and every other command, which only reads it.

    config.toml        all settings, as a recipe        readings.jsonl     one line per logged round
    environment.json   versions, device, commit, id     samples/000500.png the same latents every time
    metrics.jsonl      one line per evaluation          verdicts.json      verdicts of the diagnosis
    report.html        the report                       lock               held while a process trains here
    checkpoints/000500/

    folder.py      paths; reading and writing files              journal.py    readings.jsonl and metrics.jsonl
    choice.py      which folder a command means                  manifest.py   the files of a checkpoint, verified
    ownership.py   what belongs to a run; erasing; the lock      trust.py      whether a run was made here

All files are written atomically (see `zerosum.files`). A run folder may come from an untrusted source: no link below it
is followed, and only regular files of limited size are read.
"""

from zerosum.run.choice import automatic_choices, choose_folder, open_folder, refuse_changes
from zerosum.run.folder import RunFolder, new_run_id
from zerosum.run.journal import append, flush, read, read_metrics, record_metrics, truncate
from zerosum.run.ownership import belongs_to_run, erase, lock, make, refuse_foreign_files, remove_temporary

__all__ = [
    "RunFolder", "append", "automatic_choices", "belongs_to_run", "choose_folder", "erase", "flush", "lock", "make",
    "new_run_id", "open_folder", "read", "read_metrics", "record_metrics", "refuse_changes", "refuse_foreign_files",
    "remove_temporary", "truncate",
]  # fmt: skip
