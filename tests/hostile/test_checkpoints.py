"""Checkpoints that were made by hand, with a manifest that agrees: only what the run's own networks hold is taken.

`sample` reads the average, and verifies the others; `train` reads all of them, and goes on.
"""

import hashlib
import json
import os
import shutil
import struct

import numpy as np
import pytest
import torch

SAMPLE = ["sample", "evil", "--out", "made/x.png", "--json"]


def named(tensors, which=0):
    """A weight's name: of matrices, the first or the last."""
    return [name for name, tensor in sorted(tensors.items()) if tensor.ndim == 2][which]


def change(what):
    """A change of one matrix: (tensor) -> tensor."""

    def changed(tensors):
        name = named(tensors)
        tensors[name] = what(tensors[name])

    return changed


TENSORS = {
    "a row less": change(lambda w: w[:-1]),
    "a row more": change(lambda w: torch.cat([w, w[:1]])),
    "one number": change(lambda _: torch.zeros(1)),
    "no number": change(lambda _: torch.zeros(0)),
    "a scalar": change(lambda _: torch.tensor(1.0)),
    "turned": change(lambda w: w.T),
    "another axis": change(lambda w: w[None]),
    "double": change(lambda w: w.double()),
    "half": change(lambda w: w.half()),
    "whole numbers": change(lambda w: w.long()),
    "truth values": change(lambda w: w > 0),
    "larger": change(lambda _: torch.zeros(3000, 3000)),
    "none at all": lambda tensors: tensors.clear(),
    "one too few": lambda tensors: tensors.pop(named(tensors)),
    "one too many": lambda tensors: tensors.update(more=torch.zeros(2)),
    "a thousand too many": lambda tensors: tensors.update({f"more.{n}": torch.zeros(1) for n in range(1000)}),
    "another name": lambda tensors: tensors.update({"../x": tensors.pop(named(tensors))}),
    "an odd name": lambda tensors: tensors.update({"\x1b[2J\u202e": tensors.pop(named(tensors))}),
    "a name without an end": lambda tensors: tensors.update({"x" * 10**6: tensors.pop(named(tensors))}),
    "two swapped": lambda tensors: tensors.update(
        {named(tensors): tensors[named(tensors, -1)], named(tensors, -1): tensors[named(tensors)]}
    ),
}


@pytest.mark.thin(3)
@pytest.mark.parametrize("what", TENSORS)
def test_sampling_takes_no_other_tensors(command, place, what):
    place.edit_tensors("average", TENSORS[what])
    ended = command(place, *SAMPLE)
    assert (ended.code, ended.kind) == (3, "CheckpointError")
    assert "does not fit" in ended.err or "average.safetensors" in ended.err


@pytest.mark.thin(5)
@pytest.mark.parametrize("stem", ["players", "average", "optimizers"])
@pytest.mark.parametrize("what", ["a row less", "double", "one number", "one too few", "one too many", "another name"])
def test_a_training_takes_no_other_tensors(command, place, stem, what):
    place.edit_tensors(stem, TENSORS[what])
    (place.made / "recipe.toml").write_bytes((place.run / "config.toml").read_bytes())
    ended = command(place, "train", "made/recipe.toml", "--out", "runs/evil", "--rounds=21", "--json")
    assert (ended.code, ended.kind) == (3, "CheckpointError")


def header(text, numbers=b"", length=None):
    """A file of tensors whose header is any text."""
    text = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + numbers


