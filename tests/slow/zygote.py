"""One process that has imported everything and forks a child for each command: a kill costs a tenth of a second.

    Zygote().run("train", ...)             how the command ended, what it said, and the operations it asked of the disk
    Zygote().run(..., die=(12, "before"))  the same, killed by SIGKILL just before operation 12
    Zygote().run(..., at={12: "rm -r x"})  the same, with a word to the shell just before operation 12

An operation is what changes the disk: a file or folder made, written to, flushed, renamed, removed. "half" stops a
write in its middle. The process is single-threaded, torch included, so that forking it is sound.
"""

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

NAMES = re.compile(r"\.zerosum-[0-9a-f]{16}\.tmp"), re.compile(r"\S+/runs/[0-9a-f]{32}\.json")
"""Of temporary files and folders, and of the note that a run is made here."""


SINGLE = {"CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""What it needs to be of one thread, and to draw without a display."""


class Ending(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str
    operations: list[str]
    """What it asked of the disk, in order: "create run/readings.jsonl", ..."""


class Zygote:
    """The process, as a test sees it."""

    def __init__(self, **env):
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | SINGLE | env,
            text=True,
        )

    def run(self, *words, **how):
        """Run a command to its end.

        Args:
            words: Of the command line.
            how: What `be_born` and `wait` understand; `out` and `err`: where its streams lead, see `speak_into`.
        """
        self.process.stdin.write(json.dumps({"words": [str(word) for word in words], **how}, default=str) + "\n")
        self.process.stdin.flush()
        return Ending(**json.loads(self.process.stdout.readline()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Disk:
    """Counts what this process asks of the disk, and kills it at one of these operations."""

    def __init__(self, log, die, at):
        self.log, self.count = log, 0
        self.number, self.how = die or (-1, "")
        self.at = at or {}
        self.real = {name: getattr(os, name) for name in ("open", "write", "kill")}

    def ask(self, what, path, act, half=None):
        """Do an operation, or die before it, in its middle or after it."""
        with suppress(OSError):  # a file may grow no further, where that is what is tried
            self.real["write"](self.log, f"{what} {self.shown(path)}\n".encode())
        here, word = self.count == self.number, self.at.get(str(self.count))
        self.count += 1
        if word:
            subprocess.run(word, shell=True, check=True, env=os.environ | {"CHILD": str(os.getpid())})
        if here and self.how == "before":
            self.die()
        if here and self.how == "half":
            half()
            self.die()
        result = act()
        if here:
            self.die()
        return result

    def shown(self, path):
        """A path below the working folder, with names made alike that are other ones each time."""
        place = Path(f"/proc/self/fd/{path}").readlink() if isinstance(path, int) else path
        temporary, note = NAMES
        return note.sub("NOTE", temporary.sub("TEMPORARY", os.path.relpath(place)))

    def die(self):
        self.real["kill"](os.getpid(), signal.SIGKILL)

    def watch(self):
        """Stand between Python and the system."""
        for name in ("fsync", "unlink", "remove", "rmdir", "mkdir", "truncate", "ftruncate"):
            self.wrap(name, 0)
        for name in ("replace", "rename"):
            self.wrap(name, 1)  # named by where it goes
        real = self.real["open"]

        def opening(path, flags, *args, **kwargs):
            if not flags & os.O_CREAT:
                return real(path, flags, *args, **kwargs)
            return self.ask("create", path, lambda: real(path, flags, *args, **kwargs))

        usual = os.fdopen

        def fdopen(descriptor, mode="r", *args, **kwargs):
            if mode in ("wb", "ab"):
                return io.BufferedWriter(Written(descriptor, mode, self))
            return usual(descriptor, mode, *args, **kwargs)

        os.open, os.fdopen = opening, fdopen

    def wrap(self, name, place):
        real = getattr(os, name)
        setattr(os, name, lambda *args, **kwargs: self.ask(name, args[place], lambda: real(*args, **kwargs)))


class Written(io.FileIO):
    """A file whose writes are operations."""

    def __init__(self, descriptor, mode, disk):
        super().__init__(descriptor, mode)
        self.disk = disk

    def write(self, content):
        content = bytes(content)
        write = super().write
        return self.disk.ask("write", self.name, lambda: write(content), lambda: write(content[: len(content) // 2]))


def be_born(words, log, cwd="/", env=None, die=None, at=None, uid=None, limits=None, report=True, ignore=(), **_):
    """What the child is before it does its work.

    Args:
        words: Of the command line.
        log: Descriptor of the file that operations are noted in.
        cwd: Its working folder.
        env: Further variables of its environment.
        die: Number of an operation, and "before", "half" or "after".
        at: Number of an operation -> what a shell does just before it; the child is $CHILD.
        uid: The user it belongs to.
        limits: Name of a limit (AS, FSIZE, NOFILE) -> its value; of AS, what may be added to what it has.
        report: Whether a training writes its report.
        ignore: Signals that it is to ignore.
    """
    from zerosum import session
    from zerosum.cli import progress

    os.chdir(cwd)
    os.environ.update(env or {})
    sys.argv = ["zerosum", *words]
    progress.find_spec = lambda _: None  # TensorBoard's files carry the time and the process in their names
    if not report:
        session.Run.try_report = lambda self, say: None
    for name in ignore:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    Disk(log, die, at).watch()
    for name, value in (limits or {}).items():
        pages = int(Path("/proc/self/statm").read_text().split()[0]) if name == "AS" else 0
        most = value + pages * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
    if uid is not None:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)


def live(request, log):
    """The child's whole life."""
    from zerosum.cli import main

    code = 70
    try:
        be_born(log=log, **request)
        main.main()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, AttributeError):
                stream.flush()
        os._exit(code)


def speak_into(name, kept, where):
    """Let a stream lead to the file that is kept, to a path, to a pipe that nobody reads, or nowhere: "closed"."""
    stream = getattr(sys, name)
    number = stream.fileno()
    if where == "closed":  # as Python finds it where a shell says >&-
        os.close(number)
        setattr(sys, name, None)
        return
    end, descriptor = os.pipe() if where == "pipe" else (None, os.open(where, os.O_WRONLY) if where else kept.fileno())
    os.dup2(descriptor, number)
    if end is not None:
        os.close(end)


def wait(child, kill_after=None, timeout=120, **_):
    """How the child ended, in the way of `subprocess`.

    Args:
        child: Its number.
        kill_after: Seconds after which it is killed.
        timeout: The same, where it should have ended by itself.
    """
    end = time.monotonic() + (timeout if kill_after is None else kill_after)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        time.sleep(0.002)


def serve():
    """Answer each line of standard input, a command, with a line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    lines = os.fdopen(os.dup(0))
    os.dup2(nowhere, 0)
    for line in lines:
        request = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as log:
            child = os.fork()
            if child == 0:
                speak_into("stdout", out, request.get("out"))
                speak_into("stderr", err, request.get("err"))
                live(request, log.fileno())
            code = wait(child, **request)
            told = []
            for file in (out, err, log):
                file.seek(0)
                told.append(file.read().decode(errors="replace"))
        ending = Ending(code, told[0], told[1], told[2].splitlines())
        answers.write(json.dumps(ending._asdict()) + "\n")
        answers.flush()


def grow_up():
    """Import all that a command may need, and have it in one thread; a training shows what else that is."""
    import numpy as np
    import torch

    from zerosum import session
    from zerosum.run.folder import silent

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        np.save("rows.npy", np.arange(60 * 16, dtype=np.uint8).reshape(60, 4, 4))
        small = ["nets.generator.width=4", "nets.discriminator.width=4", "game.batch=4", "train.check_every=1"]
        session.train("digits", data="rows.npy", rounds=1, device="cpu", out="run", set=small, say=silent)
        os.chdir("/")
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a process of several threads cannot be forked soundly"


if __name__ == "__main__":
    grow_up()
    serve()
    os._exit(0)  # tidying up takes half a second
