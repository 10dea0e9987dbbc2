"""Kernel ridge regression: the solver, and the predictor against scikit-learn's."""

import pytest
import torch
from sklearn.kernel_ridge import KernelRidge as Reference
from torch import Tensor

from pydistill import nets
from pydistill.data import load_data
from pydistill.engine.run import distill
from pydistill.errors import SingularKernelError
from pydistill.kernels.functions import Features, Flat, layered, parse_kernel
from pydistill.kernels.ridge import KernelRidge, regression, solve
from pydistill.tasks.classification import regressed


def positive(count: int, *, batch: int | None = None, dtype: torch.dtype = torch.float64) -> Tensor:
    """Well-conditioned matrices."""
    generator = torch.Generator().manual_seed(count)
    rows = torch.randn(
        *([batch] if batch else []), count, 2 * count, generator=generator, dtype=torch.float64
    )
    return (rows @ rows.mT / count).to(dtype)


def values(count: int, columns: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, columns, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(
        dtype
    )


def test_it_solves_the_regularised_system() -> None:
    matrix, targets = positive(12), values(12)
    weights = solve(matrix, targets, 0.1)
    scale = matrix.diagonal().mean()
    torch.testing.assert_close((matrix + 0.1 * scale * torch.eye(12).double()) @ weights, targets)


def test_a_kernel_times_a_number_predicts_the_same() -> None:
    matrix, targets = positive(12), values(12)
    torch.testing.assert_close(matrix @ solve(matrix, targets), 1e4 * matrix @ solve(1e4 * matrix, targets))


def test_batches_are_solved_entry_by_entry() -> None:
    matrices, targets = positive(8, batch=3), values(8)
    together = solve(matrices, targets.expand(3, 8, 3), 1e-3)
    for at in range(3):
        torch.testing.assert_close(together[at], solve(matrices[at], targets, 1e-3))


def test_derivatives_to_second_order() -> None:
    rows = torch.randn(
        5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    targets = values(5).requires_grad_()

    def function(x: Tensor, y: Tensor) -> Tensor:
        return solve(x @ x.T, y, 1e-2)

    assert torch.autograd.gradcheck(function, (rows, targets))
    assert torch.autograd.gradgradcheck(function, (rows, targets))


def test_float32_is_as_good_as_float64_where_the_matrix_is_near_singular() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    matrix = (rows @ rows.T).float()
    weights = solve(matrix, values(40, dtype=torch.float32), 1e-6)
    exact = solve(matrix.double(), values(40), 1e-6)
    assert weights.dtype == torch.float32
    assert (weights.double() - exact).norm() <= 1e-5 * exact.norm()


def test_float32_alone_where_the_ridge_leaves_room(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = torch.linalg.cholesky_ex

    def spied(matrix: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(matrix.dtype)
        return original(matrix)

    monkeypatch.setattr(torch.linalg, "cholesky_ex", spied)
    solve(positive(8, dtype=torch.float32), values(8, dtype=torch.float32), 0.1)
    solve(positive(8, dtype=torch.float32), values(8, dtype=torch.float32), 1e-7)
    assert seen == [torch.float32, torch.float64]


def test_more_is_added_only_where_a_matrix_needs_it() -> None:
    good = positive(4)
    bad = good.clone()
    bad[0, 0] -= 1.0000001 * torch.linalg.eigvalsh(good)[0]  # not quite positive any more
    low = float(torch.linalg.eigvalsh(bad)[0] / bad.diagonal().mean())
    if low > 0:
        bad -= (low + 1e-9) * bad.diagonal().mean() * torch.eye(4).double()
    together = solve(torch.stack([good, bad]), values(4).expand(2, 4, 3), 0.0)
    assert together.isfinite().all()
    torch.testing.assert_close(together[0], torch.linalg.solve(good, values(4)))


def test_a_singular_kernel_names_its_condition_number() -> None:
    matrix = -0.01 * torch.eye(3, dtype=torch.float64)
    matrix[0, 0] = 1
    with pytest.raises(SingularKernelError, match="condition number of inf at a ridge of 1e-06"):
        solve(matrix, values(3))


@pytest.mark.parametrize(
    ("matrix", "targets", "ridge", "message"),
    [
        (torch.ones(2, 3), torch.ones(2, 1), 1e-6, "square kernel matrix"),
        (torch.eye(3), torch.ones(2, 1), 1e-6, r"expected targets \(..., 3, K\)"),
        (torch.eye(3), torch.ones(3, 1), -1.0, "ridge must be at least 0"),
    ],
)
def test_wrong_arguments(matrix: Tensor, targets: Tensor, ridge: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve(matrix, targets, ridge)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_kernels_that_are_not_finite(value: float) -> None:
    matrix = torch.eye(3)
    matrix[0, 1] = matrix[1, 0] = value
    with pytest.raises(SingularKernelError, match="NaN or infinity"):
        solve(matrix, torch.ones(3, 1))


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("linear", {"kernel": "linear"}),
        (
            "polynomial:degree=2,scale=0.1,offset=1",
            {"kernel": "poly", "degree": 2, "gamma": 0.1, "coef0": 1},
        ),
        ("rbf:bandwidths=5", {"kernel": "rbf", "gamma": 0.02}),
    ],
)
def test_parity_with_scikit_learn(text: str, reference: dict) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(30, 1, 4, 4, generator=generator, dtype=torch.float64)
    others = torch.randn(20, 1, 4, 4, generator=generator, dtype=torch.float64)
    targets = values(30)
    scale = float(parse_kernel(text).matrix(images, images).diagonal().mean())
    ours = KernelRidge(text, ridge=0.05).fit(images, targets)
    theirs = Reference(alpha=0.05 * scale, **reference).fit(images.flatten(1).numpy(), targets.numpy())
    expected = torch.from_numpy(theirs.predict(others.flatten(1).numpy()))
    torch.testing.assert_close(ours.decision_function(others), expected, rtol=1e-8, atol=1e-10)
    assert torch.equal(ours.predict(others), expected.argmax(1))


def test_classes_are_regressed_as_centred_one_hot_rows() -> None:
    rows = regressed(torch.tensor([0, 2]), 4)
    assert rows.tolist() == [[0.75, -0.25, -0.25, -0.25], [-0.25, -0.25, 0.75, -0.25]]


def test_an_unfitted_predictor_and_wrong_fits() -> None:
    with pytest.raises(ValueError, match="not fitted yet"):
        KernelRidge().predict(torch.ones(1, 1, 4, 4))
    with pytest.raises(TypeError, match="images and their targets"):
        KernelRidge().fit(torch.ones(1, 1, 4, 4))
    with pytest.raises(ValueError, match="one target an image, got 2 and 3"):
        KernelRidge().fit(torch.ones(2, 1, 4, 4), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="did you mean 'ntk'"):
        KernelRidge("ntl").fit(torch.ones(2, 1, 4, 4), torch.tensor([0, 1]))


# ---- ranks that are short: float32 cannot hold the matrix --------------------------------------------


def test_four_points_on_a_line() -> None:
    x, y = torch.tensor([0.1, 0.2, 0.3, 0.7]), torch.tensor([1.0, -1, 1, -1])
    machine = KernelRidge("linear").fit(x.view(4, 1, 1, 1), y[:, None])
    wide = x.double()
    exact = float(wide @ y.double() / (wide @ wide + 1e-6 * (wide @ wide) / 4))
    found = machine.decision_function(torch.ones(1, 1, 1, 1))
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(exact, rel=1e-5)
    assert float(found) == pytest.approx(-0.79365, abs=1e-3)


@pytest.mark.parametrize(
    "text",
    [
        "linear",
        "polynomial:degree=2",
        "rbf:bandwidths=50",
        "inverse_multiquadric:bandwidths=50",
        "ntk:depth=2,weight_variance=0.01,bias_variance=1",
        "random_features:networks=1,width=2,depth=2",
    ],
)
def test_float32_images_predict_as_float64_ones_do(text: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images, others = (torch.randn(count, 1, 4, 4, generator=generator) for count in (120, 40))
    values = torch.randn(120, 3, generator=generator)
    kernel = parse_kernel(text)
    rows, wide = kernel.rows(images).double(), kernel.rows(others).double()
    exact = kernel.between(wide, rows) @ solve(kernel.between(rows, rows), values.double())
    found = KernelRidge(text).fit(images, values).decision_function(others)
    torch.testing.assert_close(found, exact.float(), rtol=1e-5, atol=1e-6)


def test_digits_with_fewer_features_than_images() -> None:
    digits = load_data("digits")
    small = distill(digits, "random", ipc=10, seed=0)
    images = digits.inputs(digits.test, torch.arange(len(digits.test)), torch.device("cpu"))
    assert KernelRidge("linear").fit(small).score(images, digits.test.targets) == pytest.approx(
        0.791, abs=0.002
    )
    network = nets.build("convnet:width=16", digits.shape, 10, torch.Generator().manual_seed(0))
    kernel = Features([layered(network.requires_grad_(False).eval())])
    assert kernel.rows(images[:1]).shape[1] == 64
    assert KernelRidge(kernel).fit(small).score(images, digits.test.targets) == pytest.approx(
        0.822, abs=0.003
    )


def test_wide_rows_only_where_rounding_would_show() -> None:
    """More features than rows, and a ridge that outweighs rounding, stay in float32, bit for bit."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(30, 3, generator=generator)
    kernel = Flat("linear")
    for features, ridge, dtype in (
        (60, 1e-6, torch.float32),
        (10, 1e-6, torch.float64),
        (10, 1e-2, torch.float32),
    ):
        rows = torch.randn(30, features, generator=generator)
        found = regression(kernel, rows, values, ridge)
        assert found.rows.dtype == found.weights.dtype == dtype
        assert found.outputs(rows).dtype == torch.float32
        if dtype == torch.float32:
            assert torch.equal(found.weights, solve(kernel.between(rows, rows), values, ridge))
            assert torch.equal(found.outputs(rows), kernel.between(rows, rows) @ found.weights)


def test_a_matrix_that_is_singular_in_float32_alone_is_solved() -> None:
    rows = 1e20 * torch.randn(5, 4, generator=torch.Generator().manual_seed(0))  # overflows as float32
    found = regression(Flat("linear"), rows, torch.ones(5, 1), 1e-3)
    assert found.outputs(rows).isfinite().all()
    with pytest.raises(SingularKernelError, match="NaN or infinity"):
        regression(Flat("linear"), rows * torch.inf, torch.ones(5, 1), 1e-3)


def test_gradients_of_short_ranks_are_those_of_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, values = torch.randn(20, 5, generator=generator), torch.randn(20, 2, generator=generator)
    others = torch.randn(7, 5, generator=generator)

    def slope(rows: Tensor) -> Tensor:
        rows = rows.clone().requires_grad_()
        outputs = regression(Flat("linear"), rows, values.to(rows.dtype), 1e-6).outputs(
            others.to(rows.dtype)
        )
        (gradient,) = torch.autograd.grad(outputs.square().sum(), rows)
        return gradient

    torch.testing.assert_close(slope(rows), slope(rows.double()).float(), rtol=1e-4, atol=1e-5)


# ---- the caller's modes and other kinds of arguments -------------------------------------------------


def waves() -> tuple[Tensor, Tensor]:
    at, pixel = torch.arange(60)[:, None], torch.arange(1, 17)
    return torch.sin(at * pixel * 0.37).view(60, 1, 4, 4), torch.arange(60) % 3


@pytest.mark.parametrize(
    "text",
    [
        "rbf:bandwidths=10",
        "linear",
        "ntk",
        "random_features:networks=1,width=4,depth=2",
        "conv_ntk:depth=1",
    ],
)
def test_autocast_around_it_changes_nothing(text: str) -> None:
    images, classes = waves()
    machine = KernelRidge(text).fit(images, classes)
    outside = machine.decision_function(images)
    with torch.autocast("cpu", torch.bfloat16):
        inside = machine.decision_function(images)
        again = KernelRidge(text).fit(images, classes).decision_function(images)
        matrix = parse_kernel(text).matrix(images[:3], images[:3])
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)
    assert torch.equal(again, outside)
    assert torch.equal(matrix, parse_kernel(text).matrix(images[:3], images[:3]))
    if text == "rbf:bandwidths=10":  # 0.73 with matrices of float32
        assert machine.score(images, classes) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    "text", ["random_features:networks=1,width=4,depth=2,seed=9", "linear", "ntk:depth=2"]
)
def test_what_is_fitted_in_inference_mode_can_be_differentiated_through(text: str) -> None:
    images, classes = waves()
    with torch.inference_mode():
        machine = KernelRidge(text).fit(images * 1.0, classes)  # images of that mode too
    x = images[:2].clone().requires_grad_()
    outputs = machine.regression_.outputs(machine.kernel_.rows(x))
    (gradient,) = torch.autograd.grad(outputs.square().sum(), x)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64, torch.bool])
def test_integer_targets_of_any_width(dtype: torch.dtype) -> None:
    images, classes = waves()
    classes = classes.clamp_max(1) if dtype == torch.bool else classes
    expected = KernelRidge("rbf:bandwidths=2").fit(images, classes).decision_function(images)
    found = KernelRidge("rbf:bandwidths=2").fit(images, classes.to(dtype))
    assert torch.equal(found.decision_function(images), expected)
    assert found.score(images, classes.to(dtype)) == found.score(images, classes)
    hot = torch.nn.functional.one_hot(classes)
    values = KernelRidge("linear").fit(images, hot.to(dtype)).decision_function(images)
    assert torch.equal(values, KernelRidge("linear").fit(images, hot.double()).decision_function(images))


def test_arguments_of_another_kind_are_named() -> None:
    images, classes = waves()
    with pytest.raises(TypeError, match=r"images must be network input .* got torch.uint8"):
        KernelRidge("linear").fit(images.to(torch.uint8), classes)
    with pytest.raises(TypeError, match=r"targets must be a tensor .* got list"):
        KernelRidge("linear").fit(images, classes.tolist())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"targets must be a tensor .* got torch.complex64"):
        KernelRidge("linear").fit(images, classes.to(torch.complex64))
    with pytest.raises(ValueError, match="classes counted from 0, found -1"):
        KernelRidge("linear").fit(images, classes - 1)
    machine = KernelRidge("linear").fit(images, classes)
    with pytest.raises(TypeError, match=r"images must be network input .* got torch.float16"):
        machine.predict(images.half())
    with pytest.raises(ValueError, match=r"expected classes \(60,\), one an image, got \(60, 1\)"):
        machine.score(images, classes[:, None])
