import pytest
import torch

from pydistill.data.preprocess import PREPROCESSES, Standardise, Whiten, as_unit


def correlated(count: int = 400, shape: tuple[int, int, int] = (2, 3, 4), seed: int = 0) -> torch.Tensor:
    """Images in [0, 1] whose pixels depend on each other."""
    generator = torch.Generator().manual_seed(seed)
    width = shape[0] * shape[1] * shape[2]
    mix = torch.randn(width, width, generator=generator) / width**0.5
    rows = torch.randn(count, width, generator=generator) @ mix
    return (0.5 + 0.1 * rows).clamp(0, 1).view(count, *shape)


def covariance(images: torch.Tensor) -> torch.Tensor:
    return torch.cov(images.flatten(1).double().T)


def test_as_unit_maps_bytes_to_the_unit_interval_and_leaves_floats() -> None:
    assert as_unit(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    floats = torch.tensor([0.25, 0.5])
    assert torch.equal(as_unit(floats), floats)


def test_standardise_fits_each_channel() -> None:
    images = torch.zeros(2, 2, 1, 2, dtype=torch.uint8)
    images[:, 0] = torch.tensor([0, 255], dtype=torch.uint8)
    images[:, 1] = torch.tensor([51, 51], dtype=torch.uint8)
    fitted = Standardise.fit(images)
    assert fitted.mean.tolist() == pytest.approx([0.5, 0.2])
    assert fitted.std.tolist() == pytest.approx([0.5, 1e-3])
    assert fitted.apply(images)[0, :, 0].tolist() == [
        pytest.approx([-1, 1]),
        pytest.approx([0, 0], abs=1e-4),
    ]


def test_standardised_images_have_mean_zero_and_deviation_one_over_many_chunks() -> None:
    images = torch.randint(0, 256, (5000, 3, 2, 2), generator=torch.Generator().manual_seed(0)).byte()
    inputs = Standardise.fit(images).apply(images).double()
    torch.testing.assert_close(inputs.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        inputs.std((0, 2, 3), unbiased=False), torch.ones(3).double(), atol=1e-5, rtol=0
    )


def test_apply_does_not_change_its_argument() -> None:
    for kind in PREPROCESSES.values():
        images = correlated()
        before = images.clone()
        fitted = kind.fit(images)
        fitted.invert(fitted.apply(images))
        assert torch.equal(images, before)


@pytest.mark.parametrize("name", PREPROCESSES)
def test_inverse_gives_the_pixels_back(name: str) -> None:
    images = correlated()
    fitted = PREPROCESSES[name].fit(images)
    inputs = fitted.apply(images)
    assert inputs.dtype == torch.float32
    torch.testing.assert_close(fitted.invert(inputs), images, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", PREPROCESSES)
def test_restore_gives_the_same_map_bit_for_bit(name: str) -> None:
    images = correlated()
    fitted = PREPROCESSES[name].fit(images)
    restored = PREPROCESSES[name].restore(fitted.tensors())
    assert torch.equal(restored.apply(images), fitted.apply(images))
    assert torch.equal(restored.invert(images), fitted.invert(images))
    assert torch.equal(fitted.to("cpu").apply(images), fitted.apply(images))


@pytest.mark.parametrize("name", PREPROCESSES)
def test_fits_tells_the_shapes_it_was_made_for(name: str) -> None:
    fitted = PREPROCESSES[name].fit(correlated())
    assert fitted.fits((2, 3, 4))
    assert not fitted.fits((1, 3, 4))
    assert fitted.fits((2, 5, 4)) == (name == "standardise")


@pytest.mark.parametrize("name", PREPROCESSES)
def test_restore_refuses_tensors_that_are_not_its_own(name: str) -> None:
    kind = PREPROCESSES[name]
    whole = dict(kind.fit(correlated()).tensors())
    for broken, message in (
        ({key: value for key, value in whole.items() if key != "std"}, "expected tensors"),
        ({**whole, "more": torch.zeros(1)}, "expected tensors"),
        ({**whole, "mean": whole["mean"].double()}, "finite float32"),
        ({**whole, "mean": whole["mean"] * torch.nan}, "finite float32"),
        ({**whole, "mean": torch.zeros(3)}, "shape"),
        ({**whole, "std": -whole["std"]}, "positive std"),
    ):
        with pytest.raises(ValueError, match=message):
            kind.restore(broken)


def test_whitened_images_have_nearly_the_identity_as_covariance() -> None:
    images = correlated()
    inputs = Whiten.fit(images, eps=1e-7).apply(images)
    torch.testing.assert_close(covariance(inputs), torch.eye(24).double(), atol=2e-3, rtol=0)
    torch.testing.assert_close(inputs.mean(0), torch.zeros(2, 3, 4), atol=1e-4, rtol=0)


def test_eps_shrinks_a_direction_of_variance_s_to_s_over_s_plus_eps() -> None:
    images = correlated()
    before = torch.linalg.eigvalsh(covariance(Standardise.fit(images).apply(images)))
    after = torch.linalg.eigvalsh(covariance(Whiten.fit(images, eps=0.1).apply(images)))
    torch.testing.assert_close(after, before / (before + 0.1), atol=1e-4, rtol=0)


def test_whitening_is_the_symmetric_root_and_not_another_rotation() -> None:
    fitted = Whiten.fit(correlated())
    assert torch.equal(fitted.matrix, fitted.matrix.T)
    assert bool((torch.linalg.eigvalsh(fitted.matrix.double()) > 0).all())
    torch.testing.assert_close(fitted.matrix @ fitted.inverse, torch.eye(24), atol=1e-5, rtol=0)


def test_whitening_keeps_no_more_than_one_matrix_of_bytes() -> None:
    fitted = Whiten.fit(correlated())
    assert sum(value.nbytes for value in fitted.tensors().values()) == 4 * (24 * 25 + 24 + 2 + 2)


def test_whitening_over_chunks_is_whitening_at_once() -> None:
    images = correlated(count=4500, shape=(1, 3, 3))
    rows = Standardise.fit(images).apply(images).flatten(1).double()
    values, vectors = torch.linalg.eigh(torch.cov(rows.T))
    expected = vectors @ torch.diag((values + 0.1).rsqrt()) @ vectors.T
    torch.testing.assert_close(Whiten.fit(images).matrix, expected.float(), atol=1e-5, rtol=0)


def test_whitening_refuses_what_cannot_be_whitened() -> None:
    with pytest.raises(ValueError, match="eps above 0"):
        Whiten.fit(correlated(), eps=0)
    with pytest.raises(ValueError, match="at least 2 images"):
        Whiten.fit(correlated(count=1))


def test_whitening_restores_only_matching_shapes() -> None:
    whole = dict(Whiten.fit(correlated()).tensors())
    with pytest.raises(ValueError, match=r"packed \(D, D \+ 1\)"):
        Whiten.restore({**whole, "packed": whole["packed"][:, 1:].contiguous()})
