"""Kill -9 at any moment, inside saves too: the run ends in the same bits as one that was never killed.

tests/slow/test_faults.py does the same at every operation that changes the disk.
"""

import random
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS = runpy.run_path(str(Path(__file__).parents[1] / "slow" / "kills.py"))
TRAIN = ("train", "recipe.toml", "--out", "run")

PLAYED = "save_every = 2\nlog_every = 5\ncheck_every = 20\nsample_every = 15\nrounds = 44"
SAVED = "save_every = 2\nlog_every = 5\nsample_every = 9\nrounds = 6"
LONG = "save_every = 6\nlog_every = 5\nsample_every = 400\nrounds = 1500"

IN_A_SAVE = """
import os, signal, sys
from zerosum.cli.main import main
real, left = os.fsync, int(sys.argv.pop())
def fsync(descriptor):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(descriptor)
os.fsync = fsync
main()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """(name, settings, data, width) -> a place to train in."""
    with KILLS["places"](tmp_path_factory.mktemp("places")) as make:
        yield make


def test_a_run_that_was_killed_22_times_ends_in_the_same_bits(place):
    """Each start is killed a few operations later than the one before, the last ones while they play and save."""
    calm, there = place("calm", PLAYED), place("killed", PLAYED)
    operations = calm.train(report=False).operations[:120]
    rounds = [0]
    for point in KILLS["spread"](KILLS["points"](operations), 22):
        there.killed(die=(point[0], "before"))
        rounds.append(there.newest() or 0)
    assert rounds == sorted(rounds), "every start went on from where a checkpoint was"
    assert 10 < rounds[-1] < 44
    assert f"resumed from round {rounds[-1]}" in there.train(report=False).err
    assert not KILLS["differing"](there.contents(), calm.contents())


def test_killed_in_the_last_save_the_run_is_tidied_up_by_the_next_start(place):
    calm = place("calm end", SAVED)
    operations, whole = calm.train(report=False).operations, calm.contents()
    for number, last in enumerate(("unlink run/checkpoints/000002/state.json", "replace run/verdicts.json")):
        there = place(f"killed end {number}", SAVED)
        there.killed(die=(len(operations) - operations[::-1].index(last) - 1, "before"))
        assert KILLS["differing"](there.contents(), whole)
        there.train(report=False)
        assert not KILLS["differing"](there.contents(), whole)


def killed_at_any_time(there, wait):
    """Let it resume, then kill it after a while; what it said."""
    words = [sys.executable, "-m", "zerosum", *TRAIN]
    process = subprocess.Popen(words, cwd=there.path, stderr=subprocess.PIPE, text=True)
    said = process.stderr.readline()  # "resumed from round ..."
    time.sleep(wait)
    process.kill()
    return said + process.communicate()[1], process.returncode


def killed_in_a_save(there, flush):
    """Let it kill itself at its so-manieth flush to the disk: between or inside the files of a checkpoint."""
    words = [sys.executable, "-c", IN_A_SAVE, *TRAIN, str(flush)]
    process = subprocess.run(words, cwd=there.path, stderr=subprocess.PIPE, text=True, check=False)
    return process.stderr, process.returncode


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_processes_of_their_own_that_are_killed_end_in_the_same_bits(place):
    """Started and killed as a user's are, TensorBoard's thread and all; on the digits."""
    calm, there = (place(name, LONG, '"digits"', 16) for name in ("long calm", "long killed"))
    calm.train()
    rng, rounds = random.Random(20140610), []
    assert killed_in_a_save(there, 60)[1] == -9  # the first start, with its first checkpoint behind it
    for number in range(20):
        flush, wait = rng.randint(3, 60), rng.uniform(0, 0.4)
        said, code = killed_in_a_save(there, flush) if number % 2 else killed_at_any_time(there, wait)
        assert code == -9
        rounds.append(int(re.search(r"resumed from round (\d+)", said).group(1)))
    there.train()
    mine = {name: what for name, what in there.contents().items() if not name.startswith("tensorboard")}
    assert rounds == sorted(rounds), "every restart went on from where a checkpoint was"
    assert rounds[0] < rounds[-1] < 1500
    assert not KILLS["differing"](mine, calm.contents())
