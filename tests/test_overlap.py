"""Images that hold several classes: drawn once, held out in the share asked for, blocks kept together."""

import pytest
import torch

from pydistill.tasks import Classification, Groups
from pydistill.tasks.base import stratified


def several(images: int = 200, groups: int = 6, seed: int = 0) -> Groups:
    """Images that hold one to three of the groups, the last groups in few of them."""
    generator = torch.Generator().manual_seed(seed)
    chances = torch.linspace(0.6, 0.05, groups)
    inside = torch.rand(images, groups, generator=generator) < chances
    inside[torch.arange(images), torch.arange(images) % groups] = True
    return Groups(
        tuple(map(str, range(groups))), tuple(torch.nonzero(column).flatten() for column in inside.T)
    )


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_share_asked_for_is_held_out_of_all_and_of_each_group(fraction, seed):
    groups = several()
    held = stratified(groups, 200, fraction, seed)
    assert int(held.sum()) == round(200 * fraction)
    for member in groups.members:
        share = float(held[member].double().mean())
        assert abs(share - fraction) <= 0.03 + 1.5 / len(member)
        assert 0 < int(held[member].sum()) < len(member)


def test_one_seed_holds_out_the_same_and_another_others():
    groups = several()
    assert torch.equal(stratified(groups, 200, 0.3, 5), stratified(groups, 200, 0.3, 5))
    assert not torch.equal(stratified(groups, 200, 0.3, 5), stratified(groups, 200, 0.3, 6))


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.5, 0.9, 0.98])
def test_of_six_images_that_overlap_some_stay_on_either_side(fraction):
    groups = Groups(("a", "b"), (torch.tensor([0, 1, 2, 3]), torch.tensor([2, 3, 4, 5])))
    held = stratified(groups, 6, fraction, 0)
    assert 0 < int(held.sum()) < 6


def test_images_of_no_group_are_shared_out_too():
    groups = Groups(("a", "b"), (torch.tensor([0, 1]), torch.tensor([1, 2])))
    held = stratified(groups, 40, 0.25, 0)
    assert int(held.sum()) == 10


def test_blocks_stay_together():
    groups, blocks = several(), torch.arange(200) // 10
    held = stratified(groups, 200, 0.3, 0, blocks)
    assert len(torch.unique(held.view(20, 10), dim=1)[0]) == 1
    assert all(len(torch.unique(part)) == 1 for part in held.split(10))
    assert int(held.sum()) == 60
    odd = torch.randperm(200, generator=torch.Generator().manual_seed(0)) % 7
    held = stratified(groups, 200, 0.3, 0, odd)
    assert all(len(torch.unique(held[odd == block])) == 1 for block in range(7))


def test_one_block_cannot_be_split():
    with pytest.raises(ValueError, match="expected at least two blocks, found 1"):
        stratified(several(), 200, 0.3, 0, torch.zeros(200, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected at least two images, found 1"):
        stratified(Groups(("a",), (torch.tensor([0]),)), 1, 0.3, 0)


def test_a_task_holds_out_whole_blocks():
    task, targets = Classification(("a", "b")), torch.arange(60) % 2
    kept, held = task.hold_out(targets, 0.2, 0, blocks=torch.arange(60) // 6)
    assert len(held) == 12
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(60))
    assert {index // 6 for index in held.tolist()}.isdisjoint(index // 6 for index in kept.tolist())
    assert torch.bincount(targets[held]).tolist() == [6, 6]


def test_no_image_is_drawn_twice_and_the_smallest_group_chooses_first():
    groups = Groups(("many", "few"), (torch.arange(10), torch.tensor([8, 9])))
    assert groups.overlap
    for seed in range(20):
        draw = groups.draw(2, torch.Generator().manual_seed(seed), strict=True)
        assert draw.groups.tolist() == [0, 0, 1, 1]
        assert sorted(draw.indices[2:].tolist()) == [8, 9]
        assert len(set(draw.indices.tolist())) == 4


def test_what_other_classes_took_is_told():
    groups = Groups(("x", "y"), (torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2])))
    with pytest.raises(ValueError, match="2 images of 'y' asked for, but of its 3 only 1 are not drawn"):
        groups.draw(2, torch.Generator().manual_seed(0), strict=True)
    draw = groups.draw(2, torch.Generator().manual_seed(0), strict=False)
    assert sorted(draw.indices.tolist()) == [0, 1, 2]


def test_groups_that_do_not_overlap_are_drawn_as_ever():
    groups = Classification(("a", "b", "c")).groups(torch.arange(30) % 3)
    assert not groups.overlap
    generator = torch.Generator().manual_seed(3)
    orders = [torch.randperm(10, generator=generator) for _ in range(3)]
    expected = torch.cat([m[o[:4]] for m, o in zip(groups.members, orders, strict=True)])
    assert torch.equal(groups.draw(4, torch.Generator().manual_seed(3), strict=True).indices, expected)
