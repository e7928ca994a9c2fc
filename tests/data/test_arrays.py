import csv
import os
import struct
import sys
import tracemalloc
import warnings
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

from zerosum.data import binary, from_array, from_file, validate
from zerosum.data.loader import batch_loader
from zerosum.errors import DataError

N = 40
RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(N, 2))


def gray(*shape, dtype=np.uint8):
    return RNG.integers(0, 256, shape).astype(dtype)


def everything(data):
    """Every row of both splits, as stored."""
    return np.concatenate([rows[np.arange(len(rows))][0] for rows in (data.train, data.test)])


def labels_of(data):
    """Stored values of a data set of one column, and the label of each row."""
    x, labels = data.train[np.arange(len(data.train))]
    return dict(zip(x[:, 0].tolist(), labels.tolist(), strict=True))


def refusal(work, *given, **options):
    with pytest.raises(DataError) as caught:
        validate(work(*given, **options))
    return str(caught.value)


@pytest.mark.parametrize(("given", "shape"), [((N,), (1,)), ((N, 1), (1,)), ((N, 7), (7,))])
def test_one_and_two_axes_are_points(given, shape):
    data = validate(from_array(RNG.normal(size=given)))
    assert (data.kind, data.shape) == ("points", shape)


@pytest.mark.parametrize(
    ("given", "layout", "shape"),
    [
        ((N, 6, 5), None, (1, 6, 5)),
        ((N, 6, 5, 1), None, (1, 6, 5)),
        ((N, 6, 5, 3), None, (3, 6, 5)),
        ((N, 6, 5, 4), None, (4, 6, 5)),
        ((N, 3, 6, 5), None, (3, 6, 5)),
        ((N, 6, 5, 9), "nhwc", (9, 6, 5)),
        ((N, 9, 6, 5), "nchw", (9, 6, 5)),
        ((N, 2, 3, 4), "nhwc", (4, 2, 3)),
        ((N, 2, 3, 4), "nchw", (2, 3, 4)),
    ],
)
def test_three_and_four_axes_are_images_with_channels_first(given, layout, shape):
    images = gray(*given)
    data = validate(from_array(images, layout=layout, held_out=0.0))
    assert (data.kind, data.shape) == ("images", shape)
    last = layout == "nhwc" or (layout is None and given[-1] <= 4)
    wanted = images if last else images[:, None] if len(given) == 3 else images
    wanted = wanted.transpose(0, 3, 1, 2) if len(given) == 4 and last else wanted
    assert {row.tobytes() for row in everything(data)} == {np.ascontiguousarray(row).tobytes() for row in wanted}


@pytest.mark.parametrize("shape", [(N, 3, 4, 4), (N, 8, 8, 8)])
def test_images_that_do_not_show_their_channels_are_refused_with_the_way_out(shape):
    said = refusal(from_array, gray(*shape))
    assert str(shape) in said
    assert 'data.layout="nhwc"' in said


def test_wide_grey_values_are_scaled_and_not_clipped():
    values = np.array([0, 128, 255, 256, 257, 30_000, 65_534, 65_535], np.uint16)
    data = validate(from_array(np.repeat(values, 6).reshape(-1, 1, 1).repeat(2, 1), held_out=0.0))
    shown = data.samples(data.train)
    assert shown.dtype == np.uint8
    stored = data.train[np.arange(len(data.train))][0].transpose(0, 2, 3, 1)
    assert np.array_equal(shown, np.round(stored / 65535 * 255))
    assert {0, 1, 117, 255} <= set(shown.ravel().tolist())


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.float16, np.int32])
def test_grey_values_come_back_as_they_were(dtype):
    images = gray(N, 6, 5, 3, dtype=dtype)
    data = validate(from_array(images, range=(0.0, 255.0), held_out=0.0))
    encoded = data.spec.encode(torch.from_numpy(everything(data)))
    assert encoded.abs().max() <= 1
    assert {row.tobytes() for row in data.samples(data.train)} == {row.astype(np.uint8).tobytes() for row in images}


def test_yes_and_no_are_white_and_black():
    data = validate(from_array(gray(N, 4, 4) > 127))
    assert data.range == (0, 1)
    assert set(data.samples(data.train).ravel().tolist()) == {0, 255}


def test_a_declared_range_says_what_black_and_white_are():
    images = RNG.uniform(-1, 1, (N, 4, 4))
    images[:, 0, 0], images[:, 0, 1] = -1, 1
    data = validate(from_array(images, range=(-1.0, 1.0)))
    assert data.samples(data.train)[0, 0, :2, 0].tolist() == [0, 255]


