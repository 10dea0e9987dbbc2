"""One definition of an operator, from which it gets all the ways torch may call it.

``torch.library.register_autograd`` alone does not do: ``torch.func.grad`` over it fails, and forward-mode
derivatives come back as zeros without a word. An ``autograd.Function`` alone does not do either, since
``torch.compile`` should see one opaque operator. :func:`define` makes both from the same parts.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

LIBRARY = torch.library.Library("pydistill", "FRAGMENT")  # type: ignore[no-untyped-call]

Setup = Callable[[Any, tuple[Any, ...], Any], None]
Backward = Callable[..., Any]
Vmap = Callable[..., tuple[Any, Any]]


@dataclass(frozen=True)
class Operator:
    """A compiled operator with its derivative, callable on tensors.

    Attributes:
        name: Its name in the dispatcher, under ``torch.ops.pydistill``.
        overload: The dispatcher's operator.
        function: The ``autograd.Function`` around it.
    """

    name: str
    overload: Any
    function: type[torch.autograd.Function]

    def __call__(self, *args: Any) -> Any:
        """Run the operator: opaque under ``torch.compile``, through the ``autograd.Function`` elsewhere."""
        if torch.compiler.is_compiling():
            return self.overload(*args)
        return self.function.apply(*args)  # type: ignore[no-untyped-call]


def define(
    name: str,
    schema: str,
    *,
    fake: Callable[..., Any],
    vmap: Vmap,
    setup: Setup | None = None,
    backward: Backward | None = None,
) -> Operator:
    """Declare an operator that the extension implements.

    Args:
        name: The name, the same in C++, CUDA, Python and tests.
        schema: Arguments and results, in the dispatcher's language: ``"(Tensor x) -> Tensor"``.
        fake: Shapes, dtypes and strides of the results from those of the arguments.
        vmap: ``vmap(overload, info, in_dims, *args) -> (results, out_dims)``; ``overload`` is the operator
            without its derivative, which torch maps by itself.
        setup: ``setup(ctx, inputs, output)`` saves what ``backward`` needs.
        backward: ``backward(ctx, *grads)``, a gradient or None for each argument, made of differentiable
            operators. Without it a derivative of this operator is refused by name.

    Returns:
        The operator.
    """
    tags = (torch.Tag.pt2_compliant_tag,)
    LIBRARY.define(f"{name}{schema}", tags=tags)  # type: ignore[no-untyped-call]
    qualified = f"pydistill::{name}"
    overload = getattr(torch.ops.pydistill, name).default
    torch.library.register_fake(qualified, fake, lib=LIBRARY)
    torch.library.register_vmap(qualified, functools.partial(vmap, overload), lib=LIBRARY)
    kept, derivative = setup or _keep_nothing, backward or _refuse(name)
    torch.library.register_autograd(qualified, derivative, setup_context=kept, lib=LIBRARY)
    parts = {
        "generate_vmap_rule": True,
        "forward": staticmethod(lambda *args: overload(*args)),
        "setup_context": staticmethod(kept),
        "backward": staticmethod(derivative),
        "jvp": staticmethod(_refuse_forward_mode(name)),
    }
    return Operator(name, overload, type(name, (torch.autograd.Function,), parts))


def _keep_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    return None


def _refuse(name: str) -> Backward:
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError(
            f"{name} has no derivative: its operator goes to second order only. For higher orders "
            "run the plain-torch reference: `with pydistill.ops.reference_only():`"
        )

    return backward


def _refuse_forward_mode(name: str) -> Callable[..., Any]:
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise NotImplementedError(
            f"{name} has no forward-mode derivative (jvp, jacfwd, forward-over-reverse). "
            "Use reverse mode, or the plain-torch reference: `with pydistill.ops.reference_only():`"
        )

    return jvp
