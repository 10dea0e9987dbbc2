import pytest
import torch

from pydistill import distill
from pydistill.data.formation import encode


@pytest.mark.parametrize(("factor", "ipc"), [(1, 27), (2, 6), (4, 1)])
def test_each_stored_image_is_packed_of_different_real_ones_of_its_class(tiny, factor, ipc):
    made = distill(tiny, "random", ipc=ipc, factor=factor, seed=1)
    assert made.targets.tolist() == [at for at in range(3) for _ in range(ipc)]
    small = torch.nn.functional.avg_pool2d(tiny.inputs(tiny.train, slice(None)), factor)
    side = 8 // factor
    used = []
    for stored, target in zip(made.images, made.targets, strict=True):
        for view in range(factor**2):
            row, column = divmod(view, factor)
            patch = stored[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
            gaps = (small - patch).abs().flatten(1).amax(1)
            assert gaps.min() < 1e-6
            assert tiny.train.targets[gaps.argmin()] == target
            used.append(int(gaps.argmin()))
    assert len(set(used)) == len(used) == 3 * ipc * factor**2


def test_factor_one_is_the_selection_without_packing(tiny):
    made = distill(tiny, "random", ipc=8, seed=2)
    again = distill(tiny, "random", ipc=2, factor=2, seed=2)
    assert torch.equal(again.images, encode(made.images, 2))
    pixels = tiny.inputs(tiny.train, slice(None)).flatten(1)
    assert all(bool((pixels == image.flatten()).all(1).any()) for image in made.images)


def test_a_class_too_small_for_the_factor_is_named_with_what_would_do(tiny):
    words = r"7 images a class, each packed of 4 real ones, .* '0' \(27\), .*: ask for at most 6, or"
    with pytest.raises(ValueError, match=words):
        distill(tiny, "random", ipc=7, factor=2)
    words = r"packed of 64 real ones, .* '2' \(27\) .*: ask for a smaller factor, or"
    with pytest.raises(ValueError, match=words):
        distill(tiny, "random", ipc=1, factor=8)