def test_floating_point_images_without_a_range_are_refused_with_what_was_seen():
    said = refusal(from_array, np.linspace(0, 0.5, N * 16).reshape(N, 4, 4))
    assert "span 0 to 0.5" in said
    assert "data.range=[0,1]" in said


@pytest.mark.parametrize("declared", [(0.0, 0.5), (0.5, 1.0), (1.0, 0.0), (0.5, 0.5)])
def test_values_outside_the_declared_range_are_refused_with_the_true_one(declared):
    said = refusal(from_array, np.linspace(0, 1, N * 16).reshape(N, 4, 4), range=declared)
    assert "data.range=[0,1]" in said


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 17, N - 1])
def test_values_that_are_no_numbers_are_refused_with_their_row(bad, row):
    points = POINTS.copy()
    points[row, 1] = bad
    assert f"row {row} holds NaN or infinity" in refusal(from_array, points)


def test_the_row_of_a_bad_value_is_right_beyond_the_first_chunk(monkeypatch):
    monkeypatch.setattr("zerosum.data.checks.CHUNK", 64)
    points = POINTS.copy()
    points[33] = np.nan
    assert "row 33 holds" in refusal(from_array, points)


@pytest.mark.parametrize(("n", "enough"), [(16, True), (15, False), (1, False)])
def test_sixteen_rows_are_the_fewest(n, enough):
    if enough:
        validate(from_array(POINTS[:n], held_out=0.0))
    else:
        assert f"{n} training rows are too few" in refusal(from_array, POINTS[:n], held_out=0.0)


def test_data_without_variation_is_refused():
    assert "every value is 3" in refusal(from_array, np.full((N, 2), 3))


@pytest.mark.parametrize(
    "given",
    [
        np.full((N, 2), {}, object),
        POINTS.astype(complex),
        POINTS.astype(str),
        POINTS.astype(bytes),
        np.zeros(N, "datetime64[s]"),
        np.zeros(N, "timedelta64[s]"),
        np.zeros((N, 2), "V3"),
        [10**400, 1],
        np.zeros(N, [("a", "f4")]),
        np.float64(3),
        np.zeros((N, 2, 2, 2, 2)),
        np.zeros((0, 2)),
        np.zeros((N, 0)),
        [],
        [[1.0, 2.0], [3.0]],
        None,
        "abc",
        {"x": 1},
        torch.zeros(N, 2).to_sparse(),
    ],
    ids=lambda given: f"{type(given).__name__}-{getattr(given, 'dtype', '')}-{getattr(given, 'shape', '')}",
)
def test_what_is_no_array_of_real_numbers_is_refused(given):
    assert refusal(from_array, given).startswith("array: ")


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8]
)
def test_tensors_of_any_kind_are_points(dtype):
    x = torch.arange(N * 2).reshape(N, 2).to(dtype)
    data = validate(from_array(x, held_out=0.0))
    assert {tuple(row) for row in everything(data).tolist()} == {tuple(row) for row in x.tolist()}


def test_a_tensor_that_is_being_learned_is_points_too():
    validate(from_array(torch.randn(N, 2, requires_grad=True)))


@pytest.mark.parametrize("dtype", [">f4", ">i2", "longdouble", "uint32", "bool", "float16"])
def test_numbers_that_torch_does_not_know_are_played_with(dtype):
    given = (np.arange(N * 2).reshape(N, 2) % 7 * 1.0).astype(dtype)
    data = validate(from_array(given, held_out=0.0))
    batches = batch_loader(data, 8, 0, torch.device("cpu"), torch.float32)
    first, _ = batches(0)
    rows = {tuple(row) for row in data.spec.decode(first).round().tolist()}
    assert rows <= {tuple(row) for row in given.astype(float).tolist()}
    assert len(rows) > 1


