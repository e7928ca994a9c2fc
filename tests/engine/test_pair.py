"""Two processes play what one plays: tests/engine/pair.py, started in a pair under torchrun's launcher."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PAIR = Path(__file__).with_name("pair.py")


def ask(*what):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(PAIR), *what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_processes_play_what_one_plays():
    """One start of the pair for all: a start takes longer than most proofs."""
    found = ask("equal", "gradients", "statistics", "differing")
    weights_are_those_of_one(found)
    gradients_are_the_same(found)
    statistics_over_all_rows_are_those_of_one(found)
    weights_that_differ_are_named_and_not_saved(found)


def weights_are_those_of_one(found):
    """After some rounds in float64; what each player paid in the last one, as every process reads it, too."""
    assert len(found["equal"]) > 70
    assert {name: apart for name, apart in found["equal"].items() if not apart < 1e-12} == {}


def gradients_are_the_same(found):
    """From the same weights in float32, and nearly so in bfloat16."""
    bound = {"float32": 1e-5, "bfloat16": 1e-2}
    found = found["gradients"]
    assert {name: off for name, off in found.items() if not off < bound[name.split(", ")[-2]]} == {}
    assert any(off > 1e-4 for name, off in found.items() if "bfloat16" in name), "bfloat16 was played"


def statistics_over_all_rows_are_those_of_one(found):
    found = found["statistics"]
    assert {name: off for name, off in found.items() if name.endswith("all") and not off < 1e-12} == {}
    assert all(off > 1e-4 for name, off in found.items() if name.endswith("process")), "else the test could not fail"


def weights_that_differ_are_named_and_not_saved(found):
    assert found["differing"]["saved"] == 30
    for said in found["differing"]["said"]:
        assert "is not the same in every process: process 1 holds other numbers" in said
        assert said.startswith("discriminator.")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_so_they_do_with_every_loss_penalty_order_interval_and_number_of_passes():
    every = ask("equal", "--every")["equal"]
    assert len(every) > 3000
    assert {name: apart for name, apart in every.items() if not apart < 1e-12} == {}


@pytest.mark.gpu
def test_two_gpus_play_what_one_plays():
    """`CUDA_VISIBLE_DEVICES=0,1 pytest -m gpu tests/engine`: over NCCL."""
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    found = ask("equal", "gradients", "statistics", "--cuda")
    assert max(found["equal"].values()) < 1e-9
    assert max(off for name, off in found["gradients"].items() if "float32" in name) < 1e-5
    assert max(off for name, off in found["statistics"].items() if name.endswith("all")) < 1e-9
