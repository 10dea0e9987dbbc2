"""Criteria: what every registered one promises, and each against its formula taken word by word."""

import dataclasses

import numpy as np
import pytest
import torch

from pydistill.budget import Budget
from pydistill.data.real import Split
from pydistill.engine.problem import make_problem
from pydistill.selection.base import Known
from pydistill.selection.combination import Criteria, parse_criteria
from pydistill.selection.criteria import Balance, Difficulty, Diversity, Relevance, Representativeness
from pydistill.selection.criterion import criteria
from pydistill.tasks import Classification, Detection, Segmentation
from tests.evaluation.test_dense import real

TASKS = ("classification", "segmentation", "detection")
EXAMPLES = [
    "representativeness",
    "representativeness(over=11)",
    "diversity",
    "diversity(over=2)",
    "relevance(classes={})",
    "relevance(score=loss)",
    "relevance(to={})",
    "difficulty",
    "difficulty(score=loss)",
    "balance",
    "balance(classes=data)",
    "balance(classes={})",
]
"""Of every criterion; what stands for braces depends on the data."""

every = pytest.mark.parametrize("text", EXAMPLES)
on_every = pytest.mark.parametrize("task", TASKS)


@pytest.fixture
def known(task, every_data, every_scores):
    data = every_data[task]
    problem = make_problem(data, budget=Budget.of(images=5), device="cpu")
    return Known(problem, scores=every_scores[task])


@pytest.fixture
def criterion(text, known, tmp_path):
    weights = "/".join(str(1 + at) for at in range(len(known.problem.task.class_names)))
    file = tmp_path / "wanted.npy"
    if "to=" in text:
        np.save(file, known.features[:3].numpy() + 0.1)
    return parse_criteria(text.format(file if "to=" in text else weights)).terms[0][1]


def test_every_criterion_has_an_example():
    assert {text.partition("(")[0] for text in EXAMPLES} == set(criteria())


@every
@on_every
def test_gains_are_differences_of_the_total_and_of_the_shape_that_is_claimed(criterion, known):
    candidates = known.groups()[-1]
    count = len(candidates)
    tally, order = criterion.tally(candidates), torch.randperm(count, generator=torch.manual_seed(0))
    chosen = torch.zeros(0, dtype=torch.int64)
    before = None
    for position in order[:5].tolist():
        gains = tally.gains.clone()
        total = criterion.total(candidates, chosen)
        expected = [
            criterion.total(candidates, torch.cat([chosen, torch.tensor([at])])) - total
            for at in range(count)
        ]
        rest = torch.ones(count, dtype=torch.bool)
        rest[chosen] = False
        expected = torch.tensor(expected, dtype=torch.float64)
        torch.testing.assert_close(gains[rest], expected[rest], rtol=0, atol=2e-6)
        assert gains.min() >= 0
        assert gains.max() <= 1
        if criterion.shape == "modular":
            assert before is None or torch.equal(gains, before)
        if criterion.shape == "submodular":
            assert before is None or (gains <= before + 1e-9).all()
        before = gains
        tally.add(position)
        chosen = torch.cat([chosen, torch.tensor([position])])


@every
@on_every
def test_a_value_is_of_the_set_alone_and_from_0_to_1(criterion, known):
    images = len(known.problem.data.train)
    for count in (1, 4, images):
        indices = torch.randperm(images, generator=torch.Generator().manual_seed(count))[:count]
        found = criterion.value(known, indices)
        assert 0 <= found <= 1
        assert criterion.value(known, indices.flip(0)) == pytest.approx(found, abs=1e-6)


@every
@on_every
def test_its_text_is_read_as_itself(criterion, known):
    assert parse_criteria(str(criterion)).terms == ((1.0, criterion),)


def shares(known, rows):
    """(n, n) distances as shares of the extent, by loops."""
    centre = rows.mean(0)
    extent = 2 * max(float((row - centre).norm()) for row in rows)
    return torch.tensor([[float((a - b).norm()) / extent for b in rows] for a in rows])


@pytest.mark.parametrize("task", ["segmentation"])
def test_facility_location_and_distances_by_loops(known):
    gap, chosen = shares(known, known.features), [3, 7, 8]
    nearest = [max(1 - float(gap[j, i]) for i in chosen) for j in range(16)]
    indices = torch.tensor(chosen)
    assert Representativeness().value(known, indices) == pytest.approx(sum(nearest) / 16, abs=1e-6)
    apart = [min(float(gap[i, j]) for j in chosen if j != i) for i in chosen]
    assert Diversity().value(known, indices) == pytest.approx(sum(apart) / 3, abs=1e-6)
    (candidates,) = known.groups()
    total = 1 + float(gap[3, 7]) + min(float(gap[8, 3]), float(gap[8, 7]))
    assert Diversity().total(candidates, indices) == pytest.approx(total, abs=1e-6)
    assert Diversity().value(known, indices[:1]) == 1
    assert Representativeness().value(known, torch.arange(16)) == pytest.approx(1)