def test_the_unused_bytes_of_a_long_double_do_not_change_its_fingerprint():
    given = POINTS.astype(np.longdouble)
    other = given.copy()
    other.view(np.uint8).reshape(N, 2, -1)[:, :, 10:] = 255
    if not np.array_equal(given, other):
        pytest.skip("here a long double uses all of its bytes")
    assert from_array(given).fingerprint() == from_array(other).fingerprint()


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        ([0, 1, 2, 1], ("0", "1", "2"), [0, 1, 2, 1]),
        ([7, -1, 30, 7], ("7", "30"), [0, -1, 1, 0]),
        ([2.0, -1.0, 10.0, 2.0], ("2", "10"), [0, -1, 1, 0]),
        (["cat", "", "dog", "cat"], ("cat", "dog"), [0, -1, 1, 0]),
        ([True, False, True, True], ("False", "True"), [1, 0, 1, 1]),
        (torch.tensor([3, 4, 3, 3]), ("3", "4"), [0, 1, 0, 0]),
        (torch.tensor([3, 4, 3, 3], dtype=torch.bfloat16), ("3", "4"), [0, 1, 0, 0]),
        ([-1, -1, -1, -1], (), [-1, -1, -1, -1]),
        ([0.5, -1.5, 1.5, 0.5], ("0.5", "1.5"), [0, -1, 1, 0]),
        ([1e300, 0.0, 1e300, -1e300], ("0.0", "1e+300"), [1, 0, 1, -1]),
        (
            [2**53 + 1, 2**53, 2**53 + 2, -1],
            ("9007199254740992", "9007199254740993", "9007199254740994"),
            [1, 0, 2, -1],
        ),
        (np.array([2**64 - 1, 0, 1, 0], np.uint64), ("0", "1", "18446744073709551615"), [2, 0, 1, 0]),
        (np.array([b"cat", b"", b"d\xc3\xb6g", b"cat"]), ("cat", "dög"), [0, -1, 1, 0]),
        (np.array(["cat", "", "dog", "cat"], object), ("cat", "dog"), [0, -1, 1, 0]),
        (np.array(["cat", "", "dog", "cat"], np.dtypes.StringDType()), ("cat", "dog"), [0, -1, 1, 0]),
        (None, None, None),
    ],
)
def test_labels_are_numbered_and_unknown_ones_are_minus_one(labels, classes, numbers):
    data = from_array(np.arange(4.0), labels, held_out=0.0)
    assert data.classes == classes
    assert data.train.labels is None if numbers is None else labels_of(data) == dict(enumerate(numbers))


@pytest.mark.parametrize("labels", [[1, 2], [[1]] * N, 3, [[1], [1, 2]]])
def test_labels_that_do_not_fit_the_rows_are_refused(labels):
    assert "labels" in refusal(from_array, POINTS, labels)


