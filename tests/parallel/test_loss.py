"""A process that dies or hangs ends the others with its number and its last round; what was played is not lost."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from zerosum import checkpoint, run
from zerosum.run import RunFolder

STEPS = 150


def digests(folder):
    newest = checkpoint.load(folder / "checkpoints")
    table = (newest.path / "manifest.json").read_text().splitlines()[0]
    return newest.step, re.findall(r'"(\w+\.safetensors)": \[\d+, "(\w+)"\]', table)


def command(recipe, folder, *more):
    return [recipe, "--out", str(folder), "--steps", str(STEPS), "--json", *more]


def zerosum(*arguments):
    return subprocess.run([sys.executable, "-m", "zerosum", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """(recipe) -> what two processes end in that nobody disturbs."""
    made = []

    def ends(recipe):
        if not made:
            folder = tmp_path_factory.mktemp("calm")
            done = zerosum("train", *command(recipe, folder), "--processes", "2")
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["steps"] == STEPS
            made.append(digests(folder))
        return made[0]

    return ends


@pytest.mark.parametrize(
    ("number", "kills"), [(signal.SIGKILL, 1), pytest.param(signal.SIGKILL, 6, marks=pytest.mark.slow)]
)
def test_after_kills_at_random_moments_a_restart_ends_in_the_same_bits(calm, torchrun, recipe, tmp_path, number, kills):
    rng, folder = random.Random(number + kills), tmp_path / "run"
    started = torchrun(2, *command(recipe, folder, "--fresh"), restarts=kills)
    for killed in range(kills):
        started.play_to(folder, 15 + killed * (STEPS - 30) // kills)
        time.sleep(rng.uniform(0, 0.3))
        os.kill(started.worker(rng.randrange(2)), number)
        time.sleep(6 * (killed + 1 < kills))  # the next process is there
    code, said, errors = started.wait()
    assert code == 0, errors
    assert errors.count("resumed from round") == kills
    assert digests(folder) == calm(recipe)
    assert json.loads(said)["steps"] == STEPS


@pytest.mark.parametrize(
    ("number", "what"), [(signal.SIGKILL, "died or was stopped"), (signal.SIGSTOP, "died or was stopped")]
)
def test_whoever_is_left_names_the_process_and_its_last_round(calm, torchrun, recipe, tmp_path, number, what):
    folder = tmp_path / "run"
    started = torchrun(2, *command(recipe, folder))
    started.play_to(folder, 30)
    began = time.monotonic()
    os.kill(started.worker(1), number)
    code, said, errors = started.wait()
    assert code != 0
    assert said == ""
    found = re.search(rf"process 0: error: process 1 of 2 {what}: its last round was (\d+)", errors)
    assert found, errors
    assert 25 <= int(found.group(1)) <= run.read(RunFolder(folder))[-1]["step"] + 10
    assert (
        time.monotonic() - began < 6 + 3 + 35
    )  # timeout, a look at the pulse, torchrun's patience with the stopped one
    again = zerosum("train", *command(recipe, folder), "--processes", "2")
    assert again.returncode == 0, again.stderr
    assert digests(folder) == calm(recipe)
