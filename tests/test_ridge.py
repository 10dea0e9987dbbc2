"""Kernel ridge regression: the solver, and the predictor against scikit-learn's."""

import pytest
import torch
from sklearn.kernel_ridge import KernelRidge as Reference
from torch import Tensor

from pydistill.errors import SingularKernelError
from pydistill.kernels import parse_kernel
from pydistill.ridge import KernelRidge, solve
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
