"""Discrepancies against closed forms, and what all of them have in common."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from pydistill.distribution.discrepancies import (
    Adversary,
    ChannelVariance,
    CharacteristicFunction,
    Discrimination,
    DomainAdversary,
    GaussianKL,
    KernelMMD,
    MeanEmbedding,
    SpatialAttention,
)
from pydistill.distribution.discrepancies.adversary import reversal_strength, reverse_gradient
from pydistill.distribution.discrepancies.base import as_sets
from pydistill.distribution.discrepancies.characteristic import characteristic, characteristic_distance
from pydistill.distribution.discrepancies.gaussian import kl_diagonal, kl_full
from pydistill.distribution.discrepancies.kernel import median_bandwidths
from pydistill.errors import CheckpointError
from pydistill.seeds import generator

SETS = {
    "mmd": KernelMMD(),
    "mmd given": KernelMMD(bandwidths=(0.7, 3.0)),
    "mmd polynomial": KernelMMD("polynomial"),
    "mmd linear": KernelMMD("linear"),
    "kl": GaussianKL(),
    "kl reverse": GaussianKL("reverse"),
    "kl symmetric full": GaussianKL("symmetric", "full", 0.3),
    "ncfm": CharacteristicFunction(frequencies=32),
}
"""Of sets; 0 where both are the same."""
CRITICS = {
    "adversarial": Adversary(hidden=8),
    "hinge": Adversary(hidden=8, objective="hinge", penalty="spectral"),
    "domain": DomainAdversary(hidden=8, penalty="none"),
}


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=generator(seed, "features", *shape), dtype=dtype)


def learned(discrepancy, synthetic, real):
    state = discrepancy.start(real, generator(0, "start"))
    discrepancy.prepare(real, state)
    discrepancy.learn(synthetic, real, state, generator(0, "learn"))
    for key in state.get("vectors", {}):  # else they turn by a step of power iteration at every call
        state["vectors"][key] = torch.linalg.svd(state["critic"][key], full_matrices=False).Vh[0]
    return state


# ---- closed forms --------------------------------------------------------------------------------------


def test_a_linear_kernels_mmd_is_the_distance_of_means():
    real, other = draw(3, 9, 4), draw(3, 5, 4, seed=1)
    found = KernelMMD("linear").loss(other, real, {}, 0)
    torch.testing.assert_close(found, MeanEmbedding().loss(other.mean(1), real.mean(1), {}, 0))


def test_the_median_rule_follows_the_scale_of_features():
    real = draw(2, 40, 6)
    plain, wide = median_bandwidths(real), median_bandwidths(10 * real)
    assert wide == pytest.approx([10 * each for each in plain], rel=1e-5)
    apart = torch.cat([torch.pdist(rows) for rows in real.float()])
    assert plain[2] == pytest.approx(float(apart.median()) / math.sqrt(2), rel=1e-5)


def test_the_median_rule_refuses_features_that_do_not_differ():
    with pytest.raises(ValueError, match="the median rule needs real images that differ and finite"):
        median_bandwidths(torch.ones(2, 5, 3))
    with pytest.raises(ValueError, match=r"found a median squared distance of nan"):
        median_bandwidths(torch.full((2, 5, 3), torch.nan))


def test_kl_of_diagonal_gaussians_is_torchs():
    mean, other = draw(3, 5), draw(3, 5, seed=1)
    scale, spread = draw(3, 5, seed=2).exp(), draw(3, 5, seed=3).exp()
    expected = kl_divergence(Normal(mean, scale.sqrt()), Normal(other, spread.sqrt())).sum(1)
    torch.testing.assert_close(kl_diagonal(mean, scale, other, spread), expected)


def test_kl_of_gaussians_is_torchs():
    mean, other = draw(3, 4), draw(3, 4, seed=1)
    first, second = (draw(3, 4, 9, seed=seed) for seed in (2, 3))
    first, second = (part @ part.mT / 9 for part in (first, second))
    expected = kl_divergence(MultivariateNormal(mean, first), MultivariateNormal(other, second))
    torch.testing.assert_close(kl_full(mean, first, other, second), expected)


def test_kl_of_fitted_gaussians_approaches_that_of_the_true_ones():
    """N(0, 1) to N(1, 4) in each of 2 features: log 2 + (1 + 1) / 8 - 1 / 2 a feature."""
    real, other = draw(1, 200_000, 2), 1 + 2 * draw(1, 200_000, 2, seed=1)
    expected = math.log(2) + 2 / 8 - 1 / 2
    for covariance in ("diagonal", "full"):
        found = GaussianKL(covariance=covariance, shrinkage=1e-6).loss(other, real, {}, 0)
        assert float(found) == pytest.approx(expected, abs=0.01)


def test_one_synthetic_image_a_class_has_a_finite_divergence():
    real, one = draw(2, 30, 5), draw(2, 1, 5, seed=1).requires_grad_()
    for covariance in ("diagonal", "full"):
        loss = GaussianKL("symmetric", covariance).loss(one, real, {}, 0)
        (slope,) = torch.autograd.grad(loss, one)
        assert slope.isfinite().all()
        assert slope.abs().max() > 0


def test_the_characteristic_function_of_a_gaussian():
    """exp(i t.m - |t|^2 / 2) for N(m, I), within five standard errors of a mean of 100,000."""
    count, mean = 100_000, torch.tensor([0.5, -1.0, 2.0]).double()
    frequencies = draw(20, 3, seed=5)
    real, imaginary = characteristic(draw(1, count, 3) + mean, frequencies)
    size = (-frequencies.square().sum(1) / 2).exp()
    error = 5 / math.sqrt(count)
    assert (real[0] - size * (frequencies @ mean).cos()).abs().max() < error
    assert (imaginary[0] - size * (frequencies @ mean).sin()).abs().max() < error


def test_half_the_amplitude_and_half_the_phase_are_the_plain_distance():
    """|P - Q| = sqrt((|P| - |Q|)^2 + 2 |P| |Q| (1 - cos)): with both weights 1/2, over sqrt(2)."""
    real, other, frequencies = draw(2, 9, 3), draw(2, 6, 3, seed=1), draw(7, 3, seed=2)
    p, q = (torch.complex(*characteristic(sets, frequencies)) for sets in (real, other))
    expected = (p - q).abs().mean(1) / math.sqrt(2)
    torch.testing.assert_close(characteristic_distance(real, other, frequencies, 0.5), expected)


def test_the_sampler_raises_the_distance():
    real, other = draw(2, 60, 4, dtype=torch.float32), draw(2, 20, 4, seed=1, dtype=torch.float32) * 1.5
    values = []
    for steps in (0, 60):
        discrepancy = CharacteristicFunction(frequencies=256, sampler_steps=steps, sampler_rate=0.02)
        values.append(float(discrepancy.loss(other, real, learned(discrepancy, other, real), 0)))
    assert values[1] > 1.05 * values[0]


def test_attention_is_normalised_and_knows_no_scale():
    maps = draw(4, 3, 5, 5)
    found = SpatialAttention(2.0).represent(maps)
    plain = maps.square().sum(1).flatten(1)
    torch.testing.assert_close(found, plain / plain.norm(dim=1, keepdim=True))
    torch.testing.assert_close(
        SpatialAttention().represent(maps * 1e12), SpatialAttention().represent(maps)
    )
    assert SpatialAttention().represent(torch.zeros(1, 2, 3, 3)).isfinite().all()


def test_channel_variances_are_those_of_batch_normalisation():
    maps, other = draw(6, 3, 4, 4), draw(5, 3, 4, 4, seed=1)
    views = [ChannelVariance().represent(each).mean(0, keepdim=True) for each in (maps, other)]
    variances = [each.transpose(0, 1).flatten(1).var(1, correction=0) for each in (maps, other)]
    expected = (variances[0] - variances[1]).square().sum()
    torch.testing.assert_close(ChannelVariance().loss(*views, {}, 0), expected)


def test_reversed_gradients_have_the_other_sign_and_the_schedules_strength():
    features = draw(4, 3).requires_grad_()
    assert torch.equal(reverse_gradient(features, 0.3), features)
    (slope,) = torch.autograd.grad((reverse_gradient(features, 0.3) * 2).sum(), features)
    torch.testing.assert_close(slope, torch.full_like(slope, -0.6))
    (twice,) = torch.autograd.grad(
        reverse_gradient(reverse_gradient(features, 0.5), 0.5).square().sum(), features
    )
    torch.testing.assert_close(twice, 0.25 * 2 * features.detach())
    assert reversal_strength(0.0) == 0
    assert reversal_strength(0.1) == pytest.approx(2 / (1 + math.exp(-1)) - 1)
    assert 0.999 < reversal_strength(1.0) < 1


# ---- what all have in common ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_nothing_is_left_where_both_sets_are_the_same(name):
    real = draw(3, 12, 5)
    state = learned(SETS[name], real, real)
    assert abs(float(SETS[name].loss(real, real, state, 0))) < (2e-4 if name == "ncfm" else 1e-10)


@pytest.mark.parametrize("name", SETS | CRITICS)
def test_the_order_of_images_does_not_matter(name):
    discrepancy = (SETS | CRITICS)[name]
    real, other = draw(3, 12, 5, dtype=torch.float32), draw(3, 4, 5, seed=1, dtype=torch.float32)
    state = learned(discrepancy, other, real)
    order, mixed = torch.randperm(12, generator=generator(0)), torch.randperm(4, generator=generator(1))
    found = discrepancy.loss(other[:, mixed], real[:, order], state, 0.5)
    torch.testing.assert_close(found, discrepancy.loss(other, real, state, 0.5), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SETS | CRITICS)
def test_gradients_are_those_of_finite_differences(name):
    discrepancy = (SETS | CRITICS)[name]
    real, other = draw(2, 7, 3), draw(2, 4, 3, seed=1)
    state = learned(discrepancy, other.float(), real.float())
    state = {key: as_double(value) for key, value in state.items()}
    sign = -reversal_strength(0.5) if name == "domain" else 1.0
    other.requires_grad_()
    (slope,) = torch.autograd.grad(discrepancy.loss(other, real, state, 0.5), other)
    step, found = 1e-5, torch.empty(slope.shape, dtype=slope.dtype)
    for at in range(other.numel()):
        nudge = torch.zeros(other.numel(), dtype=slope.dtype)
        nudge[at] = step
        nudge = nudge.view(other.shape)
        ends = [discrepancy.loss((other + way * nudge).detach(), real, state, 0.5) for way in (1, -1)]
        found.view(-1)[at] = sign * (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close(slope, found, rtol=1e-4, atol=1e-6)


def as_double(tree):
    if isinstance(tree, dict):
        return {key: as_double(value) for key, value in tree.items()}
    return tree.double() if isinstance(tree, torch.Tensor) else tree


def test_the_unbiased_estimate_has_no_bias():
    """Over 300 pairs of small sets of one distribution its mean is 0 within 4 standard errors."""
    found = {
        unbiased: torch.stack(
            [
                KernelMMD(bandwidths=(1.5,), unbiased=unbiased).loss(
                    draw(1, 5, 3, seed=seed), draw(1, 6, 3, seed=1000 + seed), {}, 0
                )
                for seed in range(300)
            ]
        )
        for unbiased in (True, False)
    }
    error = float(found[True].std()) / math.sqrt(300)
    assert abs(float(found[True].mean())) < 4 * error
    assert float(found[False].mean()) > 20 * error


@pytest.mark.parametrize("name", CRITICS)
def test_a_critic_learns_to_tell_sets_apart(name):
    discrepancy = CRITICS[name]
    real, other = draw(3, 40, 5, dtype=torch.float32), draw(3, 8, 5, seed=1, dtype=torch.float32) + 2
    state = discrepancy.start(real, generator(0, "start"))
    for at in range(200):
        discrepancy.learn(other, real, state, generator(0, "learn", at))
    scaled = (real - real.mean((0, 1))) / real.std((0, 1), correction=0).mean()
    apart = (other - real.mean((0, 1))) / real.std((0, 1), correction=0).mean()
    weights = state["critic"]
    scores = [discrepancy._scores(sets, weights, state).mean() for sets in (scaled, apart)]
    assert float(scores[0]) > float(scores[1]) + 0.5


def test_moving_against_the_adversary_makes_images_look_real():
    real = draw(2, 60, 4, dtype=torch.float32)
    other = draw(2, 10, 4, seed=1, dtype=torch.float32) * 0.5 + 2
    before = float((other.mean(1) - real.mean(1)).norm())
    discrepancy = Adversary(hidden=16, critic_rate=0.01)
    state = discrepancy.start(real, generator(0, "start"))
    for at in range(150):
        discrepancy.learn(other, real, state, generator(0, "learn", at))
        other.requires_grad_()
        (slope,) = torch.autograd.grad(discrepancy.loss(other, real, state, 0), other)
        other = (other - 0.5 * slope).detach()
    assert float((other.mean(1) - real.mean(1)).norm()) < 0.4 * before


def test_what_was_learned_for_other_features_is_refused():
    real, wider = draw(2, 9, 4, dtype=torch.float32), draw(2, 9, 6, dtype=torch.float32)
    for discrepancy, message in (
        (Adversary(hidden=4), "the discriminator is of 4 features, the layer has 6"),
        (CharacteristicFunction(frequencies=4), "the sampler is of 4 features, the layer has 6"),
    ):
        state = discrepancy.start(real, generator(0))
        with pytest.raises(CheckpointError, match=message):
            discrepancy.learn(wider, wider, state, generator(0))


def test_discrimination_is_cross_entropy_under_class_means():
    real, other = draw(3, 5, 4), draw(3, 2, 4, seed=1)
    centres, total = other.mean(1), 0.0
    for group in range(3):
        for feature in real[group]:
            logits = torch.stack([centre @ feature for centre in centres]) / 2
            total = total - logits.log_softmax(0)[group]
    torch.testing.assert_close(Discrimination(2.0).loss(other, real, {}, 0), total / 15)


def test_sets_are_filled_up_from_the_images_of_their_own_group():
    features = torch.arange(6.0)[:, None]
    groups = torch.tensor([1, 0, 1, 1, 0, 1])
    assert as_sets(features, groups, 2)[:, :, 0].tolist() == [[1, 4, 1, 4], [0, 2, 3, 5]]
    ordered = torch.tensor([0, 0, 0, 1, 1, 1])
    assert as_sets(features, ordered, 2).data_ptr() == features.data_ptr()
    with pytest.raises(ValueError, match="expected images of each of the 3 groups, found none of 2"):
        as_sets(features, groups, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KernelMMD("cosine"), "kernel must be one of rbf, polynomial, linear; got 'cosine'"),
        (lambda: KernelMMD(bandwidths=(1.0, 0.0)), "bandwidths must be numbers above 0, got 0.0"),
        (lambda: KernelMMD(bandwidths=(float("nan"),)), "bandwidths must be numbers above 0, got nan"),
        (lambda: GaussianKL("backward"), "direction must be one of"),
        (lambda: GaussianKL(covariance="banded"), "covariance must be one of"),
        (lambda: GaussianKL(shrinkage=0), r"shrinkage must be within \(0, 1\], got 0"),
        (lambda: CharacteristicFunction(frequencies=0), "at least 1 frequency"),
        (lambda: CharacteristicFunction(amplitude=1.5), r"amplitude within \[0, 1\]"),
        (lambda: Adversary(hidden=0), "hidden units and steps of at least 1, got 0"),
        (lambda: Adversary(critic_rate=0.0), "a rate above 0"),
        (lambda: Adversary(penalty="none at all"), "penalty must be one of"),
        (lambda: Adversary(objective="wasserstein"), "objective must be one of"),
        (lambda: Discrimination(0.0), "temperature must be above 0"),
        (lambda: SpatialAttention().represent(torch.ones(3, 4)), r"attention needs maps \(M, C, h, w\)"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_unbiased_estimate_needs_two_images():
    with pytest.raises(ValueError, match="needs two images a class, found 1 synthetic and 4 real"):
        KernelMMD(unbiased=True).loss(draw(2, 1, 3), draw(2, 4, 3), {}, 0)


def test_a_covariance_that_is_not_positive_definite_is_named():
    with pytest.raises(ValueError, match="the covariance of group 1 is not positive definite"):
        kl_full(
            torch.zeros(2, 2).double(),
            torch.stack([torch.eye(2), -torch.eye(2)]).double(),
            torch.zeros(2, 2).double(),
            torch.eye(2).double().expand(2, 2, 2),
        )
