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

import zerosum as zs
from zerosum import checkpoint, run
from zerosum.run import RunFolder

STEPS = 80
"""Rounds of the recipe."""

FAULTY = """
import os, sys, time
from zerosum.cli.main import main
from zerosum.training import loop
play, rank = loop.play, os.environ["RANK"]
def faulty(state, game, batches, engine):
    if state.round == 33 and rank == "1":
        {fault}
    return play(state, game, batches, engine)
loop.play = faulty
sys.argv.insert(1, "train")
main()
"""


def digests(folder):
    newest = checkpoint.load(folder / "checkpoints")
    table = (newest.path / "manifest.json").read_text().splitlines()[0]
    return newest.round, re.findall(r'"(\w+\.safetensors)": \[\d+, "(\w+)"\]', table)


def command(recipe, folder, *more):
    return [recipe, "--out", str(folder), "--json", *more]


def zerosum(*arguments):
    return subprocess.run([sys.executable, "-m", "zerosum", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def undisturbed(calm):
    """What two processes end in that nobody disturbs."""
    folder, trained, _ = calm
    return digests(folder / trained.path)


@pytest.mark.parametrize("kills", [1, pytest.param(6, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_after_kills_at_random_moments_a_restart_ends_in_the_same_bits(undisturbed, torchrun, recipe, tmp_path, kills):
    """--fresh is meant for the first start alone."""
    rng, folder = random.Random(kills), tmp_path / "run"
    started = torchrun(2, *command(recipe, folder, "--fresh"), restarts=kills)
    for killed in range(kills):
        before = started.worker(0)
        started.play_to(folder, 15 + killed * (STEPS - 40) // kills)
        time.sleep(rng.uniform(0, 0.1))
        os.kill(started.worker(rng.randrange(2)), signal.SIGKILL)
        while killed + 1 < kills and started.worker(0) in (None, before):
            time.sleep(0.1)
    code, said, errors = started.wait()
    assert code == 0, errors
    assert errors.count("resumed from round") == kills
    assert len(re.findall(r"error: process \d of 2 died or was stopped: its last round was \d+", errors)) == kills
    assert digests(folder) == undisturbed
    assert json.loads(said)["rounds"] == STEPS


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_whoever_is_left_names_the_process_and_its_last_round(undisturbed, torchrun, recipe, tmp_path, number, rank):
    folder = tmp_path / "run"
    started = torchrun(2, *command(recipe, folder))
    started.play_to(folder, 30)
    os.kill(started.worker(rank), number)
    began = time.monotonic()
    code, said, errors = started.wait_without(rank)
    assert time.monotonic() - began < 5 + 20  # the timeout, a look at the pulse, the ends of processes
    assert code != 0
    assert said == ""
    found = re.search(rf"process {1 - rank}: error: process {rank} of 2 died or was stopped: its last .* (\d+)", errors)
    assert found, errors
    logged = run.read(RunFolder(folder))[-1]["round"]
    assert logged - 1 <= int(found.group(1)) <= logged + 5
    again = zerosum("train", *command(recipe, folder), "--processes", "2")
    assert again.returncode == 0, again.stderr
    assert digests(folder) == undisturbed


def faulty(tmp_path, fault):
    program = tmp_path / "faulty.py"
    program.write_text(FAULTY.replace("{fault}", fault))
    return [str(program)]


def test_a_process_that_lives_and_hangs_is_named(torchrun, recipe, tmp_path):
    program, folder = faulty(tmp_path, "time.sleep(1000)"), tmp_path / "run"
    started = torchrun(2, *command(recipe, folder), program=program)
    started.play_to(folder, 30)
    code, _, errors = started.wait_without(1)
    assert code != 0
    assert "process 0: error: process 1 of 2 hangs in round 34: it lives" in errors


@pytest.mark.slow
def test_an_error_of_one_process_is_what_the_others_tell(torchrun, recipe, tmp_path):
    program = faulty(tmp_path, "raise OSError('the disk is on fire')")
    code, _, errors = torchrun(2, *command(recipe, tmp_path / "run"), program=program).wait()
    assert code != 0
    assert "process 1: error: the disk is on fire" in errors
    assert "process 0: error: process 1 ended after round 33: the disk is on fire" in errors


@pytest.mark.slow
def test_weights_that_differ_are_named_and_not_saved(torchrun, recipe, tmp_path):
    weight = "next(iter(state.discriminator.parameters())).data.view(-1)[5] += 1e-6"
    program = faulty(tmp_path, weight)
    code, _, errors = torchrun(2, *command(recipe, tmp_path / "run"), program=program).wait()
    assert code != 0
    assert "discriminator.features.1.0.weight is not the same in every process: process 1 holds other numbers" in errors
    assert checkpoint.load(tmp_path / "run" / "checkpoints").round == 30


@pytest.mark.slow
def test_nan_in_one_process_ends_all_at_the_same_round(torchrun, recipe, tmp_path):
    program = faulty(tmp_path, "fed = batches; batches = lambda number: (fed(number)[0] * float('nan'), None)")
    code, _, errors = torchrun(2, *command(recipe, tmp_path / "run"), program=program).wait()
    assert code != 0
    for rank in range(2):
        assert f"process {rank}: error: round 34: the discriminator's cost is nan" in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_all_after_one_round_and_saves(undisturbed, started, recipe, tmp_path, number):
    folder = tmp_path / "run"
    training = started("-m", "zerosum", "train", *command(recipe, folder), "--processes", "2")
    training.play_to(folder, 20)
    training.process.send_signal(number)
    code, _, errors = training.wait()
    assert code == 128 + number, errors
    assert "go on with: zerosum train" in errors
    stopped = int(re.search(r"stopped after round (\d+)", errors).group(1))
    assert checkpoint.load(folder / "checkpoints").round == stopped
    again = zerosum("train", *command(recipe, folder), "--processes", "2")
    assert f"resumed from round {stopped}" in again.stderr
    assert digests(folder) == undisturbed


@pytest.mark.parametrize("first", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_goes_on_with_more_or_fewer_processes_and_says_so(recipe, tmp_path, first):
    def train(processes, steps, out="run"):
        said, exact = [], ["train.precision=float64"]
        zs.train(
            recipe, out=tmp_path / out, processes=processes, rounds=steps, set=exact, report=False, say=said.append
        )
        return said

    train(1, 40, "whole")
    train(first, 20)
    said = train(3 - first, 40)
    assert any("resumed from round 20" in line for line in said)
    heard = f"played by {first} process{'es' * (first > 1)} so far and by {3 - first} from here"
    assert any(heard in line for line in said)
    for name, tensors in checkpoint.load(tmp_path / "run" / "checkpoints").tensors.items():
        for key, value in checkpoint.load(tmp_path / "whole" / "checkpoints").tensors[name].items():
            assert (value - tensors[key]).abs().max() < 1e-9, key
