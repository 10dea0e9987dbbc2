"""Names of folders of images and of their masks or boxes, which may name a split as well."""

import re
from dataclasses import dataclass

from pydistill.data.sources.names import split_words

_IMAGES = frozenset(
    (
        "image", "images", "img", "imgs", "jpegimages", "leftimg8bit", "photos", "pictures", "original",
        "originals",
    )
)  # fmt: skip
_MASKS = frozenset(
    (
        "mask", "masks", "annotation", "annotations", "annot", "annots", "label", "labels",
        "segmentation", "segmentations", "segmentationclass", "segmentationclassaug", "segmentationmask",
        "segmentationmasks", "seg", "gt", "gts", "groundtruth", "groundtruths",
    )
)  # fmt: skip
"""Names of folders, without case and punctuation."""
_GLUED = re.compile(
    r"(?i)^(train|training|val|valid|validation|test|testing)(annot|annots|masks?|labels?|gt)$"
)
"""As SegNet's folders are called: ``trainannot`` beside ``train``."""


@dataclass(frozen=True)
class Said:
    """What the name of a folder says of the pictures in it.

    Attributes:
        role: ``"images"``, ``"masks"`` or None.
        split: The words that name a split, or None.
    """

    role: str | None
    split: str | None


def read_role(name: str) -> Said:
    """What the name of a folder says: ``train_masks``, ``trainannot``, ``images``, ``val``."""
    glued = _GLUED.match(name)
    if glued is not None:
        return Said("masks", glued[1].lower())
    words, rest = split_words(name)
    joined = "".join(sorted(rest, key=lambda word: name.lower().find(word)))
    role = "images" if joined in _IMAGES else "masks" if joined in _MASKS else None
    if len(words) > 1 or (rest and role is None):
        return Said(role, None)
    return Said(role, next(iter(words), None))
