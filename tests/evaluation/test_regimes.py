"""Class labels and the set's own use stand side by side; sets compare within one regime alone."""

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F

from pydistill import distill, evaluate, nets, relabel, seeds
from pydistill.evaluation import Protocol, Report
from pydistill.evaluation.facts import Run, SetFacts
from pydistill.evaluation.training_sets import gather
from pydistill.training.samples import TensorSamples
from pydistill.training.trainer import Training, TrainingJob, train
from tests.evaluation.test_report import FULL, make, read

NET = "mlp:width=8"
SHORT = Protocol(
    architectures=(NET,), repeats=2, epochs=4, learning_rate=0.05, random_draws=2, random_repeats=2
)
CPU = torch.device("cpu")


def of(report, regime, source=None):
    """Runs of networks, without what differs from run to run of the same thing."""
    return [
        dataclasses.replace(run, seconds=0.0, regime="classes")
        for run in report.runs
        if (run.architecture, run.regime) == (NET, regime) and source in (None, run.source)
    ]


@pytest.fixture(scope="module")
def values(tiny):
    """Images with learned values for the squared error."""
    return distill(tiny, "kip", ipc=2, iterations=3, batch_real=20, label_rate=0.5)


@pytest.fixture(scope="module")
def teacher(tiny):
    return nets.build(NET, tiny.shape, 3, torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def report(values, tiny):
    return evaluate(values, tiny, SHORT)


def test_class_labels_are_what_the_same_images_with_hard_targets_give(values, tiny, report):
    hard = dataclasses.replace(
        values,
        targets=values.origin,
        origin=None,
        recipe=dataclasses.replace(values.recipe, loss="task", kernel=None),
    )
    plain = evaluate(hard, tiny, SHORT)
    assert of(report, "classes") == of(plain, "classes")
    assert not of(plain, "stored")
    assert report.summary(NET, "distilled") == plain.summary(NET, "distilled")
    assert report.gain(NET) == plain.gain(NET)


def test_random_selections_as_stored_have_the_sets_own_loss(values, tiny, report):
    sets = gather(values, tiny, SHORT, values.augment, CPU)
    packed = sets.random[0]
    targets = F.one_hot(packed.targets, 3).float() - 1 / 3
    job = TrainingJob(
        TensorSamples(packed.images, targets),
        seeds.derive(SHORT.seed, "network", 0),
        values.augment,
        loss="squared",
    )
    training = Training(4, optimiser=SHORT.make_optimiser(), learning_rate=0.05)
    (done,) = train(NET, [job], tiny.task, training)
    assert of(report, "stored", "random")[0].loss == done.loss
    facts = report.facts("random", "stored")
    assert (facts.targets, facts.loss, facts.labelled_by) == ("values", "squared error", None)
    assert report.facts("random").loss == "cross-entropy"
    assert any("could label it" in note or "could label them" in note for note in report.notes)


def test_headline_rows_and_verdict_begin_with_class_labels(report):
    assert [run.regime for run in report.runs if run.architecture == NET] == ["classes"] * 8 + [
        "stored"
    ] * 6
    first, second = report.headline().split(" As stored, ")
    assert first.startswith("6 distilled images with classes, cross-entropy: ")
    assert second.startswith("6 distilled images with values, squared error: ")
    assert "all 81 images" in first
    assert "all 81 images" not in second
    lines = report.text().splitlines()
    rows = [line.split()[:4] for line in lines if line.startswith(f"{NET}  ")]
    assert rows == [
        [NET, "classes", "distilled", "6"],
        [NET, "classes", "random", "6"],
        [NET, "classes", "whole", "81"],
        [NET, "as", "stored", "distilled"],
        [NET, "as", "stored", "random"],
    ]
    verdicts = [line.split(": ")[0] for line in lines if line.startswith("mlp") and "points" in line]
    assert verdicts == [NET, f"{NET}, as stored"]


def test_differences_compare_within_a_regime():
    """With the squared error everything is ten points better: the set's own doing is nothing."""
    runs = [
        Run("convnet", source, draw, 0, value + shift, 0.1, 1.0, "loop", regime)
        for regime, shift in (("classes", 0.0), ("stored", 0.1))
        for source, value in (("distilled", 0.6), ("random", 0.6))
        for draw in range(3)
    ]
    facts = SetFacts(10, 1, 0.1)
    other = SetFacts(10, 1, 0.1, "values", "squared error", regime="stored")
    sets = {
        "classes": {"distilled": facts, "random": facts},
        "stored": {"distilled": other, "random": other},
    }
    found = make(FULL, runs=tuple(runs), sets=sets)
    for regime in ("classes", "stored", None):
        assert found.gain("convnet", regime).mean == pytest.approx(0.0)
        assert found.verdict("convnet", regime).startswith("against random +0.0 points, the interval inc")
    assert found.summary("convnet", "random", "stored").mean == pytest.approx(0.7)
    assert found.shortfall("convnet", "stored") is None
    assert Report.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_random_selections_that_would_be_trained_alike_are_trained_once(tiny, teacher):
    soft = relabel(distill(tiny, "random", ipc=2, seed=3), teacher, "soft")
    report = evaluate(soft, tiny, SHORT)
    found = [(run.source, run.regime) for run in report.runs]
    assert found.count(("random", "classes")) == 4
    assert ("random", "stored") not in found
    assert report.values(NET, "random", "stored") == report.values(NET, "random", "classes")
    assert report.sources(NET, "stored") == ("distilled", "random")
    assert report.facts("random", "stored").regime == "classes"
    assert report.gain(NET, "stored") is not None
    assert any("No network is kept with the set" in note for note in report.notes)


@pytest.mark.parametrize("kind", ["soft", "augmentations"])
def test_a_network_kept_with_the_set_labels_random_selections_too(tiny, teacher, kind):
    made = distill(tiny, "random", ipc=2, seed=3)
    kept = relabel(made, teacher, kind, temperature=2.0, draws=2, keep_teacher=True)
    sets = gather(kept, tiny, SHORT, kept.augment, CPU)
    drawn = sets.table["stored"]["random"][0]
    facts = drawn.facts
    assert (facts.targets, facts.labelled_by, facts.regime) == (kept.label_kind, NET, "stored")
    if kind == "soft":
        said = torch.softmax(teacher(sets.random[0].images) / 2.0, 1).detach()
        torch.testing.assert_close(drawn.samples.batch(None)[1], said)
    else:
        assert drawn.augmentations.targets.shape == kept.recipe.augmentations.targets.shape
        assert not torch.equal(drawn.augmentations.parameters, kept.recipe.augmentations.parameters)
    report = evaluate(kept, tiny, SHORT)
    assert len(of(report, "stored", "random")) == 4
    assert of(report, "stored", "random") != of(report, "classes", "random")
    assert any("given by the network that is kept with the set" in note for note in report.notes)


def test_a_teacher_that_did_not_give_the_labels_labels_nothing(tiny, teacher):
    made = distill(
        tiny,
        "teacher_krr",
        ipc=1,
        network=NET,
        iterations=1,
        batch_real=9,
        teacher_steps=3,
        temperature=3.0,
    )
    facts = gather(made, tiny, SHORT, made.augment, CPU).table["stored"]["random"][0].facts
    assert (facts.targets, facts.labelled_by) == ("values", NET)
    assert made.recipe.temperature == 3.0
    other = relabel(made, teacher)
    found = gather(other, tiny, SHORT, other.augment, CPU).table["stored"]["random"][0].facts
    assert found.labelled_by is None
    with pytest.raises(ValueError, match="keeps another teacher"):
        relabel(made, teacher, keep_teacher=True)


def test_a_learned_rate_goes_with_the_labels_it_was_learned_with(tiny, teacher):
    made = dataclasses.replace(distill(tiny, "random", ipc=2), learning_rate=0.2)
    assert evaluate(made, tiny, SHORT).facts("distilled").learning_rate == 0.2
    report = evaluate(relabel(made, teacher), tiny, SHORT)
    assert report.facts("distilled", "classes").learning_rate == 0.05
    assert report.facts("distilled", "stored").learning_rate == 0.2
    assert any("belongs to the labels it was learned with" in note for note in report.notes)


@pytest.mark.parametrize(("labels", "regimes"), [("classes", {"classes"}), ("stored", {"stored"})])
def test_one_regime_may_be_asked_for_alone(values, tiny, report, labels, regimes):
    found = evaluate(values, tiny, dataclasses.replace(SHORT, labels=labels))
    assert set(found.sets) == regimes
    assert of(found, labels, "distilled") == of(report, labels, "distilled")
    assert of(found, labels, "random") == of(report, labels, "random")
    assert found.kept(NET) is not None
    with pytest.raises(ValueError, match="labels must be one of both, classes, stored"):
        dataclasses.replace(SHORT, labels="soft")


def test_sets_of_classes_have_one_regime_whatever_is_asked_for(tiny):
    made = distill(tiny, "random", ipc=2)
    one, other = (
        evaluate(made, tiny, dataclasses.replace(SHORT, labels=each)) for each in ("both", "stored")
    )
    assert of(one, "classes") == of(other, "classes")
    assert one.regimes(NET) == other.regimes(NET) == ("classes",)


def test_answers_by_class_are_kept_for_every_row(report, tiny):
    counts = {(each.source, each.regime): each for each in report.details if each.architecture == NET}
    assert set(counts) == {(source, "classes") for source in ("distilled", "random", "whole")} | {
        ("distilled", "stored"),
        ("random", "stored"),
    }
    found = report.detail(NET, "random")
    matrix = torch.tensor(found.classes.confusion)
    assert (found.networks, int(matrix.sum())) == (4, 4 * len(tiny.test))
    assert float(matrix.trace() / matrix.sum()) == pytest.approx(report.summary(NET, "random").mean)
    assert found.classes.values == pytest.approx((matrix.diagonal() / matrix.sum(1)).tolist())
    assert found.classes.images == (120, 120, 120)
    assert report.class_names == tiny.task.class_names
    again = Report.from_json(json.loads(json.dumps(report.to_json())))
    assert dataclasses.replace(again, pictures=report.pictures).details == report.details


def test_the_page_shows_both_regimes(report, tmp_path):
    page = read(report.save(tmp_path))
    for words in ("classes: classes, cross-entropy", "as stored: values, squared error"):
        assert words in page.text


def old_record(soft: bool, notes=()):
    """As format 1 was written."""
    record = make(FULL, notes=tuple(notes)).to_json()
    for run in record["runs"]:
        del run["regime"]
    sets = record.pop("sets")["classes"]
    kept = ("images", "nbytes", "learning_rate", "factor")
    record["sets"] = {
        source: {name: facts[name] for name in kept} | {"soft": soft and source == "distilled"}
        for source, facts in sets.items()
    }
    del record["class_names"], record["details"], record["protocol"]["labels"]
    return record | {"format": 1}


def test_reports_of_the_first_format_still_load():
    hard = Report.from_json(old_record(soft=False))
    assert hard.regimes("convnet") == ("classes",)
    assert hard.gain("convnet").mean == pytest.approx(0.12)
    assert hard.kept("convnet") == pytest.approx(0.82 / 0.92)

    soft = Report.from_json(old_record(soft=True))
    assert soft.regimes("convnet") == ("stored",)
    assert soft.facts("distilled").targets == "probabilities"
    assert soft.gain("convnet").mean == pytest.approx(0.12)

    note = (
        "Networks were trained on the distilled set's targets, which are values, by the squared error; on "
    )
    values = Report.from_json(old_record(soft=True, notes=[note]))
    assert values.regimes("convnet") == ("stored", "classes")
    assert values.gain("convnet") is None
    assert values.summary("convnet", "random", "classes").mean == pytest.approx(0.7)
    rows = [line.split("  ")[1:] for line in values.text().splitlines() if line.startswith("convnet  ")]
    shown = [[cell.strip() for cell in row if cell][:2] for row in rows]
    assert shown == [["as stored", "distilled"], ["classes", "whole"], ["classes", "random"]]
    assert Report.from_json(json.loads(json.dumps(values.to_json()))) == values
