import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import zerosum as zs

RECIPE = """
data = "ring"
[[penalties]]
name = "r1"
weight = 0.5
every = 3
[nets]
name = "mlp"
generator = { width = 16 }
discriminator = { width = 16 }
[game]
batch = 16
accumulate = 2
[train]
rounds = 80
threads = 1
timeout = 5.0
device = "cpu"
save_every = 10
log_every = 5
sample_every = 100000
check_every = 100000
"""


def rounds_of(folder):
    """How many rounds the readings tell of."""
    try:
        return json.loads((folder / "readings.jsonl").read_text().splitlines()[-1])["round"]
    except (OSError, ValueError, IndexError):
        return 0


def until(condition, seconds=60):
    """Wait for something; what it was."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise TimeoutError("what was waited for did not come")


class Torchrun:
    """A training in several processes, in the background, whose processes can be found and sent signals."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            [sys.executable, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def worker(self, rank):
        """The process id of a rank; None where it is not there."""
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                facts = dict(entry.partition("=")[::2] for entry in path.read_text().split("\0"))
                state, parent = (path.parent / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if facts.get("RANK") == str(rank) and int(parent) == self.process.pid and state != "Z":
                return int(path.parent.name)
        return None

    def play_to(self, folder, step):
        """Wait until the readings tell of a round."""
        until(lambda: self.process.poll() is not None or rounds_of(folder) >= step)
        assert self.process.poll() is None, self.wait()

    def wait_without(self, rank, timeout=60):
        """Wait until the others have ended, then kill one that was stopped: torchrun would give it half a minute."""
        until(lambda: self.worker(1 - rank))
        until(lambda: self.worker(1 - rank) is None, timeout)
        if left := self.worker(rank):
            os.kill(left, signal.SIGKILL)
        return self.wait()

    def wait(self, timeout=120):
        said, errors = self.process.communicate(timeout=timeout)
        return self.process.returncode, said, errors


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(RECIPE)
    return str(file)


@pytest.fixture(scope="session")
def calm(tmp_path_factory):
    """(where, run, what it said): a training in two processes that nobody disturbs, started from Python."""
    folder, said = tmp_path_factory.mktemp("calm"), []
    (folder / "small.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, zs.train("small.toml", processes=2, say=said.append), said


@pytest.fixture
def started():
    """(*command) -> `python COMMAND` in the background; whatever is left of it is killed at the end."""
    running = []

    def start(*command):
        running.append(Torchrun(command))
        return running[-1]

    yield start
    for one in running:
        for pid in (*(one.worker(rank) for rank in range(3)), one.process.pid):
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def torchrun(started):
    """(processes, *arguments) -> `torchrun -m zerosum train ARGUMENTS`, or a program of its own, in the background."""

    def start(processes, *arguments, restarts=0, program=("-m", "zerosum", "train")):
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        return started(*launcher, f"--max-restarts={restarts}", *program, *arguments)

    return start
