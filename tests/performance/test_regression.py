"""Kernel ridge methods: objectives against plain versions, and what they promise."""

import math

import pytest
import torch
from torch import Tensor

from pydistill import nets
from pydistill.data import DistilledData
from pydistill.engine.method import make_method
from pydistill.engine.problem import make_problem
from pydistill.engine.run import distill
from pydistill.errors import DataError, DivergenceError
from pydistill.evaluation import evaluate, named
from pydistill.kernels.functions import RandomFeatures
from pydistill.kernels.ridge import KernelRidge

NET = "convnet:width=4,depth=2"


def plain_ntk(x: Tensor, y: Tensor, depth: int) -> Tensor:
    """The recursion of arXiv:2011.00050, appendix A, cosines kept off their ends."""
    product = x @ y.T / x.shape[1]
    norm = (x.square().mean(1)[:, None] * y.square().mean(1)).sqrt()
    nngp = ntk = product
    for _ in range(depth):
        cosine = (nngp / norm).clamp(-1 + 1e-12, 1 - 1e-12)
        angle = torch.acos(cosine)
        nngp = norm * (torch.sin(angle) + (math.pi - angle) * cosine) / math.pi
        ntk = nngp + ntk * (math.pi - angle) / math.pi
    return ntk


def one_hot(targets: Tensor, classes: int = 3) -> Tensor:
    return torch.nn.functional.one_hot(targets, classes).double() - 1 / classes


def plain_loss(
    kernel, real: Tensor, wanted: Tensor, images: Tensor, labels: Tensor, ridge: float
) -> Tensor:
    """Equation 7 of arXiv:2011.00050, with the ridge relative to the mean diagonal entry."""
    own = kernel(images, images)
    scale = own.diagonal().mean()
    eye = torch.eye(len(own), dtype=own.dtype)
    outputs = kernel(real, images) @ torch.linalg.solve(own + ridge * scale * eye, labels)
    return ((outputs - wanted) ** 2).sum(1).mean() / 2


def stepped(method, problem, state):
    """What a step does to images and labels, from Adam's first update: minus the rate times the sign."""
    before = {name: state[name].clone() for name in ("images", "labels")}
    found = method.step(problem, state, 0)
    return found, before, state


def test_kip_is_its_paper_s_objective_with_its_gradients(tiny):
    method = make_method("kip", kernel_name="ntk:depth=2", batch_real=20, ridge=1e-3)
    problem = make_problem(tiny, ipc=2, seed=3)
    state = method.start(problem)
    learned = {name: state[name].clone().requires_grad_() for name in ("images", "labels")}
    loss, _ = method._error(problem, state, learned, 0)
    ours = torch.autograd.grad(loss, list(learned.values()))

    picked = torch.randint(len(tiny.train), (20,), generator=problem.generator("real batch", 0))
    real = problem.images(picked).double().flatten(1)
    images = state["images"].double().requires_grad_()
    labels = state["labels"].double().requires_grad_()
    wanted = one_hot(tiny.train.targets[picked])
    theirs = plain_loss(lambda x, y: plain_ntk(x, y, 2), real, wanted, images.flatten(1), labels, 1e-3)
    assert math.isclose(float(loss.detach()), float(theirs.detach()), rel_tol=1e-5)
    for one, other in zip(ours, torch.autograd.grad(theirs, (images, labels)), strict=True):
        assert (one.double() - other).norm() <= 1e-4 * other.norm()


def test_rfad_is_kernel_ridge_regression_on_fresh_random_features(tiny):
    method = make_method(
        "rfad", networks_per_step=2, width=4, depth=2, batch_real=12, loss="squared", ridge=1e-2
    )
    problem = make_problem(tiny, ipc=2, seed=3)
    state = method.start(problem)
    learned = {name: state[name].clone().requires_grad_() for name in ("images", "labels")}
    loss, _ = method._error(problem, state, learned, 5)
    seed = int(torch.randint(2**31, (), generator=problem.generator("random features", 5)))
    kernel = RandomFeatures(2, 4, 2, seed)
    picked = torch.randint(len(tiny.train), (12,), generator=problem.generator("real batch", 5))
    wanted = one_hot(tiny.train.targets[picked])
    theirs = plain_loss(
        lambda x, y: kernel.matrix(x, y).double(),
        problem.images(picked),
        wanted,
        state["images"],
        state["labels"].double(),
        1e-2,
    )
    assert math.isclose(float(loss.detach()), float(theirs.detach()), rel_tol=1e-4)


