from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from pydistill.data import RealData, Standardise, Whiten, load_data
from pydistill.errors import DataError
from tests.conftest import blobs
from tests.data.conftest import all_pixels, make_distilled


@pytest.fixture(scope="module")
def digits() -> RealData:
    return load_data("digits")


def test_digits(digits: RealData) -> None:
    assert digits.name == "digits"
    assert digits.shape == (1, 8, 8)
    assert sum(map(len, (digits.train, digits.validation, digits.test))) == 1797
    assert digits.train.images.dtype == torch.float32
    assert (float(digits.train.images.min()), float(digits.train.images.max())) == (0, 1)
    assert not digits.horizontal_flip
    assert digits.augment == "color_crop_cutout_scale_rotate"
    assert digits.notes == (
        "images: train 1,295 (UCI's 8 x 8 digits), validation 143 (held out of the training "
        "images by seed 0), test 359 (held out of the training images, whatever the seed)",
        "10 classes ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'], 125 to 131 training images each",
        "images are 8 x 8, grey, floats in [0, 1]",
        "images are not mirrored: the class names ['0', '1', '2', ...] are digits or letters "
        "(horizontal_flip= decides otherwise)",
        "the source has no test split: 359 of its 1797 images, drawn by class, are held out as test images",
    )
    assert digits.summary().splitlines()[0] == "digits: 1,797 images in 10 classes"
    assert all(note in digits.summary() for note in digits.notes)


def test_the_digits_stay_the_same_images(digits: RealData) -> None:
    """Kept results carry this value."""
    assert digits.fingerprint == "f372e4b3278a69b212cc762a51aca8a5e570ca4c0e911f091e5153f808bb07d6"


def test_no_image_is_in_two_splits() -> None:
    arrays = blobs(each=40)
    data = load_data((arrays["x_train"], arrays["y_train"]))
    assert len(all_pixels(data)) == 120


def test_held_out_splits_are_stratified(digits: RealData) -> None:
    train, held = Counter(digits.train.targets.tolist()), Counter(digits.validation.targets.tolist())
    for index in range(10):
        assert held[index] / (held[index] + train[index]) == pytest.approx(0.1, abs=0.005)


def test_the_seed_moves_validation_and_never_test(digits: RealData) -> None:
    again, other = load_data("digits"), load_data("digits", seed=1)
    assert again.fingerprint == digits.fingerprint
    assert torch.equal(again.validation.images, digits.validation.images)
    assert other.fingerprint != digits.fingerprint
    assert not torch.equal(other.validation.images, digits.validation.images)
    assert torch.equal(other.test.images, digits.test.images)


def test_loading_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    load_data(blobs(), preprocess="zca")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_fractions_are_those_asked_for() -> None:
    arrays = blobs(each=50)
    data = load_data((arrays["x_train"], arrays["y_train"]), validation=0.25, test=0.4)
    assert (len(data.train), len(data.validation), len(data.test)) == (66, 24, 60)


def test_preprocessing_is_fitted_on_training_images_alone(digits: RealData) -> None:
    fitted = Standardise.fit(digits.train.images)
    assert isinstance(digits.preprocess, Standardise)
    assert torch.equal(digits.preprocess.mean, fitted.mean)
    assert torch.equal(digits.preprocess.std, fitted.std)
    everything = torch.cat([digits.train.images, digits.validation.images])
    assert not torch.equal(digits.preprocess.mean, Standardise.fit(everything).mean)


def test_whitening_by_name() -> None:
    data = load_data(blobs(), preprocess="zca")
    assert isinstance(data.preprocess, Whiten)
    assert data.inputs(data.train, slice(0, 4)).shape == (4, 1, 8, 8)


def test_names_mirroring_and_size_can_be_set() -> None:
    data = load_data(blobs(), name="blobs", horizontal_flip=False, class_names=("a", "b", "c"), size=(4, 6))
    assert (data.name, data.horizontal_flip, data.task.class_names, data.shape) == (
        "blobs",
        False,
        ("a", "b", "c"),
        (1, 4, 6),
    )
    assert data.train.images.dtype == torch.uint8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 0}, r"validation is the fraction .* within \(0, 1\), got 0"),
        ({"validation": 1.0}, r"got 1\.0"),
        ({"validation": float("nan")}, "got nan"),
        ({"test": -0.1}, r"test is the fraction .*got -0\.1"),
        ({"preprocess": "whiten"}, "unknown preprocess 'whiten'; expected one of standardise, zca"),
        ({"layout": "CHWN"}, 'expected layout "NCHW" or "NHWC"'),
        ({"size": 0}, "expected size as one or two numbers of pixels, got 0"),
        ({"size": (3, 4, 5)}, "expected size as one or two"),
        ({"class_names": ("a", "a")}, "expected different class names"),
        ({"class_names": ()}, "expected different class names"),
        ({"image_column": "img"}, "image_column means nothing to 'digits'"),
        ({"subset": "small"}, "subset means nothing to 'digits'"),
    ],
)
def test_arguments_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_data("digits", **options)


@pytest.mark.parametrize(
    ("source", "near"),
    [
        ("digit", "digits"),
        ("cifar-10", "cifar10"),
        ("fashionmnist", "fashion-mnist"),
        ("CIFAR100", "cifar100"),
    ],
)
def test_an_unknown_name_is_answered_with_close_ones(source: str, near: str) -> None:
    with pytest.raises(
        DataError, match=rf"unknown data set '{source}': did you mean .*{near}.*understood are"
    ):
        load_data(source)


def test_missing_folders_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"no data set, file or folder .*gone.*understood are: 'digits'"):
        load_data(tmp_path / "gone")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for source in ("data/gone", "./gone", "qwertyuiop", "a/b/c"):
        with pytest.raises(DataError, match="no data set, file or folder"):
            load_data(source)


def test_folders_and_files_of_no_known_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder .* holds no data set known here"):
        load_data(tmp_path)
    (tmp_path / "set.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"the file .*set\.csv holds no data set known here"):
        load_data(tmp_path / "set.csv")


def test_a_distilled_set_is_not_real_data(tmp_path: Path) -> None:
    make_distilled().save(tmp_path)
    with pytest.raises(DataError, match="holds a distilled set: read it with DistilledData"):
        load_data(tmp_path)


def test_what_is_no_source_at_all() -> None:
    with pytest.raises(TypeError, match="cannot load a data set from int; understood are"):
        load_data(3)  # type: ignore[arg-type]


def test_too_few_images_for_a_split() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4), dtype=np.uint8)
    with pytest.raises(DataError, match="too few images for a validation split: a class needs two"):
        load_data((images, np.array([0, 1])))
