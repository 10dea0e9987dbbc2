"""Segmentation and detection, from a budget to a report and to files, with random selection."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from pydistill import KernelRidge, evaluate, load_data, nets, relabel, seeds
from pydistill.data.distilled import DistilledData
from pydistill.data.preprocess import PREPROCESSES
from pydistill.data.real import RealData, Split, fingerprint
from pydistill.engine.method import make_method, methods
from pydistill.engine.run import distill
from pydistill.evaluation.report import Report
from pydistill.evaluation.single import train
from pydistill.tasks import Detection, Segmentation

SIZE = (24, 32)
SHORT = {"epochs": 2, "repeats": 2, "random_draws": 2, "learning_rate": 1e-3}
NETWORKS = {"segmentation": "unet:width=4,depth=2", "detection": "centernet:width=8"}


def scenes(count, seed):
    """Images with a bright and a dark rectangle: their masks and their boxes."""
    generator = seeds.generator(seed)
    images = torch.rand(count, 3, *SIZE, generator=generator) * 60 + 100
    masks = torch.zeros(count, *SIZE, dtype=torch.uint8)
    boxes = torch.zeros(count, 2, 5)
    boxes[..., 0] = -1
    for at in range(count):
        for kind in range(2):
            top, left = (int(torch.randint(side - 12, (), generator=generator)) for side in SIZE)
            images[at, :, top : top + 10, left : left + 12] = 240 - 200 * kind
            masks[at, top : top + 10, left : left + 12] = kind + 1
            boxes[at, kind] = torch.tensor([kind, left, top, 12, 10])
    masks[:, 0] = 255
    return images.byte(), masks, boxes


def real(name):
    """Real data of a task, 16 training images."""
    task, at = {
        "segmentation": (Segmentation(("ground", "bright", "dark")), 1),
        "detection": (Detection(("bright", "dark")), 2),
    }[name]
    splits = []
    for seed, count in enumerate((16, 6, 8)):
        made = scenes(count, seed)
        splits.append(Split(made[0], made[at]))
    parts = dict(zip(("train", "validation", "test"), splits, strict=True))
    return RealData(
        name=f"{name} scenes",
        task=task,
        **parts,
        preprocess=PREPROCESSES["standardise"].fit(splits[0].images),
        horizontal_flip=True,
        fingerprint=fingerprint(**parts),
    )


@pytest.fixture(params=["segmentation", "detection"], scope="module")
def data(request):
    return real(request.param)


@pytest.fixture(scope="module")
def small(data):
    return distill(data, "random", images=4)


@pytest.fixture(scope="module")
def report(data, small):
    return evaluate(small, data, architectures=(NETWORKS[data.task.name],), **SHORT)


def test_a_budget_is_of_images_a_share_or_bytes(data, small):
    assert len(small) == 4
    assert len(distill(data, "random", fraction="50%")) == 8
    each = 4 * 3 * SIZE[0] * SIZE[1] + data.train.targets[0].nbytes
    assert len(distill(data, "random", nbytes=3 * each)) == 3
    assert len(torch.unique(small.images, dim=0)) == 4  # no image twice
    with pytest.raises(ValueError, match=f"{data.task.name} has no images a class.*--images, --fraction"):
        distill(data, "random", ipc=1)
    with pytest.raises(ValueError, match=r"comes to no image: one image needs 6\.25 %"):
        distill(data, "random", fraction="1%")
    with pytest.raises(ValueError, match="one budget is needed, found images = 4 and fraction"):
        distill(data, "random", images=4, fraction="1%")
    with pytest.raises(ValueError, match=r"has only 16 training images"):
        distill(data, "random", images=17)


def test_a_report_names_the_tasks_own_metric(data, report):
    task = data.task
    assert report.metric == {"segmentation": "mIoU", "detection": "AP50"}[task.name]
    names = report.other_names()
    assert {"segmentation": "pixel accuracy", "detection": "AP75"}[task.name] in names
    assert [run.source for run in report.runs].count("random") == 2
    assert all(0 <= value <= 1 for run in report.runs for value in run.values.values())
    assert all(next(iter(run.values.items())) == (report.metric, run.value) for run in report.runs)
    assert all(run.spread is not None and run.spread >= 0 for run in report.runs)
    text = report.text()
    assert "4 to 4 images hold each class" in text or "4 images hold each class" in text
    assert all(name in text for name in (report.metric, *names))
    (detail, *_) = report.details
    assert len(detail.classes.values) == len(task.class_names)
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_a_page_has_the_pictures_with_targets_drawn_in(data, small, report, tmp_path):
    page = report.save(tmp_path).read_text()
    assert f"{report.metric} class by class" in page
    assert report.pictures["distilled"][:4] == report.pictures["random"][:4] == b"\x89PNG"
    pixels = small.pixels()
    drawn = data.task.picture(pixels, small.targets)
    assert drawn.shape == pixels.shape
    assert (drawn != pixels).any((1, 2, 3)).all()
    small.preview(tmp_path / "preview.png", columns=3)
    with Image.open(tmp_path / "preview.png") as picture:
        wide, tall = picture.size
    assert wide > 3 * SIZE[1]
    assert tall > 2 * SIZE[0]  # the fourth image is in a second row


def test_the_same_seed_gives_the_same_runs_stacked_or_not(data, small, report):
    again = evaluate(small, data, architectures=(NETWORKS[data.task.name],), **SHORT)
    assert again.runs == tuple(
        dataclasses.replace(run, seconds=other.seconds)
        for run, other in zip(report.runs, again.runs, strict=True)
    )
    stacked = evaluate(
        small, data, architectures=(NETWORKS[data.task.name],), execution="ensemble", whole=False, **SHORT
    )
    losses = [run.loss for run in report.runs if run.source != "whole"]
    assert [run.loss for run in stacked.runs] == pytest.approx(losses, rel=1e-3)
    assert {run.execution for run in stacked.runs} == {"ensemble"}


def test_a_set_is_stored_and_exported_with_its_targets(data, small, tmp_path):
    small.save(tmp_path / "set")
    assert DistilledData.load(tmp_path / "set") == small
    facts = json.loads((tmp_path / "set" / "distilled.json").read_text())
    assert facts["kind"] == small.kind == "hard"
    assert facts["task"] == data.task.describe()
    small.export_parquet(tmp_path / "set.parquet")
    assert DistilledData.from_parquet(tmp_path / "set.parquet") == small
    small.export_folder(tmp_path / "pictures")
    again = DistilledData.from_folder(tmp_path / "pictures")
    assert torch.equal(again.targets, small.targets)
    assert len(list((tmp_path / "pictures" / "images").glob("*.png"))) == 4
    if data.task.name == "segmentation":
        masks = sorted((tmp_path / "pictures" / "masks").glob("*.png"))
        read = np.stack([np.asarray(Image.open(path)) for path in masks])
        assert np.array_equal(read, small.targets.numpy())
    else:
        coco = json.loads((tmp_path / "pictures" / "annotations.json").read_text())
        assert [each["name"] for each in coco["categories"]] == list(data.task.class_names)
        assert [each["bbox"] for each in coco["annotations"]] == small.targets[..., 1:].flatten(
            0, 1
        ).tolist()


def test_a_set_is_used_in_a_loop_of_ones_own(data, small):
    images, targets = small[:2]
    augmented, moved = small.augmentation()(images, seeds.generator(0), targets)
    assert augmented.shape == images.shape
    assert moved.shape == targets.shape
    with pytest.raises(TypeError, match="move with their images: call it with"):
        small.augmentation()(images, seeds.generator(0))
    network = train(small, NETWORKS[data.task.name], epochs=2)
    loss = small.loss(network(images), targets)
    assert loss.ndim == 0
    assert loss.isfinite()
    part = small.subset([0, 2])
    assert part.images_a_class == [len(g) for g in data.task.groups(part.targets).members]
    assert "4 images 3x24x32" in repr(small)
    assert "images each" not in repr(small)


def test_networks_and_protocols_of_another_task_are_refused_by_name(data, small):
    name = data.task.name
    with pytest.raises(ValueError, match=f"convnet is for classification, the data for {name}: use"):
        evaluate(small, data, architectures=("convnet",))
    with pytest.raises(ValueError, match=f"the protocol dc is not for {name}: quick is"):
        evaluate(small, data, "dc")
    with pytest.raises(ValueError, match="expected outputs"):
        evaluate(small, data, architectures={"mine": lambda: torch.nn.Conv2d(3, 2, 1)}, epochs=1)
    assert nets.parse(data.task.network).tasks == (name,)


@pytest.mark.parametrize(
    "name", [name for name, kind in methods().items() if kind.tasks == ("classification",)]
)
def test_a_method_that_does_not_bear_a_task_is_refused_before_it_starts(name, data):
    preset = "quick" if make_method(name).steps else None
    with pytest.raises(ValueError, match=f"{name} is for classification, the data .* for {data.task.name}"):
        distill(data, make_method(name, preset), images=4)


@pytest.mark.parametrize("name", [name for name, kind in methods().items() if "segmentation" in kind.tasks])
def test_a_method_that_claims_a_task_resumes_and_repeats_there(name, data, tmp_path):
    method = make_method(name)
    assert data.task.name in method.tasks
    first = distill(data, method, images=4, seed=3, folder=tmp_path)
    assert distill(data, method, images=4, seed=3) == first
    assert distill(data, method, images=4, seed=3, folder=tmp_path, resume=True) == first
    assert distill(data, method, images=4, seed=4) != first
    data.task.check(first.images, first.targets, "the set")
    with pytest.raises(ValueError, match="factor"):
        distill(data, make_method(name, factor=2), images=2)


def test_an_image_may_hold_nothing(data):
    """An empty image neither breaks a loss nor counts for a class."""
    targets = data.train.targets.clone()
    targets[:4] = 255 if data.task.name == "segmentation" else torch.tensor([-1.0, 0, 0, 0, 0])
    empty = dataclasses.replace(data, train=Split(data.train.images, targets))
    made = distill(empty, "random", images=16)
    counts = made.images_a_class
    assert max(counts) == 12
    report = evaluate(
        made, empty, architectures=(NETWORKS[data.task.name],), epochs=1, repeats=1, random_draws=0,
        whole=False,
    )  # fmt: skip
    assert torch.tensor(report.runs[0].loss).isfinite()


def test_exported_scenes_are_read_again(data, small, tmp_path):
    """What is exported for people is what other readers, this library's too, take for a data set."""
    many = distill(data, "random", images=16)
    many.export_folder(tmp_path / "out")
    for odd in ("export.json", "rest.safetensors"):
        (tmp_path / "out" / odd).unlink(missing_ok=True)
    kept = [
        path
        for path in (tmp_path / "out").iterdir()
        if path.name in ("images", "masks", "annotations.json")
    ]
    for path in (tmp_path / "out").iterdir():
        if path not in kept:
            path.unlink()
    found = load_data(
        tmp_path / "out",
        class_names=None if data.task.name == "detection" else ("ground", "bright", "dark"),
    )
    assert type(found.task) is type(data.task)
    assert found.task.class_names == data.task.class_names
    everything = torch.cat([found.train.targets, found.validation.targets, found.test.targets])
    rows = {tuple(each.flatten().tolist()) for each in everything}
    assert rows == {tuple(each.flatten().tolist()) for each in many.targets}