ROW = np.zeros(N)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.where(np.arange(N) == 3, np.nan, 1.0), "the label of row 3 is nan. Write -1 where a class is not known"),
        (np.where(np.arange(N) == 3, np.inf, 1.0), "the label of row 3 is inf. Write -1 where a class is not known"),
        (ROW.astype("m8[s]"), "labels hold timedelta64[s], expected numbers or texts"),
        (ROW.astype("M8[s]"), "labels hold datetime64[s], expected numbers or texts"),
        (ROW.astype(complex), "labels hold complex128, expected numbers or texts"),
        (np.zeros(N, "V3"), "labels hold |V3, expected numbers or texts"),
        (np.zeros(N, [("a", "f4")]), "labels hold [('a', '<f4')], expected numbers or texts"),
        (np.array(["a", None] * (N // 2)), "the label of row 1 is of type NoneType, expected numbers or texts alone"),
        (np.array([1, "a"] * (N // 2), object), "the label of row 0 is of type int, expected numbers or texts alone"),
        (ROW.reshape(N, 1), f"labels have shape ({N}, 1), expected ({N},): one for each row"),
        (np.full(N, b"\xff"), "labels hold what is no UTF-8 text: 'utf-8' codec can't decode byte 0xff in position 0"),
        (np.full(N, "\ud800"), "labels hold what is no UTF-8 text: 'utf-8' codec can't encode character '\\ud800'"),
        (np.full(N, 0x110000, np.uint32).view("<U1"), "labels hold what is no UTF-8 text: "),
        (np.full(N, 2**32 - 1, np.uint32).view("<U1"), "labels hold what is no UTF-8 text: "),
        (np.full(N, 2**31, ">u4").view(">U1"), "labels hold what is no UTF-8 text: "),
    ],
)
def test_labels_that_name_no_classes_are_refused(labels, said):
    assert refusal(from_array, POINTS, labels).startswith(f"array: {said}")


def test_the_held_out_rows_are_others_and_the_same_each_time():
    data, again = (from_array(np.arange(100.0), held_out=0.2) for _ in range(2))
    train, test = ({x.item() for x in rows[np.arange(len(rows))][0]} for rows in (data.train, data.test))
    assert (len(train), len(test)) == (80, 20)
    assert train | test == set(range(100))
    assert np.array_equal(everything(data), everything(again))
    assert sorted(test) != list(range(80, 100))


def test_labels_stay_with_their_rows():
    assert labels_of(from_array(np.arange(50.0), np.arange(50))) == {
        float(value): value for value in labels_of(from_array(np.arange(50.0), np.arange(50)))
    }


def test_points_are_standardised_unless_that_is_refused():
    given = POINTS * [5.0, 0.1] + [100.0, -3.0]
    data, raw = from_array(given, held_out=0.0), from_array(given, held_out=0.0, standardize=False)
    encoded = data.spec.encode(torch.from_numpy(everything(data)))
    np.testing.assert_allclose(encoded.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(encoded.std(0, correction=0), 1, atol=1e-12)
    assert np.array_equal(raw.spec.encode(torch.from_numpy(everything(raw))).numpy(), everything(raw))
    for one in (data, raw):
        np.testing.assert_allclose(one.samples(one.train), everything(one), rtol=1e-6)


def test_a_column_that_never_changes_is_shifted_only():
    data = validate(from_array(np.stack([np.arange(N), np.full(N, 7.0)], 1)))
    assert data.spec.scale[1] == 1
    assert data.spec.shift[1] == 7


def test_statistics_are_those_of_the_training_rows_alone():
    data = from_array(np.arange(100.0), held_out=0.5)
    assert data.spec.shift == pytest.approx((data.train[np.arange(50)][0].mean(),))


@pytest.fixture
def table(tmp_path):
    """(text) -> the path of a .csv file that holds it."""

    def write(text, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


LINES = [(1.0, 2.5), (-3.0, 4e-1), (5.0, 6.0)]
BODY = "1,2.5\n-3,4e-1\n5,6\n"


@pytest.mark.parametrize(
    "text",
    [
        BODY,
        BODY.removesuffix("\n"),
        "a,b\n" + BODY,
        "\ufeffa,b\n" + BODY,
        '"a, with a comma",b\n' + BODY,
        "\n\na,b\n" + BODY,
        "\n" + BODY,
        BODY.replace("\n", "\r\n"),
        BODY.replace(",", ";"),
        BODY.replace(",", "\t"),
        "a#;b\n" + BODY.replace(",", ";"),
        '"1","2.5"\n"-3","0.4"\n"5","6"\n',
        "1 , 2.5\n-3, 0.4\n5 ,6\n",
    ],
)
def test_a_table_of_numbers_is_read_however_it_is_written(table, text):
    assert sorted(map(tuple, everything(from_file(table(text))).tolist())) == sorted(LINES)


def test_a_table_of_one_column_is_points_on_a_line(table):
    assert from_file(table("x\n1\n2\n3\n")).shape == (1,)


@pytest.mark.parametrize(
    ("column", "classes", "numbers"),
    [
        ("cat,dog,cat", ("cat", "dog"), [0, 1, 0]),
        ("cat,, dog ", ("cat", "dog"), [0, -1, 1]),
        ('"a, b",c,c', ("a, b", "c"), [0, 1, 1]),
        ("2,10,-1", ("2", "10"), [0, 1, -1]),
        ("1.0,0.0,1.0", ("0", "1"), [1, 0, 1]),
        ("1e300,2,1e300", ("2.0", "1e+300"), [1, 0, 1]),
        ("9007199254740993,9007199254740992,-1", ("9007199254740992", "9007199254740993"), [1, 0, -1]),
        ("99999999999999999999,99999999999999999998,1", ("1", "9" * 19 + "8", "9" * 20), [2, 1, 0]),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_column_of_labels_is_taken_out_of_a_table(table, column, classes, numbers, place):
    cells = next(csv.reader([column]))
    rows = [["x", "kind"], *([str(number), f'"{cell}"'] for number, cell in enumerate(cells))]
    text = "\n".join(",".join(row[::-1] if place == 0 else row) for row in rows)
    data = from_file(table(text), labels="kind", held_out=0.0)
    assert data.classes == classes
    assert labels_of(data) == dict(enumerate(numbers))


def test_a_table_without_names_numbers_its_columns(table):
    data = from_file(table("1,0\n2,1\n3,0\n"), labels="1", held_out=0.0)
    assert labels_of(data) == {1.0: 0, 2.0: 1, 3.0: 0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,\n2,3\n", "could not convert string ''"),
        ("1,,2\n3,4,5\n", "could not convert string ''"),
        ("a,b\n1,2\n3,four\n", "could not convert string 'four'"),
        ("a,b\n1,2\n3\n", "number of columns changed"),
        ("a,b\n1,2\n3,4,5\n", "number of columns changed"),
        ("a\n1,2\n3,4\n", "the first line has 1 columns, the others have 2"),
        ("a,b\n", "no rows"),
        ("", "no rows"),
        ("\n\n", "no rows"),
        ("\0\0\0", "no rows"),
        ("x" * 200_000, "field larger than"),
        ("1" * 2_000_000, "field larger than"),
        (",".join("1" * 50_000), "1 training rows are too few"),
        ("a,b\n1,2\n3,4" + "0" * 10**6 + "\n" + "1,2\n" * N, "row 1 holds NaN or infinity"),
        ("a,b\n1,\x002\n", r"could not convert string '\x002'"),
        ('a,b\n"1,2\n3,4\n', "could not convert string"),
        ('a,b\n1,2\n3,4"\n', "could not convert string '4\"'"),
        ("a,b\n1,2\x1b[2J\n", r"could not convert string '2\x1b[2J'"),
        ("\x1b[2J,b\n1,2,3\n", "the first line has 2 columns"),
        ("a,b\n1,nan\n" + "1,2\n" * N, "row 0 holds NaN"),
    ],
)
def test_a_table_that_is_no_table_of_numbers_is_refused_with_the_reason(table, text, said):
    assert said in refusal(from_file, table(text), held_out=0.0)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_table_in_another_encoding_is_refused(table, encoding):
    assert "cannot be read: 'utf-8' codec" in refusal(from_file, table("größe,b\n" + BODY, encoding))


def test_a_table_that_changes_its_encoding_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 100_000 + "ä,3\n".encode("latin-1"))
    assert "'utf-8' codec can't decode byte 0xe4" in refusal(from_file, path)


def test_labels_that_are_no_number_where_all_others_are_numbers_are_refused(table):
    said = "the label of row 1 is nan. Write -1 where a class is not known"
    assert said in refusal(from_file, table("x,kind\n1,2\n2,nan\n3,4\n"), labels="kind")


def test_many_columns_are_not_all_listed(table):
    said = refusal(from_file, table(",".join(f"c{number}" for number in range(1000))), labels="\x1b[2J")
    assert r"no column '\x1b[2J' among ['c0', 'c1'," in said
    assert said.endswith("'c19'] and 980 more")


def test_an_unknown_column_is_refused_with_the_known_ones(table):
    assert "no column 'kind' among ['a', 'b']" in refusal(from_file, table("a,b\n" + BODY), labels="kind")


def test_a_table_of_labels_alone_is_refused(table):
    assert "shape (3, 0)" in refusal(from_file, table("kind\ncat\ndog\ncat\n"), labels="kind")


@pytest.mark.parametrize("key", ["x", "samples", "images", "data", "x_train", "other"])
def test_the_samples_of_an_archive_are_found_by_their_usual_names(tmp_path, key):
    np.savez(tmp_path / "a.npz", **{key: POINTS})
    assert validate(from_file(tmp_path / "a.npz")).shape == (2,)


@pytest.mark.parametrize("key", ["y", "labels", "targets", "y_train"])
def test_the_labels_of_an_archive_are_found_by_their_usual_names(tmp_path, key):
    np.savez(tmp_path / "a.npz", x=np.arange(3.0), **{key: [5, 4, 5]})
    assert labels_of(from_file(tmp_path / "a.npz", held_out=0.0)) == {0: 1, 1: 0, 2: 1}


def test_arrays_of_an_archive_can_be_named(tmp_path):
    np.savez(tmp_path / "a.npz", x=POINTS, mine=np.arange(3.0), kinds=["b", "a", "b"])
    data = from_file(tmp_path / "a.npz", key="mine", labels="kinds", held_out=0.0)
    assert labels_of(data) == {0: 1, 1: 0, 2: 1}
    assert data.classes == ("a", "b")


@pytest.mark.parametrize(
    ("arrays", "options", "said"),
    [
        ({"p": POINTS, "q": POINTS}, {}, 'Say which are the samples: --set data.key="p"'),
        ({"x": POINTS}, {"key": "z"}, "holds ['x']"),
        ({"x": POINTS}, {"labels": "z"}, "no array 'z' among ['x']"),
        ({"x": POINTS, "y": [1, 2]}, {}, "labels have shape (2,)"),
        ({"x": np.array([{}] * N)}, {}, "Object arrays cannot be loaded"),
        ({"x": POINTS, "y": np.zeros((N, 1))}, {}, f"labels have shape ({N}, 1)"),
        ({"x": POINTS, "y": np.full(N, np.nan)}, {}, "the label of row 0 is nan"),
        ({"x": POINTS, "y": np.full(N, 2**31, np.uint32).view("U1")}, {}, "labels hold what is no UTF-8 text"),
        ({"x": POINTS, "y": ROW.astype("m8[s]")}, {}, "it holds timedelta64[s], expected real numbers"),
        ({"x": POINTS.astype("U9")}, {}, "holds <U9, expected real numbers"),
        ({}, {}, "no array"),
    ],
)
def test_an_archive_that_leaves_open_what_is_meant_is_refused(tmp_path, arrays, options, said):
    np.savez(tmp_path / "a.npz", **arrays)
    assert said in refusal(from_file, tmp_path / "a.npz", **options)


def test_an_array_in_a_file_stays_on_the_disk(tmp_path):
    np.save(tmp_path / "a.npy", gray(N, 6, 5, 3))
    data = validate(from_file(tmp_path / "a.npy"))
    assert isinstance(data.train.x, np.memmap)
    assert data.shape == (3, 6, 5)


def test_nothing_is_ever_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    np.save(tmp_path / "a.npy", np.array([Trap()] * N), allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=np.array([Trap()] * N))
    refusal(from_file, tmp_path / "a.npy")
    refusal(from_file, tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()


def test_names_of_arrays_mean_nothing_for_a_single_one(tmp_path):
    np.save(tmp_path / "a.npy", POINTS)
    assert "key and labels belong to" in refusal(from_file, tmp_path / "a.npy", key="x")


def by_hand(path, descr="'<f4'", shape="(40, 2)", fortran="False", count=80, major=1, **more):
    """A .npy file whose header says what it is told to."""
    fields = {"descr": descr, "fortran_order": fortran, "shape": shape} | more
    head = ("{" + ", ".join(f"'{name}': {value}" for name, value in fields.items()) + "}\n").encode()
    length = struct.pack("<H" if major == 1 else "<I", len(head))
    numbers = np.random.default_rng(0).normal(size=count).astype("<f4")
    path.write_bytes(b"\x93NUMPY" + bytes([major, 0]) + length + head + numbers.tobytes())
    return numbers


@pytest.mark.parametrize("major", [1, 2, 3])
@pytest.mark.parametrize("fortran", ["False", "True"])
def test_every_version_and_order_of_npy_is_read(tmp_path, major, fortran):
    numbers = by_hand(tmp_path / "a.npy", major=major, fortran=fortran)
    data = validate(from_file(tmp_path / "a.npy", held_out=0.0))
    given = numbers.reshape(2, 40).T if fortran == "True" else numbers.reshape(40, 2)
    assert {tuple(row) for row in everything(data).tolist()} == {tuple(row) for row in given.tolist()}
    assert np.array_equal(np.load(tmp_path / "a.npy"), given)


NO_HEADER = "its header does not describe an array: b"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"shape": "(True, 80)"}, "it is said to have shape (True, 80), expected at least one row"),
        ({"shape": "(-40, -2)"}, "it is said to have shape (-40, -2), expected at least one row"),
        ({"shape": "(0, 2)", "count": 0}, "it is said to have shape (0, 2), expected at least one row"),
        ({"shape": "(40, 3)"}, "an array of float32 with shape (40, 3) has 480 bytes, it holds 320"),
        ({"shape": "(20, 2)"}, "an array of float32 with shape (20, 2) has 160 bytes, it holds 320"),
        ({"shape": f"({2**62}, 4)"}, f"has {2**66:,} bytes, it holds 320"),
        ({"shape": f"({2**64},)"}, f"has {2**66:,} bytes, it holds 320"),
        ({"shape": f"({10**30}, {10**30})"}, f"has {4 * 10**60:,} bytes"),
        ({"shape": "()"}, "an array of float32 with shape () has 4 bytes, it holds 320"),
        ({"shape": "(40.0, 2)"}, NO_HEADER),
        ({"shape": "80"}, NO_HEADER),
        ({"fortran": "1"}, NO_HEADER),
        ({"(True, 60)": "1"}, NO_HEADER),
        ({"more": "1"}, NO_HEADER),
        ({"descr": "'nonsense'"}, NO_HEADER),
        ({"descr": "()"}, NO_HEADER),
        ({"descr": "(" * 300 + "1" + ")" * 300}, NO_HEADER),
        ({"descr": "{}"}, "it holds [], expected real numbers"),
        ({"descr": "'" + "x" * 20_000 + "'"}, "bytes, at most 10,000 are read"),
        ({"descr": "'|O'", "shape": "(40,)"}, "Object arrays cannot be loaded"),
        ({"descr": "'<M8[s]'", "shape": "(40,)"}, "it holds datetime64[s], expected real numbers"),
        ({"descr": "'<m8[s]'", "shape": "(40,)"}, "it holds timedelta64[s], expected real numbers"),
        ({"descr": "'<m8'", "shape": "(40,)"}, "it holds timedelta64, expected real numbers"),
        ({"descr": "'<c8'", "shape": "(40,)"}, "it holds complex64, expected real numbers"),
        ({"descr": "'|V8'", "shape": "(40,)"}, "it holds |V8, expected real numbers"),
        ({"descr": "'<U0'", "shape": "(40,)"}, "it holds <U0, expected real numbers"),
        ({"descr": "[('a', '<f4'), ('b', '<f4')]", "shape": "(40,)"}, "expected real numbers"),
        ({"descr": "('<f4', (2,))", "shape": "(40,)"}, "it holds ('<f4', (2,)), expected real numbers"),
        ({"descr": "'<U1'", "shape": "(40, 2)"}, "holds <U1, expected real numbers"),
        ({"descr": "'|S4'", "shape": "(40, 2)"}, "holds |S4, expected real numbers"),
        ({"major": 4}, "it is of version 4.0 of the .npy format, which is not known"),
    ],
)
@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_a_header_that_cannot_be_is_refused_with_the_reason(tmp_path, ending, given, said):
    by_hand(tmp_path / "a.npy", **given)
    if ending == ".npz":
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
            file.write(tmp_path / "a.npy", "x.npy")
    assert said in refusal(from_file, tmp_path / f"a{ending}")


def test_a_header_longer_than_memory_is_not_read(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        file.write(b"\x93NUMPY\x02\0\xff\xff\xff\xff")
        file.truncate(2**32 + 12)
    assert "its header has 4,294,967,295 bytes, at most 10,000 are read" in refusal(from_file, tmp_path / "a.npy")


def test_a_cut_header_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", POINTS)
    with (tmp_path / "a.npy").open("r+b") as file:
        file.truncate(50)
    assert refusal(from_file, tmp_path / "a.npy") == f"{tmp_path}/a.npy cannot be read: it ends within its header"


def zeros(path, count, packed=0):
    """An archive whose one array is `count` zeros, with so many bytes beside it that do not shrink."""
    out = BytesIO()
    np.lib.format.write_array_header_2_0(out, {"descr": "|u1", "fortran_order": False, "shape": (count // 64, 64)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("x.npy", "w", force_zip64=True) as member:
            member.write(out.getvalue())
            for _ in range(0, count, 2**20):
                member.write(bytes(2**20))
        file.writestr("beside", np.random.default_rng(0).bytes(packed))


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(binary, "FREE_BYTES", 2**24)
    zeros(tmp_path / "bomb.npz", 2**25)
    packed = (tmp_path / "bomb.npz").stat().st_size
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    said = refusal(from_file, tmp_path / "bomb.npz", key="x")
    assert f"its {packed:,} bytes unpack to 33,554,560, more than 200 times as many" in said
    assert "save them with np.save as .npy" in said


@pytest.mark.parametrize(("count", "packed"), [(2**24 - 128, 0), (2**25, 2**18)])
def test_archives_of_little_but_zeros_are_read_where_they_are_small_or_pack_to_enough(
    tmp_path, monkeypatch, count, packed
):
    monkeypatch.setattr(binary, "FREE_BYTES", 2**24)
    zeros(tmp_path / "a.npz", count - count % 2**20, packed)
    assert "every value is 0" in refusal(from_file, tmp_path / "a.npz", key="x", held_out=0.0)


def test_pictures_that_are_almost_black_are_read(tmp_path):
    pictures = np.zeros((2000, 28, 28), np.uint8)
    pictures[:, 14, 14] = np.arange(2000) % 2 * 255
    np.savez_compressed(tmp_path / "a.npz", images=pictures)
    assert validate(from_file(tmp_path / "a.npz")).shape == (1, 28, 28)


def test_an_archive_larger_than_the_memory_is_refused(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", x=POINTS)
    monkeypatch.setattr(binary, "machine_memory", lambda: 1000)
    said = refusal(from_file, tmp_path / "a.npz")
    assert "it unpacks to 768 bytes, this machine has 1,000 bytes of memory. Save it with np.save as .npy" in said


def test_the_memory_of_this_machine_is_known_or_taken_as_without_end(monkeypatch):
    assert binary.machine_memory() >= 2**28
    monkeypatch.delattr(os, "sysconf")
    assert binary.machine_memory() == sys.maxsize


def entry(path, at, width, new):
    """Change a field of the last member's entry in an archive's directory."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<" + width, data, data.rfind(b"PK\x01\x02") + at, new)
    path.write_bytes(data)


FLAGS, METHOD, CHECKSUM, UNPACKED = (8, "H"), (10, "H"), (16, "I"), (24, "I")


@pytest.mark.parametrize(
    ("field", "new", "said"),
    [
        (FLAGS, 1, "its array 'x' is encrypted"),
        (METHOD, 14, "its array 'x' is packed by method 14 of zip; save it with np.savez_compressed"),
        (METHOD, 9, "its array 'x' is packed by method 9 of zip"),
        (CHECKSUM, 1, "BadZipFile: Bad CRC-32 for file 'x.npy'"),
        (UNPACKED, 50, "BadZipFile: Bad CRC-32 for file 'x.npy'"),
        (UNPACKED, 700, "BadZipFile: Bad CRC-32 for file 'x.npy'"),
        (UNPACKED, 800, "an array of float64 with shape (40, 2) has 640 bytes, it holds 672"),
        (UNPACKED, 2**32 - 2, "unpack to 4,294,967,294, more than 200 times as many"),
    ],
)
def test_an_archive_whose_directory_lies_is_refused(tmp_path, field, new, said):
    np.savez_compressed(tmp_path / "a.npz", x=POINTS)
    entry(tmp_path / "a.npz", *field, new)
    assert said in refusal(from_file, tmp_path / "a.npz")


def test_no_more_is_unpacked_than_the_directory_says(tmp_path):
    zeros(tmp_path / "bomb.npz", 2**26)
    data = bytearray((tmp_path / "bomb.npz").read_bytes())
    first = data.find(b"PK\x01\x02")
    assert struct.unpack_from("<I", data, first + 24)[0] > 2**26
    struct.pack_into("<I", data, first + 24, 2**12)
    (tmp_path / "bomb.npz").write_bytes(data)
    tracemalloc.start()
    said = refusal(from_file, tmp_path / "bomb.npz", key="x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "Bad CRC-32" in said
    assert peak < 4e6


def test_two_arrays_of_one_name_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=POINTS)
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(tmp_path / "a.npz", "a") as file:
        file.writestr("x.npy", file.read("x.npy"))
    assert "it holds two arrays that are called 'x'" in refusal(from_file, tmp_path / "a.npz")


def test_names_of_arrays_reach_no_terminal_and_no_folder(tmp_path):
    np.savez(tmp_path / "a.npz", **{"\x1b[2J": POINTS, "../b": POINTS})
    said = refusal(from_file, tmp_path / "a.npz")
    assert said == (
        rf"{tmp_path}/a.npz: holds ['\x1b[2J', '../b']. Say which are the samples: " r'--set data.key="\x1b[2J"'
    )
    assert validate(from_file(tmp_path / "a.npz", key="../b")).shape == (2,)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("ending", [".npy", ".npz", ".csv"])
@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (os.mkfifo, "a FIFO"),
        (Path.mkdir, "a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
        (lambda path: os.mkfifo(path.with_name("p")) or path.symlink_to("p"), "a FIFO"),
    ],
)
def test_what_is_no_file_is_refused_unopened(tmp_path, ending, made, kind):
    made(tmp_path / f"a{ending}")
    said = refusal(from_file, tmp_path / f"a{ending}")
    assert said == f"{tmp_path}/a{ending} cannot be read: it is {kind}, not a regular file"


def test_a_link_to_a_file_is_followed(tmp_path):
    np.save(tmp_path / "real.npy", POINTS)
    (tmp_path / "a.npy").symlink_to("real.npy")
    assert validate(from_file(tmp_path / "a.npy")).name == "a.npy"


def test_the_name_of_a_file_reaches_no_terminal_raw(tmp_path):
    said = refusal(from_file, tmp_path / "\x1b[2J\n.npy")
    assert said == rf"{tmp_path}/\x1b[2J\n.npy: there is no such file"
    np.save(tmp_path / "\x1b[2J.npy", POINTS)
    assert from_file(tmp_path / "\x1b[2J.npy").name == r"\x1b[2J.npy"


@pytest.mark.parametrize("name", ["none.csv", "none.npy", "none.npz", "folder.csv", "a" * 300 + ".csv"])
def test_a_file_that_is_not_there_is_refused_by_name(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    assert name in refusal(from_file, tmp_path / name)


@pytest.mark.parametrize("name", ["a.txt", "a.png", "a"])
def test_a_file_of_another_kind_is_refused_with_the_kinds_there_are(tmp_path, name):
    (tmp_path / name).write_text(BODY)
    assert "end in .npy, .npz, .csv" in refusal(from_file, tmp_path / name)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY", b"PK\x03\x04"])
def test_a_file_that_is_not_what_its_ending_says_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "cannot be read" in refusal(from_file, tmp_path / name)


def test_files_with_each_others_endings_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", POINTS)
    np.savez(tmp_path / "b.npz", x=POINTS)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    (tmp_path / "b.npz").rename(tmp_path / "b.npy")
    assert "no archive" in refusal(from_file, tmp_path / "a.npz")
    assert "magic string" in refusal(from_file, tmp_path / "b.npy")


@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])
def test_a_damaged_file_is_read_or_refused(tmp_path, save):
    path = tmp_path / ("a.npy" if save is np.save else "a.npz")
    save(path, x := POINTS)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = np.frombuffer(whole, np.uint8).copy()
        at = rng.integers(0, min(len(whole), 200) if rng.random() < 0.5 else len(whole), 3)
        damaged[at] = rng.integers(0, 256, 3)
        path.write_bytes(damaged[: len(whole) if rng.random() < 0.7 else rng.integers(len(whole))].tobytes())
        try:
            validate(from_file(path))
        except DataError:
            refused += 1
    assert refused > 50
    path.write_bytes(whole)
    assert from_file(path).train.x.shape == x.shape
