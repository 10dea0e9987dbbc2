"""A loop of one's own learns from any set, and what would misuse a set is refused."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import pydistill
from pydistill import distill, evaluate, nets, relabel
from pydistill.data.recipe import Recipe
from pydistill.data.use import Values
from pydistill.evaluation import named
from pydistill.training.scoring import score

NET = "mlp:width=64"
KINDS = ("classes", "probabilities", "values", "augmentations", "packed")


@pytest.fixture(scope="module")
def digits():
    return pydistill.load_data("digits")


@pytest.fixture(scope="module")
def sets(digits):
    """Real images of each class with each kind of labels that methods leave behind."""
    plain = distill(digits, "random", ipc=10, seed=1)
    certain = F.one_hot(plain.targets, 10).float() * 0.8 + 0.02
    soft = dataclasses.replace(plain, targets=certain, origin=plain.classes)
    teacher = pydistill.train(plain, NET, epochs=150)
    return {
        "classes": plain,
        "probabilities": soft,
        "values": dataclasses.replace(
            soft, targets=digits.task.values(plain.classes), recipe=Recipe(loss="squared")
        ),
        "augmentations": relabel(plain, teacher, "augmentations", draws=3),
        "packed": distill(digits, "random", ipc=10, factor=2, seed=1),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_readmes_loop_learns_from_every_kind_of_labels(kind, sets, digits):
    small = sets[kind]
    network = nets.build(NET, digits.shape, 10, torch.Generator().manual_seed(0))
    images, targets = small.views()
    augment, generator = small.augmentation(), torch.Generator().manual_seed(0)
    optimiser = torch.optim.SGD(network.parameters(), **small.optimiser_settings())
    for _ in range(100):
        chosen = torch.randperm(len(images), generator=generator)[:100]
        loss = small.loss(network(augment(images[chosen], generator)), targets[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert score(network, digits, digits.test) > 0.4


@pytest.mark.parametrize("kind", KINDS)
def test_train_is_the_first_network_of_an_evaluation(kind, sets, digits):
    small = sets[kind]
    network = pydistill.train(small, NET, epochs=2)
    assert not network.training
    report = evaluate(
        small,
        digits,
        architectures=(NET,),
        epochs=2,
        repeats=1,
        random_draws=0,
        whole=False,
        labels="stored",
    )
    assert score(network, digits, digits.test) == report.runs[0].value
    if kind == "values":
        plain = pydistill.train(small, NET, epochs=2, labels="classes")
        report = evaluate(
            small, digits, architectures=(NET,), epochs=2, repeats=1, random_draws=0, whole=False
        )
        assert score(plain, digits, digits.test) == report.runs[0].value


class Own(nn.Module):
    """As users write them: flattened by view, a frozen part, a part that is not used."""

    def __init__(self, outputs=10):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, outputs)
        self.norm, self.spare = nn.BatchNorm2d(4), nn.Linear(2, 2)
        self.first.bias.requires_grad_(False)

    def forward(self, images):
        features = F.relu(self.norm(self.first(images)))
        return self.last(features.view(len(images), -1))


def test_a_module_of_ones_own_is_trained_itself(sets, digits):
    torch.manual_seed(0)
    network = Own()
    bias = network.first.bias.clone()
    assert pydistill.train(sets["values"], network, epochs=60) is network
    images = digits.inputs(digits.test, slice(None)).flatten().view(-1, 1, 8, 8)
    assert float((network(images).argmax(1) == digits.test.targets).float().mean()) > 0.4
    assert torch.equal(network.first.bias, bias)


def test_networks_that_do_not_fit_are_refused(sets):
    with pytest.raises(ValueError, match=r"expected outputs \(2, 10\) of the network"):
        pydistill.train(sets["classes"], Own(outputs=7))
    with pytest.raises(ValueError, match=r"does not take images of shape \(1, 8, 8\)"):
        pydistill.train(sets["classes"], nn.Linear(3, 10))
    with pytest.raises(TypeError, match="a description or a torch module, got int"):
        pydistill.train(sets["classes"], 3)


def test_values_are_refused_by_losses_for_classes_also_out_of_a_loader(sets):
    small = sets["values"]
    outputs = torch.zeros(100, 10, requires_grad=True)
    with pytest.raises(
        TypeError, match="values to regress, not classes or probabilities: train with small"
    ):
        F.cross_entropy(outputs, small.views()[1])
    with pytest.raises(TypeError, match="cross_entropy: these targets are values"):
        nn.CrossEntropyLoss()(outputs[0], small[0][1])
    for workers in (0, 1):
        loader = torch.utils.data.DataLoader(small, batch_size=20, num_workers=workers)
        for _, targets in loader:
            with pytest.raises(TypeError, match="values to regress"):
                F.cross_entropy(outputs[:20], targets)
            with pytest.raises(TypeError, match="values to regress"):
                F.kl_div(outputs[:20], targets.to("cpu"))
            assert type(F.mse_loss(outputs[:20], targets)) is torch.Tensor
            assert type(targets + 1) is torch.Tensor
    assert isinstance(small[1:3][1], Values)
    assert torch.equal(small.views()[1], small.targets)
    assert type(small.targets) is torch.Tensor


def test_a_sets_loss_is_that_of_its_labels(sets):
    outputs = torch.randn(100, 10, generator=torch.Generator().manual_seed(2))
    for kind in ("classes", "probabilities", "values"):
        small = sets[kind]
        _, targets = small.views()
        found = small.loss(outputs, targets)
        plain = small.targets
        squared = (outputs - plain).square().mean() if kind == "values" else None
        assert torch.equal(found, F.cross_entropy(outputs, plain) if squared is None else squared)
        assert type(found) is torch.Tensor
    with pytest.raises(TypeError, match="found classes: take the set's items, or small"):
        sets["values"].loss(outputs, sets["classes"].targets)
    with pytest.raises(TypeError, match="values to regress"):
        sets["classes"].loss(outputs, sets["values"].views()[1])
    with pytest.raises(ValueError, match=r"expected outputs \(100, 10\).*found \(100, 7\)"):
        sets["classes"].loss(outputs[:, :7], sets["classes"].targets)
    with pytest.raises(ValueError, match=r"expected targets \(100, 10\), found \(100, 3\)"):
        sets["probabilities"].loss(outputs, sets["probabilities"].targets[:, :3])


def test_targets_are_given_in_the_form_that_a_loss_takes(sets):
    plain, classes = sets["classes"], sets["classes"].classes
    assert torch.equal(sets["values"].targets_for("cross_entropy"), classes)
    assert torch.equal(sets["probabilities"].targets_for("cross_entropy"), sets["probabilities"].targets)
    assert torch.equal(plain.targets_for("squared"), F.one_hot(classes, 10).float() - 0.1)
    assert len(sets["packed"].targets_for("cross_entropy")) == 400
    with pytest.raises(ValueError, match="cross_entropy or squared, got 'hinge'"):
        plain.targets_for("hinge")


def test_settings_and_augmentation_are_those_of_an_evaluation(sets):
    plain = sets["classes"]
    quick = named("quick")
    settings = {"lr": quick.learning_rate, "momentum": quick.momentum, "weight_decay": quick.weight_decay}
    assert plain.optimiser_settings() == settings == {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}
    assert dataclasses.replace(plain, learning_rate=0.2).optimiser_settings()["lr"] == 0.2
    augment, images = plain.augmentation(), plain.views()[0]
    one, other = (augment(images, torch.Generator().manual_seed(seed)) for seed in (0, 0))
    assert torch.equal(one, other)
    assert str(augment) == plain.augment
    none = dataclasses.replace(plain, augment="none").augmentation()
    assert none(images, torch.Generator()) is images


def test_with_classes_leaves_behind_what_belongs_to_other_labels(sets):
    views = dataclasses.replace(sets["augmentations"], learning_rate=0.2)
    hard = views.with_classes()
    assert (hard.label_kind, hard.learning_rate, hard.recipe.augmentations) == ("classes", None, None)
    assert torch.equal(hard.targets, sets["classes"].classes)
    assert sets["classes"].with_classes() is sets["classes"]
