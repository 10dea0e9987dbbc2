"""What siamese_augment refuses, and that it says what was expected and found."""

import pytest
import torch

from pydistill.ops import siamese_augment
from tests.ops.test_siamese_augment import ALL, batch, draw


def spoilt(values, place, value):
    values = values.clone()
    values[place] = value
    return values


LONG = torch.zeros(2, dtype=torch.int64)
BAD = [
    (
        lambda x, v: (x.half(), v),
        TypeError,
        "images must be float32, float64 or bfloat16, found torch.float16",
    ),
    (lambda x, v: (x.byte(), v), TypeError, "found torch.uint8"),
    (lambda x, v: (x.to_sparse(), v), TypeError, "images must be dense"),
    (lambda x, v: (x.numpy(), v), TypeError, "images must be a tensor, found ndarray"),
    (lambda x, v: (x[0], v), ValueError, r"images must be \(N, C, H, W\) .* found shape \(3, 4, 4\)"),
    (lambda x, v: (x[:, :0], v), ValueError, "at least one channel and one pixel"),
    (lambda x, v: (x[:, :, :0], v), ValueError, "at least one channel and one pixel"),
    (lambda x, v: (x, v.tolist()), TypeError, "values must be a tensor, found list"),
    (lambda x, v: (x, v.double()), TypeError, "values must be float32, found torch.float64"),
    (lambda x, v: (x, v[0]), ValueError, r"values must be \(G, 13\), found shape \(13,\)"),
    (lambda x, v: (x, v[:, :9]), ValueError, r"values must be \(G, 13\), found shape \(2, 9\)"),
    (lambda x, v: (x, v.to("meta")), ValueError, "values must be on the CPU or on .* found meta"),
    (lambda x, v: (x, v.repeat(2, 1)), ValueError, r"one row or one an image \(2\), found 4"),
    (lambda x, v: (x, spoilt(v, (1, 12), torch.nan)), ValueError, "finite, found angle = nan in row 1"),
    (lambda x, v: (x, spoilt(v, (0, 3), -torch.inf)), ValueError, "found shift_y = -inf in row 0"),
    (lambda x, v: (x, v, [0, 1]), TypeError, "rows must be a tensor, found list"),
    (lambda x, v: (x, v, LONG.int()), TypeError, "rows must be int64, found torch.int32"),
    (lambda x, v: (x, v, LONG[:1]), ValueError, r"rows must be \(2,\), found shape \(1,\)"),
    (lambda x, v: (x, v, LONG[None]), ValueError, r"rows must be \(2,\), found shape \(1, 2\)"),
    (lambda x, v: (x, v, LONG.to("meta")), ValueError, "rows must be on the CPU or on .* found meta"),
    (lambda x, v: (x, v, LONG + 2), ValueError, "rows must be 0 to 1, found 2 to 2"),
    (lambda x, v: (x, v, LONG - 1), ValueError, "rows must be 0 to 1, found -1 to -1"),
    (lambda x, v: (x, v[:0], LONG), ValueError, "rows must be 0 to -1, found 0 to 0"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD, ids=[message for _, _, message in BAD])
def test_refused_by_name(change, error, message):
    with pytest.raises(error, match=message) as caught:
        siamese_augment(*change(batch((2, 3, 4, 4)).detach(), draw(ALL, 2, (4, 4))))
    assert str(caught.value).startswith("siamese_augment: ")
