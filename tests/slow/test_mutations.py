"""A wrong sign in a cost, a penalty or an update makes at least one claim fail."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_mistake_is_caught_by_a_claim(tmp_path):
    page = tmp_path / "mutations.md"
    done = subprocess.run(
        [sys.executable, "experiments/mutations.py", str(page)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert page.read_text().splitlines()[-1].endswith("mistakes are caught.")
