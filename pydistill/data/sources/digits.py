"""scikit-learn's handwritten digits: 1,797 real 8x8 images that need no download."""

from typing import ClassVar

import torch

from pydistill.data.real import Split
from pydistill.data.sources.base import Options, Raw, Source
from pydistill.tasks import Classification


class Digits(Source):
    """The data set shipped with scikit-learn; pixels 0..16 become float32 in [0, 1]."""

    understands: ClassVar[str] = "'digits' (shipped with scikit-learn)"

    def recognises(self, source: object) -> bool:
        return isinstance(source, str) and source == "digits"

    def read(self, source: object, options: Options) -> Raw:
        from sklearn.datasets import load_digits  # half a second, and only here

        found = load_digits()
        images = torch.from_numpy(found.images).float().div_(16).unsqueeze(1)
        targets = torch.from_numpy(found.target).long()
        return Raw(
            "digits",
            Classification(tuple(str(k) for k in range(10))),
            Split(images, targets),
            named=True,
            origins={"train": "scikit-learn's 8 x 8 digits"},
        )
