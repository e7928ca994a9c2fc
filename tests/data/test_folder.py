import errno
import os
import socket
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile

from zerosum.data import folder as room
from zerosum.data import from_folder, validate
from zerosum.data.folder import MAX_FILE, MAX_PIXELS, read_picture
from zerosum.errors import DataError, SystemFault, printable

RNG = np.random.default_rng(0)


def picture(path, size=(20, 30), mode="RGB", color=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = (
        RNG.integers(0, 256, (*size, channels), np.uint8)
        if color is None
        else np.full((*size, channels), color, np.uint8)
    )
    Image.fromarray(pixels.squeeze(), mode=None if mode != "L" else "L").convert(mode).save(path)
    return path


def pixels(file, size, color="rgb"):
    return read_picture(file, size, color)[0]


@pytest.fixture
def folder(tmp_path):
    for number in range(20):
        picture(tmp_path / "pictures" / f"{number:02d}.png", size=(10 + number, 40 - number))
    return tmp_path / "pictures"


@pytest.mark.parametrize(("size", "shape"), [(16, (3, 16, 16)), ((12, 20), (3, 12, 20))])
def test_pictures_of_any_size_are_cut_to_one(folder, size, shape):
    data = validate(from_folder(folder, size=size))
    assert data.shape == shape
    assert (len(data.train), len(data.test)) == (18, 2)
    assert data.notes == ()
    assert data.classes is None


def test_grey_is_one_channel(folder):
    assert from_folder(folder, color="gray").shape == (1, 32, 32)


def test_subfolders_are_classes_and_pictures_beside_them_have_none(folder):
    for name in ("cat", "dog"):
        for number in range(5):
            picture(folder / name / f"{number}.jpg")
    data = from_folder(folder, held_out=0.0)
    assert data.classes == ("cat", "dog")
    assert np.bincount(data.train.all_labels() + 1).tolist() == [20, 5, 5]


def test_a_picture_is_scaled_until_it_covers_and_cut_to_its_middle(tmp_path):
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, 10:20] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    assert (pixels(tmp_path / "stripes.png", (10, 10)) == 255).all()


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
    side = int(MAX_PIXELS**0.5) + 1
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (folder / "bomb.png").write_bytes(bomb + b"\0\0\0\0IDAT" + b"\0" * 8)
    assert "bomb.png (" in from_folder(folder).notes[0]


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path):
    gray = np.array([[0, 255, 256, 30000, 65535]] * 5, np.uint16)
    Image.fromarray(gray).save(tmp_path / "deep.png")
    row = pixels(tmp_path / "deep.png", (5, 5), "gray")[0, :, 0]
    assert row.tolist() == [0, 1, 1, 117, 255]


def test_transparency_lies_over_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "nothing.png")
    assert (pixels(tmp_path / "nothing.png", (8, 8)) == 255).all()


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "LA"])
def test_modes_become_eight_bit_colour(tmp_path, mode):
    ending = "jpg" if mode == "CMYK" else "png"
    Image.new("RGB", (9, 9), (200, 200, 200)).convert(mode).save(tmp_path / f"x.{ending}")
    assert pixels(tmp_path / f"x.{ending}", (4, 4)).shape == (4, 4, 3)


CORNERS = np.array([[10, 10, 90, 90], [10, 10, 90, 90], [170, 170, 250, 250], [170, 170, 250, 250]], np.uint8)
"""Gray values of four corners; each orientation puts them in another order."""

