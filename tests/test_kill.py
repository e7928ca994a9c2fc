"""Kill -9 at seeded random moments, inside saves too: the run ends in the same bits as one that was never killed."""

import random
import re
import subprocess
import sys
import time

import pytest

from zerosum import checkpoint

RECIPE = """
data = "digits"
[[penalties]]
name = "r1"
weight = 0.5
every = 3
[nets]
name = "mlp"
generator = { width = 16 }
discriminator = { width = 16 }
[game]
k = 2
batch = 16
[schedule]
warmup = 20
decay = "cosine"
end = 1000
[train]
threads = 1
save_every = 6
log_every = 5
sample_every = 400
"""

IN_A_SAVE = """
import os, signal, sys
from zerosum.app.cli import main
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


def command(recipe, folder, steps):
    return ["train", str(recipe), "--out", str(folder), "--steps", str(steps), "--json"]


def killed_at_any_time(arguments, rng):
    """Let it resume, then kill it after a random while; what it said."""
    process = subprocess.Popen([sys.executable, "-m", "zerosum", *arguments], stderr=subprocess.PIPE, text=True)
    said = process.stderr.readline()  # "resumed from round ..."
    time.sleep(rng.uniform(0, 0.4))
    process.kill()
    return said + process.communicate()[1], process.returncode


def killed_in_a_save(arguments, rng):
    """Kill itself at a random flush to the disk: between or inside the files of a checkpoint."""
    flush = str(rng.randint(3, 60))
    process = subprocess.run(
        [sys.executable, "-c", IN_A_SAVE, *arguments, flush], stderr=subprocess.PIPE, text=True, check=False
    )
    return process.stderr, process.returncode


def tensors(folder):
    newest = checkpoint.load(folder / "checkpoints")
    table = (newest.path / "manifest.json").read_text().splitlines()[0]
    return newest.step, re.findall(r'"(\w+\.safetensors)": \[\d+, "(\w+)"\]', table)


@pytest.mark.parametrize(
    ("kills", "steps"), [(2, 300), pytest.param(20, 1500, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_a_run_that_was_killed_ends_in_the_same_bits(tmp_path, kills, steps):
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    run = [sys.executable, "-m", "zerosum"]
    subprocess.run([*run, *command(recipe, tmp_path / "calm", steps)], check=True, capture_output=True)

    arguments, rng = command(recipe, tmp_path / "killed", steps), random.Random(20140610)
    subprocess.run([*run, *command(recipe, tmp_path / "killed", 10)], check=True, capture_output=True)
    rounds = [10]
    for number in range(kills):
        kill = killed_in_a_save if number % 2 else killed_at_any_time
        said, code = kill(arguments, rng)
        assert code == -9
        rounds.append(int(re.search(r"resumed from round (\d+)", said).group(1)))
    done = subprocess.run([*run, *arguments], check=True, capture_output=True, text=True)
    rounds.append(int(re.search(r"resumed from round (\d+)", done.stderr).group(1)))

    assert rounds == sorted(rounds), "every restart went on from where a checkpoint was"
    assert rounds[0] < rounds[-1] < steps
    assert tensors(tmp_path / "killed") == tensors(tmp_path / "calm")
    assert len(tensors(tmp_path / "calm")[1]) == 3
    assert not list((tmp_path / "killed").rglob("*.tmp-*"))