def test_frepo_regresses_on_the_pool_s_features_and_trains_it_on_the_set(tiny):
    method = make_method("frepo", network=NET, networks="pool:size=2,longest=9,steps=1", batch_real=12)
    problem = make_problem(tiny, ipc=2, seed=3)
    state = method.start(problem)
    learned = {name: state[name].clone().requires_grad_() for name in ("images", "labels")}
    loss, _ = method._error(problem, state, learned, 0)
    from pydistill.engine.pool import parse_networks

    network = parse_networks(method.networks).network(problem, NET, state["networks"], 0)
    picked = torch.randint(len(tiny.train), (12,), generator=problem.generator("real batch", 0))

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        a, b = network(x, "embedding").double(), network(y, "embedding").double()
        return a @ b.T / a.shape[1]

    theirs = plain_loss(
        kernel,
        problem.images(picked),
        one_hot(tiny.train.targets[picked]),
        state["images"],
        state["labels"].double(),
        method.ridge,
    )
    assert math.isclose(float(loss.detach()), float(theirs.detach()), rel_tol=1e-4)
    before = [member["age"] for member in state["networks"]["members"]]
    method.step(problem, state, 0)
    after = [member["age"] for member in state["networks"]["members"]]
    assert sum(after) == sum(before) + 1


def test_the_teacher_s_features_and_predictions_are_what_is_matched(tiny):
    method = make_method(
        "teacher_krr", network=NET, teacher_steps=20, batch_real=12, layers="block1.pooled,embedding"
    )
    problem = make_problem(tiny, ipc=2, seed=3)
    state = method.start(problem)
    learned = {name: state[name].clone().requires_grad_() for name in ("images", "labels")}
    loss, _ = method._error(problem, state, learned, 0)
    teacher = nets.build(NET, tiny.shape, 3, torch.Generator())
    teacher.load_state_dict(state["teacher"])
    teacher.eval()
    picked = torch.randint(len(tiny.train), (12,), generator=problem.generator("real batch", 0))
    real = problem.images(picked)
    wanted = torch.softmax(teacher(real), 1).double() - 1 / 3

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        total = torch.zeros(len(x), len(y), dtype=torch.float64)
        for a, b in zip(teacher(x, "blocks"), teacher(y, "blocks"), strict=True):
            a, b = (z.mean((2, 3)) if a.shape[2] == 4 else z.flatten(1) for z in (a, b))
            total = total + a.double() @ b.double().T / a.shape[1]
        return total / 2

    theirs = plain_loss(kernel, real, wanted, state["images"], state["labels"].double(), method.ridge)
    assert math.isclose(float(loss.detach()), float(theirs.detach()), rel_tol=1e-3)


@pytest.mark.parametrize("name", ["kip", "rfad", "frepo", "teacher_krr"])
def test_a_set_with_learned_labels_survives_a_round_trip_and_scores_the_same(name, tiny, tmp_path):
    small = {"iterations": 5, "batch_real": 30}
    small |= {"kip": {}, "rfad": {"networks_per_step": 2, "width": 4, "depth": 2}}.get(
        name, {"network": NET}
    )
    small |= {"teacher_steps": 10} if name == "teacher_krr" else {}
    made = distill(tiny, name, ipc=2, seed=1, **small)
    assert made.recipe.loss == "squared"
    made.save(tmp_path / "set")
    made.export_parquet(tmp_path / "set.parquet")
    protocol = named("quick", architectures=(NET,), epochs=5, repeats=1, random_draws=1, whole=False)
    first = evaluate(made, tiny, protocol)
    for again in (
        DistilledData.load(tmp_path / "set"),
        DistilledData.from_parquet(tmp_path / "set.parquet"),
    ):
        assert torch.equal(again.targets, made.targets)
        assert again.recipe.describe() == made.recipe.describe()
        assert [run.value for run in evaluate(again, tiny, protocol).runs] == [
            run.value for run in first.runs
        ]
    regressions = [run for run in first.runs if run.architecture.startswith("kernel ridge")]
    stored = [run.source for run in regressions if run.regime == "stored"]
    assert stored == ["distilled", "random"]


def test_kip_beats_random_on_what_it_optimises_and_a_predictor_is_public(tiny):
    made = distill(tiny, "kip", ipc=1, iterations=60, batch_real=40, learning_rate=0.05)
    first = distill(tiny, "random", ipc=1)
    images, targets = tiny.inputs(tiny.validation, slice(None)), tiny.validation.targets
    assert KernelRidge("ntk:depth=1").fit(made).score(images, targets) >= KernelRidge("ntk:depth=1").fit(
        first
    ).score(images, targets)


def test_labels_may_stay_as_they_are(tiny):
    made = distill(tiny, "kip", ipc=2, iterations=3, batch_real=20, learn_labels=False)
    assert made.targets.dtype == torch.int64
    assert made.recipe.loss == "task"


