import io
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from pydistill.data.sources.picture import Seen, read_picture
from pydistill.data.sources.pixels import check_pixels, decode, fit, from_array
from pydistill.errors import DataError

Picture = Callable[..., Image.Image]


def png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()


def test_decode_gives_the_pixels_in_order(picture: Picture) -> None:
    pictures = [picture(seed) for seed in range(300)]
    images = decode([(str(at), png(image)) for at, image in enumerate(pictures)], None)
    assert images.shape == (300, 3, 6, 6)
    assert images.dtype == torch.uint8
    expected = np.stack([np.asarray(image) for image in pictures]).transpose(0, 3, 1, 2)
    assert np.array_equal(images.numpy(), expected)


def test_decode_in_threads_gives_the_same(picture: Picture) -> None:
    pictures = [picture(seed, size=(90, 90)) for seed in range(6)]
    encoded = [(str(at), png(image)) for at, image in enumerate(pictures)]
    assert min(len(content) for _, content in encoded) > 16_384
    expected = np.stack([np.asarray(image) for image in pictures]).transpose(0, 3, 1, 2)
    assert np.array_equal(decode(encoded, None).numpy(), expected)


def test_grey_stays_grey_and_becomes_colour_only_among_coloured(picture: Picture) -> None:
    grey = [(str(at), png(picture(at, "L"))) for at in range(300)]
    assert decode(grey, None).shape == (300, 1, 6, 6)
    mixed = decode([*grey, ("colour", png(picture(1)))], None)
    assert mixed.shape == (301, 3, 6, 6)
    assert torch.equal(mixed[0, 0], mixed[0, 2])


@pytest.mark.parametrize(
    ("mode", "shape"),
    [
        ("1", (4, 5)),
        ("L", (4, 5)),
        ("LA", (4, 5)),
        ("P", (4, 5, 3)),
        ("RGBA", (4, 5, 3)),
        ("CMYK", (4, 5, 3)),
    ],
)
def test_pictures_of_every_mode_become_grey_or_colour(mode: str, shape: tuple[int, ...]) -> None:
    array = read_picture(Image.new(mode, (5, 4))).pixels
    assert array.shape == shape
    assert array.dtype == np.uint8


def test_sixteen_bits_are_brought_to_eight_over_the_whole_range() -> None:
    values = np.array([[0, 128, 129, 40_000], [65_535, 65_407, 257, 514]], dtype=np.uint16)
    seen = Seen()
    images = decode([("deep.png", png(Image.fromarray(values)))], None, seen)
    assert images[0, 0].tolist() == [[0, 0, 1, 156], [255, 255, 1, 2]]
    assert seen.notes() == ("1 picture is brought from 16 to 8 bits a channel",)


def test_sixteen_bits_that_use_eight_or_twelve_are_refused() -> None:
    for top in (255, 4095):
        image = Image.fromarray(np.linspace(0, top, 16).astype(np.uint16).reshape(4, 4))
        seen = Seen()
        decode([("deep.png", png(image))], None, seen)
        with pytest.raises(
            DataError, match=r"deep\.png has more than 8 bits.*scale them to the whole range"
        ):
            seen.notes()


def sixteen_bit_colour(values: np.ndarray) -> bytes:
    """A PNG of three channels of 16 bits, which Pillow reads but does not write."""
    height, width, _ = values.shape

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
        )

    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_sixteen_bits_of_colour() -> None:
    values = np.arange(48).reshape(4, 4, 3) * 1300
    seen = Seen()
    images = decode([("deep.png", sixteen_bit_colour(values))], None, seen)
    assert np.array_equal(images[0].permute(1, 2, 0).numpy(), values >> 8)
    assert "brought from 16 to 8 bits" in seen.notes()[0]
    seen = Seen()
    decode([("deep.png", sixteen_bit_colour(np.arange(48).reshape(4, 4, 3) * 5))], None, seen)
    with pytest.raises(DataError, match=r"deep\.png has more than 8 bits a channel"):
        seen.notes()


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(1, 0), (2, None), (3, 2), (6, 3), (8, 1), (99, 0)],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pictures_are_turned_as_their_file_says(kind: str, orientation: int, turned: int | None) -> None:
    pixels = np.zeros((16, 8, 3), np.uint8)
    pixels[:4, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format=kind, exif=exif, quality=95)
    seen = Seen()
    found = decode([("photo", content.getvalue())], None, seen)[0].permute(1, 2, 0).numpy()
    expected = pixels[:, ::-1] if turned is None else np.rot90(pixels, turned)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 8
    assert bool(seen.notes()) == (turned != 0)


