import sys

import pytest

from zerosum.app import cli


@pytest.fixture
def zerosum(monkeypatch, capsys):
    """(*words) -> exit code, standard output, standard error of a command."""

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["zerosum", *words])
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return command