CAMERA = {
    1: CORNERS, 2: CORNERS[:, ::-1], 3: CORNERS[::-1, ::-1], 4: CORNERS[::-1],
    5: CORNERS.T, 6: np.rot90(CORNERS), 7: np.rot90(CORNERS, 2).T, 8: np.rot90(CORNERS, -1),
}  # fmt: skip
"""What a camera stores for each orientation: turned as EXIF says, it is CORNERS again."""


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", CAMERA)
def test_a_photograph_is_turned_as_its_camera_says(tmp_path, ending, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(ending, {})
    stored = Image.fromarray(np.kron(CAMERA[orientation], np.ones((8, 8), np.uint8))).convert("RGB")
    stored.save(tmp_path / f"x.{ending}", exif=exif, **how)
    picture, known = read_picture(tmp_path / f"x.{ending}", (32, 32), "gray")
    assert known
    assert np.abs(picture[4::8, 4::8, 0].astype(int) - CORNERS).max() <= 3


def exif(*rows, order="<"):
    """EXIF with an orientation of a quarter turn, and any rows (tag, type, count, four bytes)."""
    rows = [(0x0112, 3, 1, struct.pack(order + "HH", 6, 0)), *rows]
    table = b"".join(struct.pack(order + "HHI", tag, kind, count) + value for tag, kind, count, value in rows)
    head = b"II*\0\x08\0\0\0" if order == "<" else b"MM\0*\0\0\0\x08"
    return b"Exif\0\0" + head + struct.pack(order + "H", len(rows)) + table + b"\0\0\0\0"


ODD = {  # what Pillow 13.0 raises where it writes them anew, without the orientation
    "error: no integer": exif((0xA005, 10, 1, b"\x08\0\0\0")),
    "error: too large for two bytes": exif((0x0103, 13, 4, b"\x14\0\0\0")),
    "error: too large for four bytes": exif((0xFFFF, 16, 1, b"\x14\0\0\0")),
    "error: below zero": exif((0x0111, 8, 1, b"\xff\xff\xff\xff")),
    "TypeError: abs of bytes": exif((0x011A, 7, 1, b"\x14\0\0\0")),
    "TypeError: length of a float": exif((0x9000, 11, 1, b"\x14\0\0\0")),
    "ValueError: not a number": exif((0x011A, 11, 1, b"\xff\xff\xff\xff")),
    "ValueError: a place below zero": exif((0x8825, 8, 1, b"\xff\xff\xff\xff")),
    "AttributeError: a float is no text": exif((0x0132, 11, 1, b"abcd")),
    "AttributeError: a ratio is no text": exif((0x8298, 10, 1, b"\0\0\0\0")),
    "nothing: a table within itself": exif((0x8769, 4, 1, b"\x08\0\0\0"), (0x8825, 4, 1, b"\x08\0\0\0")),
    "nothing: unknown types": exif((0x9286, 0, 1, b"\0\0\0\0"), (0x9286, 99, 2**32 - 1, b"\xff\xff\xff\xff")),
    "nothing: the other order": exif((0x0100, 4, 2, b"\0\0\0\x09"), order=">"),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_odd_metadata_stops_nothing_and_the_picture_is_still_turned(folder, odd, ending):
    wide = Image.fromarray(np.kron(CAMERA[6], np.ones((8, 8), np.uint8))).convert("RGB")
    wide.save(folder / f"odd.{ending}", exif=ODD[odd], quality=100)
    data = from_folder(folder)
    assert len(data.train) + len(data.test) == 21
    assert data.notes == ()
    gray = pixels(folder / f"odd.{ending}", (32, 32), "gray")[4::8, 4::8, 0]
    assert np.abs(gray.astype(int) - CORNERS).max() <= 6


def test_a_picture_whose_exif_is_none_is_taken_as_it_is_stored_and_named(folder):
    Image.new("RGB", (20, 10)).save(folder / "x.png", exif=b"Exif\0\0II*!" + b"\0" * 20)
    (note,) = from_folder(folder).notes
    assert note == "1 picture(s) with EXIF that cannot be read are taken as they are stored, not turned: x.png"


def raising(kind):
    def load(*_):
        raise kind

    return load


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (struct.error("unpack requires 4 bytes"), "unpack requires 4 bytes"),
        (TypeError("no int"), "TypeError: no int"),
        (KeyError(274), "KeyError: 274"),
        (IndexError(), "IndexError"),
        (OverflowError("too large"), "OverflowError: too large"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (EOFError(), "EOFError"),
        (zlib.error("Error -3"), "Error -3"),
        (AttributeError("no fp"), "AttributeError: no fp"),
        (AssertionError(), "AssertionError"),
        (NotImplementedError("mode"), "NotImplementedError: mode"),
        (RecursionError("too deep"), "RecursionError: too deep"),
        (SystemError("tile"), "SystemError: tile"),
        (MemoryError(), "MemoryError"),
        (BufferError("locked"), "BufferError: locked"),
        (Image.DecompressionBombError("bomb"), "DecompressionBombError: bomb"),
        (ValueError("one\ntwo"), "one"),
        (OSError("cut \x1b[2J"), "cut \\x1b[2J"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_whatever_a_decoder_raises_leaves_one_picture_out(folder, monkeypatch, error, said):
    Image.new("RGB", (8, 8)).save(folder / "x.bmp")
    monkeypatch.setattr(BmpImageFile, "load", raising(error))
    data = from_folder(folder)
    assert len(data.train) + len(data.test) == 20
    assert data.notes == (f"1 file(s) could not be read and are left out: x.bmp ({said})",)


@pytest.mark.parametrize(("low", "high"), [(0, 65536), (-1, 100), (-1000, 3000), (0, 2**31 - 1)])
def test_grey_values_beyond_sixteen_bits_are_left_out_and_not_cut_off(folder, low, high):
    Image.fromarray(np.linspace(low, high, 64).astype(np.int32).reshape(8, 8)).save(folder / "wide.tif")
    (note,) = from_folder(folder).notes
    said = f"wide.tif (gray values from {low} to {high} leave 0..65535: save it as 8 or 16 bits)"
    assert note == f"1 file(s) could not be read and are left out: {said}"


def test_grey_values_of_sixteen_bits_in_thirty_two_are_scaled(tmp_path):
    gray = np.array([[0, 255, 256, 30000, 65535]] * 5, np.int32)
    Image.fromarray(gray).save(tmp_path / "wide.tif")
    assert pixels(tmp_path / "wide.tif", (5, 5), "gray")[0, :, 0].tolist() == [0, 1, 1, 117, 255]


def test_links_to_files_are_followed_wherever_they_lead(folder, tmp_path):
    picture(tmp_path / "elsewhere" / "a.png")
    (folder / "link.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    (folder / "cat").mkdir()
    (folder / "cat" / "link.png").symlink_to("../00.png")
    data = from_folder(folder)
    assert len(data.train) + len(data.test) == 22
    assert data.classes == ("cat",)
    assert data.notes == ()


def test_hidden_names_are_left_alone(folder):
    picture(folder / ".hidden" / "x.png")
    (folder / ".broken.png").write_bytes(b"x")
    os.mkfifo(folder / ".pipe.png")
    data = from_folder(folder)
    assert len(data.train) + len(data.test) == 20
    assert data.notes == ()


PASSED = {
    "circle": (lambda at, _: at.symlink_to(at.parent), "a link to a folder"),
    "outside": (lambda at, away: at.symlink_to(away), "a link to a folder"),
    "gone.png": (lambda at, _: at.symlink_to("nowhere.png"), "a link: No such file or directory"),
    "itself.png": (lambda at, _: at.symlink_to(at), "a link: Too many levels of symbolic links"),
    "pipe.png": (lambda at, _: os.mkfifo(at), "it is a FIFO, not a regular file"),
    "pipe": (lambda at, _: os.mkfifo(at), "it is a FIFO, not a regular file"),
    "zero.png": (lambda at, _: at.symlink_to("/dev/zero"), "a link: it is a device, not a regular file"),
    "to-pipe.jpg": (
        lambda at, away: os.mkfifo(away / "p") or at.symlink_to(away / "p"),
        "a link: it is a FIFO, not a regular file",
    ),
    "socket.png": (lambda at, _: listening(at), "it is a socket, not a regular file"),
}


def listening(path):
    here = Path.cwd()
    os.chdir(path.parent)  # an address has at most 108 letters
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("name", PASSED)
def test_what_is_no_file_is_named_and_never_opened(folder, tmp_path, name):
    make, reason = PASSED[name]
    (tmp_path / "away").mkdir()
    picture(tmp_path / "away" / "x.png")
    make(folder / name, tmp_path / "away")
    data = from_folder(folder)
    assert len(data.train) + len(data.test) == 20
    assert data.notes == (f"1 link(s), folder(s) or other name(s) are passed over: {name} ({reason})",)


def test_everything_that_is_left_out_is_told(folder):
    (folder / "bad.png").write_bytes(b"x")
    os.mkfifo(folder / "pipe.png")
    (folder / "circle").symlink_to(folder)
    Image.new("RGB", (20, 10)).save(folder / "x.png", exif=b"Exif\0\0II*!" + b"\0" * 20)
    assert from_folder(folder).notes == (
        "1 file(s) could not be read and are left out: bad.png (no picture)",
        "2 link(s), folder(s) or other name(s) are passed over: circle (a link to a folder); "
        "pipe.png (it is a FIFO, not a regular file)",
        "1 picture(s) with EXIF that cannot be read are taken as they are stored, not turned: x.png",
    )


@pytest.fixture
def closed():
    """A folder that anyone may enter, with pictures, used by somebody who is not root and may not open all of it."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        for number in range(20):
            picture(Path(name) / "cat" / f"{number:02d}.png")
        picture(Path(name) / "dog" / "x.png")
        Path(name).chmod(0o755)
        if root:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)
            for path in (Path(name), *Path(name).iterdir()):
                path.chmod(0o755)


def shut(path):
    """Take all rights from a path, which is root's where the tests are."""
    mine = os.geteuid()
    os.seteuid(os.getuid())
    path.chmod(0)
    os.seteuid(mine)


def test_a_closed_folder_is_named(closed):
    shut(closed / "dog")
    data = from_folder(closed)
    assert data.classes == ("cat",)
    assert data.notes == ("1 link(s), folder(s) or other name(s) are passed over: dog (a folder: Permission denied)",)


def test_a_closed_file_is_named(closed):
    shut(closed / "dog" / "x.png")
    data = from_folder(closed)
    assert data.notes == ("1 file(s) could not be read and are left out: dog/x.png (Permission denied)",)


def test_a_closed_folder_of_data_is_refused(closed):
    shut(closed)
    assert refusal(closed) == f"{closed}: Permission denied"


def refusal(*given, **options):
    with pytest.raises(DataError) as caught:
        from_folder(*given, **options)
    return str(caught.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert refusal(tmp_path / "none") == f"{tmp_path}/none: there is no such folder"
    assert refusal("a\0b") == "a\\x00b: embedded null byte"


def test_a_file_is_no_folder(tmp_path):
    file = picture(tmp_path / "x.png")
    assert refusal(file) == f"{file} is no folder"
    assert refusal(file / "y") == f"{file}/y: Not a directory"


def test_a_link_that_leads_to_itself_is_refused(tmp_path):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert refusal(tmp_path / "circle").startswith(f"{tmp_path}/circle: ")


def test_a_link_to_a_folder_of_data_is_followed(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    data = from_folder(tmp_path / "link")
    assert len(data.train) + len(data.test) == 20
    assert data.name == "pictures"


@pytest.mark.parametrize(
    "way", ["/", "//", "/tmp/..", "link", "link/.", "../../../../../../../../../..", "/proc/self/root"]
)
def test_the_whole_disk_is_refused_before_anything_is_listed(tmp_path, monkeypatch, way):
    (tmp_path / "link").symlink_to("/")
    monkeypatch.chdir(tmp_path)
    if not Path(way).exists():
        pytest.skip("there is no /proc here")
    monkeypatch.setattr(os, "scandir", None)
    assert refusal(way) == f"{Path(way)} is the whole disk: name the folder that holds the pictures"


def test_too_large_a_file_is_not_read(folder):
    with (folder / "large.png").open("wb") as file:
        file.truncate(MAX_FILE + 1)
    (note,) = from_folder(folder).notes
    said = "large.png (it has 1,073,741,825 bytes, at most 1,073,741,824 are read)"
    assert note == f"1 file(s) could not be read and are left out: {said}"


def test_names_reach_no_terminal_raw(folder):
    (folder / "a\x1b[2J\n\x85\u202eb.png").write_bytes(b"x")
    (folder / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    (note,) = from_folder(folder).notes
    assert r"a\x1b[2J\n\x85\u202eb.png (no picture)" in note
    assert r"\udcff.png (no picture)" in note
    assert printable(note) == note
    assert refusal(folder / "\x1b[2J").endswith(r"pictures/\x1b[2J: there is no such folder")


def test_a_class_whose_name_is_no_text_is_refused(folder):
    picture(folder / os.fsdecode(b"caf\xe9") / "x.png")
    said = r"the folder caf\udce9 cannot name a class: its name is no UTF-8 text. Rename it"
    assert refusal(folder) == said


def test_names_of_classes_stay_as_they_are(folder):
    picture(folder / "caf\u00e9 \u72ac" / "x.png")
    assert from_folder(folder).classes == ("caf\u00e9 \u72ac",)


def test_too_many_open_files_are_the_system_s_fault_and_no_picture_s(folder, monkeypatch):
    monkeypatch.setattr(room, "read_picture", raising(OSError(errno.EMFILE, "Too many open files")))
    with pytest.raises(SystemFault, match=r"the pictures cannot be read: Too many open files. Close some"):
        from_folder(folder)


def test_folders_may_lie_as_deep_as_paths_go(tmp_path):
    here = tmp_path
    for _ in range(300):
        here = here / "d"
    picture(here / "x.png")
    assert from_folder(tmp_path, held_out=0.0).classes == ("d",)


@pytest.mark.parametrize("content", [{}, {"a.png": b"x"}, {"a.txt": b"x"}])
def test_a_folder_without_pictures_is_refused(tmp_path, content):
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    assert f"{tmp_path}: no picture can be read ({int('a.png' in content)} tried)" in refusal(tmp_path)


def test_where_nothing_can_be_read_the_first_reasons_are_given(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    said = "Left out: 0.png (no picture); 1.png (no picture); 2.png (no picture) and 2 more"
    assert refusal(tmp_path).endswith(said)
    for number in range(4):
        (tmp_path / f"{number}.png").unlink()
    assert refusal(tmp_path).endswith("Left out: pipe (it is a FIFO, not a regular file)")
