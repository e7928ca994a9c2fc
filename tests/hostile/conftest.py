"""Runs that somebody means harm with, and a watcher that sees what a command does while it reads one.

The watcher is an audit hook of the interpreter's own: it hears of every file that is opened, listed, made, moved or
removed, of every module that is looked for, every process, socket and foreign library, every class that a pickle asks
for. `Watch.faults` says what of that must not be; test_watcher.py shows that it says so.
"""

import hashlib
import json
import os
import re
import resource
import shutil
import stat
import sys
import sysconfig
import tomllib
from contextlib import contextmanager
from importlib.metadata import packages_distributions
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pytest
import tomli_w
from safetensors.torch import load, save

import zerosum as zs
from zerosum.cli import main
from zerosum.run.folder import CHECKPOINT_FILES, RUN_ENTRIES

READS = {"open", "os.listdir", "os.scandir"}
CHANGES = {
    "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "os.setxattr", "shutil.move", "shutil.rmtree", "shutil.copyfile", "tempfile.mkstemp",
    "tempfile.mkdtemp",
}  # fmt: skip
BEYOND = {
    "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn", "subprocess.Popen",
    "socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request",
    "ctypes.dlopen", "pickle.find_class", "sqlite3.connect", "webbrowser.open", "code.__new__", "os.kill",
}  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

PACKAGES = {*sys.stdlib_module_names, *packages_distributions(), "zerosum"}
"""Modules that may be looked for: Python's and those that are installed."""

