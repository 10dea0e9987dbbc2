"""Discrepancies of sets that are poor: large means, rows that do not differ, groups of few images."""

import pytest
import torch

from pydistill.distribution.discrepancies import ChannelVariance, GaussianKL, KernelMMD
from pydistill.distribution.discrepancies.base import as_sets
from pydistill.distribution.discrepancies.gaussian import kl_diagonal
from pydistill.distribution.discrepancies.kernel import median_bandwidths
from tests.distribution.test_discrepancies import draw


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_variances_beside_a_large_mean(dtype):
    """Mean 1000, deviation 0.1: a mean square less a squared mean has no digit left in float32."""
    sets = [1000 + 0.1 * (1 + seed) * draw(8, 3, 5, 5, seed=seed) for seed in range(2)]
    rounded = [maps.to(dtype) for maps in sets]
    variances = [maps.double().var((0, 2, 3), correction=0) for maps in rounded]
    views = [ChannelVariance().represent(maps).mean(0, keepdim=True) for maps in rounded]
    expected = (variances[0] - variances[1]).square().sum()
    assert float(ChannelVariance().loss(*views, {}, 0)) == pytest.approx(float(expected), rel=1e-3)


def alike(groups=(0,), dtype=torch.float32):
    """Sets (3, 6, 4) in which those groups are one row, six times."""
    sets = draw(3, 6, 4, dtype=dtype)
    for group in groups:
        sets[group] = sets[group, :1].clone()
    return sets


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "symmetric"])
@pytest.mark.parametrize("groups", [(0,), (0, 2), (0, 1, 2)])
def test_divergence_of_classes_that_have_no_variance(groups, direction, covariance):
    other, real = draw(3, 2, 4, seed=1, dtype=torch.float32).requires_grad_(), alike(groups)
    loss = GaussianKL(direction, covariance).loss(other, real, {}, 0)
    (gradient,) = torch.autograd.grad(loss, other)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert GaussianKL(direction, covariance).loss(real.clone(), real, {}, 0) == pytest.approx(0, abs=1e-5)


def test_a_class_without_variance_takes_the_mean_of_the_others():
    other, real = draw(3, 2, 4, seed=1), alike(dtype=torch.float64)
    expected = []
    for a, b in zip(other, real, strict=True):
        spread = (
            real[1:].var(1, correction=0).mean()
            if torch.equal(b[0], b[1])
            else b.var(0, correction=0).mean()
        )
        p, q = (0.9 * each.var(0, correction=0) + 0.1 * spread for each in (b, a))
        expected.append(kl_diagonal(b.mean(0)[None], p[None], a.mean(0)[None], q[None]))
    torch.testing.assert_close(GaussianKL().loss(other, real, {}, 0), torch.cat(expected).sum() / 4)


def test_divergence_refuses_features_that_are_all_the_same():
    with pytest.raises(ValueError, match="the same features in every image of every class"):
        GaussianKL().loss(draw(2, 1, 3), torch.ones(2, 4, 3).double(), {}, 0)


def test_the_median_rule_where_most_pairs_do_not_differ():
    real = alike((0, 1))
    expected = float(torch.pdist(real[2]).square().median())
    assert median_bandwidths(real, (2.0,))[0] == pytest.approx(expected**0.5, rel=1e-5)
    real = alike((0, 1, 2))
    expected = float(torch.pdist(real[:, 0]).square().median())
    assert median_bandwidths(real, (2.0,))[0] == pytest.approx(expected**0.5, rel=1e-5)


@pytest.mark.parametrize("kernel", ["rbf", "polynomial", "linear"])
def test_the_unbiased_estimate_does_not_count_repeated_rows(kernel):
    rows, groups = draw(7, 4), torch.tensor([0, 0, 0, 1, 1, 1, 1])
    other = draw(2, 3, 4, seed=1)
    real = as_sets(rows, groups, 2)
    discrepancy, state = KernelMMD(kernel, (1.0,) if kernel == "rbf" else (), unbiased=True), {}
    discrepancy.told_sizes([3, 3], [3, 4], state)
    apart = [discrepancy.loss(other[at][None], rows[groups == at][None], {}, 0) for at in range(2)]
    torch.testing.assert_close(discrepancy.loss(other, real, state, 0), torch.stack(apart).sum())
    assert not torch.isclose(discrepancy.loss(other, real, {}, 0), torch.stack(apart).sum())
