import os
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from zerosum.plots import path, plot, png, sheet, with_caption, with_neighbors


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA"), (2, "L"), (7, "L")])
def test_a_sheet_takes_any_number_of_channels(channels, mode):
    assert sheet(np.zeros((5, 4, 6, channels), np.uint8)).mode == mode


def test_every_image_stands_in_its_place():
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((6, 2, 2, 1), np.uint8)
    page = np.asarray(sheet(images, columns=3, side=6))
    assert page.shape == (7, 10)
    assert [page[top, left] for top in (1, 4) for left in (1, 4, 7)] == list(range(6))


def test_images_larger_than_the_sheet_keep_their_pixels():
    assert sheet(np.zeros((1, 2000, 10, 3), np.uint8)).size == (12, 2002)


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("with_data", [True, False])
def test_points_of_any_dimension_are_plotted(d, with_data):
    points = np.random.default_rng(0).normal(size=(100, d)).astype(np.float32)
    picture = plot(points, points + 1 if with_data else None, "title")
    assert picture.width > 400
    assert np.asarray(picture).std() > 5


def test_points_that_all_coincide_are_plotted_too():
    assert plot(np.zeros((50, 1), np.float32)).width > 400


def test_a_png_holds_the_picture():
    picture = sheet(np.full((1, 3, 3, 3), 200, np.uint8))
    assert np.array_equal(np.asarray(Image.open(BytesIO(png(picture)))), np.asarray(picture))


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("with_data", [True, False])
def test_a_walk_through_points_of_any_dimension_is_drawn(d, with_data):
    way = np.random.default_rng(0).normal(size=(30, d)).astype(np.float32)
    assert np.asarray(path(way, way + 1 if with_data else None)).std() > 5


@pytest.mark.parametrize("n", [1, 2, 5])
def test_each_sample_stands_left_of_its_own_neighbours(n):
    gray = np.arange(1, n + 1, dtype=np.uint8)[:, None, None, None] * np.ones((n, 50, 50, 1), np.uint8)
    page = np.asarray(with_neighbors(10 * gray, 10 * gray[:, None].repeat(2, axis=1) + 1))
    tall = page.shape[0] // (-(-n // 2))
    for number in range(n):
        block, row = divmod(number, -(-n // 2))
        line = page[row * tall + tall // 2]
        half = line[block * (len(line) + 24) // 2 :] if n > 1 else line
        found = [value for value in dict.fromkeys(half.tolist()) if value < 120]
        assert found[:2] == [10 * (number + 1), 10 * (number + 1) + 1]


def points(kind, n, d):
    """(n, d) float32 points of a kind that a diverged or a perfect G may make, or data may be."""
    x = np.random.default_rng(0).standard_normal((n, d))
    x = {
        "no numbers": np.full_like(x, np.nan),
        "some no numbers": np.where(np.arange(n)[:, None] % 3 == 0, np.inf, x),
        "huge": (2e38 * x).clip(-3e38, 3e38),
        "one huge": np.where(np.arange(n)[:, None] == 0, -3e38, x),
        "tiny": 1e-44 * x,
        "far and alike": np.full_like(x, 3e38),
        "far and nearly alike": 1e20 * (1 + 1e-7 * x),
        "nearly alike": 1e8 + 10 * x,
    }[kind]
    return x.astype(np.float32)


KINDS = [
    "no numbers", "some no numbers", "huge", "one huge", "tiny", "far and alike", "far and nearly alike", "nearly alike"
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [1, 2])
def test_whatever_points_are_there_is_a_picture_and_no_warning(kind, d):
    assert plot(points(kind, 40, d)).width == 660


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 3000)])
def test_whatever_lies_behind_them_is_drawn(kind, n, d):
    other = KINDS[(KINDS.index(kind) + d) % len(KINDS)]
    assert path(points(kind, n, d), points(other, 7, d)).width == 660


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("d", [1, 2])
def test_points_of_any_type_are_plotted(dtype, d):
    assert plot(np.arange(6 * d).reshape(6, d).astype(dtype), points("huge", 3, d)).width == 660
    assert plot(np.full((6, d), 1e300)).width == 660


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_points_in_one_dimension_are_seen(n):
    """A thousandth at either end of two points is both of them."""
    empty, few = plot(points("no numbers", 3, 1)), plot(np.arange(float(n))[:, None])
    assert np.asarray(few).std() > np.asarray(empty).std()


NAMES = ["$", "$\\bad$", "\udcff.npy", "\x1b[31m", "two\nlines", "日本", "\x00", "{x}"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_written(name):
    assert plot(np.zeros((3, 2)), title=name).width == 660
    assert with_caption(sheet(np.zeros((1, 2, 2, 1), np.uint8)), name).height > 24


@pytest.mark.parametrize("n", [1, 3])
def test_images_of_one_pixel_are_shown(n):
    dots = np.full((n, 1, 1, 1), 200, np.uint8)
    assert (np.asarray(sheet(dots)) == 200).sum() >= n * 100
    assert with_neighbors(dots, dots[:, None].repeat(3, 1)).mode == "L"
    assert sheet(dots[:0]).mode == "L"


DRAW = """
import sys, numpy as np
from zerosum.plots import import_matplotlib, plot
plot(np.zeros((3, 2)))
import os, matplotlib
import_matplotlib()
print(os.environ["MPLBACKEND"], matplotlib.rcParams._get_backend_or_none())
assert "matplotlib.pyplot" not in sys.modules
"""


@pytest.mark.parametrize(
    ("display", "kept"), [("module://matplotlib_inline.backend_inline", None), ("rubbish", None), ("svg", "svg")]
)
def test_a_display_that_a_notebook_names_is_not_needed(display, kept, tmp_path):
    """It stays what the user's own figures are drawn with, where it is there."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfigure.facecolor: black\n")
    environment = {**os.environ, "MPLBACKEND": display}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DRAW],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [display, str(kept)], "")
