import dataclasses
import mmap
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F

from pydistill import seeds
from pydistill.data import DistilledData, RealData, Split, load_data
from pydistill.data.formation import encode
from pydistill.data.preprocess import Standardise
from pydistill.evaluation import Protocol, evaluate, machine
from pydistill.evaluation.machine import Meter
from pydistill.events import Progress
from pydistill.tasks import Classification
from pydistill.tasks.classification import ClassificationMetric
from pydistill.training.scoring import score
from tests.conftest import blobs


def altered(distilled: DistilledData, **changes) -> DistilledData:
    fields = [f.name for f in dataclasses.fields(distilled)]
    return DistilledData(**{**{name: getattr(distilled, name) for name in fields}, **changes})


def results(report):
    """Every run without its timing."""
    return [dataclasses.replace(run, seconds=0.0) for run in report.runs]


@pytest.fixture(scope="module")
def report(distilled, tiny, short):
    return evaluate(distilled, tiny, short)


def test_every_set_gets_its_networks(report):
    found = [(run.source, run.draw, run.seed) for run in report.runs]
    assert found == [
        ("distilled", 0, 0),
        ("distilled", 0, 1),
        ("random", 0, 0),
        ("random", 0, 1),
        ("random", 1, 0),
        ("random", 1, 1),
        ("whole", 0, 0),
        ("whole", 0, 1),
    ]
    assert report.steps == 4
    assert all(0 <= run.value <= 1 for run in report.runs)
    assert report.facts("distilled").images == report.facts("random").images == 6
    assert report.facts("distilled").nbytes == report.facts("random").nbytes == 6 * (64 * 4 + 8)
    assert (report.metric, report.task, report.data) == ("accuracy", "classification", "tiny")


def test_same_seed_same_report_and_other_seed_another(report, distilled, tiny, short):
    assert results(evaluate(distilled, tiny, short)) == results(report)
    other = evaluate(distilled, tiny, dataclasses.replace(short, seed=1))
    assert [run.loss for run in other.runs] != [run.loss for run in report.runs]


