"""What every registered method promises, whoever wrote it: inherited by being registered."""

import dataclasses
from dataclasses import replace

import pytest
import torch

from pydistill.data.real import Split
from pydistill.engine.method import check_options, make_method, methods, option_types
from pydistill.engine.run import distill
from pydistill.errors import CheckpointError
from pydistill.events import Saved, Snapshot, Step

SMALL = {
    "iterations": 6,
    "network": "convnet:width=4,depth=2",
    "batch_real": 8,
    "steps_per_network": 2,
    "inner_steps": 4,
    "window": 2,
    "teacher_steps": 3,
    "networks_per_step": 2,
    "width": 8,
    "own_experts": "epochs=2,snapshots=2",
    "labels": "class",
    "label_rate": 0.01,
    "epochs": 2,
}
"""Options that make a run short, for the methods that have them."""


def small(name):
    fields = {field.name for field in dataclasses.fields(methods()[name])}
    return make_method(name, **{key: value for key, value in SMALL.items() if key in fields})


every_method = pytest.mark.parametrize("name", list(methods()))
iterative = pytest.mark.parametrize("name", [name for name in methods() if small(name).steps > 0])


class InterruptedRunError(Exception):
    """Stops a run from within its listener, as a kill would between two iterations."""


@every_method
def test_options_are_typed_described_and_within_bounds(name):
    kind = methods()[name]
    check_options(kind())
    for preset in kind.presets:
        check_options(make_method(name, preset))
    assert {"quick", "paper"} <= set(kind.presets)
    assert kind.citation
    assert kind.summary
    for field in dataclasses.fields(kind):
        assert option_types(kind)[field.name][0] in (bool, int, float, str)
        assert field.metadata["help"]


@every_method
def test_gives_ipc_images_of_each_class_and_all_that_is_needed_to_train(name, tiny):
    made = distill(tiny, small(name), ipc=2, seed=3)
    assert made.images.shape == (6, 1, 8, 8)
    assert made.images.dtype == torch.float32
    assert torch.isfinite(made.images).all()
    hard = made.targets if made.targets.ndim == 1 else made.targets.argmax(1)
    assert torch.bincount(hard, minlength=3).tolist() == [2, 2, 2]
    assert made.classes.tolist() == [0, 0, 1, 1, 2, 2]
    assert (made.origin is None) == (made.label_kind == "classes")
    assert made.provenance.method == name
    assert made.provenance.fingerprint == tiny.fingerprint
    assert made.provenance.config == small(name).config()
    assert made.task == tiny.task


@pytest.mark.parametrize("name", [name for name in methods() if "factor" in option_types(methods()[name])])
def test_a_factor_packs_stored_images_into_the_same_budget(name, tiny):
    made = distill(tiny, replace(small(name), factor=2), ipc=2, seed=3)
    plain = distill(tiny, replace(small(name), factor=1), ipc=2, seed=3)
    assert (made.factor, plain.factor) == (2, 1)
    assert made.images.shape == plain.images.shape == (6, 1, 8, 8)
    assert made.nbytes == plain.nbytes
    assert (len(made), len(plain)) == (24, 6)
    assert torch.bincount(made.classes, minlength=3).tolist() == [2, 2, 2]
    assert made.provenance.config["factor"] == 2
    with pytest.raises(ValueError, match=r"factor 3 does not divide images of 8x8 .*: 1, 2, 4, 8"):
        distill(tiny, replace(small(name), factor=3), ipc=2)
    with pytest.raises(ValueError, match="factor must be at least 1, got 0"):
        distill(tiny, replace(small(name), factor=0), ipc=2)


@pytest.fixture(scope="module")
def uneven(tiny):
    """The same data with two images of class 1 and five of class 2."""
    groups = tiny.task.groups(tiny.train.targets).members
    kept = torch.cat([member[:count] for member, count in zip(groups, (27, 2, 5), strict=True)])
    return replace(tiny, train=tiny.train.take(kept))


