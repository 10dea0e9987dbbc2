"""Images as short vectors, and the nearest of them, in bounded memory."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill.data.preprocess import as_unit
from pydistill.scores.embedding import flat_thumbnails

_CHUNK = 2048
_ROWS, _COLUMNS, _GROUP = 512, 4096, 32
_HUGE = 1e30
_SIDE, _FREQUENCIES, _RIDGE = 32, 6, 0.02


def grey(images: Tensor, side: int | None = None) -> Tensor:
    """(N, h, w) float32 in [0, 1]: the mean over channels, shrunk until no side is longer than ``side``."""
    pixels = as_unit(images).mean(1, keepdim=True)
    if side is not None:
        pixels = shrunk(pixels, side)
    return pixels[:, 0]


def shrunk(pixels: Tensor, side: int) -> Tensor:
    """Pixels (N, C, H, W) whose longer side is ``side`` at most, by the mean over areas."""
    height, width = pixels.shape[2:]
    longest = max(height, width)
    if longest <= side:
        return pixels
    size = (max(1, round(height * side / longest)), max(1, round(width * side / longest)))
    return F.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)


def thumbnails(images: Tensor, side: int = 8, most: int = 64) -> Tensor:
    """(N, D) float32: principal components of ``side`` x ``side`` thumbnails of images (N, C, H, W)."""
    return components(flat_thumbnails(images, side), most)


def components(rows: Tensor, most: int, *, whiten: bool = False) -> Tensor:
    """(N, D) rows as their first ``most`` principal components, largest first.

    Args:
        rows: (N, D) float32.
        most: Components that are kept.
        whiten: Divide each by its standard deviation and 2 % of the largest.
    """
    centred = rows - rows.mean(0)
    values, vectors = torch.linalg.eigh(centred.T.double() @ centred.double() / max(1, len(rows)))
    values, vectors = values.flip(0)[:most].clamp_min(0), vectors.flip(1)[:, :most]
    if whiten:
        spread = values.sqrt()
        vectors = vectors / (spread + _RIDGE * spread[:1]).clamp_min(1e-12)
    signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    found: Tensor = centred @ (vectors * signs).float()
    return found


def descriptors(splits: Iterable[Tensor], most: int = 64) -> Tensor:
    """(N, D) float32 of all images, that hardly change where an image is moved by a pixel or two.

    Square roots of the magnitudes of low frequencies of grey 32x32 images under a Hann window: a shift
    changes phases alone, but for what the window cuts. Principal components of these, whitened.

    Args:
        splits: Images (N, C, H, W) each.
        most: Components that are kept.
    """
    window = torch.hann_window(_SIDE, periodic=False)
    found = []
    for part in (part for images in splits for part in torch.split(images, _CHUNK)):
        pixels = as_unit(part).mean(1, keepdim=True)
        if pixels.shape[2:] != (_SIDE, _SIDE):
            pixels = F.interpolate(pixels, (_SIDE, _SIDE), mode="bilinear", antialias=True)
        centred = (pixels - pixels.mean((2, 3), keepdim=True))[:, 0] * window * window[:, None]
        waves = torch.fft.rfft2(centred).abs()[..., : _FREQUENCIES + 1]
        low = torch.cat([waves[:, : _FREQUENCIES + 1], waves[:, -_FREQUENCIES:]], 1)
        found.append(low.flatten(1).sqrt())
    return components(torch.cat(found), most, whiten=True)


def nearest(
    rows: Tensor,
    count: int,
    others: Tensor | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """The ``count`` nearest rows of each, by Euclidean distance; a block of distances stands at a time.

    Neighbours are found by ``a b - |b|^2 / 2`` of centred rows, the largest of every 32 first; distances
    are of differences.

    Args:
        rows: (N, D) float32.
        count: Neighbours, K; at most as many as there are.
        others: (M, D) where they are looked for; None: among ``rows``, each without itself.
        tell: Told of rows done and rows in all.

    Returns:
        (N, K) distances, ascending, and (N, K) positions.
    """
    own = others is None
    base = rows if others is None else others
    centre = base.mean(0)
    rows, base = rows - centre, base - centre
    count = min(count, len(base) - own)
    block = _one_more(base, -base.square().sum(1) / 2)  # the product with (a, 1) orders by distance
    block = F.pad(block, (0, 0, 0, -len(base) % _GROUP))
    block[len(base) :, -1] = -_HUGE
    block = block.T.contiguous()
    groups = block.shape[1] // _GROUP
    places = torch.arange(_GROUP)
    distances, positions = torch.empty(len(rows), count), torch.empty(len(rows), count, dtype=torch.int64)
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        asked, best = _one_more(part, torch.ones(len(part))), torch.empty(len(part), groups)
        for at in range(0, block.shape[1], _COLUMNS):
            alike = asked @ block[:, at : at + _COLUMNS]
            first = at // _GROUP
            best[:, first : first + alike.shape[1] // _GROUP] = alike.view(len(part), -1, _GROUP).amax(2)
        chosen = best.topk(min(count + own, groups), 1).indices  # they hold the nearest
        found = (chosen[:, :, None] * _GROUP + places).flatten(1).clamp_max(len(base) - 1)
        exact = (base[found] - part[:, None]).norm(dim=2)
        exact[(chosen[:, :, None] * _GROUP + places).flatten(1) >= len(base)] = float("inf")
        if own:
            exact[found == torch.arange(start, start + len(part))[:, None]] = float("inf")
        order = exact.argsort(dim=1, stable=True)[:, :count]
        distances[start : start + _ROWS] = exact.gather(1, order)
        positions[start : start + _ROWS] = found.gather(1, order)
        if tell is not None:
            tell(start + len(part), len(rows))
    return distances, positions


def _one_more(rows: Tensor, column: Tensor) -> Tensor:
    return torch.cat([rows, column[:, None]], 1)
