import os
import sys

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the same tests on every machine; those marked gpu say so

import pytest
import torch

from zerosum import config
from zerosum.cli import main
from zerosum.resolved import resolve

torch.set_num_threads(1)  # the tests themselves run side by side


@pytest.fixture(autouse=True)
def _random_state():
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _own_folders(tmp_path_factory):
    """Notes on runs and kept classifiers lie in folders of the tests' own, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("STATE", "CACHE"):
            patch.setenv(f"XDG_{kind}_HOME", str(tmp_path_factory.mktemp(kind.lower())))
        yield


@pytest.fixture
def settings():
    """(*overrides) -> resolved settings of a small, quick game on the digits."""

    def make(*overrides, recipe="digits"):
        small = [
            "nets.generator.width=16",
            "nets.discriminator.width=16",
            "latent.size=4",
            "game.batch=8",
            "train.threads=1",
        ]
        return resolve(config.load(recipe, [*small, *overrides]))

    return make


@pytest.fixture
def zerosum(monkeypatch, capsys):
    """(*words) -> exit code, standard output, standard error of a command."""

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["zerosum", *words])
        try:
            main.main()
            code = 0
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return command
