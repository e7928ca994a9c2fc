"""Health: what is wrong with a run, how one can tell, and which setting to change.

    probes      what a checkup computes while a run plays: the one file here that needs torch
    measures    signs of the last checkups -> numbers       questions   limits of the measures, and what they mean
    advice      settings -> the setting to change           verdict     what is asked and answered
    diagnosis   readings -> verdicts

The limits come from a zoo of runs with planted faults and of healthy ones (docs/zoo.md). A run folder on a machine
without torch can be diagnosed, too.
"""

from zerosum.health.diagnosis import (
    FEWEST,
    PROGRESS,
    diagnose,
    diagnose_run,
    finished,
    headline,
    of_run,
    record,
)
from zerosum.health.measures import checkups
from zerosum.health.questions import QUESTIONS
from zerosum.health.verdict import Evidence, Verdict

__all__ = [
    "FEWEST", "PROGRESS", "QUESTIONS", "Evidence", "Verdict", "checkups", "diagnose", "diagnose_run", "finished",
    "headline", "of_run", "record",
]  # fmt: skip
