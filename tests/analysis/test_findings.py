"""What every registered finding promises, by being registered; and that each is right."""

import dataclasses
from dataclasses import replace

import pytest
import torch

from pydistill import load_data
from pydistill.analysis import Analysis, Finding, analyse, finders, make_finder
from pydistill.analysis.findings.classes import balance
from pydistill.analysis.findings.complexity import effective_rank, two_neighbours
from pydistill.data.real import Split
from pydistill.engine.method import option_types
from pydistill.tasks import TASKS
from tests.analysis.conftest import classified, textures

each_finder = pytest.mark.parametrize("name", list(finders()))
SMALL = {"distillability": {"network": "convnet:width=4,depth=2", "steps": 5, "most": 0.5}}
"""Options that make a finding cheap."""
each_task = pytest.mark.parametrize("task", list(TASKS))


def found(data, name, scores=None, **options):
    return analyse(data, scores, findings=[make_finder(name, **options)]).findings[name]


@each_finder
def test_options_are_typed_and_described(name):
    kind = finders()[name]
    made = make_finder(name)
    assert kind.title
    assert kind.summary
    assert set(kind.tasks) <= set(TASKS)
    for field in dataclasses.fields(kind):
        assert option_types(kind)[field.name][0] in (bool, int, float, str)
        assert field.metadata["help"]
    assert made.config() == {f.name: f.default for f in dataclasses.fields(kind)}
    with pytest.raises(ValueError, match=f"{name} has no option 'colour'"):
        make_finder(name, colour=1)


@each_task
@each_finder
def test_tells_the_same_twice_and_reads_back(name, task, every):
    data, scores = every[task]
    if task not in finders()[name].tasks:
        with pytest.raises(ValueError, match=f"finding {name}: it is for"):
            analyse(data, scores, findings=[name])
        return
    finder = make_finder(name, **SMALL.get(name, {}))
    first = analyse(data, scores, findings=[finder], seed=3)
    again = analyse(data, scores, findings=[finder], seed=3)
    mine = first.findings[name]
    assert mine.to_json() == again.findings[name].to_json()
    assert Finding.from_json(mine.to_json()) == mine
    assert mine.summary.endswith((".", "."))
    sizes = {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)}
    for flag in mine.flagged:
        assert flag.split in ("train", "validation")
        assert 0 <= flag.position < sizes[flag.split]
    for picture in mine.pictures:
        assert picture.rows
        for row in picture.rows:
            assert row.positions
            assert max(row.positions) < sizes[row.split]
    if mine.image_scores is not None:
        assert mine.image_scores.shape == (len(data.train),)
        assert torch.isfinite(mine.image_scores).all()


@each_task
def test_test_images_are_looked_at_for_duplicates_alone(task, every):
    data, scores = every[task]

    class Closed(Split):
        def __getattribute__(self, name):
            if name in ("images", "targets", "take"):
                raise AssertionError("a test image was looked at")
            return super().__getattribute__(name)

    sealed = replace(data, test=Closed(data.test.images, data.test.targets))
    names = [name for name, kind in finders().items() if task in kind.tasks and name != "duplicates"]
    asked = [make_finder(name, **SMALL.get(name, {})) for name in names]
    blind, seeing = (analyse(each, scores, findings=asked) for each in (sealed, data))
    assert blind.findings == seeing.findings
    with pytest.raises(AssertionError, match="a test image was looked at"):
        analyse(sealed, findings=["duplicates"])


def test_what_cannot_be_told_is_skipped_or_refused_by_name(pictures, scores, masks):
    told = []
    made = analyse(pictures, on_event=told.append)
    assert set(made.skipped) == {"label_errors", "difficulty"}
    assert "pass scores=compute_scores(data, folds=2)" in made.skipped["label_errors"]
    assert any("label_errors is skipped" in getattr(event, "text", "") for event in told)
    with pytest.raises(ValueError, match="finding difficulty: it needs scores of networks"):
        analyse(pictures, findings=["difficulty"])
    with pytest.raises(ValueError, match=r"unknown finding 'duplicate' \(did you mean|unknown finding"):
        analyse(pictures, findings=["duplicate"])
    with pytest.raises(TypeError, match="a list of names"):
        analyse(pictures, findings="duplicates")
    with pytest.raises(ValueError, match="at least one finding"):
        analyse(pictures, findings=[])
    with pytest.raises(ValueError, match="the scores are of textures with fingerprint"):
        analyse(masks, scores)
    whole = replace(scores, arrays={k: v for k, v in scores.arrays.items() if k != "out_of_fold"})
    with pytest.raises(
        ValueError, match="label_errors: it needs probabilities from networks that were not"
    ):
        analyse(pictures, whole, findings=["label_errors"])