def test_either_execution_gives_the_same_report(report, distilled, tiny, short):
    stacked = evaluate(distilled, tiny, short, execution="ensemble")
    assert {run.execution for run in stacked.runs} == {"ensemble"}
    assert {run.execution for run in report.runs} == {"loop"}
    for one, other in zip(stacked.runs, report.runs, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert abs(one.value - other.value) < 0.03


@pytest.mark.parametrize("factor", [1, 2])
def test_equal_sets_score_equal(tiny, short, distilled, packed, factor):
    """The distilled set and a baseline are treated alike: same weights, steps, augmentation, scoring."""
    drawn = seeds.generator(0, "random", 0)
    draw = tiny.task.groups(tiny.train.targets).draw(2, drawn, strict=True, packed=factor**2)
    images = encode(tiny.inputs(tiny.train, draw.indices), factor).contiguous()
    targets = tiny.train.targets[draw.indices[:: factor**2]]
    same = altered(packed if factor == 2 else distilled, images=images, targets=targets)
    assert same.factor == factor
    found = evaluate(same, tiny, short, execution="loop")
    label = found.architectures[0]
    assert found.values(label, "distilled")[0] == found.values(label, "random")[0]
    losses = {
        source: [r.loss for r in found.runs if (r.source, r.draw) == (source, 0)]
        for source in found.sets["classes"]
    }
    assert losses["distilled"] == losses["random"] != losses["whole"]


@pytest.fixture(scope="module")
def packed_report(packed, tiny, short):
    return evaluate(packed, tiny, short)


def test_random_selection_is_packed_as_the_distilled_set_is(packed_report, packed):
    sets = packed_report.sets["classes"]
    for source in ("distilled", "random"):
        facts = sets[source]
        assert (facts.factor, facts.images, facts.stored) == (2, 24, 6)
        assert facts.nbytes == packed.nbytes["images"] + packed.nbytes["targets"]
    assert (sets["whole"].factor, sets["whole"].images, sets["whole"].stored) == (1, 81, 81)
    (note,) = (note for note in packed_report.notes if "stored image" in note)
    assert note.startswith("Each of the 2 stored images a class was trained on as 4 views")
    assert "Random selection is packed too: 8 real images a class" in note


def test_a_packed_set_trains_as_its_views_would(packed_report, packed, tiny, short):
    """Decoded beforehand, or batch by batch; whole, or in shuffled batches."""
    images, targets = packed.views()
    decoded = altered(packed, images=images.contiguous(), targets=targets, factor=1)
    alone = dataclasses.replace(short, random_draws=0, whole=False)
    for protocol in (alone, dataclasses.replace(alone, batch_size=7)):
        one, other = (evaluate(made, tiny, protocol) for made in (packed, decoded))
        assert [run.loss for run in one.runs] == pytest.approx([run.loss for run in other.runs], rel=1e-4)
        assert [run.value for run in one.runs] == pytest.approx([run.value for run in other.runs], abs=0.03)
    assert [run.loss for run in evaluate(packed, tiny, alone).runs] == [
        run.loss for run in packed_report.runs[:2]
    ]


def test_an_epoch_is_a_pass_over_the_views(packed, tiny, short):
    assert evaluate(packed, tiny, short).steps == 4
    small_batches = dataclasses.replace(short, batch_size=6, random_draws=1, whole=False)
    found = evaluate(packed, tiny, small_batches)
    assert found.steps == 4 * 4  # 24 views in batches of 6, though 6 images are stored


def test_a_packed_set_scores_the_same_after_saving(packed_report, packed, tiny, short, tmp_path):
    packed.save(tmp_path)
    packed.export_parquet(tmp_path / "set.parquet")
    for found in (DistilledData.load(tmp_path), DistilledData.from_parquet(tmp_path / "set.parquet")):
        assert results(evaluate(found, tiny, short)) == results(packed_report)


def test_packed_pictures_are_of_what_is_stored(packed_report, packed, tiny, short):
    plain = evaluate(
        altered(packed, factor=1), tiny, dataclasses.replace(short, random_draws=1, whole=False)
    )
    assert packed_report.pictures["distilled"] == plain.pictures["distilled"]
    assert packed_report.pictures["random"] != plain.pictures["random"]


def test_classes_too_small_to_pack_from_give_all_they_have(packed, tiny, short):
    few = torch.cat([member[:7] for member in tiny.task.groups(tiny.train.targets).members])
    small = dataclasses.replace(tiny, train=tiny.train.take(few))
    found = evaluate(packed, small, short)
    assert found.facts("random").stored == 6
    assert any("takes 8 real images a class, but a class has only 7" in note for note in found.notes)
    fewer = torch.cat([member[:3] for member in tiny.task.groups(tiny.train.targets).members])
    found = evaluate(packed, dataclasses.replace(tiny, train=tiny.train.take(fewer)), short)
    assert found.facts("random").stored == 3
    assert "Networks saw 24 distilled images but 12 random ones." in found.notes


def test_poisoned_test_labels_change_the_scores_and_nothing_else(report, distilled, tiny, short):
    wrong = Split(tiny.test.images, (tiny.test.targets + 1) % 3)
    poisoned = evaluate(distilled, dataclasses.replace(tiny, test=wrong), short)
    assert [run.loss for run in poisoned.runs] == [run.loss for run in report.runs]
    assert [run.value for run in poisoned.runs] != [run.value for run in report.runs]


def test_test_images_are_read_once_a_network_and_after_its_training(distilled, tiny, short, monkeypatch):
    log: list[str | int] = []
    original = RealData.inputs

    def spy(self, split, indices, *rest):
        found = original(self, split, indices, *rest)
        if split is tiny.test:
            log.append(len(found))
        return found

    def listen(event: Progress) -> None:
        if event.stage.startswith("train") and event.done == event.total:
            log.append(event.stage)

    monkeypatch.setattr(RealData, "inputs", spy)
    evaluate(distilled, tiny, short, on_event=listen)
    size = len(tiny.test)
    assert log == [
        *["train distilled", *[size] * 2],
        *["train random", *[size] * 4],
        *["train whole", *[size] * 2],
    ]


def test_validation_split_is_scored_without_a_look_at_test_data(distilled, tiny, short):
    blank = Split(torch.zeros_like(tiny.test.images), torch.zeros_like(tiny.test.targets))
    chosen = dataclasses.replace(short, split="validation")
    one = evaluate(distilled, tiny, chosen)
    other = evaluate(distilled, dataclasses.replace(tiny, test=blank), chosen)
    assert results(one) == results(other)
    assert any("validation split" in note for note in one.notes)


def test_learned_rate_is_used_for_the_distilled_set_alone_and_told(report, distilled, tiny, short):
    found = evaluate(altered(distilled, learning_rate=0.2), tiny, short)
    assert found.facts("distilled").learning_rate == 0.2
    assert found.facts("random").learning_rate == found.facts("whole").learning_rate == 0.05
    assert any(
        "the learning rate it has learned, 0.2; the other sets at 0.05" in note for note in found.notes
    )
    ours, before = results(found), results(report)
    assert [run.loss for run in ours[:2]] != [run.loss for run in before[:2]]
    assert ours[2:] == before[2:]


def test_soft_targets_are_trained_on_counted_and_told(report, distilled, tiny, short):
    certain = F.one_hot(distilled.targets, 3).float()
    found = evaluate(altered(distilled, targets=certain), tiny, short)
    stored = [run for run in found.runs if run.regime == "stored"]
    for one, other in zip(stored, report.runs[:2], strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
    assert found.facts("distilled", "stored").soft
    assert found.facts("distilled", "stored").nbytes == 6 * (64 * 4 + 3 * 4)
    assert any("its own targets, which are probabilities of classes" in note for note in found.notes)
    assert any(
        "takes 1,608 bytes as stored, a random selection of as many images 1,584" in note
        for note in found.notes
    )


def test_everything_goes_through_the_distilled_sets_own_preprocessing(report, distilled, tiny, short):
    other = Standardise(torch.tensor([5.0]), torch.tensor([0.1]))
    found = evaluate(distilled, dataclasses.replace(tiny, preprocess=other), short)
    assert results(found) == results(report)


def test_augmentation_of_the_protocol_replaces_the_stored_one(distilled, tiny, short):
    plain = evaluate(distilled, tiny, dataclasses.replace(short, augment="none"))
    stored = evaluate(altered(distilled, augment="none"), tiny, short)
    assert plain.augment == stored.augment == "none"
    assert results(plain) == results(stored)


def test_baselines_can_be_left_out(distilled, tiny, short):
    alone = evaluate(distilled, tiny, dataclasses.replace(short, random_draws=0, whole=False))
    (label,) = alone.architectures
    assert {run.source for run in alone.runs} == {"distilled"}
    assert alone.gain(label) is alone.shortfall(label) is alone.kept(label) is None
    assert alone.verdict(label) == ""
    assert "distilled" in alone.text()


def test_several_architectures_are_rows_of_one_report(distilled, tiny, short):
    both = ("mlp:width=4", "convnet:width=4,depth=1,norm=batch")
    found = evaluate(distilled, tiny, dataclasses.replace(short, architectures=both, random_draws=1))
    assert found.architectures == both
    assert [run.architecture for run in found.runs] == [both[0]] * 6 + [both[1]] * 6
    assert all(each in found.text() for each in both)


def test_global_generator_is_left_alone(distilled, tiny, short):
    before = torch.get_rng_state()
    evaluate(distilled, tiny, short)
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_counts_up_to_its_total(distilled, tiny, short):
    events = []
    evaluate(distilled, tiny, short, execution="loop", on_event=events.append)
    stages = list(dict.fromkeys(event.stage for event in events))
    assert stages == [
        f"{do} {what}" for what in ("distilled", "random", "whole") for do in ("train", "score")
    ]
    for stage in stages:
        done = [event.done for event in events if event.stage == stage]
        assert done == sorted(set(done))
        assert done[-1] == next(event.total for event in events if event.stage == stage)


@dataclass(frozen=True)
class Shortlist(Classification):
    """A metric of its own: whether the truth is among the two most probable classes."""

    name: ClassVar[str] = "shortlist"
    metric: ClassVar[str] = "top-2 accuracy"

    def make_metric(self):
        return Top2(self)


class Top2(ClassificationMetric):
    names = ("top-2 accuracy", "misses")

    def update(self, outputs, targets):
        super().update(outputs, targets)
        self._hits = [*getattr(self, "_hits", []), (outputs.topk(2).indices == targets[:, None]).any(1)]

    def compute(self):
        share = float(torch.cat(self._hits).double().mean())
        return {"top-2 accuracy": share, "misses": 1 - share}


def test_metric_is_the_tasks_own(report, distilled, tiny, short):
    task = Shortlist(tiny.task.class_names)
    found = evaluate(altered(distilled, task=task), dataclasses.replace(tiny, task=task), short)
    assert (found.task, found.metric) == ("shortlist", "top-2 accuracy")
    assert [run.loss for run in found.runs] == [run.loss for run in report.runs]
    assert all(one.value >= other.value for one, other in zip(found.runs, report.runs, strict=True))
    assert all(run.values == {"top-2 accuracy": run.value, "misses": 1 - run.value} for run in found.runs)
    assert "top-2 accuracy" in found.text()


def test_other_data_are_refused_unless_allowed(distilled, tiny, short):
    other = dataclasses.replace(tiny, fingerprint="f" * 64, name="others")
    words = "distilled from 'tiny' with fingerprint .* but 'others' has ffffffffffff: load the same data"
    with pytest.raises(ValueError, match=words):
        evaluate(distilled, other, short)
    found = evaluate(distilled, other, short, allow_other_data=True)
    assert any("distilled from other data (tiny)" in note for note in found.notes)


def test_other_classes_and_shapes_are_refused(distilled, tiny, short):
    more = load_data(blobs(classes=4), name="more")
    with pytest.raises(ValueError, match=r"with 3 classes \(.*\), the data 'more' for .* with 4"):
        evaluate(distilled, more, short)
    large = load_data(blobs(side=10), name="large")
    with pytest.raises(ValueError, match=r"shape \(1, 8, 8\), the data 'large' \(1, 10, 10\)"):
        evaluate(distilled, large, short, allow_other_data=True)


def test_wrong_arguments_are_refused_before_any_training(distilled, tiny):
    with pytest.raises(ValueError, match="unknown protocol 'slow'"):
        evaluate(distilled, tiny, "slow")
    with pytest.raises(TypeError, match="protocol must be a Protocol or a name, got int"):
        evaluate(distilled, tiny, 3)
    with pytest.raises(ValueError, match="unknown device 'tpu9'"):
        evaluate(distilled, tiny, device="tpu9")
    with pytest.raises(ValueError, match="unknown network 'convnext'"):
        evaluate(distilled, tiny, Protocol(architectures=("convnext",)))
    with pytest.raises(ValueError, match="unknown transform"):
        evaluate(distilled, tiny, Protocol(augment="zoom"))


class Constant(torch.nn.Module):
    """Always says class 1; insists on evaluation mode."""

    def forward(self, images):
        assert not self.training
        assert not torch.is_grad_enabled()
        return F.one_hot(torch.ones(len(images), dtype=torch.int64), 3).float()


@pytest.mark.parametrize("max_batch", [None, 7])
def test_score_is_exact_over_the_whole_split(tiny, max_batch):
    network = Constant().train()
    expected = float((tiny.test.targets == 1).double().mean())
    assert score(network, tiny, tiny.test, max_batch=max_batch) == expected
    assert network.training


def test_meter_sees_what_is_held_inside_and_not_what_was_held_before():
    """Of fresh pages, which nothing else in this process can have held."""
    size = 64 * 2**20
    with Meter(torch.device("cpu")) as during:
        block = mmap.mmap(-1, size)
        block.write(b"1" * size)
        block.close()
    with Meter(torch.device("cpu")) as after:
        pass
    assert during.peak_memory - after.peak_memory > size // 2


def test_meter_takes_the_time_between_entering_and_leaving(monkeypatch):
    clock = iter((5.0, 7.5))
    monkeypatch.setattr(machine, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    with Meter(torch.device("cpu")) as meter:
        pass
    assert meter.seconds == 2.5
