"""Training: the loop, the recorder of its results, and the dry run."""