LIBRARIES = [Path(zs.__file__).parent, *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platlib", "purelib"))]
LIBRARIES += [Path(path) for path in sys.path if path.endswith(".zip")]  # of the standard library, if there is one
"""Folders whose files libraries read for themselves: nothing of a run's lies there."""

MB = 2**20
ROOM = 700 * MB
"""What a command may take beyond what the process has already."""

RECIPES = {
    "digits": 'data = "digits"\npenalties = ["r1"]',
    "points": 'data = "points.csv"',
    "classes": 'data = "digits"\nnets = { name = "mlp", conditions = "labels" }',
}
SMALL = """
game = { batch = 8 }
latent = { size = 4 }
[train]
threads = 1
device = "cpu"
rounds = 20
save_every = 10
log_every = 2
check_every = 20
sample_every = 10
"""


IMPORTLIB = ("<frozen importlib", str(Path(sysconfig.get_path("stdlib"), "importlib")))


class Watch:
    """What this process does while it is on."""

    def __init__(self):
        self.seen, self.on = [], False

    def __call__(self, event, args):
        if not self.on or event not in HEARD:
            return
        if event == "os.listdir" and sys._getframe(1).f_code.co_filename.startswith(IMPORTLIB):
            return  # for a module or a package, whose name is heard
        self.on = False  # what is done here is nobody's doing
        try:
            self.seen.append((event, *self.facts(event, args)))
        finally:
            self.on = True

    def find_spec(self, name, path=None, target=None):
        """Hear of every module that is looked for, by whatever way."""
        if self.on:
            self.seen.append(("import", name, False))

    @staticmethod
    def facts(event, args):
        """Where, and how."""
        if event in READS:
            path = args[0] if args and args[0] is not None else "."
            return (None if isinstance(path, int) else absolute(path), writes(args) if event == "open" else False)
        if event in CHANGES:
            paths = [absolute(one) for one in args[:2] if isinstance(one, str | bytes | os.PathLike)]
            return (paths, True)
        return (args[0] if args else None, str(args[:2])[:200])

    def faults(self, place):
        """Everything that was done and must not be done."""
        found = []
        for event, what, how in self.seen:
            if event == "ctypes.dlopen" and what is None:  # the process itself
                odd = False
            elif event == "import":
                odd = what.partition(".")[0] not in PACKAGES
            elif event == "exec":
                odd = foreign(what)
                what = getattr(what, "co_filename", what)
            elif event in READS:
                odd = what is not None and not place.may(what, how)
            elif event in CHANGES:
                odd = not all(place.may(path, True) for path in what)
            else:
                odd = True
            if odd:
                found.append(f"{event}: {what} ({how})")
        return found


HEARD = {*READS, *CHANGES, *BEYOND, "exec"}
WATCH = Watch()
sys.addaudithook(WATCH)


def absolute(path):
    return os.path.abspath(os.fsdecode(path))


def writes(args):
    mode, flags = (*args, None, None)[1:3]
    by_mode = isinstance(mode, str) and any(letter in mode for letter in "wax+")
    return by_mode or (isinstance(flags, int) and bool(flags & WRITING))


def foreign(code):
    """Whether code that is run comes from a file that is no library's."""
    name = getattr(code, "co_filename", "<")
    return not name.startswith("<") and not any(Path(name).is_relative_to(folder) for folder in LIBRARIES)


class Place:
    """A working folder with a run from elsewhere in it, and what lies outside.

    work/               where the command runs; it is on the path, as it is with `python -m` and in a notebook
    work/runs/evil/     the run
    work/made/          where what is made of it goes
    outside/            what nobody asked for: any touch is a fault
    """

    def __init__(self, root, run):
        self.root, self.work, self.outside = root, root / "work", root / "outside"
        self.run, self.made, self.canary = self.work / "runs" / "evil", self.work / "made", root / "CANARY"
        self.run.parent.mkdir(parents=True)
        self.made.mkdir()
        shutil.copytree(run, self.run)
        (self.outside / "folder").mkdir(parents=True)
        (self.outside / "secret.csv").write_text("1,2\n" * 60)
        (self.outside / "secret.txt").write_text("secret\n")
        (self.outside / "folder" / "inside.txt").write_text("secret\n")
        shutil.copy(run / "samples" / "000020.png", self.outside / "folder" / "picture.png")
        touches = f"open({str(self.canary)!r}, 'w').close()"
        code = f"{touches}\ndef __getattr__(name):\n    return lambda *_, **__: {touches}\n"
        for folder in (self.work, self.run, self.work / "runs", self.outside):
            (folder / "payload.py").write_text(code)
        self.own = {Path(os.environ[f"XDG_{kind}_HOME"]) for kind in ("STATE", "CACHE")}

    def may(self, path, to_write):
        """Whether a path may be read, or written."""
        path = Path(path)
        ours = [self.made, *self.own]
        if path == self.run:
            return True
        if path.is_relative_to(self.run):
            first, *rest = path.relative_to(self.run).parts
            return first in RUN_ENTRIES or (not rest and first.startswith(".zerosum-"))
        if to_write:
            return any(path.is_relative_to(folder) for folder in ours)
        return path == self.run.parent or any(path.is_relative_to(one) for one in (*ours, *LIBRARIES))

    def edit(self, change):
        """Change the settings of the run: (tree) -> None."""
        tree = tomllib.loads((self.run / "config.toml").read_text())
        change(tree)
        (self.run / "config.toml").write_text(tomli_w.dumps(tree))

    def edit_json(self, name, change):
        """Change a file of JSON; what `change` returns is written, if anything."""
        path = self.run / name
        facts = json.loads(path.read_text()) if path.exists() else {}
        changed = change(facts)
        path.write_text(json.dumps(facts if changed is None else changed))

    @property
    def checkpoint(self):
        """The newest checkpoint; of a hostile run, the only one that there is."""
        return self.run / "checkpoints" / "000020"

    def is_single(self):
        """Leave the newest checkpoint alone."""
        for path in (self.run / "checkpoints").iterdir():
            if path != self.checkpoint:
                shutil.rmtree(path)

    def edit_tensors(self, stem, change):
        """Change a file of tensors: ({name: tensor}) -> None."""
        self.is_single()
        path = self.checkpoint / f"{stem}.safetensors"
        tensors = load(path.read_bytes())
        change(tensors)
        path.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}))
        self.seal()

    def edit_state(self, change):
        """Change state.json: (facts) -> None, or the text to write."""
        self.is_single()
        path = self.checkpoint / "state.json"
        facts = json.loads(path.read_text())
        changed = change(facts)
        path.write_text(changed if isinstance(changed, str) else json.dumps(facts))
        self.seal()

    def seal(self, **lies):
        """Make the manifest agree with what lies there: (size, sha256) of files may be given instead."""
        names = [name for name in CHECKPOINT_FILES if name != "manifest.json" and name not in lies]
        content = {name: (self.checkpoint / name).read_bytes() for name in names}
        self.list_files({name: [len(one), hashlib.sha256(one).hexdigest()] for name, one in content.items()} | lies)

    def list_files(self, table):
        """Write a manifest that matches its own sha256."""
        line = json.dumps(table).encode()
        seal = hashlib.sha256(line).hexdigest().encode()
        (self.checkpoint / "manifest.json").write_bytes(line + b"\n" + seal)


def contents_of(folder):
    """Every name below a folder with all that the system says of it, less when it was read."""
    found = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        body = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(facts.st_mode) else ""
        found[str(path)] = (facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ino, body)
    return found


