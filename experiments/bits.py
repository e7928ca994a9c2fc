"""Golden bits: whether two checkouts of zerosum play the same rounds, to the last bit, on one machine.

    python experiments/bits.py OLD NEW            two checkouts; OLD may be a .json file that --keep wrote
           [--keep FILE] [--only WORD ...] [--jobs 2]

Every recipe is played for 20 rounds with batches of 16, in float32, bfloat16 (where the machine gains by it) and
float64, with two passes to a step, and by two processes; so are the games in experiments/bits/, which reach what no
recipe does: the other losses, orders, penalties and optimizers. Compared are the sha256 of each tensor of the last
checkpoint, the numbers of every reading but those of time, 64 samples, and some metrics.

Names may differ between the two: a tensor is known by its bits, a reading by its numbers in their order. What a
difference is worth is for the reader to say: bits differ between machines, and between versions of torch.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROUNDS, BATCH = 20, 16

VARIANTS = {
    "float32": ["train.precision=float32"],
    "bfloat16": ["train.precision=bfloat16"],
    "float64": ["train.precision=float64"],
    "accumulate": ["train.precision=float32", "game.accumulate=2"],
    "processes": ["train.precision=float32", "train.processes=2"],
}

PLAYED = """
import hashlib, inspect, json, sys
from pathlib import Path
import zerosum as zs
from safetensors import safe_open

def digest(array):
    return hashlib.sha256(repr((array.shape, str(array.dtype))).encode() + array.tobytes()).hexdigest()[:16]

def numbers(value):
    if isinstance(value, dict):
        return [number for key, one in value.items() if key not in ("seconds", "samples_per_second")
                for number in numbers(one)]
    if isinstance(value, list):
        return [number for one in value for number in numbers(one)]
    return [] if isinstance(value, str) else [value]

import torch
checkout, recipe, out, measured, *settings = sys.argv[1:]
assert Path(zs.__file__).is_relative_to(checkout), zs.__file__
length = {"rounds" if "rounds" in inspect.signature(zs.train).parameters else "steps": ROUNDS}
run = zs.train(recipe, **length, out=out, device="cpu", report=False, set=settings, say=lambda _: None)
bits = {"tensors": {}}
for name in ("players", "average", "optimizers"):
    with safe_open(run.path / f"checkpoints/{ROUNDS:06d}/{name}.safetensors", "pt") as file:
        for key in file.keys():
            tensor = file.get_tensor(key)
            raw = tensor.contiguous().view(torch.uint8) if tensor.ndim else tensor.reshape(1).view(torch.uint8)
            bits["tensors"][f"{name} {key}"] = digest(raw.numpy())
bits["readings"] = [numbers(line) for line in run.readings()]
bits["samples"] = digest(run.sample(64).array)
if measured == "measured":
    bits["metrics"] = [[row.name, row.value, row.error, row.real, row.noise] for row in run.evaluate(60, "pixels")]
print(json.dumps(bits))
"""


def cases(only: list[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Name, recipe and settings of everything that is played."""
    shipped = sorted(path.stem for path in (HERE.parent / "src/zerosum/recipes").glob("*.toml"))
    games = sorted((HERE / "bits").glob("*.toml"))
    every = ["train.threads=1", f"game.batch={BATCH}", "train.log_every=1", "train.check_every=10"]
    for recipe in [*shipped, *map(str, games)]:
        for variant, settings in VARIANTS.items():
            name = f"{Path(recipe).stem} {variant}"
            if all(word in name.split() or word in name for word in only):
                yield name, recipe, [*every, *settings]


def played(checkout: Path, name: str, recipe: str, settings: list[str]) -> dict[str, Any]:
    """The bits of one case; what it said instead, if it did not end well."""
    with tempfile.TemporaryDirectory() as place:
        own = checkout / "experiments/bits" / Path(recipe).name
        environment = {
            **os.environ,
            "PYTHONPATH": str(checkout / "src"),
            "XDG_STATE_HOME": place,
            "PYTHONWARNINGS": "ignore",
        }
        measured = "measured" if name in ("digits float32", "ring float32") else ""
        words = [str(checkout), str(own) if own.exists() else recipe, f"{place}/run", measured, *settings]
        script = PLAYED.replace("ROUNDS", str(ROUNDS))
        ending = subprocess.run(
            [sys.executable, "-c", script, *words],
            capture_output=True,
            text=True,
            env=environment,
            cwd=place,
            check=False,
        )
    if ending.returncode:
        return {"failed": ending.stderr.strip().splitlines()[-1][:200]}
    found: dict[str, Any] = json.loads(ending.stdout)
    return found


def bits(checkout: Path, only: list[str], jobs: int) -> dict[str, Any]:
    """The bits of every case, as this checkout plays them."""
    if checkout.suffix == ".json":
        kept: dict[str, Any] = json.loads(checkout.read_text())
        return {name: kept[name] for name, *_ in cases(only) if name in kept}
    todo = list(cases(only))
    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip([name for name, *_ in todo], pool.map(lambda case: played(checkout, *case), todo), strict=True))


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What of a case is not the same."""
    if "failed" in old or "failed" in new:
        return [f"failed: {old.get('failed')} / {new.get('failed')}"] if old != new else []
    different = [key for key in old.keys() | new.keys() if key != "tensors" and old.get(key) != new.get(key)]
    if sorted(old["tensors"].values()) != sorted(new["tensors"].values()):
        gone = set(old["tensors"].values()) - set(new["tensors"].values())
        different += [name for name, digest in old["tensors"].items() if digest in gone][:3] or ["tensors"]
    return different


def main() -> None:
    """Play, compare, and end with 1 where a bit differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="+", type=lambda path: Path(path).resolve())
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    given = parser.parse_args()
    found = [bits(checkout, given.only, given.jobs) for checkout in given.checkouts]
    if given.keep:
        given.keep.write_text(json.dumps(found[-1]))
    failed = [name for name, one in found[-1].items() if "failed" in one]
    print(f"{len(found[-1])} cases played, {len(failed)} of them refused")
    for name in failed:
        print(f"  {name}: {found[-1][name]['failed']}")
    if len(found) == 2:
        odd = {name: differences(found[0][name], one) for name, one in found[1].items() if name in found[0]}
        odd = {name: differs for name, differs in odd.items() if differs}
        for name, differs in odd.items():
            print(f"{name}: {', '.join(differs)}")
        print(f"{len(found[1]) - len(odd)} of {len(found[1])} cases are equal to the bit")
        sys.exit(bool(odd))


main()