@pytest.mark.parametrize("task", ["classification"])
def test_distances_are_within_a_class(known):
    """The value is the mean over classes that are equally large, each by itself."""
    members = known.problem.groups.members
    chosen = [members[0][:2], members[1][:1]]
    gap = shares(known, known.features)
    nearest = [max(1 - float(gap[j, i]) for i in chosen[at]) for at in range(2) for j in members[at]]
    value = Representativeness().value(known, torch.cat(chosen))
    assert value == pytest.approx(sum(nearest) / 81, abs=1e-6)
    pair = float(gap[members[0][0], members[0][1]])
    assert Diversity().value(known, torch.cat(chosen)) == pytest.approx((2 * pair + 1) / 3, abs=1e-6)


@pytest.mark.parametrize("task", ["segmentation"])
def test_a_mean_over_a_draw_is_over_as_many(known):
    (candidates,) = known.groups()
    drawn = Representativeness(over=5)
    assert len(drawn._references(candidates)) == 5
    assert drawn.total(candidates, torch.arange(16)) == pytest.approx(1)
    assert drawn.total(candidates, torch.tensor([0])) != Representativeness().total(
        candidates, torch.tensor([0])
    )


def test_amounts_are_images_pixels_or_objects():
    classes = Classification(("a", "b", "c")).amounts(torch.tensor([2, 0]))
    assert classes.tolist() == [[0, 0, 1], [1, 0, 0]]
    masks = torch.tensor([[[0, 0], [1, 255]], [[255, 255], [255, 255]]], dtype=torch.uint8)
    assert Segmentation(("a", "b")).amounts(masks).tolist() == [[2, 1], [0, 0]]
    boxes = torch.zeros(2, 3, 5)
    boxes[..., 0] = torch.tensor([[1, 1, -1], [-1, 0, -1]])
    assert Detection(("a", "b")).amounts(boxes).tolist() == [[0, 2], [1, 0]]


def of_masks(*amounts, classes=2):
    """What is known of images of ten pixels that hold as many of each class, the rest void."""
    masks = torch.full((len(amounts), 1, 10), 255, dtype=torch.uint8)
    for at, each in enumerate(amounts):
        held = torch.arange(classes).repeat_interleave(torch.tensor(each)).to(torch.uint8)
        masks[at, 0, : len(held)] = held
    data = real("segmentation")
    task = Segmentation(tuple("abcdef"[:classes]))
    images = torch.zeros(len(amounts), 3, 1, 10, dtype=torch.uint8)
    images[:, 0] = torch.arange(len(amounts), dtype=torch.uint8)[:, None, None]
    data = dataclasses.replace(data, task=task, train=Split(images, masks))
    return Known(make_problem(data, budget=Budget.of(images=1), device="cpu"), "thumbnails")


def test_balance_by_hand():
    known = of_masks([8, 0], [8, 2], [0, 2])
    balance, (candidates,) = Balance(), known.groups()
    # A = 20, p = 1/2 each
    total = ((8 / 2) ** 0.5 + (2 / 2) ** 0.5) / 20**0.5
    assert balance.total(candidates, torch.tensor([1])) == pytest.approx(total)
    assert balance.value(known, torch.tensor([1])) == pytest.approx((0.5 * 0.8) ** 0.5 + (0.5 * 0.2) ** 0.5)
    assert Balance(classes="4/1").value(known, torch.tensor([1])) == pytest.approx(1)
    assert Balance(classes="data").value(known, torch.arange(3)) == pytest.approx(1)
    tally = balance.tally(candidates)
    tally.add(0)
    more = (16 / 2) ** 0.5 - (8 / 2) ** 0.5 + (2 / 2) ** 0.5
    assert tally.gains[1:].tolist() == pytest.approx([more / 20**0.5, (2 / 2) ** 0.5 / 20**0.5])


def test_classes_that_are_nowhere_are_not_wanted():
    known = of_masks([5, 5, 0], [2, 0, 0], classes=3)
    assert Balance().value(known, torch.tensor([0])) == pytest.approx(1)


def test_relevance_by_classes_is_the_mean_weight_of_what_an_image_holds():
    known = of_masks([8, 0], [6, 2], [0, 2], [0, 0])
    found = Relevance(classes="1/4").each(known)
    torch.testing.assert_close(found, torch.tensor([0.25, 0.75 * 0.25 + 0.25, 1, 0]))


