"""Parts of distilled sets, devices, equality, and what is shown of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import pydistill
from pydistill import distill, evaluate
from pydistill.data import DistilledData, load_data
from pydistill.data.recipe import Recipe, StoredAugmentations, StoredNetwork, StoredTraining
from tests.conftest import blobs
from tests.data.conftest import make_distilled


def full(factor: int = 1, **changes: object) -> DistilledData:
    """A set with everything that a set can hold."""
    made = make_distilled(soft=True, factor=factor)
    views = StoredAugmentations(torch.rand(2, 6 * factor**2, 13), torch.rand(2, 6 * factor**2, 3))
    recipe = Recipe(
        training=StoredTraining(
            architecture="convnet", steps=2, rates=(0.1, 0.2), start={"a": torch.rand(2)}
        ),
        teacher=StoredNetwork("mlp", {"b": torch.rand(3)}),
        augmentations=views,
    )
    weights = torch.tensor([0.5, 1.5, 1.0, 1.0, 0.25, 1.75])
    origin = torch.arange(3).repeat_interleave(2)
    return replace(made, recipe=recipe, origin=origin, weights=weights, **changes)


def test_an_index_gives_a_pair_and_several_a_batch() -> None:
    made = make_distilled(factor=2)
    views, targets = made.views()
    for index in (3, -1, torch.tensor(3), np.int64(5)):
        image, target = made[index]
        assert torch.equal(image, views[int(index)])
        assert torch.equal(target, targets[int(index)])
    mask = torch.arange(24) % 5 == 0
    for chosen in (
        slice(3, 9),
        slice(None, None, -2),
        [0, -1, 7],
        torch.tensor([23, 2]),
        mask,
        mask.tolist(),
    ):
        images, found = made[chosen]
        at = torch.arange(24)[
            [*range(24)][chosen] if isinstance(chosen, slice) else torch.as_tensor(chosen)
        ]
        assert torch.equal(images, views[at])
        assert torch.equal(found, targets[at])
    assert len(made[:0][0]) == len(made[[]][0]) == 0


@pytest.mark.parametrize(
    ("index", "error"),
    [(24, IndexError), (-25, IndexError), ([0, 24], IndexError), ([True], IndexError), (1.5, TypeError),
     ("a", TypeError), (None, TypeError), ([[1]], TypeError)],
)  # fmt: skip
def test_what_names_no_view_is_refused(index: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        make_distilled(factor=2)[index]


@pytest.mark.parametrize("factor", [1, 2])
def test_a_subset_keeps_what_belongs_to_its_images(factor: int, tmp_path) -> None:
    made = full(factor)
    some = made.subset([4, 0, 1])
    assert torch.equal(some.images, made.images[[4, 0, 1]])
    assert torch.equal(some.targets, made.targets[[4, 0, 1]])
    assert some.classes.tolist() == [2, 0, 0]
    each = factor**2
    rows = [*range(4 * each, 5 * each), *range(2 * each)]
    assert torch.equal(some.recipe.augmentations.targets, made.recipe.augmentations.targets[:, rows])
    assert torch.equal(some.recipe.augmentations.parameters, made.recipe.augmentations.parameters[:, rows])
    assert some.recipe.teacher == made.recipe.teacher
    assert (some.provenance.ipc, some.provenance.part_of) == (2, 6)
    assert some.provenance.short_classes == {"bee/wasp": 0, "cat": each}
    assert some.subset(slice(0, 1)).provenance.part_of == 6
    some.save(tmp_path)
    assert DistilledData.load(tmp_path) == some
    with pytest.raises(ValueError, match="none was chosen"):
        made.subset([])
    with pytest.raises(IndexError, match="index 6 is out of range for 6 stored images"):
        made.subset([6])


def test_random_selections_beside_a_subset_have_as_many_images_of_each_class(tiny) -> None:
    made = distill(tiny, "random", ipc=3)
    report = evaluate(
        made.subset([0, 1, 2, 3, 4, 6]), tiny,
        architectures=("convnet:width=4",), repeats=1, epochs=1, random_draws=1, whole=False,
    )  # fmt: skip
    assert report.facts("distilled").stored == report.facts("random").stored == 6
    assert any("part of one of 9 stored images" in note for note in report.notes)
    assert any("class '1' has 2 of 3 images, class '2' 1 of 3" in note for note in report.notes)


def test_a_set_moves_with_all_it_holds() -> None:
    made = full()
    assert made.cpu() == made
    assert made.to(torch.device("cpu")).recipe == made.recipe
    with pytest.raises(TypeError, match="takes a device"):
        made.to(torch.float16)


@pytest.mark.cuda
def test_a_set_moves_to_a_gpu_and_back(tmp_path) -> None:
    made = full().to("cuda")
    held = [
        made.images,
        made.targets,
        made.origin,
        made.weights,
        made.recipe.augmentations.targets,
        *made.preprocess.tensors().values(),
    ]
    assert {value.device.type for value in held} == {"cuda"}
    assert made[0][0].device.type == made[:2][0].device.type == "cuda"
    assert made == made.cpu()
    made.save(tmp_path)
    assert DistilledData.load(tmp_path) == made


def test_a_set_read_again_is_equal_and_hashes_alike(tmp_path, distilled: DistilledData) -> None:
    for made in (distilled, full(), full(factor=2)):
        made.save(tmp_path)
        read = DistilledData.load(tmp_path)
        assert read == made
        assert len({read, made}) == 1
        assert read.recipe == made.recipe
        assert read.preprocess == made.preprocess


def test_sets_that_differ_anywhere_are_not_equal() -> None:
    made = full()
    other = made.images.clone()
    other[0, 0, 0, 0] += 1
    start = replace(made.recipe.training, start={"a": torch.zeros(2)})
    changed = [
        replace(made, images=other),
        replace(made, augment="none"),
        replace(made, origin=None),
        replace(made, provenance=replace(made.provenance, seed=8)),
        replace(made, recipe=replace(made.recipe, training=start)),
        replace(made, recipe=replace(made.recipe, teacher=None)),
        replace(made, preprocess=type(made.preprocess).fit(torch.rand(9, 3, 4, 5))),
        make_distilled(),
        "a set",
    ]
    assert all(made != each for each in changed)


def test_what_is_shown_is_short_and_holds_no_tensors(tiny) -> None:
    made, recipe = make_distilled(zca=True), full().recipe
    some = (recipe, recipe.teacher, recipe.augmentations, made.provenance)
    for thing in (tiny, tiny.train, tiny.preprocess, made, full(), made.preprocess, *some):
        assert len(repr(thing)) < 450
        assert "tensor" not in repr(thing)
        assert "\n" not in repr(thing)
    assert repr(tiny).startswith(
        "RealData(tiny: 81 training, 9 validation, 90 test images 1x8x8, 3 classes"
    )
    line = repr(distill(tiny, "random", ipc=3))
    assert line.startswith(
        "DistilledData(random on tiny; 9 images 1x8x8; 3 classes (0, 1, 2), 3 images each"
    )


def test_names_from_outside_are_shown_not_obeyed(tiny) -> None:
    names = ("<script>alert(1)</script>", "\x1b[31mred", "a" * 500)
    data = replace(tiny, name="<b>\x1b", task=replace(tiny.task, class_names=names), notes=("<i>note</i>",))
    made = distill(data, "random", ipc=1)
    for thing in (data, made):
        assert "\x1b" not in repr(thing)
        assert len(repr(thing)) < 500
        html = thing._repr_html_()
        assert "<script" not in html
        assert "<b>" not in html
        assert "<i>" not in html
        assert "\x1b" not in html
        assert "src='data:image/png;base64," in html
        assert "http" not in html


def test_data_of_many_classes_are_shown_in_bounds() -> None:
    data = load_data(blobs(classes=60, each=4, side=4), name="many")
    assert "and 57 more" in repr(data)
    assert len(data._repr_html_()) < 300_000


def test_large_images_are_shown_small(tmp_path) -> None:
    data = load_data(blobs(classes=2, each=4, side=300), name="large")
    assert len(data._repr_html_()) < 200_000


def test_the_package_gives_what_the_examples_use() -> None:
    assert pydistill.DistilledData is DistilledData
