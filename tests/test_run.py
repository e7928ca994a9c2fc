import os
import subprocess
import sys
from pathlib import Path

import pytest

from zerosum import config, files, run
from zerosum.errors import RunError
from zerosum.run import RunFolder


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def begun():
    """(path, *overrides) -> the folder of a run of the digits that was begun there."""

    def begin(path, *overrides):
        folder = RunFolder(Path(path))
        run.make(folder)
        folder.write(folder.config, config.dumps(config.load("digits", overrides)).encode())
        return folder

    return begin


@pytest.mark.parametrize("path", ["missing", "", ".", "file", "empty", "a" * 300, "file/below", "a\0b"])
def test_a_folder_without_a_run_is_refused(path):
    Path("file").touch()
    Path("empty").mkdir()
    with pytest.raises(RunError, match="there is no run in"):
        run.open_folder(path)


@pytest.mark.parametrize("text", ["[[[", "nonsense = 1", "train.steps = 0"])
def test_a_run_whose_settings_cannot_be_read_is_refused_with_the_reason(text):
    Path("broken").mkdir()
    Path("broken/config.toml").write_text(text)
    with pytest.raises(RunError, match=r"cannot be read: broken/config\.toml"):
        run.open_folder("broken")


def test_a_run_is_found_by_its_path_and_by_its_name(begun):
    here, named = begun("elsewhere"), begun("runs/mine")
    assert run.open_folder("elsewhere") == here
    assert run.open_folder("mine") == named
    assert run.open_folder("runs/mine") == named
    begun("mine")
    assert run.open_folder("mine") == RunFolder(Path("mine"))


def test_a_folder_that_is_named_is_taken(begun):
    begun("there")
    assert run.choose_folder(config.load("digits", ["train.seed=5"]), "there") == RunFolder(Path("there"))


def test_without_a_name_the_first_free_or_equal_folder_is_taken(begun):
    settings = config.load("digits")
    assert run.choose_folder(settings, None).path == Path("runs/digits")
    begun("runs/digits", "train.seed=1")
    assert run.choose_folder(settings, None).path == Path("runs/digits-2")
    begun("runs/digits-2", "train.seed=2")
    assert run.choose_folder(settings, None).path == Path("runs/digits-3")
    begun("runs/digits-3", "train.steps=9")
    assert run.choose_folder(settings, None).path == Path("runs/digits-3")
    assert run.choose_folder(config.load("digits", ["train.seed=2"]), None).path == Path("runs/digits-2")


def test_what_the_machine_decided_stays_with_the_run_unless_it_is_set(begun):
    folder = begun("run", "train.threads=3", "train.device=cpu")
    asked = config.load("digits", ["train.threads=2"])
    assert run.adopt(asked, folder).train.threads == 2
    assert run.adopt(asked, folder).train.device == "cpu"
    assert run.adopt(asked, RunFolder(Path("new"))) == asked


def test_a_changed_setting_is_refused_with_both_values_and_free_ones_are_not(begun):
    folder = begun("run")
    run.refuse_changes(config.load("digits", ["train.steps=9", "train.keep=1", "about=x"]), folder)
    run.refuse_changes(config.load("digits", ["train.seed=5"]), RunFolder(Path("new")))
    with pytest.raises(RunError) as caught:
        run.refuse_changes(config.load("digits", ["train.seed=5", "game.k=2"]), folder)
    assert "\n  game.k: 1 -> 2\n  train.seed: 0 -> 5\n" in str(caught.value)
    assert "--fresh" in str(caught.value)


@pytest.mark.parametrize("path", ["file", "file/below", "closed"])
def test_a_folder_that_cannot_be_written_to_is_refused(path):
    Path("file").touch()
    Path("closed/lock").mkdir(parents=True)
    with pytest.raises(RunError, match=f"cannot write to {path}"):
        run.make(RunFolder(Path(path)))


def test_two_holders_of_a_lock_are_one_too_many(begun):
    folder = begun("run")
    with run.lock(folder), pytest.raises(RunError, match="another process is training"), run.lock(folder):
        pass
    with run.lock(folder):
        pass


HOLD = """
import sys, time
from pathlib import Path
from zerosum.run import RunFolder, lock
with lock(RunFolder(Path("run"))):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_keeps_other_processes_out_and_dies_with_its_own(begun):
    folder = begun("run")
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(RunError, match="another process"), run.lock(folder):
                pass
        finally:
            holder.kill()
    with run.lock(folder):
        pass


def test_what_is_written_replaces_what_was_there_and_leaves_nothing_else():
    path = Path("file")
    files.write(path, b"old")
    files.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(Path().iterdir()) == [path]


@pytest.mark.parametrize("fault", ["replace", "open", "fsync"])
def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(monkeypatch, fault):
    path = Path("file")
    files.write(path, b"old")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, fault, fail)
        with pytest.raises(OSError, match="No space"):
            files.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(Path().iterdir()) == [path]


def test_readings_are_read_back_in_order(begun):
    folder = begun("run")
    assert run.read(folder) == []
    readings = [{"step": step, "cost": step / 3} for step in (1, 2, 3)]
    for reading in readings:
        run.append(folder, reading)
    assert run.read(folder) == readings


@pytest.mark.parametrize("torn", ['{"step": 3, "co', "{", "\0\0\0", '{"step": 3\0'])
def test_a_torn_last_line_is_left_out_and_written_over(begun, torn):
    folder = begun("run")
    run.append(folder, {"step": 1})
    run.append(folder, {"step": 2})
    with folder.readings.open("a") as file:
        file.write(torn)
    assert run.read(folder) == [{"step": 1}, {"step": 2}]
    run.cut(folder, 9)
    run.append(folder, {"step": 3})
    assert run.read(folder) == [{"step": 1}, {"step": 2}, {"step": 3}]


def test_readings_past_a_round_are_cut(begun):
    folder = begun("run")
    for step in (10, 20, 30):
        run.append(folder, {"step": step})
    run.cut(folder, 20)
    assert run.read(folder) == [{"step": 10}, {"step": 20}]


def test_erasing_a_run_leaves_what_others_put_there(begun):
    folder = begun("run")
    folder.events.mkdir()
    events = folder.events / "events.out.tfevents.1"
    ours = [folder.readings, folder.environment, folder.sample(5), events, folder.checkpoints / "000005"]
    theirs = [folder.path / "notes.txt", folder.path / "samples" / "mine.png", folder.checkpoints / "mine"]
    for path in (*ours[:4], *theirs[:2]):
        path.touch()
    for path in (ours[4], theirs[2]):
        path.mkdir()
    run.erase(folder)
    assert not any(path.exists() for path in [*ours, folder.config])
    assert all(path.exists() for path in theirs)
    run.erase(folder)
