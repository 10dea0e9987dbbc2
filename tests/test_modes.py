"""Torch's modes around a call: what is set aside within it, and what stands again after it."""

import pytest
import torch

from pydistill.modes import plain_modes


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