def pytest_configure(config):
    config.addinivalue_line("markers", "thin(n): of the cases of a test, one of n is tried at once, all in `make slow`")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    seen = {}
    for item in items:
        thin = item.get_closest_marker("thin")
        if thin:
            seen[item.parent, item.originalname] = number = seen.get((item.parent, item.originalname), -1) + 1
            if number % thin.args[0]:
                item.add_marker("slow")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Kind of a run -> its folder; one of a kind, made here."""
    folder = tmp_path_factory.mktemp("trained")
    np.savetxt(folder / "points.csv", np.random.default_rng(0).normal(size=(80, 2)), delimiter=",")
    sizes = [f"nets.{player}.width=16" for player in ("generator", "discriminator")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for kind, recipe in RECIPES.items():
            Path(f"{kind}.toml").write_text(recipe + SMALL)
            zs.train(f"{kind}.toml", out=kind, set=sizes, report=False, say=lambda _: None)
    return {kind: folder / kind for kind in RECIPES}


class Ended:
    """How a command ended."""

    def __init__(self, code, out, err, seconds, faults):
        self.code, self.out, self.err, self.seconds, self.faults = code, out, err, seconds, faults

    @property
    def kind(self):
        """The kind of error, as --json says it; None where there was none."""
        return json.loads(self.out).get("kind") if self.code else None


@contextmanager
def with_little_memory():
    """Let the process have only so much more than it has now, where the system says how much that is."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        yield
        return
    now = int(statm.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture
def command(monkeypatch, capsys):
    """(place, *words) -> how the command ended, once all that must hold for every hostile run is seen to hold."""

    def run(place, *words, judged=True):
        monkeypatch.chdir(place.work)
        monkeypatch.setattr(sys, "path", [str(place.work), *sys.path])
        monkeypatch.setattr(sys, "meta_path", [WATCH, *sys.meta_path])
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        monkeypatch.setattr(sys, "argv", ["zerosum", *map(str, words)])
        capsys.readouterr()
        code, before, began = 0, contents_of(place.outside), (process_time(), perf_counter())
        WATCH.seen = []
        with with_little_memory():
            WATCH.on = True
            try:
                main.main()
            except SystemExit as end:
                code = end.code
            finally:
                WATCH.on = False
        seconds = process_time() - began[0], perf_counter() - began[1]
        ended = Ended(code, *capsys.readouterr(), seconds, WATCH.faults(place))
        if judged:
            judge(place, ended, before, "--json" in words)
        return ended

    return run


def judge(place, ended, before, as_json):
    """What holds for every command on every run, whatever is in it."""
    assert not ended.faults, "\n".join(ended.faults)
    assert contents_of(place.outside) == before
    assert not place.canary.exists()
    assert max(ended.seconds[0] / 10, ended.seconds[1] / 60) < 1  # of work, and on the clock of a busy machine
    assert is_clean(ended.out + ended.err)
    assert ended.code in (0, 2, 3), ended.err
    for word in ("Traceback", "fault of zerosum", "not enough memory", "code of your own"):
        assert word not in ended.err
    said = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(said) == (ended.code != 0), ended.err
    if as_json:
        assert len(ended.out.splitlines()) == 1, ended.out
        facts = json.loads(ended.out)
        assert ended.code == (facts.get("exit_code", 0) if isinstance(facts, dict) else 0)


def is_clean(text):
    """Whether a terminal has nothing to obey in it."""
    return not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)


@pytest.fixture
def watch():
    """(place) -> a block, and in the end the list of what was done in it and must not be done."""

    @contextmanager
    def block(place):
        faults = []
        WATCH.seen, WATCH.on = [], True
        sys.meta_path.insert(0, WATCH)
        try:
            yield faults
        finally:
            WATCH.on = False
            sys.meta_path.remove(WATCH)
            faults += WATCH.faults(place)

    return block


@pytest.fixture
def clean():
    return is_clean


@pytest.fixture
def contents():
    return contents_of


@pytest.fixture
def little_memory():
    return with_little_memory


@pytest.fixture
def place(trained, tmp_path):
    """A copy of the run on digits, which is from elsewhere therefore."""
    forget()
    yield Place(tmp_path, trained["digits"])
    forget()


def forget():
    """Let the next test import what an earlier one may have imported."""
    for name in [name for name in sys.modules if name.partition(".")[0] not in PACKAGES and "payload" in name]:
        del sys.modules[name]
    for name in ("runs", "runs.evil"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="session", autouse=True)
def _warm(trained, tmp_path_factory):
    """Whatever libraries do when they are first used is done, once, on runs that are well."""
    place = Place(tmp_path_factory.mktemp("warm"), trained["digits"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.work)
        run = zs.load("evil")
        run.sample(4).save(place.made / "x.png")
        run.report()
        run.evaluate(50, "pixels")
        patch.setattr(sys, "argv", ["zerosum", "train", str(place.run / "config.toml"), "--rounds=1", "--out=made/run"])
        with pytest.raises(SystemExit):
            main.main()
        zs.load(trained["points"]).report(place.made / "points.html")


@pytest.fixture(autouse=True)
def _no_data_of_the_users(monkeypatch):
    """Where the user keeps data sets is a place that a command may read; here it may not."""
    monkeypatch.delenv("ZEROSUM_DATA", raising=False)
