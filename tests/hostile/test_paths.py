"""Data sets that the settings of a run from elsewhere name by a path: nothing of this machine is opened for them."""

import os
import shutil

import numpy as np
import pytest

OUTSIDE = {
    "the disk": "/",
    "the root, twice": "//",
    "what lies above": "..",
    "home": "~",
    "a file above": "../outside/secret.csv",
    "a file of home": "~/secret.csv",
    "a file by its whole name": "OUTSIDE/secret.csv",
    "a folder of pictures": "OUTSIDE/folder",
    "a folder with a slash": "OUTSIDE/folder/",
    "a folder above": "../outside/folder",
    "through the run": "runs/evil/../../../outside/secret.csv",
    "the run itself": "runs/evil",
    "the samples of the run": "runs/evil/samples",
    "the working folder": "./.",
    "a picture": "OUTSIDE/folder/picture.png",
    "a FIFO": "OUTSIDE/fifo.csv",
    "a folder that is a FIFO": "OUTSIDE/fifo",
    "a device": "/dev/zero",
    "a terminal": "/dev/tty",
    "memory": "/proc/self/mem",
    "the environment": "/proc/self/environ",
    "a file without an end": "/dev/zero.csv",
    "a link to a device": "OUTSIDE/endless.npy",
    "passwords": "/etc/passwd",
    "a share": "//server/share/x.csv",
    "a share of Windows": r"\\server\share\x.csv",
    "a disk of Windows": r"C:\x.csv",
    "a device of Windows": r"\\.\pipe\x.csv",
    "a URL of a file": "file:///etc/passwd.csv",
    "a URL": "http://127.0.0.1:9/x.csv",
    "a URL of an archive": "https://example.invalid/x.npz",
    "a zero": "OUTSIDE/secret.csv\0.csv",
    "a line break": "OUTSIDE/secret\n.csv",
    "an escape": "OUTSIDE/\x1b[2Jsecret.csv",
    "another direction": "OUTSIDE/\u202esecret.csv",
    "a long name": "OUTSIDE/" + "x" * 5000 + ".csv",
    "a long way": "../" * 2000 + "x.csv",
    "a blank": " ",
    "a word": "secret",
}
CODE = {
    "a URL without an ending": "http://127.0.0.1:9/x",
    "a URL of a folder": "file:///etc",
    "a name with a port": "localhost:80",
    "a host's path": "host:folder/x",
}


@pytest.fixture
def outside(place):
    os.mkfifo(place.outside / "fifo")
    os.mkfifo(place.outside / "fifo.csv")
    (place.outside / "endless.npy").symlink_to("/dev/zero")
    return place


@pytest.mark.thin(9)
@pytest.mark.parametrize("name", OUTSIDE.values(), ids=OUTSIDE)
def test_no_path_is_opened_and_the_run_can_still_be_looked_at(command, outside, name):
    name = name.replace("OUTSIDE", str(outside.outside))
    outside.edit(lambda tree: tree.update(data={"name": name}))
    ended = command(outside, "evaluate", "evil", "-n", "50", "--json")
    assert (ended.code, ended.kind) == (3, "Untrusted")
    assert "--data PATH" in ended.err
    for words in (["report", "evil"], ["diagnose", "evil"], ["list", "runs"]):
        assert command(outside, *words, "--json").code == 0
    holds_all = name in ("/", "./.")  # what is written anywhere is written into the data
    assert command(outside, "sample", "evil", "--out", "made/x.png", "--json").code == (2 if holds_all else 0)
    assert "was not opened" in (outside.run / "report.html").read_text()


@pytest.mark.thin(2)
@pytest.mark.parametrize("name", CODE.values(), ids=CODE)
def test_what_is_neither_a_path_nor_a_row_is_code(command, place, name):
    place.edit(lambda tree: tree.update(data={"name": name}))
    for words in (["evaluate", "evil"], ["sample", "evil", "--out", "made/x.png"], ["report", "evil"]):
        ended = command(place, *words, "--json")
        assert (ended.code, ended.kind) == (3, "Untrusted")


def test_a_share_is_not_even_asked_for(command, place, monkeypatch):
    """No audit event tells of a look at a name, and a look at a share sends the user's name over the network."""
    looks = []
    for name in ("stat", "lstat", "open", "access"):
        real = getattr(os, name)
        spy = lambda path, *rest, real=real, **more: looks.append(path) or real(path, *rest, **more)
        monkeypatch.setattr(os, name, spy)
    place.edit(lambda tree: tree.update(data={"name": "//server/share/x.csv"}))
    for words in (
        ["sample", "evil", "--out", "made/x.png"],
        ["report", "evil"],
        ["evaluate", "evil"],
        ["diagnose", "evil"],
    ):
        command(place, *words)
    assert looks
    assert not [path for path in looks if "server" in str(path)]


@pytest.mark.thin(3)
@pytest.mark.parametrize(
    "data",
    [
        {"name": "ring", "modes": 10**12},
        {"name": "grid", "side": 10**9},
        {"name": "mixture-1d", "means": [0.0] * 20_000, "sigmas": [1.0] * 20_000},
        {"name": "digits", "path": "/"},
        {"name": "digits", "held_out": 0.999999},
        {"name": "mnist", "root": "/"},
        {"name": "mnist"},
    ],
    ids=lambda data: f"{data['name']} {list(data)[-1]}",
)
def test_options_of_our_own_rows_lead_nowhere_either(command, place, data):
    place.edit(lambda tree: tree.update(data=data))
    assert command(place, "evaluate", "evil", "-n", "50", "--json").code in (2, 3)
    for words in (["sample", "evil", "--out", "made/x.png"], ["report", "evil"]):
        assert command(place, *words).code == 0


def test_data_that_the_user_names_is_read_and_nothing_else(command, trained, place):
    shutil.rmtree(place.run)
    shutil.copytree(trained["points"], place.run)
    ended = command(place, "evaluate", "evil", "-n", "50", "--json")
    assert (ended.code, ended.kind) == (3, "Untrusted")
    shutil.copy(trained["points"].parent / "points.csv", place.made)
    ended = command(place, "evaluate", "evil", "-n", "50", "--data", "made/points.csv", "--json")
    assert (ended.code, ended.kind) == (2, "UsageError")  # it was read: too few rows are held out
    np.savetxt(place.made / "others.csv", np.random.default_rng(1).normal(size=(80, 2)), delimiter=",")
    ended = command(place, "evaluate", "evil", "-n", "50", "--data", "made/others.csv", "--json")
    assert (ended.code, ended.kind) == (3, "DataError")
    assert "not what this run began with" in ended.err


def test_where_samples_go_is_not_where_the_settings_say_the_data_is(command, place):
    place.edit(lambda tree: tree.update(data={"name": str(place.outside / "folder")}))
    for out in ("../outside/folder", "../outside/folder/new.png", "runs/evil/config.toml", "runs/evil/samples/x.png"):
        ended = command(place, "sample", "evil", "--out", out, "--force", "--json")
        assert (ended.code, ended.kind) == (2, "UsageError")
