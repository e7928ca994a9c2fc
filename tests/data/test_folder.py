import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from zerosum.data import checked, from_folder
from zerosum.data.folder import MOST, read
from zerosum.errors import DataError

RNG = np.random.default_rng(0)


def picture(path, size=(20, 30), mode="RGB", colour=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = (
        RNG.integers(0, 256, (*size, channels), np.uint8)
        if colour is None
        else np.full((*size, channels), colour, np.uint8)
    )
    Image.fromarray(pixels.squeeze(), mode=None if mode != "L" else "L").convert(mode).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    for number in range(20):
        picture(tmp_path / "pictures" / f"{number:02d}.png", size=(10 + number, 40 - number))
    return tmp_path / "pictures"


@pytest.mark.parametrize(("size", "shape"), [(16, (3, 16, 16)), ((12, 20), (3, 12, 20))])
def test_pictures_of_any_size_are_cut_to_one(folder, size, shape):
    data = checked(from_folder(folder, size=size))
    assert data.shape == shape
    assert (len(data.train), len(data.test)) == (18, 2)
    assert data.notes == ()
    assert data.classes is None


def test_grey_is_one_channel(folder):
    assert from_folder(folder, colour="grey").shape == (1, 32, 32)


def test_subfolders_are_classes_and_pictures_beside_them_have_none(folder):
    for name in ("cat", "dog"):
        for number in range(5):
            picture(folder / name / f"{number}.jpg")
    data = from_folder(folder, held_out=0.0)
    assert data.classes == ("cat", "dog")
    assert np.bincount(data.train.every_label() + 1).tolist() == [20, 5, 5]


def test_a_picture_is_scaled_until_it_covers_and_cut_to_its_middle(tmp_path):
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, 10:20] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    assert (read(tmp_path / "stripes.png", (10, 10), "rgb") == 255).all()


BROKEN = {
    "empty.png": b"",
    "text.jpg": b"this is no picture",
    "cut.png": None,
    "notes.bmp": b"BM" + b"\0" * 20,
}


def test_broken_files_are_named_and_counted_and_the_others_trained_on(folder):
    whole = (folder / "00.png").read_bytes()
    for name, content in BROKEN.items():
        (folder / name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    (folder / "readme.txt").write_text("no picture, and none is claimed")
    data = from_folder(folder)
    assert len(data.train) + len(data.test) == 20
    (note,) = data.notes
    assert note.startswith("4 file(s) could not be read")
    assert all(name in note for name in BROKEN)
    assert "readme" not in note


def test_many_broken_files_are_counted(folder):
    for number in range(40):
        (folder / f"bad{number:02d}.png").write_bytes(b"x")
    assert "40 file(s)" in from_folder(folder).notes[0]
    assert "and 15 more" in from_folder(folder).notes[0]


def test_a_bomb_is_refused_before_it_is_decoded(folder):
    side = int(MOST**0.5) + 1
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (folder / "bomb.png").write_bytes(bomb + b"\0\0\0\0IDAT" + b"\0" * 8)
    assert "bomb.png (" in from_folder(folder).notes[0]


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path):
    grey = np.array([[0, 255, 256, 30000, 65535]] * 5, np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    row = read(tmp_path / "deep.png", (5, 5), "grey")[0, :, 0]
    assert row.tolist() == [0, 1, 1, 117, 255]


def test_transparency_lies_over_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "nothing.png")
    assert (read(tmp_path / "nothing.png", (8, 8), "rgb") == 255).all()


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "LA"])
def test_modes_become_eight_bit_colour(tmp_path, mode):
    ending = "jpg" if mode == "CMYK" else "png"
    Image.new("RGB", (9, 9), (200, 200, 200)).convert(mode).save(tmp_path / f"x.{ending}")
    assert read(tmp_path / f"x.{ending}", (4, 4), "rgb").shape == (4, 4, 3)


def test_a_photograph_is_turned_as_its_camera_says(tmp_path):
    image = Image.new("RGB", (20, 10), "black")
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter turn
    image.save(tmp_path / "turned.jpg", exif=exif)
    with Image.open(tmp_path / "turned.jpg") as stored:
        assert stored.size == (20, 10)
    assert read(tmp_path / "turned.jpg", (20, 10), "rgb").shape == (20, 10, 3)


def test_links_and_hidden_files_are_left_alone(folder, tmp_path):
    picture(tmp_path / "elsewhere.png")
    (folder / "link.png").symlink_to(tmp_path / "elsewhere.png")
    (folder / "loop").symlink_to(folder)
    picture(folder / ".hidden" / "x.png")
    data = from_folder(folder)
    assert len(data.train) + len(data.test) == 20


@pytest.mark.parametrize("content", [{}, {"a.png": b"x"}, {"a.txt": b"x"}])
def test_a_folder_without_pictures_is_refused(tmp_path, content):
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match="no picture can be read"):
        from_folder(tmp_path)
