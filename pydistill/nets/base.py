"""What every network offers: logits, an embedding, or the output of every block, in one pass."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

from torch import Tensor, nn

from pydistill.nets.spec import Shape, Spec
from pydistill.nets.ties import every_name, once, tie, tied

Mode = Literal["logits", "embedding", "blocks"]


class Network(nn.Module, ABC):
    """A network whose block outputs can be had in one pass.

    ``forward`` takes the mode as an argument, so that ``torch.func.functional_call`` reaches all three:
    ``functional_call(net, parameters, (images, "embedding"))``.

    A network with batch normalisation updates its running statistics in place while in training mode,
    in a functional call those that were passed. Pass copies, and under ``torch.func.grad`` pass them as
    arguments of the function, or put the network in ``eval()`` mode where the statistics are only read.

    A weight that is used in several places (``b.weight = a.weight``) is one parameter: drawn, stacked,
    trained and kept once, under its first name.

    Args:
        spec: What the network was made from; shown in messages.
        shape: (C, H, W) of the images it takes.
        outputs: K, the number of logits.
    """

    def __init__(self, spec: Spec, shape: Shape, outputs: int) -> None:
        super().__init__()
        self.spec = spec
        self.shape = shape
        self.outputs = outputs
        self.register_state_dict_post_hook(once)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(every_name)  # type: ignore[no-untyped-call]

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As every module's; weights that are one stay one, and may be given by any of their names."""
        groups = tied(self)
        done = super().load_state_dict(state_dict, strict, assign)
        if assign:
            tie(self, groups)
        return done

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """A name for every entry of :meth:`blocks`."""

    @abstractmethod
    def blocks(self, images: Tensor) -> list[Tensor]:
        """The output of every block, input side first."""

    @abstractmethod
    def head(self, blocks: Sequence[Tensor]) -> Tensor:
        """Outputs (N, K), or (N, K, h, w), from what :meth:`blocks` gave."""

    def embed(self, blocks: Sequence[Tensor]) -> Tensor:
        """The embedding (N, D) in what :meth:`blocks` gave: the last block, flattened."""
        return blocks[-1].flatten(1)

    @overload
    def forward(self, images: Tensor, mode: Literal["logits", "embedding"] = "logits") -> Tensor: ...

    @overload
    def forward(self, images: Tensor, mode: Literal["blocks"]) -> list[Tensor]: ...

    def forward(self, images: Tensor, mode: Mode = "logits") -> Tensor | list[Tensor]:
        """Images (N, C, H, W) to outputs, to the embedding (N, D), or to every block's output.

        Outputs are logits (N, K), or maps (N, K, h, w) where a network answers for places.

        Raises:
            ValueError: The images are not of the shape the network was built for, or the mode is unknown.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.shape:
            raise ValueError(
                f"{self.spec} was built for images (N, {', '.join(map(str, self.shape))}), "
                f"found {tuple(images.shape)}; build it for the shape of the data"
            )
        if mode not in ("logits", "embedding", "blocks"):
            raise ValueError(f"mode must be logits, embedding or blocks, found {mode!r}")
        outputs = self.blocks(images)
        if mode == "blocks":
            return outputs
        return self.embed(outputs) if mode == "embedding" else self.head(outputs)
