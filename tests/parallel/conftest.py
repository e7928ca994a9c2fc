import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
batch = 16
accumulate = 2
[train]
threads = 1
timeout = 6.0
device = "cpu"
save_every = 10
log_every = 5
sample_every = 100000
check_every = 100000
"""


def rounds_of(folder):
    """How many rounds the readings tell of."""
    try:
        return json.loads((folder / "readings.jsonl").read_text().splitlines()[-1])["step"]
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
    """`torchrun -m zerosum train` in the background, whose processes can be found and sent signals."""

    def __init__(self, processes, *arguments, restarts=0):
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [*launcher, f"--max-restarts={restarts}", "-m", "zerosum", "train", *arguments]
        self.process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def worker(self, rank):
        """The process id of a rank, once it is there."""
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                facts = dict(entry.partition("=")[::2] for entry in path.read_text().split("\0"))
                parent = int((path.parent / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if facts.get("RANK") == str(rank) and parent == self.process.pid:
                return int(path.parent.name)
        return None

    def play_to(self, folder, step):
        """Wait until the readings tell of a round."""
        until(lambda: self.process.poll() is not None or rounds_of(folder) >= step)
        assert self.process.poll() is None, self.wait()

    def wait(self, timeout=120):
        said, errors = self.process.communicate(timeout=timeout)
        return self.process.returncode, said, errors


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(RECIPE)
    return str(file)


@pytest.fixture
def torchrun():
    """(processes, *arguments) -> a training in the background; whatever is left of it is killed at the end."""
    running = []

    def start(processes, *arguments, restarts=0):
        running.append(Torchrun(processes, *arguments, restarts=restarts))
        return running[-1]

    yield start
    for one in running:
        workers = [one.worker(rank) for rank in range(3)]
        for pid in (*workers, one.process.pid):
            if pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
