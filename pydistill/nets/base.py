"""What every network offers: logits, an embedding, or the output of every block, in one pass."""

from abc import ABC, abstractmethod
from typing import Literal, overload

from torch import Tensor, nn

Mode = Literal["logits", "embedding", "blocks"]


class Network(nn.Module, ABC):
    """A network whose block outputs can be had in one pass.

    ``forward`` takes the mode as an argument, so that ``torch.func.functional_call`` reaches all three:
    ``functional_call(net, parameters, (images, "embedding"))``.
    """

    @abstractmethod
    def blocks(self, images: Tensor) -> list[Tensor]:
        """The output of every block, input side first; the last one feeds :meth:`classify`."""

    @abstractmethod
    def classify(self, embedding: Tensor) -> Tensor:
        """Logits (N, K) from the flattened last block (N, D)."""

    @overload
    def forward(self, images: Tensor, mode: Literal["logits", "embedding"] = "logits") -> Tensor: ...

    @overload
    def forward(self, images: Tensor, mode: Literal["blocks"]) -> list[Tensor]: ...

    def forward(self, images: Tensor, mode: Mode = "logits") -> Tensor | list[Tensor]:
        """Images (N, C, H, W) to logits (N, K), to the embedding (N, D), or to every block's output."""
        outputs = self.blocks(images)
        if mode == "blocks":
            return outputs
        embedding = outputs[-1].flatten(1)
        return embedding if mode == "embedding" else self.classify(embedding)
