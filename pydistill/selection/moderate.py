"""Selection of images that are neither typical nor unusual of their class.

[0] X. Xia et al.: Moderate Coreset, A Universal Method of Data Selection for Real-world Data-efficient Deep
    Learning. ICLR 2023, https://openreview.net/forum?id=7D5EECbOaf9.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from pydistill.engine.method import option, register
from pydistill.selection.base import Candidates, Chosen, EmbeddingSelector
from pydistill.tasks.base import chunks

_AT_ONCE = 4096
"""Images whose distances are computed at once: bounds memory."""


@register
@dataclass(frozen=True, kw_only=True)
class Moderate(EmbeddingSelector):
    """Images whose distance to the mean of their class is nearest to the median distance ([0]).

    With d_i = ||f_i - mean_j f_j||, in ascending order of |d_i - median_j d_j|; ties in the order of the
    images. The median of an even number is the mean of both middle ones. Where an image is of no one
    class, mean and median are over all.
    """

    name: ClassVar[str] = "moderate"
    nested: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation", "detection")
    citation: ClassVar[str] = "Xia et al., Moderate Coreset, ICLR 2023"
    summary: ClassVar[str] = "images at the median distance from the mean of their class"

    embedding: str = option("trained", "random, trained, thumbnails or a .npy file of a row an image")

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        features = candidates.features()
        mean = features.mean(0, dtype=torch.float64)
        parts = [(features[part] - mean).norm(dim=1) for part in chunks(len(features), _AT_ONCE)]
        distances = torch.cat(parts)
        ranked, middle = distances.sort().values, (len(distances) - 1) // 2
        median = (ranked[middle] + ranked[len(distances) // 2]) / 2
        return Chosen(torch.argsort((distances - median).abs(), stable=True)[:count])