def test_transparent_parts_are_laid_on_white() -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[1, 2, 3] = 255
    seen = Seen()
    images = decode([("a.png", png(Image.fromarray(pixels)))], None, seen)
    assert images[0, :, 1, 2].tolist() == [0, 0, 0]
    assert images[0, :, 0, 0].tolist() == [255, 255, 255]
    assert seen.notes() == ("1 picture is laid on white where transparent",)
    pixels[..., 3] = 128
    pixels[..., 0] = np.arange(16).reshape(4, 4)
    half = decode([("a.png", png(Image.fromarray(pixels)))], None)[0, :, 3, 3].tolist()
    assert half == [round((15 * 128 + 255 * 127) / 255), 127, 127]


def test_opaque_pictures_with_a_channel_of_transparency_stay_as_they_are(picture: Picture) -> None:
    plain = picture(0)
    seen = Seen()
    images = decode([("a.png", png(plain.convert("RGBA")))], None, seen)
    assert np.array_equal(images[0].permute(1, 2, 0).numpy(), np.asarray(plain))
    assert seen.notes() == ()


def test_what_transparency_alone_shows_is_refused_and_not_lost() -> None:
    white = np.full((4, 4, 4), 255, np.uint8)
    white[:2, :, 3] = 0
    unseen = np.zeros((4, 4, 4), np.uint8)
    unseen[..., 0] = np.arange(16).reshape(4, 4)
    grey = white[..., 2:]
    for pixels in (white, unseen, grey):
        with pytest.raises(DataError, match=r"a\.png cannot be decoded.*in its transparency alone"):
            decode([("a.png", png(Image.fromarray(pixels)))], None)


def test_transparency_by_colour_or_palette() -> None:
    grey = Image.fromarray(np.array([[0, 9], [9, 200]], np.uint8))
    content = io.BytesIO()
    grey.save(content, format="PNG", transparency=9)
    assert decode([("a.png", content.getvalue())], None).tolist() == [[[[0, 255], [255, 200]]]]
    content = io.BytesIO()
    grey.convert("P").save(content, format="PNG", transparency=9)
    assert decode([("a.png", content.getvalue())], None)[0, 0].tolist() == [[0, 255], [255, 200]]


def test_the_first_of_several_frames_is_told(picture: Picture) -> None:
    content = io.BytesIO()
    picture(0, "L").save(content, format="GIF", save_all=True, append_images=[picture(1, "L")])
    seen = Seen()
    decode([("a.gif", content.getvalue())], None, seen)
    assert "1 picture is read by the first of several frames" in seen.notes()


def test_a_corrupt_image_is_named(picture: Picture) -> None:
    whole = png(picture(0, size=(40, 40)))
    for content in (whole[: len(whole) // 2], b"", b"no image"):
        with pytest.raises(DataError, match=r"b\.png cannot be decoded"):
            decode([("a.png", whole), ("b.png", content)], None)


def test_images_of_different_sizes_are_named_unless_a_size_is_given(picture: Picture) -> None:
    encoded = [("a.png", png(picture(0))), ("b.png", png(picture(1, size=(8, 7))))]
    with pytest.raises(DataError, match=r"b\.png is 8x7, but a\.png is 6x6.*size="):
        decode(encoded, None)
    assert decode(encoded, (5, 5)).shape == (2, 3, 5, 5)


def test_fit_keeps_a_constant_and_the_aspect() -> None:
    assert torch.equal(
        fit(torch.full((2, 1, 9, 7), 77).byte(), (4, 4)), torch.full((2, 1, 4, 4), 77).byte()
    )
    ramp = torch.linspace(0, 1, 8).expand(1, 1, 4, 8)
    cropped = fit(ramp, (4, 4))
    assert torch.equal(cropped, ramp[..., 2:6])  # the centre; nothing is squeezed
    images = torch.rand(1, 3, 5, 5)
    assert fit(images, (5, 5)) is images


def test_fit_halves_by_averaging() -> None:
    checks = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(8, 8).view(1, 1, 16, 16)
    inner = fit(checks, (8, 8))[..., 1:-1, 1:-1]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.5), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((2, 8, 9), None, (2, 1, 8, 9)),
        ((2, 8, 9, 3), None, (2, 3, 8, 9)),
        ((2, 3, 8, 9), None, (2, 3, 8, 9)),
        ((2, 1, 8, 9), None, (2, 1, 8, 9)),
        ((2, 8, 9, 4), "NHWC", (2, 4, 8, 9)),
        ((2, 3, 8, 3), "NCHW", (2, 3, 8, 3)),
    ],
)
def test_arrays_of_every_layout(
    shape: tuple[int, ...], layout: str | None, expected: tuple[int, ...]
) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images = from_array(array, layout, "here")
    assert images.shape == expected
    assert images.is_contiguous()
    last = shape[3:] and (layout == "NHWC" or (layout is None and shape[3] == 3))
    expected_array = array.transpose(0, 3, 1, 2) if last else array.reshape(expected)
    assert np.array_equal(images.numpy(), expected_array)


