import dataclasses

import pytest

from pydistill.evaluation import PROTOCOLS, Protocol, named
from pydistill.evaluation.origins import _protocol
from pydistill.optim import Adam, Sgd
from pydistill.optim.schedules import SCHEDULES


def test_steps_are_whole_epochs_of_the_distilled_set():
    protocol = Protocol(epochs=7, batch_size=256)
    assert protocol.steps(1) == 7
    assert protocol.steps(256) == 7
    assert protocol.steps(257) == 14
    assert protocol.steps(1000) == 28


def test_schedules_begin_at_one_and_end_as_they_should():
    for schedule in SCHEDULES.values():
        assert schedule(0, 10) == 1
    step, cosine, constant = (SCHEDULES[name] for name in ("step", "cosine", "constant"))
    assert [step(at, 6) for at in range(6)] == [1, 1, 1, 0.1, 0.1, 0.1]
    assert [step(at, 5) for at in range(5)] == [1, 1, 1, 0.1, 0.1]
    assert cosine(5, 10) == pytest.approx(0.5)
    assert cosine(10, 10) == pytest.approx(0, abs=1e-15)
    assert all(cosine(at, 10) > cosine(at + 1, 10) for at in range(10))
    assert {constant(at, 10) for at in range(10)} == {1}


def test_optimiser_is_the_one_described():
    sgd = Protocol(momentum=0.5, weight_decay=0.25)
    assert sgd.make_optimiser() == Sgd(momentum=0.5, weight_decay=0.25)
    assert Protocol(optimiser="adam", weight_decay=0.25).make_optimiser() == Adam(weight_decay=0.25)
    adamw = Protocol(optimiser="adamw", weight_decay=0.25).make_optimiser()
    assert adamw == Adam(weight_decay=0.25, decoupled=True)


def test_the_papers_protocol():
    dc = named("dc")
    assert (dc.learning_rate, dc.momentum, dc.weight_decay) == (0.01, 0.9, 5e-4)
    assert (dc.batch_size, dc.epochs, dc.repeats, dc.schedule) == (256, 1000, 20, "step")
    assert named("dc-plain").epochs == 300
    assert named("dc-plain").augment == "none"


def test_changes_to_a_named_protocol_leave_the_rest():
    changed = named("dc", repeats=2)
    assert changed == dataclasses.replace(PROTOCOLS["dc"], repeats=2)
    assert PROTOCOLS["dc"].repeats == 20


def test_record_holds_every_setting_as_json_can():
    record = Protocol(architectures=("mlp", "convnet")).record()
    assert record["architectures"] == ["mlp", "convnet"]
    mixed = {"mix": "mixup:alpha=0.2", "average": 0.9}
    assert {**record, **mixed} == Protocol(architectures=("mlp", "convnet"), **mixed).record()
    assert set(record) | set(mixed) == {f.name for f in dataclasses.fields(Protocol)}


def test_a_program_of_a_protocol_names_what_it_mixes_and_averages():
    record = named("quick", mix="cutmix:alpha=1", epochs=3).record()
    assert _protocol(record) == ("quick", {"mix": "cutmix:alpha=1", "epochs": 3})
    assert _protocol(named("quick").record()) == ("quick", {})


@pytest.mark.parametrize(
    ("error", "words", "settings"),
    [
        (TypeError, "tuple of descriptions", {"architectures": "convnet"}),
        (ValueError, "expected descriptions, all texts", {"architectures": ("mlp", "")}),
        (ValueError, "unknown kernel 'rbg'", {"kernels": ("rbg",)}),
        (TypeError, "tuple of texts", {"kernels": "rbf"}),
        (ValueError, "names one twice", {"architectures": ("mlp", "mlp")}),
        (ValueError, "unknown mixing 'cutmixx'", {"mix": "cutmixx"}),
        (ValueError, r"average must be within \[0, 1\), got 1", {"average": 1}),
        (TypeError, "repeats must be an integer", {"repeats": 2.0}),
        (TypeError, "epochs must be an integer", {"epochs": True}),
        (ValueError, "repeats must be at least 1, got 0", {"repeats": 0}),
        (ValueError, "random_draws must be at least 0", {"random_draws": -1}),
        (ValueError, "random_repeats must be at least 1", {"random_repeats": 0}),
        (ValueError, "learning_rate must be above 0", {"learning_rate": 0.0}),
        (ValueError, "learning_rate must be finite", {"learning_rate": float("inf")}),
        (TypeError, "learning_rate must be a number", {"learning_rate": "0.1"}),
        (ValueError, "weight_decay must be at least 0", {"weight_decay": -1.0}),
        (ValueError, "momentum must be within", {"momentum": 1.0}),
        (ValueError, "optimiser must be one of sgd, adam, adamw; got 'lion'", {"optimiser": "lion"}),
        (ValueError, "schedule must be one of step, cosine, constant", {"schedule": "linear"}),
        (ValueError, "precision must be one of auto, float32, bfloat16; got 'half'", {"precision": "half"}),
        (ValueError, "split must be one of test, validation", {"split": "train"}),
    ],
)
def test_wrong_settings_are_refused(error, words, settings):
    with pytest.raises(error, match=words):
        Protocol(**settings)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match="unknown protocol 'slow'; known: quick, dc, dc-plain"):
        named("slow")
    with pytest.raises(
        ValueError,
        match=r"no setting 'epoch' \(did you mean 'epochs'\?\); it has: architectures, kernels",
    ):
        named("quick", epoch=3)
