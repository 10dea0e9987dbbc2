"""A user's own module among the networks of an evaluation."""

import dataclasses

import pytest
import torch
from torch import nn

from pydistill import nets
from pydistill.evaluation import evaluate
from pydistill.evaluation.own_network import OwnNetwork, take
from pydistill.tasks import Classification

THREE = Classification(("a", "b", "c"))


class Small(nn.Module):
    """Batch normalisation, dropout and tied weights: what a user's network may hold."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.hidden = nn.Linear(4, 4)
        self.again = nn.Linear(4, 4)
        self.again.weight = self.hidden.weight
        self.last = nn.Linear(4, outputs)
        self.register_buffer("scale", torch.ones(1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.norm(self.first(images)).relu().mean((2, 3)) * self.scale
        return self.last(self.again(self.hidden(maps).relu()))


def flat() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def weights(network: nn.Module) -> list[torch.Tensor]:
    return [value.detach().clone() for value in network.parameters()]


def test_modules_and_makers_stand_beside_descriptions(distilled, tiny, short):
    given = Small()
    before, state = weights(given), torch.get_rng_state()
    report = evaluate(
        distilled,
        tiny,
        dataclasses.replace(short, epochs=3),
        architectures=(given, flat, Small, "mlp:width=4"),
    )
    assert report.architectures == ("Small (own)", "flat (own)", "Small (own, 2)", "mlp:width=4")
    assert all(torch.equal(a, b) for a, b in zip(before, weights(given), strict=True))
    assert torch.equal(state, torch.get_rng_state())
    assert {run.execution for run in report.runs if "own" in run.architecture} == {"loop"}
    assert len({run.architecture for run in report.runs}) == 4
    assert report.protocol["architectures"] == list(report.architectures)


def test_the_same_seed_gives_the_same_figures_and_the_ensemble_falls_back_to_the_loop(
    distilled, tiny, short
):
    first, again = (
        evaluate(distilled, tiny, short, architectures={"mine": flat}, execution=how, whole=False)
        for how in ("auto", "ensemble")
    )
    assert first.architectures == ("mine",)
    assert [run.value for run in first.runs] == [run.value for run in again.runs]
    assert "mine" in first.text()


def test_each_network_starts_from_weights_of_its_own():
    for given in (flat(), flat, Small()):
        own = OwnNetwork("own", given)
        one, again, other = (own.build(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(again), strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))
    made = OwnNetwork("own", Small()).build(torch.Generator())
    assert made.again.weight is made.hidden.weight


def test_a_network_of_the_library_may_be_given_too(distilled, tiny, short):
    network = nets.build("mlp:width=4", tiny.shape, 3, torch.Generator())
    report = evaluate(distilled, tiny, short, architectures=(network,), whole=False, random_draws=0)
    assert len(report.runs) == short.repeats


def test_attention_and_its_parts_are_drawn_anew():
    attention = nn.Sequential(
        nn.Flatten(2), nn.TransformerEncoderLayer(64, 2, 8), nn.Flatten(), nn.Linear(64, 3)
    )
    OwnNetwork("own", attention).check((1, 8, 8), THREE)


class Token(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 64))
        self.last = nn.Linear(64, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(images.flatten(1) + self.token)


KEPT = flat()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (Token(), TypeError, r"weights of Token cannot be drawn anew, .* give the class, or a function"),
        (lambda: KEPT, ValueError, "network .own.: what makes it gives the same module again"),
        (lambda: 3, TypeError, "expected a torch.nn.Module to be made, got int"),
        (nn.Flatten(), ValueError, "Flatten .own. has no parameters to train"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(64, 7)),
            ValueError,
            r"expected outputs \(2, 3\) .* found \(2, 7\)",
        ),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), ValueError, "has lazy parameters"),
        (3, TypeError, "expected a network's description, a torch.nn.Module or a function"),
        ({"convnet": flat}, ValueError, "'convnet' is another network's description"),
    ],
)
def test_networks_that_cannot_be_drawn_anew_or_do_not_fit_are_refused(
    given, error, message, distilled, tiny, short
):
    networks = given if isinstance(given, dict) else (given,)
    with pytest.raises(error, match=message):
        evaluate(distilled, tiny, short, architectures=networks)


def test_makers_that_draw_elsewhere_or_not_at_all_are_refused():
    def constant() -> nn.Module:
        network = flat()
        nn.init.zeros_(network[1].weight)
        nn.init.zeros_(network[1].bias)
        return network

    source = torch.Generator().manual_seed(0)

    def elsewhere() -> nn.Module:
        network = flat()
        nn.init.normal_(network[1].weight, generator=source)
        return network

    with pytest.raises(ValueError, match="are the same whatever the seed"):
        OwnNetwork("own", constant).check((1, 8, 8), THREE)
    with pytest.raises(ValueError, match="do not follow from torch's seed"):
        OwnNetwork("own", elsewhere).check((1, 8, 8), THREE)
    OwnNetwork("own", Token).check((1, 8, 8), THREE)


def test_descriptions_alone_are_left_as_they_are():
    assert take(("convnet", "mlp")) == (("convnet", "mlp"), {})
    assert take("convnet") == ("convnet", {})
    names, own = take(flat)
    assert names == ("flat (own)",)
    assert own["flat (own)"].given is flat