@pytest.mark.parametrize("name", [name for name in methods() if "factor" in option_types(methods()[name])])
@pytest.mark.parametrize(("factor", "counts"), [(1, [4, 2, 4]), (2, [4, 1, 2])])
def test_short_classes_give_what_there_is_where_asked(name, factor, counts, uneven):
    method = small(name)
    made = distill(
        uneven, replace(method, factor=factor), ipc=4, seed=3, short_classes="keep", max_batch=64
    )
    assert torch.isfinite(made.images).all()
    assert torch.bincount(made.classes, minlength=3).tolist() == counts
    short = {1: {"1": 2}, 2: {"1": 2, "2": 5}}[factor]
    assert made.provenance.short_classes == short
    with pytest.raises(ValueError, match="asked for, but class"):
        distill(uneven, replace(method, factor=factor), ipc=4, seed=3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mtt", {"init": "right"}),
        ("dm", {"init": "kmeans", "real_batch": "representative", "batch_real": 3}),
        ("dc", {"classes_at_once": 3}),
        ("idc", {"classes_at_once": 2}),
    ],
)
def test_short_classes_in_the_options_that_count_images(name, options, uneven):
    made = distill(uneven, replace(small(name), **options), ipc=4, short_classes="keep")
    packed = 4 if name == "idc" else 1
    assert torch.bincount(made.classes).tolist() == [4, -(-2 // packed), min(4, -(-5 // packed))]


def test_classes_matched_together_have_equally_many_images_and_match_as_alone(uneven):
    alone, together = (
        distill(uneven, replace(small("dc"), classes_at_once=count), ipc=4, short_classes="keep")
        for count in (1, 3)
    )
    torch.testing.assert_close(alone.images, together.images, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "first", "then"),
    [("mtt", {"keep_every": 1}, {"keep_every": 3}), ("dc", {"classes_at_once": 1}, {"classes_at_once": 3})],
)
def test_a_run_is_taken_up_with_another_bound_on_memory(name, first, then, tiny, tmp_path):
    whole = distill(tiny, replace(small(name), **first), ipc=2, seed=3)

    def stop(event):
        if isinstance(event, Step) and event.index == 3:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        distill(tiny, replace(small(name), **first), ipc=2, seed=3, folder=tmp_path, on_event=stop)
    other = replace(small(name), **then)
    made = distill(tiny, other, ipc=2, seed=3, folder=tmp_path, resume=True)
    torch.testing.assert_close(made.images, whole.images, rtol=1e-3, atol=1e-3)
    assert distill(tiny, replace(small(name), **first), ipc=2, seed=3, folder=tmp_path, resume=True) == made
    with pytest.raises(CheckpointError, match="learning_rate"):
        distill(tiny, replace(other, learning_rate=0.5), ipc=2, seed=3, folder=tmp_path, resume=True)


@pytest.mark.cuda
@every_method
def test_a_gpu_makes_the_same_first_step_as_a_cpu(name, tiny, monkeypatch):
    """Later ones part: on a GPU sums are taken in another order each time."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    method = small(name)
    short = replace(method, iterations=1) if hasattr(method, "iterations") else method
    made = distill(tiny, short, ipc=2, seed=3, device="cuda")
    expected = distill(tiny, short, ipc=2, seed=3, device="cpu")
    assert made.images.device.type == "cpu"
    torch.testing.assert_close(made.images, expected.images, rtol=2e-2, atol=2e-2)
    assert torch.equal(made.classes, expected.classes)


@every_method
def test_same_seed_same_set_and_the_global_generator_is_left_alone(name, tiny):
    before = torch.get_rng_state()
    first, again, other = (distill(tiny, small(name), ipc=2, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.targets, again.targets)
    assert not torch.equal(first.images, other.images)
    assert torch.equal(before, torch.get_rng_state())


@every_method
def test_never_reads_validation_or_test_images(name, tiny):
    poison = Split(torch.full_like(tiny.test.images, 255), torch.zeros_like(tiny.test.targets))
    poisoned = replace(tiny, test=poison, validation=poison)
    clean, other = (distill(data, small(name), ipc=2, seed=1) for data in (tiny, poisoned))
    assert torch.equal(clean.images, other.images)


@every_method
def test_max_batch_changes_nothing_beyond_rounding(name, tiny):
    whole, parts = (distill(tiny, small(name), ipc=2, max_batch=size) for size in (1000, 5))
    torch.testing.assert_close(whole.images, parts.images, rtol=1e-4, atol=1e-4)


@iterative
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_resumed_run_ends_bit_identical(name, stop, tiny, tmp_path):
    def interrupt(event):
        if isinstance(event, Saved) and event.index == stop:
            raise InterruptedRunError

    whole = distill(tiny, small(name), ipc=2, seed=4)
    run = {"ipc": 2, "seed": 4, "folder": tmp_path, "checkpoint_every": 1}
    with pytest.raises(InterruptedRunError):
        distill(tiny, small(name), **run, on_event=interrupt)
    seen = []
    resumed = distill(tiny, small(name), **run, resume=True, on_event=seen.append)
    assert next(event.index for event in seen if isinstance(event, Step)) == stop + 1
    assert torch.equal(resumed.images, whole.images)
    assert torch.equal(resumed.targets, whole.targets)


@iterative
def test_checkpoint_of_another_run_is_refused_and_kept(name, tiny, tmp_path):
    def interrupt(event):
        if isinstance(event, Saved):
            raise InterruptedRunError

    run = {"ipc": 2, "folder": tmp_path, "checkpoint_every": 1}
    with pytest.raises(InterruptedRunError):
        distill(tiny, small(name), **run, seed=0, on_event=interrupt)
    kept = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match="seed is 0 there, 1 here"):
        distill(tiny, small(name), **run, seed=1, resume=True)
    with pytest.raises(CheckpointError, match="method is"):
        distill(tiny, "random", **run, seed=0, resume=True)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == kept


@iterative
def test_events_tell_every_iteration_once_and_end_with_the_set(name, tiny):
    seen = []
    made = distill(tiny, small(name), ipc=1, on_event=seen.append)
    steps = [event for event in seen if isinstance(event, Step)]
    assert [step.index for step in steps] == list(range(1, small(name).steps + 1))
    assert all(step.metrics for step in steps)
    assert isinstance(seen[-1], Snapshot)
    assert seen[-1].distilled is made


@every_method
def test_a_saved_run_is_not_overwritten_unasked(name, tiny, tmp_path):
    run = {"ipc": 1, "folder": tmp_path}
    distill(tiny, small(name), **run)
    with pytest.raises(ValueError, match="holds a run already"):
        distill(tiny, small(name), **run, seed=1)
    distill(tiny, small(name), **run, seed=1, overwrite=True)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown method 'dn' \(did you mean 'dm'\?\); known: .*random"):
        make_method("dn")
    with pytest.raises(ValueError, match=r"dm has no option 'iteration' .*did you mean 'iterations'"):
        make_method("dm", iteration=3)
    with pytest.raises(ValueError, match="dm has no preset 'fast'; it has: quick, paper"):
        make_method("dm", "fast")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"iterations": 0}, ValueError, "iterations must be at least 1, got 0"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate must be above 0, got nan"),
        ({"iterations": 2.5}, TypeError, "iterations must be int"),
        ({"iterations": True}, TypeError, "iterations must be int"),
        ({"init": "ones"}, ValueError, "init must be one of real, kmeans, noise"),
    ],
)
def test_options_out_of_range_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        make_method("dm", **options)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ipc": 0}, ValueError, "ipc must be at least 1, got 0"),
        ({"ipc": -3}, ValueError, "ipc must be at least 1, got -3"),
        ({"ipc": 28}, ValueError, r"classes '0' \(27\), '1' \(27\), '2' \(27\) have fewer .* at most 27"),
        ({"ipc": 1.0}, TypeError, "ipc must be an integer"),
        ({"ipc": 1, "short_classes": "drop"}, ValueError, "short_classes must be one of refuse, keep"),
        ({"ipc": 1, "seed": -1}, ValueError, "seed must be at least 0"),
        ({"ipc": 1, "max_batch": 0}, ValueError, "max_batch must be at least 1"),
        ({"ipc": 1, "device": "gpu"}, ValueError, "unknown device 'gpu'"),
        ({"ipc": 1, "checkpoint_every": 0}, ValueError, "checkpoint_every must be at least 1"),
        ({"ipc": 1, "preset": "quick", "method": methods()["dm"]()}, TypeError, "go with a method's name"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, error, message, tiny):
    with pytest.raises(error, match=message):
        distill(tiny, **{"method": "random", **arguments})
