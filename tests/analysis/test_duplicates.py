"""Copies that are planted are found, others are not; films in order are told."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pydistill.analysis import analyse
from pydistill.analysis.copies import connected, equal_pixels, fine_structure, likeness
from pydistill.analysis.neighbours import components, nearest
from pydistill.analysis.sequences import frames, stretches
from pydistill.data.real import Split
from tests.analysis.conftest import classified, textures


def jpeg(image):
    held = io.BytesIO()
    Image.fromarray(image[0].numpy()).save(held, "JPEG", quality=75)
    return torch.from_numpy(np.array(Image.open(held)))[None]


def duplicates(data, **images):
    for split, changed in images.items():
        data = replace(data, **{split: Split(changed, getattr(data, split).targets)})
    return analyse(data, findings=["duplicates"]).findings["duplicates"]


def positions(found, reason, split="train"):
    return sorted(flag.position for flag in found.flagged if (flag.reason, flag.split) == (reason, split))


def test_planted_copies_are_found_and_nothing_else():
    data = classified(200)
    train, validation = data.train.images.clone(), data.validation.images.clone()
    test = data.test.images.clone()
    train[20], train[21] = train[3], train[3]
    train[30] = torch.roll(train[4], (1, 0), (1, 2))
    train[31] = torch.roll(train[5], (-1, 1), (1, 2))
    train[40] = jpeg(train[6])
    train[50] = test[2]
    train[51] = torch.roll(test[3], (0, 1), (1, 2))
    validation[1] = train[7]
    found = duplicates(data, train=train, validation=validation)
    assert positions(found, "exact copy") == [20, 21]
    assert positions(found, "near copy") == [30, 31, 40]
    assert positions(found, "leak") == [50, 51]
    assert positions(found, "copy of a validation image") == [7]
    assert found.values["test images that are in train"] == 2
    assert found.values["test images that are in train, exactly"] == 1
    assert found.values["validation images that are in train"] == 1
    assert all(flag.on_request == (flag.reason == "leak") for flag in found.flagged)
    assert "leak" in found.recommendation
    assert found.values["groups of several classes"] > 0


def test_data_without_copies_has_none(pictures):
    found = duplicates(pictures)
    assert found.flagged == ()
    assert found.pairs == ()
    assert found.recommendation is None


def test_constant_images_are_equal_and_nothing_divides_by_zero(pictures):
    images = pictures.train.images.clone()
    images[:3], images[3] = 0, 7
    found = duplicates(pictures, train=images)
    assert positions(found, "exact copy") == [1, 2]


def test_equal_pixels_across_splits_by_hand():
    one, two = textures(4), textures(3, seed=5)
    two[1], one[3] = one[2], one[0]
    assert equal_pixels({"train": one, "test": two}).tolist() == [[0, 3], [2, 5]]


def test_likeness_is_one_for_a_shift_and_small_for_others():
    images = textures(4, side=24)
    images[1] = torch.roll(images[0], (2, -1), (1, 2))
    pairs = torch.tensor([[0, 1], [2, 3], [0, 0]])
    alike = likeness(fine_structure([images]), pairs)
    assert alike[0] > 0.99
    assert alike[1] < 0.6
    assert alike[2] == pytest.approx(1, abs=1e-3)


def test_likeness_is_the_best_correlation_over_shifts():
    fine = torch.randn(2, 9, 10, generator=torch.Generator().manual_seed(0)).half()
    inner = fine[0, 2:7, 2:8].float().flatten().numpy()
    best = max(
        np.corrcoef(inner, fine[1, y : y + 5, x : x + 6].float().flatten().numpy())[0, 1]
        for y in range(5)
        for x in range(5)
    )
    assert float(likeness(fine, torch.tensor([[0, 1]]))) == pytest.approx(best, abs=1e-4)


def test_groups_are_connected_components():
    pairs = torch.tensor([[4, 5], [1, 4], [2, 3]])
    assert connected(6, pairs).tolist() == [0, 1, 2, 2, 1, 1]


@pytest.mark.parametrize(("rows", "others"), [(100, None), (33, None), (3, None), (50, 70), (40, 3)])
def test_nearest_are_those_of_brute_force(rows, others):
    generator = torch.Generator().manual_seed(rows)
    mine = torch.randn(rows, 5, generator=generator) - 3
    base = mine if others is None else torch.randn(others, 5, generator=generator) - 3
    away, places = nearest(mine, 4, None if others is None else base)
    full = torch.cdist(mine, base)
    if others is None:
        full.fill_diagonal_(torch.inf)
    wanted = full.sort(1).values[:, : away.shape[1]]
    torch.testing.assert_close(away, wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(full.gather(1, places), wanted, atol=1e-4, rtol=1e-4)


def test_components_keep_distances_and_whiten():
    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(2)) * torch.tensor(
        [9.0, 5, 3, 2, 1, 1]
    )
    same = components(rows, 6)
    torch.testing.assert_close(torch.cdist(same, same), torch.cdist(rows, rows), atol=1e-2, rtol=1e-3)
    assert (same.std(0).diff() <= 1e-4).all()


def film(count, seed):
    """A window that moves over a wide picture."""
    wide = textures(1, side=16 + 2 * count, channels=3, seed=seed)[0]
    return torch.stack([wide[:, :16, 2 * at : 2 * at + 16] for at in range(count)])


def test_a_film_in_order_is_told_with_what_splits_share():
    first, second = film(40, 1), film(40, 2)
    train = torch.cat([first[:30], second])
    still = torch.stack([first[35].clone() for _ in range(8)])
    still[:, 0, 0, 0] += torch.arange(8, dtype=torch.uint8)
    found = frames(
        {"train": train, "validation": still, "test": torch.cat([first[30:36], film(9, 3)])},
        torch.Generator().manual_seed(0),
    )
    assert found.order > 0.8
    assert any(each.split == "validation" and len(each) == 8 for each in found.still)
    assert all(each.stretch.first == 0 for each in found.shared if each.stretch.split == "test")
    shuffled = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(1))]
    none = frames({"train": shuffled}, torch.Generator().manual_seed(0))
    assert none.order < 0.7
    assert none.still == none.shared == ()


def test_stretches_bear_few_gaps_and_no_short_ones():
    marked = torch.zeros(40, dtype=torch.bool)
    marked[[2, 3, 5, 6, 9, 20, 21, 30, 31, 32, 33, 34]] = True
    runs = [(each.first, each.last) for each in stretches(marked, "train")]
    assert runs == [(2, 9), (30, 34)]
