"""The README says what the code says."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from zerosum import config
from zerosum.config.settings import Config
from zerosum.lab.claims import CLAIMS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
THEORY = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")


def test_the_generated_tables_are_up_to_date():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "experiments" / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    for page in tables.PAGES:
        text = page.read_text(encoding="utf-8")
        assert tables.written(text) == text, "run `make docs`"


@pytest.mark.parametrize("claim", re.findall(r"`([a-z0-9-]+)`", THEORY.partition("## Where the common")[2]))
def test_every_claim_that_the_theory_page_points_to_is_one(claim):
    assert claim in CLAIMS


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", THEORY))
def test_every_link_of_the_theory_page_leads_somewhere(target):
    assert (ROOT / "docs" / target).exists()


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_every_link_leads_somewhere(target):
    assert (ROOT / target).exists()


def test_the_first_python_of_the_readme_runs(tmp_path, monkeypatch):
    code = re.search(r"```python\n([\s\S]*?)```", README).group(1)
    monkeypatch.chdir(tmp_path)
    exec(code.replace('zs.train("digits")', 'zs.train("digits", rounds=5)'), {})
    assert (tmp_path / "digits.png").exists()


def test_every_command_of_the_readme_is_one(capsys):
    from typer.main import get_command

    from zerosum.cli.main import app

    commands = get_command(app).commands
    said = set(re.findall(r"^zerosum (\w+)", README, flags=re.MULTILINE))
    assert said == set(commands)


def test_every_setting_the_readme_names_exists():
    known = config.flat(Config().model_dump()) | {
        "optimizers.discriminator.lr": 0,
        "data.labels": 0,
        "data.layout": 0,
        "data.range": 0,
    }
    for setting in re.findall(r"--set ([\w.]+)=", README):
        assert any(key == setting or key.startswith(f"{setting}.") for key in known), setting


FAULTS = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("reference", sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", FAULTS))))
def test_every_fault_on_the_page_has_its_test(reference):
    file, _, name = reference.partition("::")
    functions = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    assert name in {one.name for one in functions if isinstance(one, ast.FunctionDef)}


def test_what_is_said_to_be_slow_is_slow_and_nothing_else_is():
    for row in FAULTS.splitlines():
        quick, _, slow = row.partition("slow: ")
        for text, expected in ((quick, False), (slow, True)):
            for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
                assert is_slow(ROOT / file, name) is expected, f"{file}::{name}"


def is_slow(file, name):
    """Whether a test, or its whole file, is marked slow; one of whose cases are quick is not."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    texts = [ast.unparse(one) for one in tree.body if isinstance(one, ast.Assign)]
    marked = [text for text in texts if "pytestmark" in text]
    (test,) = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == name]
    marks = map(ast.unparse, test.decorator_list)
    marked += [text for text in marks if not text.startswith("pytest.mark.parametrize")]
    return any(text == "slow" or "mark.slow" in text for text in marked)