def test_one_class_and_few_images(scores):
    images = textures(60).numpy()
    one = load_data((images, [0] * 60), name="one", class_names=("only",))
    made = analyse(one)
    assert "it needs 2 classes or more, found 1: 'only'" in made.skipped["label_errors"]
    assert made.findings["classes"].summary.startswith("There is one class, 'only'")
    with pytest.raises(ValueError, match="finding label_errors: it needs 2 classes or more, found 1"):
        analyse(one, findings=["label_errors"])
    few = load_data((images[:8], [0, 1] * 4), name="few")
    made = analyse(few)
    assert "it needs 10 training images or more, found" in made.skipped["redundancy"]
    assert "duplicates" in made.findings


# ---- classes -------------------------------------------------------------------------------------------


def test_balance_of_known_shares():
    facts = balance(torch.tensor([50, 25, 25]))
    assert facts["imbalance"] == 2
    assert facts["effective number"] == pytest.approx(2**1.5)
    assert facts["balance"] == pytest.approx(1.5 / 1.584962500721156)
    assert balance(torch.tensor([3, 3, 3]))["balance"] == pytest.approx(1)
    assert balance(torch.tensor([3, 0]))["absent"] == 1


def test_classes_of_masks_and_boxes_are_counted(masks, boxes):
    of_masks = found(masks, "classes").values
    pixels = torch.stack([(masks.train.targets == at).sum() for at in range(3)])
    assert of_masks["counts"] == pixels.tolist()
    assert of_masks["images"][2] == len(masks.train)
    assert of_masks["co-occurrence"][2][2] == len(masks.train)
    of_boxes = found(boxes, "classes").values
    kinds = boxes.train.targets[..., 0]
    assert of_boxes["counts"] == [int((kinds == at).sum()) for at in range(2)]
    assert of_boxes["unit"] == "object"
    sides = boxes.train.targets[kinds >= 0][:, 3:].prod(1).sqrt()
    assert of_boxes["boxes"]["side"]["most"] == pytest.approx(float(sides.max()), abs=1e-3)


def test_shapes_and_doubts_of_boxes_by_hand(boxes):
    task = boxes.task
    targets = torch.tensor(
        [
            [[0.0, 0, 0, 4, 4], [1, 2, 0, 4, 4], [-1, 0, 0, 0, 0]],
            [[0, 5, 5, 0, 3], [-1, 0, 0, 0, 0], [-1, 0, 0, 0, 0]],
            [[1, 18, 0, 8, 4], [1, 1, 1, 3, 3], [1, 1, 1, 3, 3]],
            [[-1, 0, 0, 0, 0]] * 3,
        ]
    )
    shapes = task.shapes(targets, (20, 20))
    assert shapes["side"][:2].tolist() == [4, 4]
    assert shapes["overlap"][0] == pytest.approx(8 / 24)
    assert shapes["x"][0] == pytest.approx(0.1)
    doubts = task.doubtful(targets, (20, 20))
    assert doubts["box without area"].tolist() == [False, True, False, False]
    assert doubts["box out of the image"].tolist() == [False, False, True, False]
    assert doubts["the same box twice"].tolist() == [False, False, True, False]
    assert doubts["no object"].tolist() == [False, False, False, True]


# ---- broken --------------------------------------------------------------------------------------------


def test_planted_blank_dark_bright_and_blurred_images_are_found():
    data = classified(200)
    images = data.train.images.clone()
    images[3] = 0
    images[5] = 200
    images[8] = images[8] // 8
    images[13] = 218 + images[13].clamp_max(200) // 6
    blurred = torch.nn.functional.avg_pool2d(images[21].float()[None], 9, 1, 4, count_include_pad=False)
    images[21] = torch.nn.functional.avg_pool2d(blurred, 9, 1, 4, count_include_pad=False)[0].byte()
    made = found(replace(data, train=Split(images, data.train.targets)), "broken")
    reasons = {flag.position: flag.reason for flag in made.flagged if flag.split == "train"}
    assert reasons == {3: "blank", 5: "blank", 8: "dark", 13: "bright", 21: "blurred"}