ROW = '"x":{"dtype":"F32","shape":[%s],"data_offsets":[%s]}'
HEADERS = {
    "nothing": b"",
    "seven bytes": b"1234567",
    "a length and no header": header("", length=100),
    "a length of all memory": header("{}", length=2**63),
    "a length of one GB": header("{}", length=2**30),
    "no JSON": header("{{{{"),
    "another coding": header(b"\xff\xfe{}"),
    "a list": header("[]"),
    "a number": header("5"),
    "ten thousand lists": header("[" * 10_000),
    "ten thousand trees": header('{"a":' * 10_000),
    "a tensor without an end": header("{%s}" % (ROW % ("1000000000000", "0,4000000000000"))),
    "a shape that overflows": header("{%s}" % (ROW % (",".join(["65536"] * 5), "0,4"))),
    "a shape below zero": header("{%s}" % (ROW % ("-1", "0,4")), bytes(4)),
    "a shape of no whole number": header("{%s}" % (ROW % ("1.5", "0,4")), bytes(4)),
    "a shape of a thousand axes": header("{%s}" % (ROW % (",".join(["1"] * 1000), "0,4")), bytes(4)),
    "numbers before the file": header("{%s}" % (ROW % ("1", "-4,0")), bytes(4)),
    "numbers that overlap": header("{%s,%s}" % (ROW % ("1", "0,4"), (ROW % ("1", "0,4")).replace("x", "y")), bytes(4)),
    "numbers that are not there": header("{%s}" % (ROW % ("9", "0,36"))),
    "a type that there is not": header('{"x":{"dtype":"PICKLE","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "a type of four bits": header('{"x":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}', bytes(1)),
    "a name twice": header("{%s,%s}" % (ROW % ("1", "0,4"), ROW % ("1", "0,4")), bytes(4)),
    "notes": header('{"__metadata__":{"a":"%s"}}' % ("x" * 50_000)),
    "a hundred thousand tensors": header(
        "{%s}" % ",".join(f'"{n}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for n in range(100_000))
    ),
    "an archive of torch": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.thin(3)
@pytest.mark.parametrize("what", HEADERS)
def test_headers_that_lie(command, place, what):
    place.is_single()
    (place.checkpoint / "average.safetensors").write_bytes(HEADERS[what])
    place.seal()
    ended = command(place, *SAMPLE)
    assert (ended.code, ended.kind) == (3, "CheckpointError")


OTHERS = {
    "a file above": {"../../../../../outside/secret.txt": [7, "0" * 64]},
    "a device": {"/dev/zero": [1, "0" * 64]},
    "no file": None,
    "a file twice as large": {"average.safetensors": [2**70, "0" * 64]},
    "a size below zero": {"average.safetensors": [-1, "0" * 64]},
    "a size that is true": {"average.safetensors": [True, "0" * 64]},
    "a size that is a word": {"average.safetensors": ["1", "0" * 64]},
    "no sha256": {"average.safetensors": [1, None]},
    "facts that are none": {"average.safetensors": 5},
    "three facts": {"average.safetensors": [1, "0", 2]},
    "one of a million names": {f"{n}": [0, ""] for n in range(1000)},
}


@pytest.mark.thin(3)
@pytest.mark.parametrize("what", OTHERS)
def test_manifests_that_list_what_is_no_file_of_a_checkpoint(command, place, what):
    place.is_single()
    if OTHERS[what] is None:
        place.list_files({})
    else:
        place.seal(**OTHERS[what])
    ended = command(place, *SAMPLE)
    assert (ended.code, ended.kind) == (3, "CheckpointError")


@pytest.mark.thin(4)
@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]\n", b"\n", b"\0" * 1000, b"[" * 60_000, b"{" * 10**6, b"\xff" * 99],
    ids=lambda content: str(content[:4]),
)
@pytest.mark.parametrize("sealed", [False, True], ids=["bare", "sealed"])
def test_manifests_that_are_none(command, place, content, sealed):
    place.is_single()
    line = content.partition(b"\n")[0]
    seal = b"\n" + hashlib.sha256(line).hexdigest().encode() if sealed else b""
    (place.checkpoint / "manifest.json").write_bytes((line if sealed else content) + seal)
    ended = command(place, *SAMPLE)
    assert (ended.code, ended.kind) == (3, "CheckpointError")


def put(**facts):
    return lambda state: state.update(facts)


def form(**facts):
    return lambda state: state["data"].update(facts)


def nested(depth):
    return '{"a":' * depth + "0" + "}" * depth


STATES = {
    "another round": put(round=10),
    "a round below zero": put(round=-20),
    "a round that is true": put(round=True),
    "a round and a half": put(round=20.5),
    "a round without an end": lambda state: json.dumps(state).replace('"round": 20', '"round": ' + "9" * 5000),
    "another run": put(run="0" * 32),
    "a run that is a list": put(run=["x"]),
    "no fingerprint": lambda state: state.pop("fingerprint"),
    "a list": lambda _: "[]",
    "nothing": lambda _: "",
    "no text": lambda _: "\ud800".encode("utf-16", "surrogatepass").decode("latin-1"),
    "a million nestings": lambda _: '{"round":20,"extra":' + nested(10**6) + "}",
    "as many of lists": lambda _: "[" * 10**6,
    "extra nested": lambda state: json.dumps(state | {"extra": 0}).replace('"extra": 0', '"extra": ' + nested(600)),
    "extra that is none": put(extra=[]),
    "time that is a word": put(extra={"seconds": "x"}),
    "time that is a list": put(extra={"seconds": [1]}),
    "time below zero": put(extra={"seconds": -1}),
    "time without an end": put(extra={"seconds": float("inf")}),
    "time that is none": put(extra={"seconds": float("nan")}),
    "time of a thousand digits": put(extra={"seconds": 10**1000}),
    "no form": put(data={}),
    "a form that is a list": put(data=[]),
    "another kind": form(kind="points"),
    "a kind that there is not": form(kind="sounds"),
    "a shape of 10^9": form(shape=[1, 10**9, 10**9]),
    "a wide shape": form(shape=[1, 8, 10**7]),
    "an empty shape": form(shape=[]),
    "a shape of nothing": form(shape=[1, 0, 8]),
    "a shape below zero": form(shape=[1, -8, -8]),
    "a shape of words": form(shape=["a", "b", "c"]),
    "a thousand axes": form(shape=[1] * 1000),
    "other channels": form(shape=[3, 8, 8]),
    "a scale that is none": form(scale=[float("nan")]),
    "a scale of nothing": form(scale=[0.0]),
    "a scale without an end": form(scale=[float("inf")]),
    "many scales": form(scale=[1.0] * 10**5),
    "classes that are numbers": form(classes=[1, 2]),
    "more in the form": form(loader="os:system"),
    "a form of zerosum's own": form(__class__="Form"),
}


@pytest.mark.thin(3)
@pytest.mark.parametrize("what", STATES)
def test_states_that_are_not_what_they_should_be(command, place, what):
    place.edit_state(STATES[what])
    ended = command(place, *SAMPLE)
    assert (ended.code, ended.kind) == (3, "CheckpointError"), ended.err


GOOD = {
    "a million classes": form(classes=[f"class {n}" for n in range(10**6)]),
    "one class of a million letters": form(classes=["x" * 10**6]),
    "classes that a terminal obeys": form(classes=["\x1b[2J", "\u202e", "a\nb", "<script>alert(1)</script>"] * 3),
    "numbers at the edge": form(scale=[1e308], shift=[-1e308]),
    "small numbers": form(scale=[5e-324]),
}


@pytest.mark.thin(3)
@pytest.mark.parametrize("what", GOOD)
def test_states_that_are_odd_and_harmless(command, place, what):
    place.edit_state(GOOD[what])
    assert command(place, *SAMPLE).code == 0
    assert command(place, "report", "evil", "--json").code == 0


@pytest.mark.thin(2)
@pytest.mark.parametrize("what", ["a million classes", "classes that a terminal obeys"])
def test_classes_that_the_generator_was_never_told(command, trained, place, what):
    shutil.rmtree(place.run)
    shutil.copytree(trained["classes"], place.run)
    assert command(place, *SAMPLE).code == 0
    place.edit_state(GOOD[what])
    ended = command(place, *SAMPLE, "--force")
    assert (ended.code, ended.kind) == (3, "CheckpointError")


def test_classes_under_names_that_a_terminal_obeys(command, trained, place):
    shutil.rmtree(place.run)
    shutil.copytree(trained["classes"], place.run)
    place.edit_state(form(classes=[f"\x1b[{n}J\u202e<b onload=x>\n{n}" for n in range(10)]))
    assert command(place, *SAMPLE).code == 0
    ended = command(place, *SAMPLE, "--label", "\x1b[3J", "--force")
    assert (ended.code, ended.kind) == (2, "UsageError")
    assert command(place, "report", "evil").code == 0
    assert "<b onload" not in (place.run / "report.html").read_text()


@pytest.mark.thin(2)
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(command, place, number):
    place.edit_tensors("average", lambda tensors: tensors[named(tensors)][0].fill_(number))
    ended = command(place, *SAMPLE)
    assert (ended.code, ended.kind) == (3, "CheckpointError")
    assert "NaN or infinity" in ended.err


@pytest.mark.thin(3)
@pytest.mark.parametrize("number", [3e38, -3e38])
@pytest.mark.parametrize("kind", ["digits", "points"])
def test_weights_that_lead_out_of_all_numbers_give_samples_or_a_sentence(command, trained, place, kind, number):
    shutil.rmtree(place.run)
    shutil.copytree(trained[kind], place.run)
    place.edit_tensors("average", lambda tensors: [one.fill_(number) for one in tensors.values()])
    assert command(place, "sample", "evil", "--out", "made/x.npz", "--json").code in (0, 3)
    assert command(place, "report", "evil", "--json").code in (0, 3)


@pytest.mark.thin(3)
@pytest.mark.parametrize(
    "change",
    [
        {"nets": {"generator": {"width": 2**16}}},
        {"nets": {"generator": {"depth": 1000}}},
        {"nets": {"generator": {"width": 2**40}}},
        {"nets": {"name": "dcgan"}},
        {"nets": {"name": "residual"}},
        {"nets": {"conditions": "labels"}},
        {"nets": {"conditions": "labels", "label_size": 2**62}},
        {"latent": {"size": 2**62}},
        {"latent": {"size": 10**9}},
        {"latent": {"law": "uniform", "low": -1e30, "high": 1e30}},
        {"train": {"precision": "float64"}},
        {"train": {"precision": "bfloat16"}},
        {"train": {"threads": 4096, "processes": 4096}},
        {"train": {"device": "cuda:99"}},
        {"train": {"device": "meta"}},
        {"game": {"batch": 2**62}},
    ],
    ids=str,
)
def test_settings_of_other_networks(command, place, change):
    def merged(tree):
        for section, values in change.items():
            tree.setdefault(section, {}).update(values)

    place.edit(merged)
    ended = command(place, *SAMPLE)
    assert ended.code == 0 or (ended.code, ended.kind) in {(3, "CheckpointError"), (2, "RunError")}


def test_a_generator_that_fills_all_memory_is_refused_before_it_is_read(command, place):
    place.edit(lambda tree: tree["nets"].update(generator={"width": 2**16, "depth": 40}))
    place.is_single()
    os.truncate(place.checkpoint / "average.safetensors", 39 * 2**34)
    size = (place.checkpoint / "average.safetensors").stat().st_size
    place.seal(**{"average.safetensors": [size, "0" * 64]})
    ended = command(place, *SAMPLE)
    assert (ended.code, ended.kind) == (3, "CheckpointError")
    assert "GB of memory" in ended.err


def test_files_that_are_only_verified_have_a_bound_too(command, place):
    place.is_single()
    for name in ("players.safetensors", "optimizers.safetensors"):
        os.truncate(place.checkpoint / name, 2**40)
    facts = [2**40, "0" * 64]
    place.seal(**{"players.safetensors": facts, "optimizers.safetensors": facts})
    ended = command(place, *SAMPLE)
    assert (ended.code, ended.kind) == (3, "CheckpointError")


def test_a_checkpoint_of_another_run_is_refused(command, trained, place):
    place.is_single()
    shutil.rmtree(place.checkpoint)
    shutil.copytree(trained["classes"] / "checkpoints" / "000020", place.checkpoint)
    ended = command(place, *SAMPLE)
    assert (ended.code, ended.kind) == (3, "CheckpointError")
    assert "belongs to another run" in ended.err


@pytest.mark.thin(3)
@pytest.mark.parametrize("name", ["000030", "999999999999999999", "0000020", "\u0660\u0660\u0660\u0660\u0662\u0660"])
def test_a_checkpoint_under_another_name_is_not_taken(command, place, name):
    shutil.copytree(place.checkpoint, place.checkpoint.with_name(name))
    shutil.rmtree(place.checkpoint.with_name("000010"))
    ended = command(place, *SAMPLE)
    assert ended.code == 0
    assert '"round": 20' in ended.out


def test_a_hundred_damaged_checkpoints_are_named_and_passed_over(command, place):
    for step in range(1000, 1100):
        shutil.copytree(place.checkpoint, place.checkpoint.with_name(f"{step:06d}"), copy_function=os.link)
    ended = command(place, *SAMPLE)
    assert ended.code == 0
    assert ended.err.count("renamed; using 000020 instead") == 100


def test_samples_are_still_those_of_the_average(command, place):
    """The control: untouched and sealed anew, it is taken."""
    place.is_single()
    place.seal()
    assert command(place, "sample", "evil", "--out", "made/x.npz").code == 0
    with np.load(place.made / "x.npz") as archive:
        first = archive["samples"]
    place.edit_tensors("average", change(lambda w: w + 1))
    assert command(place, "sample", "evil", "--out", "made/y.npz").code == 0
    with np.load(place.made / "y.npz") as archive:
        assert not np.array_equal(first, archive["samples"])
