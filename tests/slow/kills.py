"""Runs that are killed, and what is to be the same in the end; see `zygote` for how a kill is made."""

import hashlib
import json
import re
import runpy
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ZYGOTE = runpy.run_path(str(Path(__file__).with_name("zygote.py")))
Zygote, Ending = ZYGOTE["Zygote"], ZYGOTE["Ending"]

RECIPE = """
data = {data}
[[penalties]]
name = "r1"
weight = 0.5
every = 3
[nets]
name = "mlp"
generator = {{ width = {width} }}
discriminator = {{ width = {width} }}
[game]
k = 2
batch = {width}
[schedule]
warmup = 20
decay = "cosine"
end = 1000
[train]
threads = 1
device = "cpu"
keep = 2
"""
TIMES = ("seconds", "samples_per_second")
SAVED = re.compile(r"rename run/checkpoints/(\d{6})")


@dataclass
class Place:
    """A working folder with a recipe in it, and a run of that in the folder "run"."""

    zygote: object
    path: Path

    @property
    def run(self):
        return self.path / "run"

    def train(self, *words, **how):
        """Train to the end; how it ended."""
        return self.command("train", "recipe.toml", "--out", "run", *words, **how)

    def command(self, *words, **how):
        """A command, to its end."""
        ending = self.zygote.run(*words, cwd=self.path, **how)
        assert (ending.code, "Traceback" in ending.err) == (0, False), ending.err
        return ending

    def killed(self, *words, **how):
        """A command that is killed; what it had asked of the disk until then."""
        words = words or ("train", "recipe.toml", "--out", "run")
        ending = self.zygote.run(*words, cwd=self.path, **how)
        assert ending.code == -9, f"it ended with {ending.code}: {ending.err}"
        return ending.operations

    def newest(self):
        """The round of the newest checkpoint, which is whole; None where there is none. A damaged one is an error."""
        from zerosum import checkpoint

        found = checkpoint.load(self.run / "checkpoints", refuse)
        return None if found is None else found.round

    def contents(self, *less):
        """What lies in the run folder, less what no two runs have alike: what it is known by, and times."""
        found = {}
        for path in sorted(self.run.rglob("*")):
            name = str(path.relative_to(self.run))
            if name not in less:
                found[name] = "folder" if path.is_dir() else content(path.name, path.read_bytes())
        return found


def refuse(sentence):
    raise AssertionError(sentence)


@contextmanager
def places(root, **env):
    """(name, further settings, data, width) -> a new place; the data is 240 pictures of noise, if not named."""
    small = root / "small.npy"  # settings hold where it lies: in one place for all
    np.save(small, np.random.default_rng(0).integers(0, 256, (240, 6, 6), dtype=np.uint8))
    with Zygote(**env) as zygote:

        def place(name, settings, data=None, width=4):
            path = root / name
            path.mkdir()
            mine = f'{{ name = "{small}", held_out = 0.25 }}'
            (path / "recipe.toml").write_text(RECIPE.format(data=data or mine, width=width) + settings)
            return Place(zygote, path)

        yield place


def content(name, raw):
    """What a file says that has to be the same in every run of the same settings."""
    if name == "report.html":
        assert raw.rstrip().endswith(b"</html>")
        raw = re.sub(rb"<dt>(Time|Speed|Command|Versions)</dt>.*", b"", raw)
    if name.endswith(".jsonl"):
        return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in raw.splitlines()]
    if name in ("state.json", "environment.json", "manifest.json"):
        facts = json.loads(raw.splitlines()[0] if name == "manifest.json" else raw)
        if name == "state.json":
            facts["extra"].pop("seconds", None)
        return {key: value for key, value in facts.items() if key not in ("run", "state.json", "command", "commit")}
    return hashlib.sha256(raw).hexdigest()


def differing(found, expected):
    """Names of what is not the same."""
    return [name for name in sorted(found.keys() | expected.keys()) if found.get(name) != expected.get(name)]


def points(operations):
    """Every moment to be killed at: before each operation, in the middle of each write, and after the last."""
    for number, operation in enumerate(operations):
        yield number, "before"
        if operation.startswith("write"):
            yield number, "half"
    yield len(operations) - 1, "after"


def spread(points, count):
    """So many of them, evenly."""
    points = list(points)
    return [points[round(place)] for place in np.linspace(0, len(points) - 1, min(count, len(points)))]


def saved_before(operations, point):
    """The round of the last checkpoint that is renamed into place before that moment."""
    done = operations[: point[0] + (point[1] == "after")]
    return max((int(found[1]) for one in done if (found := SAVED.fullmatch(one))), default=None)
