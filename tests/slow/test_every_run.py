"""Every recipe's run can be diagnosed, evaluated and reported."""

import json
import subprocess
import sys

import pytest

from zerosum import config
from zerosum.data.mnist import data_root

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def answer(*words):
    command = [sys.executable, "-m", "zerosum", *words, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("name", config.shipped())
def test_a_recipes_run_is_diagnosed_evaluated_and_reported(name, tmp_path):
    mnist = data_root() / "mnist" / "train-images-idx3-ubyte.gz"
    if config.load(name).data.name == "mnist" and not mnist.is_file():
        pytest.skip("MNIST is not under $ZEROSUM_DATA or the cache folder")
    out = str(tmp_path / "run")
    trained = answer("train", name, "--rounds", "12", "--out", out, "--set", "train.check_every=2")
    assert trained["verdict"]
    assert trained["report"]
    verdicts = answer("diagnose", out)["verdicts"]
    assert {verdict["sick"] for verdict in verdicts} <= {True, False, None}
    assert all(verdict["answer"] for verdict in verdicts)
    metrics = answer("evaluate", out, "-n", "60", "--features", "pixels")["metrics"]
    assert {row["name"] for row in metrics} >= {"frechet", "kernel", "precision", "recall", "density", "coverage"}
    assert answer("report", out)["seconds"] < 60
