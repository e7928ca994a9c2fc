"""Health: faults of a run, the evidence for them, and the setting to change.

    probes      computes the signs of a checkup during training; the only module here that imports torch
    measures    signs of the last checkups -> numbers       questions   thresholds on the measures, and their meaning
    advice      settings -> the setting to change           verdict     types: question, finding, limit, verdict
    diagnosis   readings -> verdicts

The thresholds were chosen on healthy runs and on runs with planted faults (docs/zoo.md). A run folder can be diagnosed
on a machine without torch.
"""

from zerosum.health.diagnosis import (
    MIN_CHECKUPS,
    PROGRESS,
    compute_verdicts,
    diagnose,
    diagnose_run,
    finished,
    headline,
    write_verdicts,
)
from zerosum.health.measures import checkups
from zerosum.health.questions import QUESTIONS
from zerosum.health.verdict import Evidence, Verdict

__all__ = [
    "MIN_CHECKUPS", "PROGRESS", "QUESTIONS", "Evidence", "Verdict", "checkups", "compute_verdicts", "diagnose",
    "diagnose_run", "finished", "headline", "write_verdicts",
]  # fmt: skip