def test_kernel_machines_and_mixed_images_are_refused_before_anything_is_trained(data, small):
    events = []
    for changes in ({"kernels": ("ntk:depth=1",)}, {"kernels": ("trained",)}):
        with pytest.raises(ValueError, match="kernel ridge regression needs images of one class each"):
            evaluate(small, data, on_event=events.append, **changes)
    with pytest.raises(ValueError, match="has no values to regress: its targets are"):
        KernelRidge("ntk:depth=1").fit(small)
    with pytest.raises(ValueError, match="targets"):
        KernelRidge("ntk:depth=1").fit(small.images, small.targets)
    with pytest.raises(ValueError, match="has no targets of mixed images"):
        evaluate(small, data, mix="cutmix", on_event=events.append)
    assert not [event for event in events if event.done]


def test_a_teacher_gives_soft_masks_and_a_random_selection_the_same(tmp_path):
    data = real("segmentation")
    small = distill(data, "random", images=4)
    teacher = nets.build(NETWORKS["segmentation"], data.shape, data.task.outputs, seeds.generator(1))
    soft = relabel(small, teacher, "soft", keep_teacher=True)
    assert soft.targets.shape == (4, 3, *SIZE)
    torch.testing.assert_close(soft.targets.sum(1), torch.ones(4, *SIZE))
    assert (soft.kind, soft.label_kind) == ("soft", "probabilities")
    soft.save(tmp_path)
    assert DistilledData.load(tmp_path) == soft
    assert relabel(small, teacher, "hard").kind == "hard"
    report = evaluate(
        soft,
        data,
        architectures=(NETWORKS["segmentation"],),
        epochs=1,
        repeats=1,
        random_draws=1,
        whole=False,
    )
    assert list(report.sets) == ["classes", "stored"]
    assert report.facts("random", "stored").labelled_by == NETWORKS["segmentation"]
    with pytest.raises(ValueError, match="relabelling stored augmentations needs images of one class each"):
        relabel(small, teacher, "augmentations")
    with pytest.raises(ValueError, match="expected soft masks of 24x32 cells or a whole number"):
        dataclasses.replace(soft, targets=torch.zeros(4, 3, 5, 32))
    boxes = real("detection")
    detector = nets.build(NETWORKS["detection"], boxes.shape, boxes.task.outputs, seeds.generator(1))
    with pytest.raises(ValueError, match="detection has no soft targets: its targets are boxes"):
        relabel(distill(boxes, "random", images=2), detector)