def test_relevance_of_a_users_numbers_and_of_targets(tmp_path):
    known = of_masks([1, 0], [1, 0], [1, 0])
    np.save(tmp_path / "own.npy", np.array([3.0, 5.0, 4.0]))
    assert Relevance(to=str(tmp_path / "own.npy")).each(known).tolist() == [0, 1, 0.5]
    np.save(tmp_path / "same.npy", np.ones(3))
    assert Relevance(to=str(tmp_path / "same.npy")).each(known).tolist() == [1, 1, 1]
    np.save(tmp_path / "features.npy", known.features[1:2].numpy())
    found = Relevance(to=str(tmp_path / "features.npy")).each(known)
    assert found[1] == 1
    assert (found[[0, 2]] < 1).all()


def test_difficulty_is_a_rank_that_equal_ones_share(every_data, every_scores):
    class Given:
        names = ("loss",)

        def difficulty(self, name):
            return torch.tensor([3.0, 1.0, 1.0, 9.0, 2.0])

    known = dataclasses.replace(of_masks(*[[1, 0]] * 5), scores=Given())
    expected = torch.tensor([3, 0.5, 0.5, 4, 2]) / 4
    torch.testing.assert_close(Difficulty().each(known), expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros(4), r"holds 4 numbers, expected one for each of the 3 training images"),
        (np.zeros((2, 7)), r"has shape \(2, 7\), expected \(3,\), a number an image, or \(T, \d+\)"),
        (np.array([1, np.nan, 2]), "holds NaN or infinity"),
        (np.array(["a", "b", "c"]), "expected numbers"),
    ],
)
def test_files_that_do_not_fit_are_refused(content, message, tmp_path):
    np.save(tmp_path / "own.npy", content)
    with pytest.raises(ValueError, match=message):
        Relevance(to=str(tmp_path / "own.npy")).each(of_masks([1, 0], [1, 0], [1, 0]))
    with pytest.raises(ValueError, match=r"none\.npy cannot be read"):
        Relevance(to=str(tmp_path / "none.npy")).each(of_masks([1, 0], [1, 0], [1, 0]))


def test_wanted_shares_that_do_not_fit_are_refused():
    known = of_masks([1, 0], [0, 1])
    for classes, message in (
        ("1/2/3", "expected 2 weights, one a class, found '1/2/3'"),
        ("1/-2", "expected weights of at least 0, not all 0"),
        ("0/0", "expected weights of at least 0, not all 0"),
        ("1;2", "expected numbers such as 2/1/0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            Balance(classes=classes).value(known, torch.tensor([0]))
    with pytest.raises(ValueError, match="scores of the training images are needed"):
        Difficulty().value(known, torch.tensor([0]))


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("diversity", [(1, Diversity())]),
        ("-diversity", [(-1, Diversity())]),
        (" + 2 * diversity - .5*balance ", [(2, Diversity()), (-0.5, Balance())]),
        (
            "representativeness+0.5*diversity-0.2*difficulty(score=aum)",
            [(1, Representativeness()), (0.5, Diversity()), (-0.2, Difficulty("aum"))],
        ),
        (
            "1e-3*relevance(to=my-own+file*2.npy)+diversity(over=7)",
            [(1e-3, Relevance(to="my-own+file*2.npy")), (1, Diversity(7))],
        ),
    ],
)
def test_texts_are_read_and_written(text, terms):
    found = parse_criteria(text)
    assert found.terms == tuple(terms)
    assert parse_criteria(str(found)) == found
    assert str(parse_criteria(str(found))) == str(found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a weight or a criterion at character 1, found the end"),
        ("diversity+", "expected a weight or a criterion at character 11, found the end"),
        ("diversity diversity", r"expected \+ or - .* at character 11, found 'diversity'"),
        ("0.5 diversity", r"expected \* behind a weight at character 5, found 'diversity'"),
        ("0.5*", "expected a criterion at character 5, found the end"),
        ("diversity*2", r"expected \+ or - .* at character 10, found '\*2'"),
        ("diversity(over=3", r"at character 10, found '\(over=3'"),
        (
            "balance+divresity",
            r"unknown criterion 'divresity' \(did you mean 'diversity'\?\) at character 9",
        ),
        ("diversity(ovre=3)", r"diversity has no option 'ovre' \(did you mean 'over'\?\)"),
        ("diversity(over=few)", "diversity: over must be int, got 'few'"),
        ("diversity(over=0)", "diversity: over must be at least 1, got 0"),
        ("diversity+2*diversity", "diversity stands twice"),
        ("0*diversity", "weight of diversity is 0"),
        ("relevance", "expected one of to=FILE.npy, score=NAME and classes=.*, found none"),
        ("relevance(score=a,to=b.npy)", "found to and score"),
    ],
)
def test_texts_that_do_not_parse_say_where(text, message):
    with pytest.raises(ValueError, match=message):
        parse_criteria(text)


def test_a_sum_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"expected at least one criterion; known: .*balance"):
        Criteria(())
