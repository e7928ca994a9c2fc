"""Which runs may have what their settings name: those that were made here, and those that the user vouches for."""

import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

import zerosum as zs
from zerosum import files, permission
from zerosum.errors import ConfigError, Untrusted
from zerosum.run import RunFolder, trust

MODULE = """
from pathlib import Path
from zerosum import NETS
Path("imported").write_text(__file__)
pair = NETS["mlp"]
"""

TINY = ["nets.generator.width=8", "nets.discriminator.width=8", "game.batch=8", "train.threads=1"]


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A working folder with a module of one's own, which no other test has imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    name = f"lab_{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:8]}"
    Path(f"{name}.py").write_text(MODULE)
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def own(lab):
    """A run of that pair, trained here; the module is forgotten again."""
    run = zs.train("digits", rounds=2, set=[*TINY, f'nets.name="{lab}:pair"'], report=False, say=lambda _: None)
    assert Path("imported").exists()
    forget(lab)
    return run


def forget(name):
    sys.modules.pop(name)
    Path("imported").unlink()
    sys.path[:] = [entry for entry in sys.path if entry != str(Path.cwd())]


def test_a_run_made_here_may_import_what_it_names(own):
    zs.load(own.path).report()
    assert Path("imported").exists()


def test_what_it_imports_is_looked_for_where_it_was_trained_and_nowhere_else(own, lab, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{lab}.py").write_text(MODULE)
    path = own.path.resolve()
    monkeypatch.chdir(elsewhere)
    zs.load(path).report()
    assert Path("imported").read_text() == str(tmp_path / f"{lab}.py")


def moved(path):
    shutil.move(path, "moved")
    return Path("moved")


def copied(path):
    shutil.copytree(path, "copied")
    return Path("copied")


def changed(path):
    with (path / "config.toml").open("a") as file:
        file.write("\n# changed by hand")
    return path


def exchanged(path):
    """Another run with the same settings at the same place."""
    facts = json.loads((path / "environment.json").read_text())
    (path / "environment.json").write_text(json.dumps(facts | {"run": "0" * 32}))
    for state in path.glob("checkpoints/*"):
        shutil.rmtree(state)
    return path


@pytest.mark.parametrize("changes", [moved, copied, changed, exchanged])
def test_it_is_trusted_nowhere_else_and_not_once_it_is_changed(own, lab, changes):
    path = changes(own.path)
    for use in (zs.load(path).report, zs.load(path).evaluate, lambda: zs.load(path).sample(3)):
        with pytest.raises(Untrusted, match=rf"nets.name = {lab}:pair.*--trust"):
            use()
    assert not Path("imported").exists()


def test_whoever_vouches_for_a_run_has_its_code_imported(own):
    run = zs.load(copied(own.path), trust=True)
    run.report()
    assert Path("imported").exists()


@pytest.mark.parametrize("note", ["", "[]", "5", "{}", "\xff", "[" * 100_000, '{"path": 1}'])
def test_an_odd_note_grants_nothing(own, note):
    trust._record_path(own.folder).write_bytes(note.encode("latin-1"))
    with pytest.raises(Untrusted):
        zs.load(own.path).report()


def test_a_note_that_cannot_be_written_costs_no_training(lab, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    heard = []
    run = zs.train("digits", rounds=2, set=[*TINY, f'nets.name="{lab}:pair"'], report=False, say=heard.append)
    assert any("other commands will want --trust" in sentence for sentence in heard)
    assert len(run.sample(3)) == 3
    with pytest.raises(Untrusted):
        zs.load(run.path).sample(3)


def test_training_again_makes_a_run_trusted_that_was_moved(own, lab):
    path = moved(own.path)
    zs.train("digits", rounds=2, set=[*TINY, f'nets.name="{lab}:pair"'], out=path, report=False, say=lambda _: None)
    forget(lab)
    assert trust.code_folder(RunFolder(path)) is not None


def test_leave_ends_with_its_block():
    with pytest.raises(ZeroDivisionError), permission.granted(code=Path("here"), paths=True, downloads=True):
        assert permission.current() == permission.Permission(Path("here"), True, True)
        with permission.granted(code=Path("other")):
            assert permission.current() == permission.Permission(Path("other"), True, True)
        assert permission.current().code == Path("here")
        raise ZeroDivisionError
    assert permission.current() == permission.NOTHING


def test_its_module_is_the_one_of_its_own_folder_even_where_python_looks_into_the_working_folder_first(
    own, lab, tmp_path, monkeypatch
):
    """As `python -m zerosum` and a notebook do."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{lab}.py").write_text(MODULE)
    path = own.path.resolve()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    zs.load(path).report()
    assert Path("imported").read_text() == str(tmp_path / f"{lab}.py")
    assert sys.path[0] == ""


def test_two_modules_of_one_name_are_not_taken_for_each_other(own, lab, tmp_path, monkeypatch):
    path = own.path.resolve()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{lab}.py").write_text(MODULE)
    monkeypatch.chdir(elsewhere)
    other = zs.train("digits", rounds=2, set=[*TINY, f'nets.name="{lab}:pair"'], report=False, say=lambda _: None)
    assert Path("imported").read_text() == str(elsewhere / f"{lab}.py")
    assert len(other.sample(2)) == 2
    with pytest.raises(ConfigError, match=rf"the module '{lab}' .*another of that name is in use: {elsewhere}"):
        zs.load(path).sample(2)


@pytest.mark.parametrize(("hours", "stays"), [(23, True), (25, False)])
def test_what_a_killed_process_left_beside_the_notes_is_removed_after_a_day(lab, hours, stays):
    run = zs.train("digits", rounds=2, set=TINY, report=False, say=lambda _: None)
    left = trust._record_path(run.folder).parent / files.temporary_name()
    left.touch()
    os.utime(left, (time.time() - hours * 3600,) * 2)
    zs.train("digits", rounds=2, out="another", set=TINY, report=False, say=lambda _: None)
    assert left.exists() == stays
    left.unlink(missing_ok=True)
