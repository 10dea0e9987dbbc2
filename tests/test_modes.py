"""Torch's modes around a call: what is set aside within it, and what stands again after it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pydistill import nets
from pydistill.data import RealData
from pydistill.engine.problem import make_problem
from pydistill.engine.run import distill, distillation
from pydistill.evaluation import evaluate
from pydistill.experts import ExpertTraining, train_experts
from pydistill.modes import plain_modes
from pydistill.training.teacher import relabel
from tests.engine.test_methods import small


@pytest.mark.parametrize("recorded", [True, False])
def test_inference_mode_and_autocast_are_set_aside_and_come_back(recorded: bool) -> None:
    x = torch.eye(2)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        with plain_modes(gradients=recorded):
            assert (x @ x).dtype == torch.float32
            assert not torch.zeros(1).is_inference()
            assert torch.is_grad_enabled() == recorded
        assert (x @ x).dtype == torch.bfloat16
        assert torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_whether_gradients_are_recorded_stays_the_caller_s(mode: type) -> None:
    with mode():
        before = torch.is_grad_enabled()
        with plain_modes():
            assert torch.is_grad_enabled() == before
    with torch.inference_mode(), plain_modes():
        assert not torch.is_grad_enabled()


def autocast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


within = pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, autocast])


@within
@pytest.mark.parametrize("name", ["dm", "kip", "frepo", "dsa", "mtt", "dd", "random"])
def test_a_set_does_not_depend_on_the_modes_around_the_call(
    name: str, mode: Callable, tiny: RealData
) -> None:
    method = small(name)
    method = replace(method, iterations=2) if hasattr(method, "iterations") else method
    expected = distill(tiny, method, ipc=1)
    with mode():
        made = distill(tiny, method, ipc=1)
        assert torch.is_grad_enabled() == (mode is autocast)
    assert torch.equal(made.images, expected.images)
    assert not made.images.is_inference()


@within
def test_a_stream_of_events_leaves_the_caller_s_modes_alone(mode: Callable, tiny: RealData) -> None:
    with mode():
        before = (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
        )
        for _ in distillation(make_problem(tiny, ipc=1), replace(small("dm"), iterations=2)):
            now = (
                torch.is_grad_enabled(),
                torch.is_inference_mode_enabled(),
                torch.is_autocast_enabled("cpu"),
            )
            assert now == before


@within
def test_a_report_does_not_depend_on_the_modes_around_the_call(mode: Callable, tiny: RealData) -> None:
    made = distill(tiny, replace(small("frepo"), iterations=1), ipc=1)
    options = {"architectures": ("convnet:width=4,depth=2",), "repeats": 1, "epochs": 2, "random_draws": 1}
    expected = evaluate(made, tiny, **options, whole=False)
    with mode():
        found = evaluate(made, tiny, **options, whole=False)
    assert [run.value for run in found.runs] == [run.value for run in expected.runs]


@within
def test_answers_of_a_teacher_do_not_depend_on_the_modes_around_the_call(
    mode: Callable, tiny: RealData
) -> None:
    made = distill(tiny, "random", ipc=1)
    teacher = nets.build("convnet:width=4,depth=2", tiny.shape, 3, torch.Generator().manual_seed(0))
    expected = relabel(made, teacher)
    with mode():
        found = relabel(made, teacher)
    assert torch.equal(found.targets, expected.targets)


@within
def test_experts_do_not_depend_on_the_modes_around_the_call(
    mode: Callable, tiny: RealData, tmp_path: Path
) -> None:
    training = ExpertTraining(network="convnet:width=4,depth=2", epochs=1, batch_size=32)
    expected = train_experts(tiny, tmp_path / "plain", 1, training).trajectories[0].read(1)
    with mode():
        found = train_experts(tiny, tmp_path / "within", 1, training).trajectories[0].read(1)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