def test_platt_learns_a_temperature(tiny):
    method = make_method("kip", loss="platt", batch_real=20, iterations=3)
    problem = make_problem(tiny, ipc=2)
    state = method.start(problem)
    for index in range(3):
        method.step(problem, state, index)
    assert float(state["temperature"]) != 0


def test_a_teacher_of_other_classes_is_refused(tiny, tmp_path):
    network = nets.build(NET, tiny.shape, 5, torch.Generator().manual_seed(0))
    nets.save_network(network, tmp_path / "teacher.safetensors")
    with pytest.raises(DataError, match=r"with 5 outputs, expected .* with 3"):
        distill(tiny, "teacher_krr", ipc=1, network=NET, teacher=str(tmp_path / "teacher.safetensors"))


def test_coinciding_images_still_give_a_solution(tiny):
    method = make_method("kip", batch_real=10, iterations=1, ridge=0.0)
    problem = make_problem(tiny, ipc=2)
    state = method.start(problem)
    state["images"][1] = state["images"][0]
    assert math.isfinite(float(method.step(problem, state, 0)["loss"]))


def test_images_that_are_not_finite_stop_the_run_with_words(tiny):
    method = make_method("kip", batch_real=10, iterations=1)
    problem = make_problem(tiny, ipc=2)
    state = method.start(problem)
    state["images"][0, 0, 0, 0] = float("nan")
    with pytest.raises(DivergenceError, match="NaN or infinity"):
        method.step(problem, state, 0)


def test_a_schedule_shrinks_the_steps(tiny):
    method = make_method("kip", schedule="cosine", iterations=4, batch_real=20)
    constant = make_method("kip", iterations=4, batch_real=20)
    problem = make_problem(tiny, ipc=2)
    moved = {}
    for which in (method, constant):
        state = which.start(problem)
        before = state["images"].clone()
        which.step(problem, state, 2)
        moved[which.schedule] = state["images"] - before
    torch.testing.assert_close(moved["cosine"], moved["constant"] / 2, rtol=1e-4, atol=1e-6)


def test_real_images_are_augmented_each_in_its_own_way_and_the_same_again(tiny):
    method = make_method("kip", real_augment="crop_rotate", batch_real=20, iterations=3)
    problem = make_problem(tiny, ipc=2)
    images = problem.images(torch.arange(20))
    first, again, other = (method._augmented(problem, index, images) for index in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, images)
    plain = make_method("kip", batch_real=20, iterations=3)
    assert torch.equal(plain._augmented(problem, 1, images), images)
    with pytest.raises(ValueError, match="crops"):
        distill(tiny, "kip", ipc=1, iterations=1, real_augment="crops")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kip", {"kernel_name": "linear"}),
        ("kip", {"kernel_name": "rbf:bandwidths=1000"}),
        ("frepo", {"network": "convnet:width=1,depth=2,norm=none"}),
        ("teacher_krr", {"network": "convnet:width=1,depth=2,norm=none", "teacher_steps": 2}),
        ("rfad", {"networks_per_step": 1, "width": 1, "depth": 2, "ridge": 1e-6}),
    ],
)
def test_a_step_with_fewer_features_than_images_is_float64_s(tiny, name, options):
    """The objective and its gradients, by the plain formula in float64 from the same float32 rows."""
    method = make_method(name, batch_real=20, loss="squared", **options)
    problem = make_problem(tiny, ipc=25, seed=3)
    state = method.start(problem)
    learned = {part: state[part].clone().requires_grad_() for part in ("images", "labels")}
    loss, _ = method._error(problem, state, learned, 0)
    ours = torch.autograd.grad(loss, list(learned.values()))

    picked = torch.randint(len(tiny.train), (20,), generator=problem.generator("real batch", 0))
    kernel = method.kernel(problem, state, 0)
    real, wanted = method.real(problem, state, problem.images(picked), tiny.train.targets[picked], kernel)
    rows = kernel.rows(learned["images"])
    theirs = plain_loss(
        kernel.between, real.double(), wanted.double(), rows.double(), learned["labels"].double(), 1e-6
    )
    assert math.isclose(float(loss.detach()), float(theirs.detach()), rel_tol=1e-5)
    for one, other in zip(ours, torch.autograd.grad(theirs, list(learned.values())), strict=True):
        assert (one - other).norm() <= 1e-4 * other.norm()


def test_kip_goes_on_where_cutout_leaves_patches_of_zeros(tiny):
    """The convolutional kernels are differentiated at zero patches in every such batch."""
    options = {"kernel_name": "conv_nngp:depth=1", "real_augment": "cutout"}
    made = distill(tiny, "kip", ipc=1, preset="quick", iterations=2, batch_real=16, **options)
    assert made.images.isfinite().all()
