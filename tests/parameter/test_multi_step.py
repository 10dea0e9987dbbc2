"""Trajectory matching: parity with the full graph, what is learned and kept, which segments, refusals."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill import nets, optim, seeds
from pydistill.augment import Augmentation
from pydistill.data import DistilledData, load_data
from pydistill.engine.method import make_method, methods
from pydistill.engine.problem import make_problem
from pydistill.engine.run import distill
from pydistill.errors import DataError, DivergenceError, FileFormatError
from pydistill.evaluation import Protocol, evaluate
from pydistill.experts import ExpertTraining, train_experts
from pydistill.experts.trajectory import snapshot_path, write_snapshot
from tests.conftest import blobs

NET = "convnet:width=4,depth=2"
TRAINING = ExpertTraining(network=NET, epochs=4, batch_size=16, learning_rate=0.1, augment="none")
SMALL = {"network": NET, "iterations": 3, "inner_steps": 4, "expert_epochs": 1}


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("experts")
    train_experts(tiny, path, 2, TRAINING)
    return str(path)


def plain(method, problem, experts, state, leaves: dict[str, Tensor], index: int) -> Tensor:
    """arXiv:2203.11932, equation 2, with every step in one graph, in float64."""
    expert, begin = method._segment(problem, experts, index)
    trajectory = experts.trajectories[expert]
    start, end = (
        {name: value.double() for name, value in trajectory.read(at).items()}
        for at in (begin, begin + method.expert_epochs)
    )
    network = nets.build(method.network, problem.data.shape, 3, torch.Generator()).double()
    names = [name for name, _ in network.named_parameters()]
    buffers = {name: value for name, value in start.items() if name not in names}
    weights = {name: start[name].requires_grad_() for name in names}
    targets = F.softmax(leaves["labels"], 1) if "labels" in leaves else state["targets"]
    seed, total = seeds.derive(problem.seed, "inner", index), len(leaves["images"])
    augmentation = Augmentation.parse(problem.augment(method.augment))
    for step in range(method.inner_steps):
        images, wanted = leaves["images"], targets
        if method.inner_batch is not None:
            passes = -(-total // method.inner_batch)
            order = torch.randperm(total, generator=seeds.generator(seed, "inner order", 0, step // passes))
            at = order[step % passes * method.inner_batch :][: method.inner_batch]
            images, wanted = images[at], targets[at]
        drawn = augmentation.sample(
            len(images),
            seeds.generator(seed, "inner augmentation", 0, step),
            together=True,
            size=(8, 8),
        )
        kept = {name: value.clone() for name, value in buffers.items()}
        outputs = torch.func.functional_call(
            network, {**weights, **kept}, (augmentation.apply_images(images, drawn),)
        )
        buffers = kept
        slopes = torch.autograd.grad(
            F.cross_entropy(outputs, wanted), list(weights.values()), create_graph=True
        )
        rate = leaves["rate"].exp()
        weights = {
            name: value - rate * slope for (name, value), slope in zip(weights.items(), slopes, strict=True)
        }
    reached = sum((weights[name] - end[name]).square().sum() for name in names)
    return reached / sum((start[name].detach() - end[name]).square().sum() for name in names)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mtt", {}),
        ("mtt", {"inner_batch": 2, "augment": "color_crop_cutout_scale_rotate"}),
        ("tesla", {"learn_labels": False, "labels": "class"}),
        ("tesla", {}),
        ("datm", {"keep_every": 2}),
    ],
)
def test_gradients_are_those_of_the_full_graph(name, options, steps, tiny, folder) -> None:
    given = {"augment": "none", **SMALL, **options, "inner_steps": steps, "experts": folder}
    method = make_method(name, **given)
    problem = make_problem(tiny, ipc=2, seed=4)
    state = method.start(problem)
    learned = state["learned"]
    ours = {key: value.clone().requires_grad_() for key, value in learned.items()}
    theirs = {key: value.double().requires_grad_() for key, value in learned.items()}
    experts = method._experts(problem, state)
    found, _ = method._distance(problem, state, ours, 1)
    expected = plain(method, problem, experts, state, theirs, 1)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)
    for key, one, other in zip(
        ours,
        torch.autograd.grad(found, list(ours.values())),
        torch.autograd.grad(expected, list(theirs.values())),
        strict=True,
    ):
        assert (one.double() - other).norm() < 2e-3 * other.norm(), key


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_tesla_is_mtt_where_labels_are_fixed(steps, tiny, folder) -> None:
    made = [
        distill(tiny, name, ipc=2, seed=2, **{**SMALL, "experts": folder, "inner_steps": steps}, **options)
        for name, options in (("mtt", {}), ("tesla", {"labels": "class", "learn_labels": False}))
    ]
    assert torch.equal(made[0].images, made[1].images)
    assert made[0].learning_rate == made[1].learning_rate


def test_batch_normalisation_starts_from_the_snapshots_statistics(tiny, tmp_path) -> None:
    network = "convnet:width=4,depth=2,norm=batch"
    train_experts(tiny, tmp_path, 1, ExpertTraining(network=network, epochs=2, batch_size=16))
    given = {**SMALL, "network": network, "experts": str(tmp_path), "augment": "none"}
    method, problem = make_method("mtt", **given), make_problem(tiny, ipc=2)
    state = method.start(problem)
    ours = {key: value.clone().requires_grad_() for key, value in state["learned"].items()}
    theirs = {key: value.double().requires_grad_() for key, value in state["learned"].items()}
    found, _ = method._distance(problem, state, ours, 0)
    expected = plain(method, problem, method._experts(problem, state), state, theirs, 0)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)
    snapshot = method._experts(problem, state).trajectories[0].read(1)
    assert any(name.endswith("running_mean") and value.any() for name, value in snapshot.items())


def test_the_rate_stays_positive_and_is_kept_and_used(tiny, folder, tmp_path) -> None:
    given = {**SMALL, "experts": folder, "iterations": 5, "rate_rate": 0.5, "inner_rate": 0.05}
    made = distill(tiny, "mtt", ipc=2, **given)
    assert made.learning_rate is not None
    assert made.learning_rate > 0
    assert not math.isclose(made.learning_rate, 0.05, rel_tol=0.2)
    kept = distill(tiny, "mtt", ipc=2, **{**given, "learn_rate": False})
    assert kept.learning_rate is None


@pytest.mark.parametrize("name", ["mtt", "tesla", "datm"])
def test_a_set_evaluates_the_same_from_memory_disk_and_parquet(name, tiny, folder, tmp_path) -> None:
    """Learned rate, soft labels and factor are all with it."""
    made = distill(tiny, name, ipc=2, factor=2, **{**SMALL, "experts": folder})
    made.save(tmp_path / "set")
    made.export_parquet(tmp_path / "set.parquet")
    protocol = Protocol(architectures=(NET,), repeats=1, epochs=3, random_draws=0, whole=False)
    values = [
        evaluate(each, tiny, protocol).runs[0].value
        for each in (
            made,
            DistilledData.load(tmp_path / "set"),
            DistilledData.from_parquet(tmp_path / "set.parquet"),
        )
    ]
    assert values[0] == values[1] == values[2]


def test_segments_are_drawn_within_the_range_and_the_range_grows(tiny, folder) -> None:
    problem = make_problem(tiny, ipc=1)
    method = make_method("mtt", experts=folder, network=NET, expert_epochs=1)
    experts = method._experts(problem, {})
    found = {method._segment(problem, experts, index) for index in range(200)}
    assert found == {(expert, begin) for expert in range(2) for begin in range(4)}
    narrow = make_method("mtt", experts=folder, network=NET, expert_epochs=2, first_start=1, last_start=1)
    assert {narrow._segment(problem, experts, index)[1] for index in range(50)} == {1}
    growing = make_method(
        "datm", experts=folder, network=NET, expert_epochs=1, last_at_first=0, grow_until=300
    )
    assert {growing._segment(problem, experts, 0)[1] for _ in range(3)} == {0}
    early = {growing._segment(problem, experts, index)[1] for index in range(40)}
    late = {growing._segment(problem, experts, index)[1] for index in range(300, 400)}
    assert early <= {0, 1}
    assert late == {0, 1, 2, 3}


def test_soft_labels_start_from_what_the_experts_say(tiny, folder) -> None:
    problem = make_problem(tiny, ipc=2)
    method = make_method("tesla", experts=folder, network=NET, learn_labels=False)
    state = method.start(problem)
    experts = method._experts(problem, state)
    total = torch.zeros(6, 3)
    for trajectory in experts.trajectories:
        network = nets.build(NET, tiny.shape, 3, torch.Generator()).eval()
        network.load_state_dict(trajectory.read(4))
        total += network(state["learned"]["images"]).detach() / 2
    torch.testing.assert_close(state["targets"], torch.softmax(total, 1), rtol=1e-4, atol=1e-5)


def test_experts_that_know_too_little_do_not_teach(tiny) -> None:
    problem = make_problem(tiny, ipc=2)
    given = {**SMALL, "own_experts": "epochs=1,snapshots=1,rate=1e-6", "learn_labels": False}
    with pytest.warns(UserWarning, match=r"tesla: the experts give .* of 3\d% on average, less"):
        state = make_method("tesla", **given).start(problem)
    assert state["targets"].argmax(1).tolist() == [0, 0, 1, 1, 2, 2]
    torch.testing.assert_close(state["targets"].amax(1), torch.full((6,), 0.9))


def test_first_images_are_those_an_expert_gets_right(tiny, folder) -> None:
    problem = make_problem(tiny, ipc=4, seed=3)
    method = make_method("datm", experts=folder, network=NET)
    state = method.start(problem)
    network = method._at_end(problem, method._experts(problem, state), 0)
    everything = network(problem.images(torch.arange(len(tiny.train)))).argmax(1)
    right = torch.bincount(tiny.train.targets[everything == tiny.train.targets], minlength=3).clamp(max=4)
    said = network(state["learned"]["images"]).argmax(1)
    truth = torch.arange(3).repeat_interleave(4)
    assert torch.bincount(truth[said == truth], minlength=3).tolist() == right.tolist()


def test_without_a_folder_experts_are_trained_first_and_kept_over_a_break(tiny) -> None:
    given = {**SMALL, "own_experts": "epochs=2,snapshots=3,count=2"}  # one step an epoch
    method, problem = make_method("mtt", **given), make_problem(tiny, ipc=1)
    state = method.start(problem)
    assert [len(each) for each in state["experts"]] == [7, 7]  # the first weights, and six epochs, not two
    assert not torch.equal(
        state["experts"][0][0]["classifier.weight"], state["experts"][1][0]["classifier.weight"]
    )


def other_data():
    return load_data(blobs(seed=7), name="others")


REFUSED = [
    ({"network": "convnet:width=8,depth=2"}, r"are convnet:width=4,depth=2, expected convnet:width=8"),
    ({"expert_epochs": 5}, r"a trajectory of 5 snapshots, expected at least 6: train for more epochs"),
    ({"first_start": 4}, r"a trajectory of 5 snapshots, expected at least 6"),
]


@pytest.mark.parametrize(("options", "words"), REFUSED)
def test_experts_that_do_not_fit_are_refused_by_what_was_found(options, words, tiny, folder) -> None:
    with pytest.raises(DataError, match=words):
        distill(tiny, "mtt", ipc=1, **{**SMALL, "experts": folder, **options})


def test_experts_of_other_data_are_refused(folder) -> None:
    with pytest.raises(DataError, match=r"were trained on tiny \(standardise, fingerprint \w+\), expected"):
        distill(other_data(), "mtt", ipc=1, **{**SMALL, "experts": folder})


def test_a_folder_without_experts_is_refused(tiny, tmp_path) -> None:
    with pytest.raises(DataError, match=r"no experts in .*: it holds no manifest.json; `pydistill experts"):
        distill(tiny, "mtt", ipc=1, **{**SMALL, "experts": str(tmp_path)})


def test_a_range_of_starts_that_ends_before_it_begins_is_refused(tiny, folder) -> None:
    given = {**SMALL, "experts": folder, "first_start": 2, "last_start": 1}
    with pytest.raises(ValueError, match="last_start must be at least first_start = 2, got 1"):
        distill(tiny, "mtt", ipc=1, **given)


def test_a_snapshot_of_another_network_is_named(tiny, tmp_path) -> None:
    train_experts(tiny, tmp_path, 1, TRAINING)
    write_snapshot(snapshot_path(tmp_path / "0000", 1), {"weight": torch.zeros(3)}, torch.float32)
    only = {"first_start": 1, "last_start": 1}
    with pytest.raises(FileFormatError, match="does not hold the weights of convnet:width=4,depth=2"):
        distill(tiny, "mtt", ipc=1, **{**SMALL, "experts": str(tmp_path), **only})


def test_an_expert_that_does_not_move_is_named(tiny, tmp_path) -> None:
    """What public code that keeps references in place of copies has: all snapshots alike."""
    train_experts(tiny, tmp_path, 1, TRAINING)
    first = snapshot_path(tmp_path / "0000", 0).read_bytes()
    for at in range(1, 5):
        snapshot_path(tmp_path / "0000", at).write_bytes(first)
    with pytest.raises(DivergenceError, match=r"expert 0 does not move between snapshots \d and \d"):
        distill(tiny, "mtt", ipc=1, **{**SMALL, "experts": str(tmp_path)})


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_state(tiny, folder, tmp_path) -> None:
    given = {**SMALL, "experts": folder, "inner_rate": 1e30}
    with pytest.raises(
        DivergenceError, match=r"iteration 0: the inner loss is .* of 4, at a learning rate"
    ):
        distill(tiny, "mtt", ipc=1, folder=tmp_path, checkpoint_every=1, **given)


def test_every_method_of_the_family_is_there() -> None:
    found = {name for name, kind in methods().items() if kind.family == "parameter matching"}
    assert found == {"dc", "dsa", "idc", "mtt", "tesla", "datm"}


def test_the_rate_is_moved_in_its_logarithm() -> None:
    """A step of any size leaves it above 0."""
    rule, value = optim.Adam(), {"rate": torch.tensor(math.log(0.01))}
    moved, _ = rule.update(value, {"rate": torch.tensor(1e6)}, rule.init(value), 5.0)
    assert float(moved["rate"].exp()) > 0
    assert json.dumps(float(moved["rate"].exp()))