def test_masks_of_void_alone_are_found(masks):
    targets = masks.train.targets.clone()
    targets[4] = 255
    targets[7] = 1
    made = found(replace(masks, train=Split(masks.train.images, targets)), "broken")
    reasons = {flag.position: flag.reason for flag in made.flagged if flag.split == "train"}
    assert reasons == {4: "mask of void alone", 7: "mask of one class alone"}


# ---- label errors --------------------------------------------------------------------------------------


def test_swapped_labels_are_flagged_with_a_picture_of_them(pictures, scores):
    classes = pictures.train.targets
    generator = torch.Generator().manual_seed(4)
    swapped = torch.randperm(len(classes), generator=generator)[:12]
    labels = classes.clone()
    labels[swapped] = (labels[swapped] + 1) % 3
    top = 0.9 + 0.08 * torch.rand(len(classes), 1, generator=generator)
    sure = ((1 - top) / 2).expand(-1, 3).scatter(1, classes[:, None], top)
    known = replace(scores, arrays={**scores.arrays, "out_of_fold": sure.half().numpy()[None]})
    wrong = replace(pictures, train=Split(pictures.train.images, labels))
    made = found(wrong, "label_errors", known)
    flagged = {flag.position for flag in made.flagged}
    assert flagged <= set(swapped.tolist())
    assert len(flagged) >= 9
    assert {at for row in made.pictures[0].rows for at in row.positions} <= flagged
    assert "--drop label_errors" in made.recommendation
    clean = found(pictures, "label_errors", known)
    assert clean.flagged == ()
    assert clean.recommendation is None


# ---- difficulty, redundancy, complexity ------------------------------------------------------------------


def test_difficulty_orders_images_by_the_probability_of_their_label(pictures, scores):
    made = found(pictures, "difficulty", scores)
    mean = scores.value("mean")
    hardest = made.pictures[0].rows[0].positions
    assert set(hardest) <= set(mean.argsort()[: len(hardest) + 2].tolist())
    assert sum(made.values[name] for name in ("easy", "ambiguous", "hard")) == pytest.approx(1)


def test_redundancy_of_a_set_where_every_image_is_there_twice(pictures):
    images, targets = pictures.train.images, pictures.train.targets
    noise = torch.randint(0, 3, images.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    double = Split(torch.cat([images, images.clamp_max(250) + noise]), targets.repeat(2))
    made = found(replace(pictures, train=double), "redundancy")
    assert made.values["share with a close image"] == 1
    once = found(pictures, "redundancy")
    assert once.values["share with a close image"] < 0.2
    radii = once.values["radius, farthest first"]
    assert radii == sorted(radii, reverse=True)
    assert radii[-1] <= once.values["radius, random"][-1] + 1e-6


@pytest.mark.parametrize("dimension", [2, 5])
def test_two_neighbours_find_the_dimension_of_a_cube(dimension):
    rows = torch.rand(4000, dimension, generator=torch.Generator().manual_seed(dimension))
    away = torch.cdist(rows, rows).fill_diagonal_(9).topk(2, largest=False).values
    assert two_neighbours(away) == pytest.approx(dimension, rel=0.1)


def test_effective_rank_of_known_singular_values():
    assert effective_rank(torch.tensor([2.0, 2.0, 2.0, 0.0])) == pytest.approx(3)
    assert effective_rank(torch.zeros(3)) == 0


def test_the_nearest_neighbours_error_is_that_of_brute_force(pictures):
    made = found(pictures, "complexity")
    rows = torch.nn.functional.adaptive_avg_pool2d(pictures.train.images / 255, 8).flatten(1)
    apart = torch.cdist(rows, rows).fill_diagonal_(9)
    centred = rows - rows.mean(0)
    assert made.values["features"] == 64
    assert centred.shape[1] == 64
    wrong = pictures.train.targets[apart.argmin(1)] != pictures.train.targets
    assert made.values["error of the nearest neighbour"] == pytest.approx(float(wrong.float().mean()))


def test_findings_survive_an_analysis_of_float_images():
    data = load_data("digits")
    made = analyse(data, findings=["broken", "classes", "complexity"])
    assert isinstance(made, Analysis)
    assert made.findings["classes"].values["counts"] == [
        len(member) for member in data.task.groups(data.train.targets).members
    ]
