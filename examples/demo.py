"""Train the digits with three seeds, and say with four numbers how good the samples are.

Run it with `make demo`. It needs no network: the 1,797 digits come with scikit-learn. The numbers are taken from 2,000
samples of each seed; beside them stands what as many training digits (drawn with replacement) score.
"""

from time import perf_counter

import numpy as np
import torch
from sklearn.svm import SVC

import zerosum as zs
from zerosum.metrics.neighbors import nearest_distance
from zerosum.metrics.prdc import prdc

SAMPLES, SEEDS = 2000, (0, 1, 2)
GOALS = {
    "share of the rarest class": "at least 0.06",
    "distance to held-out digits / that of training digits": "at most 1.2",
    "coverage of the held-out digits": "at least 0.9",
    "distance to training digits / that of held-out digits": "at least 0.8",
}


def numbers(samples, train, test, classes):
    """The four numbers of a set of samples, in the order of GOALS; everything as (n, 64) gray values."""
    seen = np.bincount(classes.predict(samples.numpy()), minlength=10) / len(samples)
    return (
        seen.min(),
        (nearest_distance(samples, test).median() / nearest_distance(train, test).median()).item(),
        prdc(test, samples).coverage,
        (nearest_distance(samples, train).median() / nearest_distance(test, train).median()).item(),
    )


def flat(images):
    return torch.from_numpy(images.reshape(len(images), -1)).double()


def main():
    data = zs.DATASETS["digits"]()
    train, test = flat(data.samples(data.train)), flat(data.samples(data.test))
    classes = SVC(C=10).fit(train.numpy(), data.train.labels)

    began, columns = perf_counter(), []
    for seed in SEEDS:
        run = zs.train("digits", seed=seed, out=f"runs/demo-{seed}")
        columns.append(numbers(flat(run.sample(SAMPLES).array), train, test, classes))
        print(f"seed {seed}: trained, {perf_counter() - began:.0f} s so far")
    real = train[torch.randint(len(train), (SAMPLES,), generator=torch.Generator().manual_seed(0))]
    columns.append(numbers(real, train, test, classes))

    print(f"\n{f'{SAMPLES:,} samples':<56}{''.join(f'seed {seed}  ' for seed in SEEDS)}training digits   goal")
    for name, row in zip(GOALS, zip(*columns, strict=True), strict=True):
        print(f"{name:<56}{''.join(f'{value:6.3f}  ' for value in row[:-1])}{row[-1]:>15.3f}   {GOALS[name]}")
    print(f"\nDigits that no one wrote: {run.picture()}")
    print(f"Verdict on the last seed, {run.verdict()}")
    print(f"Its report, to open in a browser: {run.path / 'report.html'}")


if __name__ == "__main__":
    main()
