from dataclasses import replace

import torch

from pydistill.data import RealData, Split
from pydistill.data.real import fingerprint


def split(images: torch.Tensor) -> Split:
    return Split(images, torch.arange(len(images)))


def test_the_fingerprint_depends_on_every_pixel_target_type_and_place() -> None:
    images = torch.arange(5000 * 4).remainder(251).byte().view(5000, 1, 2, 2)
    base = fingerprint(train=split(images), test=split(images[:9]))
    assert base == fingerprint(test=split(images[:9].clone()), train=split(images.clone()))
    assert len(base) == 64
    changed = images.clone()
    changed[-1, 0, -1, -1] += 1
    others = [
        fingerprint(train=split(changed), test=split(images[:9])),
        fingerprint(train=split(images), test=split(images[:8])),
        fingerprint(train=split(images[:9]), test=split(images)),
        fingerprint(train=split(images.view(5000, 1, 4, 1)), test=split(images[:9])),
        fingerprint(train=split(images.view(torch.int8)), test=split(images[:9])),
        fingerprint(train=Split(images, torch.arange(5000).flip(0)), test=split(images[:9])),
    ]
    assert len({base, *others}) == 7


def test_the_fingerprint_does_not_depend_on_memory_layout() -> None:
    images = torch.rand(6, 3, 4, 4)
    last = images.to(memory_format=torch.channels_last)
    assert fingerprint(train=split(images)) == fingerprint(train=split(last))


def test_flips_are_augmentation_only_where_they_keep_the_class(tiny: RealData) -> None:
    assert tiny.augment == "color_crop_cutout_flip_scale_rotate"
    assert replace(tiny, horizontal_flip=False).augment == "color_crop_cutout_scale_rotate"


def test_inputs_are_preprocessed_channels_last_images(tiny: RealData) -> None:
    indices = torch.tensor([5, 0, 7])
    inputs = tiny.inputs(tiny.train, indices)
    assert torch.equal(inputs, tiny.preprocess.apply(tiny.train.images[indices]))
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert tiny.inputs(tiny.train, slice(0, 2), dtype=torch.bfloat16).dtype == torch.bfloat16


def test_take_copies(tiny: RealData) -> None:
    part = tiny.train.take(torch.tensor([3, 1]))
    assert torch.equal(part.images, tiny.train.images[[3, 1]])
    assert torch.equal(part.targets, tiny.train.targets[[3, 1]])
    part.images.zero_()
    assert int(tiny.train.images[3].max()) > 0
