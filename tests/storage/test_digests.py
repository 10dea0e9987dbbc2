"""Digests of tensors: of their content alone."""

import hashlib

import pytest
import torch

from pydistill.storage.digests import add_tensor, digest


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_a_digest_is_of_name_type_shape_and_bytes(dtype):
    tensor, made = torch.arange(10_000).view(5_000, 2).to(dtype), hashlib.sha256()
    add_tensor(made, "images", tensor)
    content = bytes(tensor.view(torch.uint8).flatten().tolist())
    assert made.hexdigest() == hashlib.sha256(f"images {dtype} (5000, 2)\n".encode() + content).hexdigest()


def test_memory_format_is_no_part_of_it_and_shape_is():
    tensor = torch.rand(2, 3, 4, 5)
    assert digest(tensor.to(memory_format=torch.channels_last)) == digest(tensor)
    assert len({digest(tensor), digest(tensor.view(3, 2, 4, 5)), digest(tensor.double())}) == 3


def test_single_numbers_and_empty_tensors_have_digests():
    one, empty = torch.tensor(1.5), torch.empty(0, 3)
    assert len({digest(one), digest(one[None]), digest(empty), digest(empty, empty), digest()}) == 5
