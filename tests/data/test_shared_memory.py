"""Tensors that share memory, or are parts and views of others, are written as what they hold."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pydistill import nets
from pydistill.data import DistilledData
from pydistill.data.recipe import Recipe, StoredNetwork, StoredTraining
from pydistill.experts.trajectory import read_snapshot, write_snapshot
from pydistill.nets import load_network, save_network
from pydistill.storage.records import apart
from tests.data.conftest import make_distilled

MLP = "mlp:width=4,depth=1"


def weights(distilled: DistilledData) -> dict[str, torch.Tensor]:
    network = nets.build(MLP, distilled.shape, distilled.task.outputs, torch.Generator().manual_seed(0))
    return {name: value.detach() for name, value in network.state_dict().items()}


def in_one_memory(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same, as parts of one long tensor, each behind the other."""
    whole = torch.cat([value.flatten() for value in tensors.values()])
    parts = whole.split([value.numel() for value in tensors.values()])
    return {name: part.view_as(value) for part, (name, value) in zip(parts, tensors.items(), strict=True)}


def sharing() -> dict[str, DistilledData]:
    distilled = make_distilled()
    own = weights(distilled)
    turned = {name: value.t().contiguous().t() for name, value in own.items()}
    one = in_one_memory(own)
    flat = torch.zeros(1).expand(own["body.0.weight"].shape)

    def made(teacher: dict[str, torch.Tensor], start: dict[str, torch.Tensor]) -> DistilledData:
        training = StoredTraining(architecture=MLP, steps=1, rates=(0.1,), start=start)
        return replace(distilled, recipe=Recipe(teacher=StoredNetwork(MLP, teacher), training=training))

    return {
        "given twice": made(own, own),
        "parts of one": made(one, {name: value.clone() for name, value in one.items()}),
        "parts given twice": made(one, one),
        "transposed": made(turned, own),
        "expanded": made({**own, "body.0.weight": flat}, own),
        "targets and origin": replace(distilled, origin=distilled.classes),
    }


def assert_same(found: DistilledData, expected: DistilledData) -> None:
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.targets, expected.targets)
    assert torch.equal(found.classes, expected.classes)
    tensors = found.recipe.tensors()
    assert tensors.keys() == expected.recipe.tensors().keys()
    assert all(torch.equal(tensors[name], value) for name, value in expected.recipe.tensors().items())


@pytest.mark.parametrize("kind", sharing())
def test_a_set_is_saved_and_exported(kind: str, tmp_path: Path) -> None:
    distilled = sharing()[kind]
    distilled.save(tmp_path / "set")
    assert_same(DistilledData.load(tmp_path / "set"), distilled)
    distilled.export_parquet(tmp_path / "set.parquet")
    assert_same(DistilledData.from_parquet(tmp_path / "set.parquet"), distilled)
    distilled.export_folder(tmp_path / "pictures")


def test_networks_and_snapshots(tmp_path: Path) -> None:
    distilled = make_distilled()
    own = in_one_memory(weights(distilled))
    own["body.0.bias"] = own["body.0.weight"][:, 0]
    network = nets.build(MLP, distilled.shape, distilled.task.outputs, torch.Generator().manual_seed(1))
    network.load_state_dict(own, assign=True)
    save_network(network, tmp_path / "network")
    write_snapshot(tmp_path / "snapshot", own, torch.float32)
    for found in (load_network(tmp_path / "network").state_dict(), read_snapshot(tmp_path / "snapshot")):
        assert all(torch.equal(found[name], value) for name, value in own.items())


def test_only_what_needs_it_is_copied() -> None:
    alone, long = torch.arange(4.0), torch.arange(6.0)
    found = apart({"alone": alone, "part": long[:2], "again": alone})
    assert found["alone"].data_ptr() == alone.data_ptr()
    assert len({value.untyped_storage().data_ptr() for value in found.values()}) == 3
    assert torch.equal(found["part"], long[:2])
    assert torch.equal(found["again"], alone)
