"""Random arguments for an operator, and what a kernel must agree on with the reference in float64."""

import torch

from pydistill import ops
from pydistill.seeds import generator

TOLERANCE = {torch.float64: 1e-9, torch.float32: 5e-4, torch.bfloat16: 3e-2}
SIZES = (1, 2, 3, 4, 5, 7, 8, 11, 13, 16, 17)
KINDS = ("ordinary", "huge", "tiny", "denormal", "not finite", "not finite")
UNITS = {"huge": 1e6, "tiny": 1e-6}


class Draw:
    """Draws by one seed: of sizes, choices and tensors with awkward values and strides."""

    def __init__(self, name, seed, device="cpu"):
        self.rng, self.device = generator(seed, "fuzz", name), device

    def number(self, low, high):
        """A float between the two."""
        return low + (high - low) * torch.rand((), generator=self.rng, dtype=torch.float64).item()

    def pick(self, choices):
        """One of the choices."""
        return choices[int(torch.randint(len(choices), (), generator=self.rng))]

    def size(self, *least):
        """A small size, odd and prime ones among them, at least ``least``."""
        return max(self.pick(SIZES), *least, 1)

    def values(self, shape, dtype, kind="ordinary"):
        """Numbers of a kind: large and small ones stay where their squares are still in float32's range."""
        made = torch.randn(shape, generator=self.rng, dtype=torch.float64)
        places = torch.rand(shape, generator=self.rng)
        made *= UNITS.get(kind, 1.0)
        if kind == "denormal":
            made[places < 0.3] *= torch.finfo(dtype).tiny / 64
        if kind == "not finite":
            few = places < 2 / max(made.numel(), 8)
            made[few] = self.pick((float("nan"), float("inf"), -float("inf")))
        return self.strided(made.to(self.device, dtype))

    def strided(self, tensor):
        """The same numbers, somewhere else in memory."""
        layout = self.pick(("plain", "plain", "turned", "sliced", "offset", "inside"))
        if layout == "turned" and tensor.ndim > 1:
            return tensor.mT.contiguous().mT
        if layout == "sliced":
            wide = tensor.new_full((*tensor.shape[:-1], 2 * tensor.shape[-1]), 9.0)
            wide[..., ::2] = tensor
            return wide[..., ::2]
        if layout == "offset":
            return torch.cat([tensor.new_full((1, *tensor.shape[1:]), 9.0), tensor])[1:]
        if layout == "inside" and tensor.ndim == 4:
            return tensor.contiguous(memory_format=torch.channels_last)
        return tensor


def results(function, tensors, ups):
    """The outcome and the gradients of its sum under given weights."""
    given = [tensor.detach().requires_grad_() for tensor in tensors]
    out = function(*given)
    return [out.detach(), *torch.autograd.grad(out, given, ups(out), materialize_grads=True)]


def check(draw, function, tensors, loose=1.0, least=()):
    """Kernel against reference, forward and first derivative, and shapes of what has no values.

    Args:
        draw: Of the weights of the result.
        function: Of the tensors.
        tensors: Floating-point arguments.
        loose: Times the dtype's tolerance.
        least: Of each result, what errors are measured against where its values are smaller.
    """
    dtype = tensors[0].dtype
    weights = {}

    def ups(out):
        if out.shape not in weights:
            weights[out.shape] = torch.randn(out.shape, generator=draw.rng, dtype=torch.float64)
        return weights[out.shape].to(dtype).to(out)

    found = results(function, tensors, ups)
    with ops.reference_only():
        expected = results(function, [tensor.cpu().double() for tensor in tensors], ups)
    least = least or (torch.finfo(torch.float32).tiny,) * len(found)
    for at, (one, other, small) in enumerate(zip(found, expected, least, strict=True)):
        one, finite = one.cpu(), other.isfinite()
        assert torch.equal(one.isfinite(), finite), f"result {at}: {one} where {other} is expected"
        if not finite.any():
            continue
        error = (one.double() - other)[finite].abs().max().item()
        scale = max(other[finite].abs().max().item(), small)
        assert error <= loose * TOLERANCE[dtype] * scale, f"result {at}: off by {error} of {scale}"
    for place in ("meta", "fake"):
        check_abstract(function, tensors, found[0], place)


def check_abstract(function, tensors, real, place):
    """Of tensors without values come shapes, dtypes and strides as of real ones."""
    if place == "meta":
        out = function(*(tensor.to("meta") for tensor in tensors))
    else:
        mode = torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True)
        with mode:
            out = function(*(mode.from_tensor(tensor.detach()) for tensor in tensors))
    assert (out.shape, out.dtype) == (real.shape, real.dtype)
    assert place == "meta" or out.stride() == real.stride()  # the meta device has no kernels of its own
