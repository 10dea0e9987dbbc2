"""What a file declares is compared with what it can hold and with the limit before it is allocated."""

import gzip
import io
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pydistill import limits
from pydistill.data import load_data
from pydistill.data.sources.idx import read_idx
from pydistill.data.sources.npz import read_npz
from pydistill.data.sources.pixels import decode
from pydistill.errors import DataError
from tests.data.test_idx import idx

TEN_MIB = 10 * 2**20


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of ten MiB and a tenth of a megapixel a picture."""
    monkeypatch.setenv(limits.BYTES, str(TEN_MIB))
    monkeypatch.setenv(limits.PIXELS, "100_000")


def idx_header(*shape: int) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)


def npy_header(shape: tuple[int, ...], kind: str = "|u1", more: str = "") -> bytes:
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape!r}, {more}}}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("latin1")


def png_header(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_an_idx_header_of_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for shape in ((2**31, 2**31, 2**31), (2**32 - 1,) * 8, (60000, 28, 28)):
        path.write_bytes(idx_header(*shape) + bytes(100))
        with pytest.raises(DataError, match="damaged: its header announces shape"):
            read_idx(path)
        packed = tmp_path / "a.gz"
        packed.write_bytes(gzip.compress(idx_header(*shape) + bytes(100)))
        with pytest.raises(DataError, match="damaged: its header announces shape"):
            read_idx(packed)
    for count in (9, 64, 65, 255):
        path.write_bytes(idx_header(*(1,) * count) + b"\0")
        with pytest.raises(DataError, match=f"announces {count} dimensions"):
            read_idx(path)


def test_a_gzip_file_that_unpacks_to_more_than_is_allowed_is_refused(tmp_path: Path, little: None) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx(np.zeros((TEN_MIB + 1,)))))
    with pytest.raises(
        DataError, match=r"a\.gz.*10,485,761 bytes .* declared, 10,485,760 allowed.*PYDISTILL_MAX"
    ):
        read_idx(path)
    path.write_bytes(gzip.compress(idx_header(20, 4, 4) + bytes(TEN_MIB)))
    with pytest.raises(DataError, match="it holds more"):
        read_idx(path)


def test_what_unpacks_to_more_than_pictures_do_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(limits.BYTES, raising=False)
    monkeypatch.setattr(limits, "_UNPACKED", TEN_MIB)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx(np.zeros((TEN_MIB + 1,)))))
    with pytest.raises(DataError, match=r"a\.gz.*10,485,761 bytes .* declared, 10,485,760 allowed"):
        read_idx(path)
    with pytest.raises(DataError, match=r"array 'x' in .*b\.npz: 10,485,\d+ bytes .* 10,485,760 allowed"):
        read_npz(npz_of(tmp_path / "b.npz", npy_header((TEN_MIB,)) + bytes(TEN_MIB)))
    monkeypatch.setenv(limits.BYTES, str(2 * TEN_MIB))
    assert len(read_idx(path)) == TEN_MIB + 1
    assert len(read_npz(tmp_path / "b.npz")["x"]) == TEN_MIB


def npz_of(path: Path, content: bytes, name: str = "x.npy", how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            npy_header((10**12, 99)) + bytes(100),
            "announces shape .*99,000,000,000,000 bytes, but the archive 100",
        ),
        (npy_header((2**40, 2**40, 2**40), "<f8"), "announces shape"),
        (npy_header((-1, 5)) + bytes(5), "announces shape"),
        (npy_header((5,), "|V0"), "announces shape"),
        (npy_header((1,) * 70) + b"a", "announces shape"),
        (npy_header((2,), "|O") + bytes(16), "pickled"),
        (npy_header((4,), "<f16") + bytes(3), "announces shape"),
        (npy_header((4,)) + bytes(5), "but the archive 5"),
        (b"\x93NUMPY\x03\x00\xff\xff\xff\xff", "its format is"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "cannot be read"),
        (npy_header((4,), more="'fortran_order': ((((") + bytes(4), "cannot be read"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16, "cannot be read"),
        (b"\x93NUMPY\x01\x00\x08\x00{'a': 1L", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_npz_headers_are_checked_before_anything_is_read(
    tmp_path: Path, content: bytes, words: str
) -> None:
    with pytest.raises(DataError, match=f"array 'x' in .*{words}"):
        read_npz(npz_of(tmp_path / "a.npz", content))


def test_npz_bombs_are_refused(tmp_path: Path, little: None) -> None:
    with pytest.raises(DataError, match=r"10,485,\d+ bytes in memory are declared, 10,485,760 allowed"):
        read_npz(npz_of(tmp_path / "a.npz", npy_header((TEN_MIB,)) + bytes(TEN_MIB)))
    path = npz_of(tmp_path / "b.npz", npy_header((1000,)) + bytes(1000))
    content = path.read_bytes()
    sizes = struct.pack("<I", 1000 + len(npy_header((1000,))))
    assert content.count(sizes) == 2
    path.write_bytes(content.replace(sizes, struct.pack("<I", 2**22)))  # more than deflation can hold
    with pytest.raises(DataError, match=r"4,194,304 bytes are declared, which .* cannot hold"):
        read_npz(path)
    for how in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(DataError, match=r"array 'x'.*compressed in a way that NumPy does not write"):
            read_npz(npz_of(tmp_path / "c.npz", npy_header((4,)) + bytes(4), how=how))


def test_an_encrypted_or_unknown_archive_is_refused(tmp_path: Path) -> None:
    path = npz_of(tmp_path / "a.npz", npy_header((4,)) + bytes(4), how=zipfile.ZIP_STORED)
    whole = path.read_bytes()
    central = whole.index(b"PK\x01\x02")
    for offset, value in ((central + 8, 1), (central + 10, 97), (central + 6, 99)):
        content = bytearray(whole)
        content[offset] = value
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.npz"):
            read_npz(path)


def test_a_pickled_array_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((4, 2, 2), np.uint8), y=np.arange(4) % 2, extra=np.array([{}], object))
    with pytest.raises(DataError, match=r"array 'extra' in .*a\.npz.*pickled.*leave it out"):
        load_data(path)


def test_arrays_of_any_order_and_type_come_back(tmp_path: Path) -> None:
    made = {
        "f": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        "big": np.arange(6, dtype=">i2").reshape(3, 2),
        "text": np.array(["a", "bcd"]),
        "one": np.array(3),
        "empty": np.zeros((0, 3)),
        "wide": np.arange(3, dtype=np.longdouble),
    }
    np.savez_compressed(tmp_path / "a.npz", **made)
    found = read_npz(tmp_path / "a.npz")
    for name, value in made.items():
        assert found[name].dtype == value.dtype
        assert np.array_equal(found[name], value)


def test_a_plain_npy_file_is_named_as_such(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.zeros((4, 2, 2)))
    with pytest.raises(
        DataError, match=r"plain \.npy file of one array; save images and labels with np\.savez"
    ):
        load_data(tmp_path / "a.npz")
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(DataError, match=r"a\.npy"):
        load_data(tmp_path / "a.npy")


def test_a_picture_of_too_many_pixels_is_refused_by_its_header() -> None:
    for width, height, told in ((13_304, 13_304, "176,996,416"), (9_500, 9_500, "90,250,000")):
        with pytest.raises(
            DataError, match=rf"big\.png.*{told}.*89,478,485 a picture.*PYDISTILL_MAX_PIXELS"
        ):
            decode([("big.png", png_header(width, height))], None)
    with pytest.raises(DataError, match=r"big\.png.*400000000 pixels.*89,478,485 a picture"):
        decode([("big.png", png_header(20_000, 20_000))], (8, 8))


def test_the_limit_of_pixels_can_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.PIXELS, "1_000_000_000")
    with pytest.raises(DataError, match="cannot be decoded") as caught:
        decode([("big.png", png_header(20_000, 20_000, b"x"))], (8, 8))
    assert "allowed" not in str(caught.value)
    assert Image.MAX_IMAGE_PIXELS == 89_478_485


def test_many_pictures_together_are_refused(little: None) -> None:
    out = io.BytesIO()
    Image.new("RGB", (300, 300)).save(out, "PNG")
    many = [(f"{at}.png", out.getvalue()) for at in range(60)]
    with pytest.raises(
        DataError, match=r"images up to \d+\.png: 1\d,\d{3},\d{3} bytes .*10,485,760 allowed"
    ):
        decode(many, None)
    assert decode(many, (30, 30)).shape == (60, 3, 30, 30)
    assert decode(many[:30], None).shape == (30, 3, 300, 300)


def test_limits_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(limits.BYTES, raising=False)
    assert 2**20 < limits.most_bytes() <= limits._memory() // 4
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**30, 2**31))
    assert limits.most_bytes() == 2**28
    for text in ("0", "-1", "much"):
        monkeypatch.setenv(limits.BYTES, text)
        with pytest.raises(ValueError, match="PYDISTILL_MAX_BYTES must be a number above 0"):
            limits.most_bytes()


BOMB = """
import resource, sys
from pathlib import Path
import numpy as np
from pydistill.data import load_data
from pydistill.errors import DataError
from tests.faults.test_declared import idx_header, npy_header, npz_of, png_header
import gzip, zlib
folder = Path(sys.argv[1])
content = zlib.compressobj(9, wbits=31)
packed = content.compress(idx_header(2**16, 2**8, 2**8))
zeros = bytes(2**24)
packed += b"".join(content.compress(zeros) for _ in range(4)) + content.flush()
(folder / "train-images-idx3-ubyte.gz").write_bytes(packed)
(folder / "train-labels-idx1-ubyte.gz").write_bytes(packed)
(folder / "x.npz").write_bytes(npz_of(folder / "x.npz", npy_header((2**44, 6)) + bytes(2**20)).read_bytes())
(folder / "pictures" / "a").mkdir(parents=True)
for at in range(6):
    (folder / "pictures" / "a" / f"{at}.png").write_bytes(png_header(13304, 13304, zlib.compress(zeros)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for source in (folder, folder / "x.npz", folder / "pictures"):
    try:
        load_data(source)
    except DataError as error:
        print(error)
print("grew", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_bombs_take_no_memory(tmp_path: Path) -> None:
    out = subprocess.run(
        [sys.executable, "-c", BOMB, str(tmp_path)], capture_output=True, text=True, check=True, timeout=300
    ).stdout.splitlines()
    assert len(out) == 4, out
    assert int(out[-1].split()[1]) < 200_000  # KiB
