"""UCI's handwritten digits: 1,797 real 8x8 images that need no download.

[0] E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. UCI Machine Learning Repository,
    1998, doi:10.24432/C50P49, licensed under CC BY 4.0. ``digits.npz`` beside this file holds its test set,
    the images in the order in which scikit-learn ships them as ``load_digits``.
"""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from pydistill.data.real import Split
from pydistill.data.sources.base import Options, Raw, Source
from pydistill.tasks import Classification


class Digits(Source):
    """The digits of [0] that come with this package; pixels 0..16 become float32 in [0, 1]."""

    understands: ClassVar[str] = "'digits' (part of the package)"

    def recognises(self, source: object) -> bool:
        return isinstance(source, str) and source == "digits"

    def read(self, source: object, options: Options) -> Raw:
        with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as found:
            images = torch.from_numpy(found["images"]).float().div_(16).unsqueeze(1)
            targets = torch.from_numpy(found["labels"]).long()
        return Raw(
            "digits",
            Classification(tuple(str(k) for k in range(10))),
            Split(images, targets),
            named=True,
            origins={"train": "UCI's 8 x 8 digits"},
        )
