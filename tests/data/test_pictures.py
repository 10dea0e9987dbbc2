from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pydistill.data.pictures import grid, to_picture, write_picture
from pydistill.errors import OutputError


def test_pixels_are_clamped_and_rounded() -> None:
    picture = to_picture(torch.tensor([[[-1.0, 0.0, 0.5, 1.0, 7.0, torch.nan]]]))
    assert picture.mode == "L"
    assert np.asarray(picture).tolist() == [[0, 0, 128, 255, 255, 0]]


def test_channels_become_grey_colour_or_their_mean() -> None:
    colour = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))
    picture = to_picture(colour)
    assert (picture.mode, picture.size) == ("RGB", (5, 4))
    assert np.array_equal(np.asarray(picture)[..., 1], (colour[1] * 255).round().byte().numpy())
    assert (
        np.asarray(to_picture(torch.stack([torch.zeros(2, 2), torch.ones(2, 2)]))).tolist()
        == [[128] * 2] * 2
    )


def test_each_pixel_becomes_a_square_and_each_class_a_row() -> None:
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    picture = np.asarray(grid([("a", images), ("b", images[:1])], cell=16))
    assert picture.shape[0] == 2 * (19 + 4) + 4  # a row is at least as tall as its name
    left = picture.shape[1] - 3 * (16 + 4)
    for column, image in enumerate(images):
        start = left + column * 20
        shown = picture[4:20, start : start + 16]
        expected = (image[0] * 255).round().byte().numpy().repeat(2, 0).repeat(2, 1)
        assert np.array_equal(shown[..., 0], expected)
        assert np.array_equal(shown[..., 0], shown[..., 2])
    assert (picture[27:43, left + 20 :] == 255).all()  # the second class has one image
    assert picture[4:20, :left].min() < 128  # its name is written there


def test_small_images_are_enlarged_to_be_seen_and_large_ones_kept() -> None:
    small = grid([("a", torch.rand(1, 3, 8, 8))])
    large = grid([("a", torch.rand(1, 3, 100, 100))])
    assert small.height == 64 + 8
    assert large.height == 100 + 8


def test_columns_bound_a_row_and_long_names_are_cut() -> None:
    images = torch.rand(5, 1, 64, 64)
    wide, narrow = grid([("a", images)], columns=4), grid([("a", images)], columns=2)
    assert wide.width - narrow.width == 2 * 68
    assert grid([("n" * 500, images)]).width < grid([("n" * 24, images)]).width + 50
    empty = grid([("a", images[:0]), ("b", images[:0])])
    assert empty.height == 2 * 68 + 4


def test_many_short_rows_go_on_beside_each_other() -> None:
    images = torch.arange(10.0).div(10).view(10, 1, 1, 1, 1).expand(10, 1, 1, 8, 8)
    rows = [(str(at), image) for at, image in enumerate(images)]
    picture = np.asarray(grid(rows))[..., 0]
    assert picture.shape[0] == 2 * 68 + 4
    block = picture.shape[1] // 5
    for at in range(10):
        right = (at // 2 + 1) * block - 4
        top = 4 + at % 2 * 68
        assert (picture[top : top + 64, right - 64 : right] == round(25.5 * at)).all()
    long = [(name, image.expand(10, 1, 8, 8)) for name, image in rows]
    assert grid(long).height == 10 * 68 + 4


@pytest.mark.parametrize(("rows", "columns"), [([], 3), ([("a", torch.rand(1, 1, 2, 2))], 0)])
def test_a_grid_needs_rows_and_columns(rows: list, columns: int) -> None:
    with pytest.raises(ValueError, match="expected at least 1 column and 1 row"):
        grid(rows, columns=columns)


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    picture = Image.new("RGB", (3, 2), "red")
    write_picture(picture, tmp_path / "deep" / "a.png")
    with Image.open(tmp_path / "deep" / "a.png") as found:
        assert (found.format, found.size) == ("PNG", (3, 2))
    with pytest.raises(OutputError, match="cannot write"):
        write_picture(picture, tmp_path / "deep" / "a.png" / "b.png")
