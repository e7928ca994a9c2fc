"""The questions about a run, ordered so that causes come before their consequences.

A finding is made if all its limits are broken at once. The thresholds were chosen on the runs of docs/zoo.md with even
seeds, between the values of healthy runs and those of runs with a fault.
"""

from zerosum.health import advice
from zerosum.health.verdict import Finding, Question, above, below

QUESTIONS: tuple[Question, ...] = (
    Question(
        "range mismatch",
        "Do the networks see the range of the data, and can G make it?",
        (
            Finding("No: the data fills only {data_span:.1%} of its declared range", (below("data_span", 0.35),)),
            Finding("No: the standard deviation is {data_deviation:.3g}, not about 1", (above("data_deviation", 5.0),)),
            Finding("No: the data's mean is {data_centre:.3g}, not about 0", (above("data_centre", 5.0),)),
            Finding(
                "No: G cannot make {unreached:.0%} of the values in the data",
                (above("unreached", 0.3), above("confined", 0.9), above("push", 0.1), above("spread", 0.15)),
            ),
        ),
        "Yes: G reaches all but {unreached:.0%} of the values in the data",
        advice.against_mismatch,
    ),
    Question(
        "diverging",
        "Does anything grow without bound?",
        (
            Finding(
                "Yes: D's logits have grown to {logit_size:.3g}, {growth:.1f} times what they were",
                (above("logit_size", 25.0), above("growth", 3.0)),
            ),
            Finding("Yes: D's logits are {logit_size:.3g}", (above("logit_size", 1000.0),)),
            Finding("Yes: samples lie {spread:.1f} times as wide as the data", (above("spread", 3.0),)),
            Finding("Yes: samples run away; they are {distance:.3g} from the data", (above("distance", 2.5),)),
        ),
        "No: D's logits are about {logit_size:.2g}, and samples lie {spread:.0%} as wide as the data",
        advice.against_divergence,
    ),
    Question(
        "D too weak",
        "Is D too weak to teach G anything?",
        (
            Finding(
                "Yes: D's logit changes by only {slope:.2g} between samples, which a nearest neighbour tells from data",
                (below("slope", 0.5), above("excess", 0.4)),
            ),
            Finding(
                "Yes: D takes samples for more real than data; it puts {auc_seen:.0%} of such pairs in order",
                (below("auc_seen", 0.25), above("excess", 0.4)),
            ),
        ),
        "No: D puts {auc_seen:.0%} of the pairs of training row and sample in order; 50% where both are alike",
        advice.against_weak_discriminator,
    ),
    Question(
        "oscillating",
        "Do the players chase each other instead of getting anywhere?",
        (
            Finding(
                "Yes: {turnover:.0%} of G's samples move to another part of the data between checkups, and stay unlike",
                (above("turnover", 0.4), above("excess", 0.4)),
            ),
        ),
        "No: {turnover:.0%} of G's samples moved to another part of the data since the last checkup",
        advice.against_oscillation,
    ),
    Question(
        "D too strong",
        "Is D so confident that G learns nothing?",
        (
            Finding(
                "Yes: D puts {auc_seen:.1%} of the pairs of data and sample in order, and samples get no nearer",
                (above("auc_seen", 0.93), above("excess", 0.35), below("progress", 0.2)),
            ),
        ),
        "No: D puts {auc_seen:.0%} of the pairs of training row and sample in order; 50% where both are alike",
        advice.against_strong_discriminator,
    ),
    Question(
        "D over-fits",
        "Has D memorized its training rows?",
        (
            Finding(
                "Yes: D scores a training row above a held-out one in {overfit:.0%} of the pairs; 50% is chance",
                (above("overfit", 0.6),),
            ),
        ),
        "No: D scores training rows above held-out ones in {overfit:.0%} of the pairs; 50% is chance",
        advice.against_overfitting,
    ),
    Question(
        "memorising",
        "Does G repeat its training rows?",
        (
            Finding(
                "Yes: {nearer:.0%} of the samples are nearer to training rows than to as many others; 50% is chance",
                (above("nearer", 0.65), above("near", 0.5)),
            ),
        ),
        "No: {nearer:.0%} of the samples are nearer to training rows than to as many held-out ones; 50% is chance",
        advice.against_memorization,
    ),
    Question(
        "mode collapse",
        "Does G make only a part of the data?",
        (
            Finding("Yes, totally: samples lie {spread:.1%} as wide as the data", (below("spread", 0.3),)),
            Finding(
                "Yes, in part: samples come near {covered:.0%} of held-out data, and that is not getting better",
                (below("covered", 0.7), below("gained", 0.03)),
            ),
            Finding(
                "Yes, in part: around {missing:.0%} of the held-out data are no samples, yet {near:.0%} lie near some",
                (below("covered", 0.8), above("missing", 0.08), above("near", 0.6)),
            ),
        ),
        "No: samples come near {covered:.0%} of the held-out data and lie {spread:.0%} as wide",
        advice.against_collapse,
    ),
    Question(
        "blurry",
        "Are the samples blurred?",
        (
            Finding(
                "Yes: samples have {detail:.0%} of the fine detail of real images, and {edges:.0%} of their edges",
                (below("detail", 0.6), below("edges", 0.87), above("spread", 0.35)),
            ),
        ),
        "No: samples have {detail:.0%} of the fine detail of real images, and {edges:.0%} of their edges",
        advice.against_blur,
    ),
)
"""All questions; `diagnose` answers each of them."""
