"""Checkpoints: written atomically, verified before they are used.

    checkpoints/000500/players.safetensors      weights and buffers of G and D
                       average.safetensors      the moving average of G
                       optimizers.safetensors   optimizer state
                       state.json               round, run id, data fingerprint, State.extra
                       manifest.json            size and sha256 of each file, and its own sha256

A checkpoint is valid if its five files are regular files of the right size and sha256, its folder is named by its
round, it belongs to this run, and its tensors have exactly the names, shapes and dtypes of the networks and their
optimizers. No random state is saved: there is none (see `rng`).

    tensors.py   names, shapes and dtypes      saving.py   state -> files      loading.py   files -> state
"""

from zerosum.checkpoint.loading import (
    Checkpoint,
    broadcast_state,
    load,
    read,
    refuse_other_data,
    restore,
    restore_average,
)
from zerosum.checkpoint.saving import prune, save
from zerosum.checkpoint.tensors import Layout, all_tensors, layout_of, refuse_non_finite, specs_of

__all__ = [
    "Checkpoint", "Layout", "all_tensors", "broadcast_state", "layout_of", "load", "prune", "read",
    "refuse_non_finite", "refuse_other_data", "restore", "restore_average", "save", "specs_of",
]  # fmt: skip
