from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from zerosum.pictures import path, plot, png, sheet, with_neighbours


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
    grey = np.arange(1, n + 1, dtype=np.uint8)[:, None, None, None] * np.ones((n, 50, 50, 1), np.uint8)
    page = np.asarray(with_neighbours(10 * grey, 10 * grey[:, None].repeat(2, axis=1) + 1))
    tall = page.shape[0] // (-(-n // 2))
    for number in range(n):
        block, row = divmod(number, -(-n // 2))
        line = page[row * tall + tall // 2]
        half = line[block * (len(line) + 24) // 2 :] if n > 1 else line
        found = [value for value in dict.fromkeys(half.tolist()) if value < 120]
        assert found[:2] == [10 * (number + 1), 10 * (number + 1) + 1]
