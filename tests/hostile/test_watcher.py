"""The watcher sees what it is there to see: whatever a hostile run might do is done here on purpose."""

import ctypes
import os
import pickle
import resource
import socket
import subprocess
import sys

import pytest

DEEDS = {
    "reads a file": lambda place: (place.outside / "secret.txt").read_text(),
    "opens a file": lambda place: os.close(os.open(place.outside / "secret.txt", os.O_RDONLY)),
    "reads by a relative name": lambda place: open("../outside/secret.txt").close(),
    "reads through the run's folder": lambda place: (
        (place.run / ".." / ".." / ".." / "outside" / "secret.txt").stat()
        and open(place.run / "../../../outside/secret.txt").close()
    ),
    "reads a pickle in the run's folder": lambda place: (place.run / "payload.py").read_bytes(),
    "reads a device": lambda _: open("/dev/zero", "rb").close(),
    "reads its own memory": lambda _: open("/proc/self/mem", "rb").close(),
    "lists a folder": lambda place: os.listdir(place.outside),
    "looks through a folder": lambda place: list(os.scandir(place.outside)),
    "lists the disk": lambda _: os.listdir("/"),
    "writes a file": lambda place: (place.root / "new").write_text(""),
    "writes beside the run": lambda place: (place.work / "runs" / "new").write_text(""),
    "writes where it runs": lambda place: (place.work / "new").write_text(""),
    "adds to a file": lambda place: open(place.outside / "secret.txt", "a").close(),
    "makes a folder": lambda place: (place.root / "new").mkdir(),
    "moves a file out": lambda place: (place.run / "verdicts.json").rename(place.root / "new"),
    "moves a file away": lambda place: (place.outside / "secret.txt").rename(place.made / "new"),
    "removes a file": lambda place: (place.outside / "secret.txt").unlink(),
    "makes a link": lambda place: (place.root / "new").symlink_to("/"),
    "changes what may be done": lambda place: (place.outside / "secret.txt").chmod(0o600),
    "imports from the working folder": lambda _: __import__("payload"),
    "imports from the run": lambda _: __import__("runs.evil.payload"),
    "looks for a module that is not there": lambda place: pytest.raises(ImportError, __import__, "no_such_payload"),
    "runs code of a file": lambda place: exec(compile("1", place.work / "payload.py", "exec")),
    "starts a shell": lambda _: os.system("true"),
    "starts a process": lambda _: subprocess.run([sys.executable, "-c", ""], check=True),
    "opens a socket": lambda _: socket.socket().close(),
    "asks for a name": lambda _: pytest.raises(OSError, socket.getaddrinfo, "no.such.name.invalid", 80),
    "loads a library": lambda _: ctypes.CDLL("libc.so.6"),
    "unpickles": lambda _: pickle.loads(pickle.dumps(os.getcwd)),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_the_watcher_sees_every_deed(watch, place, monkeypatch, deed):
    monkeypatch.chdir(place.work)
    monkeypatch.syspath_prepend(place.work)
    with watch(place) as faults:
        DEEDS[deed](place)
    assert faults != []


def test_the_watcher_lets_pass_what_a_command_does(watch, place, monkeypatch):
    monkeypatch.chdir(place.work)
    with watch(place) as faults:
        for path in (place.run / "config.toml", place.run / "samples" / "000020.png"):
            path.read_bytes()
        os.listdir(place.run / "checkpoints")
        (place.run / "verdicts.json").write_text("{}")
        (place.made / "x.png").write_bytes(b"")
        (place.run / "checkpoints" / "000010" / "state.json").unlink()
        __import__("json")
    assert faults == []


@pytest.mark.parametrize("text", ["\x1b[2J", "a\rb", "\x9b1m", "\u202e", "\udcff", "\x00", "\x07"])
def test_what_a_terminal_obeys_is_seen(clean, text):
    assert not clean(f"before {text} after")
    assert clean("letters, größe, 文字\n\tand lines")


def test_a_change_outside_is_seen(contents, place):
    before = contents(place.outside)
    assert contents(place.outside) == before
    os.utime(place.outside / "secret.txt", (1, 1))
    assert contents(place.outside) != before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody says how much a process has")
def test_memory_beyond_the_bound_is_not_to_be_had(little_memory):
    before = resource.getrlimit(resource.RLIMIT_AS)
    with little_memory(), pytest.raises(MemoryError):
        bytearray(2**30)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_with_trust_the_payload_is_called_and_the_watcher_sees_it(command, place):
    """The control of the whole suite: what every other test says cannot happen does happen where it is asked for."""
    place.edit(lambda tree: tree.update(loss={"name": "payload:loss"}))
    ended = command(place, "sample", "evil", "--out", "made/x.png", "--trust")
    assert ended.code == 0  # sampling needs no loss, and looks for none
    assert not place.canary.exists()
    place.edit(lambda tree: tree.update(data={"name": "payload:data"}))
    ended = command(place, "evaluate", "evil", "-n", "50", "--trust", judged=False)
    assert place.canary.exists()
    assert any(fault.startswith("import: payload") for fault in ended.faults)
    assert any(fault.startswith("open: ") for fault in ended.faults)