@pytest.mark.parametrize("shape", [(2, 3, 8, 3), (2, 4, 8, 8)])
def test_a_layout_that_cannot_be_told_is_asked_for(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r'here: in shape .* give layout="NCHW"'):
        from_array(np.zeros(shape, np.uint8), None, "here")


@pytest.mark.parametrize("shape", [(5,), (5, 6), (1, 2, 3, 4, 5)])
def test_arrays_that_are_no_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="here: expected images of shape"):
        from_array(np.zeros(shape, np.uint8), None, "here")


def test_types_of_arrays() -> None:
    ones = np.ones((2, 3, 3))
    for dtype in (np.int64, np.uint16, np.uint32, np.int8, ">i2"):
        images = from_array((ones * 100).astype(dtype), None, "here")
        assert images.dtype == torch.uint8
        assert int(images.min()) == int(images.max()) == 100
    assert from_array(ones.astype(bool), None, "here").unique().tolist() == [255]
    for dtype in (np.float64, np.float16, ">f4"):
        images = from_array((ones / 2).astype(dtype), None, "here")
        assert images.dtype == torch.float32
        assert images.unique().tolist() == [0.5]
    read_only = ones.astype(np.float32)
    read_only.flags.writeable = False
    assert from_array(read_only, None, "here").unique().tolist() == [1.0]


def test_numbers_that_are_no_pixels_are_refused() -> None:
    for array, message in (
        (np.full((2, 3, 3), 256), r"integer pixels must lie in 0\.\.255, found 256 to 256"),
        (np.full((2, 3, 3), -1), r"integer pixels must lie in 0\.\.255, found -1 to -1"),
        (np.full((2, 3, 3), "a"), "expected images as numbers"),
        (np.full((2, 3, 3), 1j), "expected images as numbers"),
        (torch.full((2, 3, 3), 1j), "expected real pixels"),
    ):
        with pytest.raises(DataError, match=message):
            from_array(array, None, "here")


def test_float_pixels_must_lie_in_the_unit_interval() -> None:
    images = torch.rand(3, 1, 4, 4)
    check_pixels(images, "here")
    with pytest.raises(DataError, match=r"found 0 to 255: divide by 255"):
        check_pixels(torch.linspace(0, 255, 16).view(1, 1, 4, 4), "here")
    with pytest.raises(DataError, match=r"found -2 to 2: give them before any normalisation"):
        check_pixels(torch.linspace(-2, 2, 16).view(1, 1, 4, 4), "here")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_the_first_image_with_pixels_that_are_not_finite_is_named(bad: float) -> None:
    images = torch.rand(4100, 1, 2, 2)
    images[4099, 0, 1, 1] = bad
    with pytest.raises(DataError, match="here: image 4099 has pixels that are NaN or infinite"):
        check_pixels(images, "here")


def test_images_without_pixels_are_refused() -> None:
    with pytest.raises(DataError, match="hold no pixel"):
        check_pixels(torch.zeros(2, 1, 0, 4, dtype=torch.uint8), "here")
