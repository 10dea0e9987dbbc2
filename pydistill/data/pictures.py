"""Pictures of images: one to a file, many to a grid with a row a class."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pydistill.shown import printable
from pydistill.storage.files import write_atomically
from pydistill.tasks import Task

_READABLE = 64
"""Pixels that the longer side of a small image is enlarged to, or a little more."""
_GAP = 4
_FONT_SIZE = 15
_LONGEST_NAME = 24
_FEW, _WIDE = 5, 780
"""Rows that always stand one below the other, and pixels that several beside each other may take."""


def to_picture(image: Tensor) -> Image.Image:
    """An image (C, H, W) of pixels, clamped to [0, 1] and rounded to 8 bits.

    One channel makes a grey picture, three a coloured one; of any other number the mean is shown.
    """
    if image.shape[0] not in (1, 3):
        image = image.mean(0, keepdim=True)
    eight = image.detach().float().cpu().nan_to_num().clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(
        eight[0].numpy() if len(eight) == 1 else eight.permute(1, 2, 0).contiguous().numpy()
    )


def grid(rows: Sequence[tuple[str, Tensor]], *, columns: int = 10, cell: int | None = None) -> Image.Image:
    """A picture with a row for each group of images, its name at the left.

    Where rows are short and many, they go on beside each other, down first.

    Args:
        rows: Names and images (N, C, H, W) of pixels; what leaves [0, 1] is clamped.
        columns: Most images shown in a row.
        cell: Pixels of an image's longer side, reached by a whole factor where it is enlarged (each pixel
            becomes a square); None: readable.

    Raises:
        ValueError: ``columns`` is below 1, or there are no rows.
    """
    if columns < 1 or not rows:
        raise ValueError(f"expected at least 1 column and 1 row, got {columns} and {len(rows)}")
    height, width = rows[0][1].shape[-2:]
    factor = max(1, -(-(cell or _READABLE) // max(height, width)))
    tall, wide = height * factor, width * factor
    font = ImageFont.load_default(_FONT_SIZE)
    titles = [printable(name) for name, _ in rows]
    names = [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..." for name in titles]
    left = max(round(font.getlength(name)) for name in names) + 3 * _GAP
    across = max(1, min(columns, max(len(images) for _, images in rows)))
    line = max(tall, _FONT_SIZE + _GAP) + _GAP
    block = left + across * (wide + _GAP)
    beside = max(1, _WIDE // block) if len(rows) > _FEW else 1
    down = -(-len(rows) // beside)
    canvas = Image.new("RGB", (-(-len(rows) // down) * block, down * line + _GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for at, (name, (_, images)) in enumerate(zip(names, rows, strict=True)):
        start, top = at // down * block + left, _GAP + at % down * line
        draw.text((start - 2 * _GAP, top + tall // 2), name, fill="black", font=font, anchor="rm")
        for column, image in enumerate(images[:across]):
            enlarged = to_picture(image).resize((wide, tall), Image.Resampling.NEAREST)
            canvas.paste(enlarged, (start + column * (wide + _GAP), top))
    return canvas


def rows(
    task: Task, pixels: Tensor, targets: Tensor, *, columns: int = 10, most: int | None = None
) -> list[tuple[str, Tensor]]:
    """What :func:`grid` shows of images with their targets: a row a class, no row for a class without any.

    Where an image is of no one class, rows of ``columns`` images in their order, targets drawn in.

    Args:
        task: Knows what targets are.
        pixels: (N, C, H, W) in [0, 1].
        targets: (N, ...) as the real data has them.
        columns: Images in a row.
        most: Rows at most; None: all.
    """
    pixels, targets = pixels.cpu(), targets.cpu()
    strata = task.strata(targets)
    found: list[tuple[str, Tensor]] = []
    for name, members in zip(strata.names, strata.members, strict=True):
        each = max(1, len(members)) if task.by_class else columns
        for at, part in enumerate(torch.split(members, each)):
            if len(part) and (most is None or len(found) < most):
                found.append(
                    ("" if at else name, task.picture(pixels[part[:columns]], targets[part[:columns]]))
                )
    return found


def write_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG.

    Raises:
        OutputError: It could not be written; one that stood there before is untouched.
    """
    write_atomically(path, lambda temporary: picture.save(temporary, format="PNG"))
