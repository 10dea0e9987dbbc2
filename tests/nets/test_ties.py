"""Networks that use a weight in several places: one tensor, whatever is done with the network."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pydistill import nets, seeds
from pydistill.engine.run import distill
from pydistill.evaluation import evaluate
from pydistill.nets import spec as specs
from pydistill.nets.base import Network
from pydistill.nets.spec import Shape, Spec
from pydistill.training.samples import SplitSamples
from pydistill.training.trainer import Training, TrainingJob, train
from tests.engine.test_methods import small

KINDS = ("weight", "module", "buffer")
SHAPE, OUTPUTS = (1, 8, 8), 3


@dataclass(frozen=True)
class TiedSpec(Spec):
    """Two layers of one weight, one layer twice, or a scale shared by two normalisations."""

    kind: int = 0

    name: ClassVar[str] = "tied"
    summary: ClassVar[str] = "for tests"

    def __post_init__(self) -> None:
        """Any kind is taken."""

    @property
    def smallest(self) -> int:
        return 1

    def make(self, shape: Shape, outputs: int) -> "Tied":
        return Tied(self, shape, outputs)


class Tied(Network):
    def __init__(self, spec: TiedSpec, shape: Shape, outputs: int) -> None:
        super().__init__(spec, shape, outputs)
        width = shape[0] * shape[1] * shape[2]
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        self.classifier = nn.Linear(width, outputs)
        kind = KINDS[spec.kind] if spec.kind < len(KINDS) else "view"
        if kind == "weight":
            self.b.weight = self.a.weight
        elif kind == "module":
            self.b = self.a
        elif kind == "view":
            self.b.weight = nn.Parameter(self.a.weight.t())
        self.norms = nn.ModuleList()
        if kind == "buffer":
            self.norms.extend(nn.BatchNorm2d(shape[0]) for _ in range(2))
            self.norms[1].running_mean = self.norms[0].running_mean

    @property
    def names(self) -> tuple[str, ...]:
        return ("a", "b")

    def blocks(self, images: Tensor) -> list[Tensor]:
        for norm in self.norms:
            images = norm(images)
        first = F.relu(self.a(images.flatten(1)))
        return [first, F.relu(self.b(first))]

    def head(self, blocks: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.classifier(self.embed(blocks))
        return logits


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(specs._registry, TiedSpec.name, TiedSpec)


every_kind = pytest.mark.parametrize("kind", range(len(KINDS)))


def build(kind: int, seed: int = 0) -> Network:
    return nets.build(f"tied:kind={kind}", SHAPE, OUTPUTS, seeds.generator(seed))


def images(count: int = 5) -> Tensor:
    return torch.randn(count, *SHAPE, generator=seeds.generator(1))


def is_tied(network: Network, kind: int) -> bool:
    pairs = {
        "weight": lambda: (network.a.weight, network.b.weight),
        "module": lambda: (network.a.weight, network.b.weight),
        "buffer": lambda: (network.norms[0].running_mean, network.norms[1].running_mean),
    }
    one, other = pairs[KINDS[kind]]()
    return one is other


@every_kind
def test_built_copied_and_moved_they_stay_tied(kind, tmp_path):
    network = build(kind)
    assert is_tied(network, kind)
    moved = copy.deepcopy(network)
    assert is_tied(moved if KINDS[kind] == "buffer" else moved.double(), kind)  # torch moves buffers singly
    count = sum(value.numel() for value in network.state_dict().values())
    expected = sum(value.numel() for value in [*network.parameters(), *network.buffers()])
    assert count == expected  # a weight counts once
    nets.save_network(network, tmp_path / "network")
    loaded = nets.load_network(tmp_path / "network")
    assert is_tied(loaded, kind)
    assert torch.equal(loaded.eval()(images()), network.eval()(images()))


@every_kind
def test_a_stack_is_its_networks(kind):
    networks = [build(kind, seed).eval() for seed in range(2)]
    for stacked in (
        nets.stack(networks),
        nets.build_many(f"tied:kind={kind}", SHAPE, OUTPUTS, [seeds.generator(seed) for seed in range(2)]),
    ):
        stacked.network.eval()
        found = stacked(images())
        for at, network in enumerate(networks):
            torch.testing.assert_close(found[at], network(images()))
            assert is_tied(stacked.member(at), kind)
            torch.testing.assert_close(stacked.member(at)(images()), network(images()))


@every_kind
def test_weights_are_loaded_by_any_of_their_names(kind):
    source, target = build(kind, 3).eval(), build(kind, 4).eval()
    renamed = {
        name.replace("a.", "b.") if kind == 1 else name: value
        for name, value in source.state_dict().items()
    }
    target.load_state_dict(renamed)
    assert torch.equal(target(images()), source(images()))
    outer = nn.Sequential(target)
    outer.load_state_dict({f"0.{name}": value for name, value in build(kind, 5).state_dict().items()})
    assert torch.equal(target(images()), build(kind, 5).eval()(images()))
    assert nets.flops(target, SHAPE) > 0


@pytest.mark.parametrize("execution", ["loop", "ensemble"])
def test_training_moves_the_one_weight(execution, tiny):
    """As torch's own optimiser does."""
    samples = SplitSamples(tiny, tiny.train, torch.device("cpu"))
    training = Training(3, learning_rate=0.05, batch_size=32)
    done = train(
        "tied", [TrainingJob(samples, 0), TrainingJob(samples, 1)], tiny.task, training, execution=execution
    )
    for result in done:
        assert "b.weight" not in result.parameters
        network = build(0)
        network.load_state_dict({**result.parameters, **result.buffers})
        assert is_tied(network, 0)
        assert torch.equal(network.b.weight, result.parameters["a.weight"])


@pytest.mark.parametrize("name", ["dm", "dc", "dd", "mtt", "frepo", "teacher_krr"])
def test_methods_in_tied_networks(name, tiny):
    method = replace(small(name), network="tied", iterations=1)
    made = distill(tiny, method, ipc=2)
    assert made.images.isfinite().all()
    if name in ("dd", "teacher_krr"):
        report = evaluate(
            made, tiny, architectures=("tied",), repeats=1, epochs=1, random_draws=1, whole=False
        )
        assert report.runs


def test_learned_first_weights_are_those_that_are_stored(tiny, tmp_path):
    options = {"learn_weights": True, "networks_per_step": 1, "network": "tied", "iterations": 1}
    made = distill(tiny, replace(small("dd"), **options), ipc=2, folder=tmp_path)
    start = made.recipe.training.start
    assert "b.weight" not in start
    assert not torch.equal(start["a.weight"], build(0).state_dict()["a.weight"])


def test_views_of_one_another_are_refused():
    with pytest.raises(ValueError, match=r"a.weight and b.weight share memory but are two tensors"):
        build(len(KINDS))
