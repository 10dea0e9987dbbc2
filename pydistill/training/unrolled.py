"""Training as a differentiable function of what it is trained on, in flat memory.

A training of T steps is a long computation: to differentiate through it as a whole, every activation of
every step is kept. Here only the state between steps is (parameters and what the optimiser remembers), and
the backward pass goes step by step: one step's graph is made again, the adjoint of the state after it is
turned into that of the state before it, and what the step contributed to the gradients of images, targets
and rates is added up. The result is the same gradient, at the cost of one more pass over the steps. Where
there is memory for it, the graphs of all steps can be kept instead, and no pass is added
(``keep_every=0``).

With s_0 the first state, s_(t+1) = f_t(s_t, u) a step under what is learned, u, and L(s_T) what is wanted:

    a_T = dL/ds_T,    a_t = (df_t/ds_t)^T a_(t+1),    dL/du = sum_t (df_t/du)^T a_(t+1)

:func:`unroll` is that engine, for any step; :class:`~pydistill.training.inner_loop.InnerLoop` is the step
that trains networks.

[0] D. Maclaurin, D. Duvenaud, R. Adams: Gradient-based Hyperparameter Optimization through Reversible
    Learning. ICML 2015, arXiv:1502.03492, has the same backward pass, its states found by running
    backwards.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pydistill import checks
from pydistill.optim import Tensors

State: TypeAlias = dict[str, Any]
"""A nested dict of tensors and numbers. Floating-point tensors are differentiated through."""

Step: TypeAlias = Callable[[int, State, Tensors], tuple[State, Tensor]]
"""``step(index, state, learned) -> (next state, training loss)``: pure, the same whenever it is called with
the same arguments, differentiable where gradients are enabled when it is called."""

KEEP_EVERY = (
    "one state of the training in so many is kept, the rest computed again; 0: the graphs of all steps are "
    "kept, faster in more memory; none: 1, on a GPU 0 where they fit"
)
"""What ``keep_every`` is, for the help of methods that have it as an option."""

_GRAPHS_SHARE = 0.25
"""Of a GPU's memory: what the graphs of all steps may take to be kept unasked."""


@dataclass(frozen=True)
class Unrolled:
    """What a training came to.

    Attributes:
        state: After the last step, in the graph of the first state and of what is learned.
        losses: (T,) training losses before each step, outside any graph.
    """

    state: State
    losses: Tensor


def unroll(
    step: Step,
    start: State,
    learned: Tensors,
    *,
    steps: int,
    first: int = 0,
    window: int | None = None,
    keep_every: int | None = 1,
) -> Unrolled:
    """Do ``steps`` steps; the result can be differentiated once, step by step.

    Args:
        step: What one step does.
        start: The first state; gradients flow to its tensors that require them.
        learned: What every step sees, by name; gradients flow to those that require them.
        steps: T, at least 1.
        first: Index of the first step.
        window: Only the last ``window`` steps are differentiated: what came before counts as constant
            (truncated back-propagation through time); None: all.
        keep_every: One state in so many is kept; those between are computed again in the backward pass. T /
            keep_every + keep_every states are held, for one more pass over the steps where above 1. 0:
            every step's graph is kept, which takes the memory of differentiating the training as a whole
            and saves the pass that makes the graphs again. None: 0 on a GPU whose memory is at least four
            times what all graphs take, judged by the first one; else 1.

    Returns:
        The last state and the losses.

    Raises:
        ValueError: A number is out of range, or the window is longer than the unroll.
    """
    checks.integer("steps", steps, 1)
    if keep_every is not None:
        checks.integer("keep_every", keep_every, 0)
    if window is not None:
        checks.integer("window", window, 1)
        if window > steps:
            raise ValueError(f"window must be at most steps = {steps}, got {window}")
    plan = _Plan(
        step, start, tuple(learned), first, steps, 0 if window is None else steps - window, keep_every
    )
    *leaves, losses = _Unroll.apply(plan, *_leaves(start), *learned.values())  # type: ignore[no-untyped-call]
    return Unrolled(_with_leaves(plan.last, leaves), losses)


@dataclass
class _Plan:
    """What the forward and the backward pass share.

    Attributes:
        step: What one step does.
        start: Form of the first state; its tensors come and go as arguments of the autograd function.
        names: Of what is learned.
        first: Index of the first step.
        steps: How many.
        constant: How many of them are not differentiated.
        keep_every: One state in so many is kept; 0: every step's graph; None: not decided yet.
        last: The state after the last step.
        kept: States by the number of steps before them, detached.
        graphs: Graphs of steps by the number of steps before them.
    """

    step: Step
    start: State
    names: tuple[str, ...]
    first: int
    steps: int
    constant: int
    keep_every: int | None
    last: State = field(default_factory=dict)
    kept: dict[int, State] = field(default_factory=dict)
    graphs: dict[int, "_Graph"] = field(default_factory=dict)

    def run(self, done: int, state: State, learned: Sequence[Tensor]) -> tuple[State, Tensor]:
        """The step after ``done`` of them."""
        return self.step(self.first + done, state, dict(zip(self.names, learned, strict=True)))

    def tracked(
        self, done: int, state: State, learned: Sequence[Tensor], wanted: Sequence[bool]
    ) -> "tuple[_Graph, Tensor]":
        """The step after ``done`` of them in a graph of its own, and its loss."""
        leaves = [leaf.detach().requires_grad_() for leaf in _leaves(state)]
        values = [value.detach().requires_grad_(want) for value, want in zip(learned, wanted, strict=True)]
        with torch.enable_grad():
            after, loss = self.run(done, _with_leaves(state, leaves), values)
        return _Graph(leaves, values, after), loss

    def forward(self, start: State, learned: Sequence[Tensor], wanted: Sequence[bool] | None) -> Tensor:
        """All steps; the losses (T,), outside any graph.

        Args:
            start: The first state.
            learned: What every step sees.
            wanted: What of it gradients flow to; None: nothing is to be differentiated, nothing is kept.
        """
        state, losses = start, []
        devices = _gpus((*_leaves(start), *learned))
        if self.keep_every is None and not devices:
            self.keep_every = 1
        for done in range(self.steps):
            at = done - self.constant
            if wanted is not None and at >= 0 and not self.keep_every:
                before = _allocated(devices) if self.keep_every is None else 0
                graph, loss = self.tracked(done, state, learned, wanted)
                self.graphs[done] = graph
                state = _with_leaves(graph.after, [leaf.detach() for leaf in _leaves(graph.after)])
                if self.keep_every is None:
                    every = (_allocated(devices) - before) * (self.steps - self.constant)
                    self.keep_every = int(every > _memory(devices) * _GRAPHS_SHARE)
            else:
                if wanted is not None and at >= 0 and self.keep_every and at % self.keep_every == 0:
                    self.kept[done] = state
                state, loss = self.run(done, state, learned)
            losses.append(loss.detach())
        self.last = state
        return torch.stack(losses)

    def backwards(
        self, learned: Sequence[Tensor], wanted: Sequence[bool]
    ) -> "Iterator[tuple[int, _Graph, bool]]":
        """(steps before it, its graph, whether it is needed again), last step first."""
        for mark in sorted({*self.kept, *self.graphs}, reverse=True):
            if mark in self.graphs:
                yield mark, self.graphs[mark], True
                continue
            states = [self.kept[mark]]
            for done in range(mark, min(mark + (self.keep_every or 1), self.steps) - 1):
                states.append(self.run(done, states[-1], learned)[0])
            while states:
                done = mark + len(states) - 1
                yield done, self.tracked(done, states.pop(), learned, wanted)[0], False


@dataclass(frozen=True)
class _Graph:
    """One step's: from leaves of the state before it and what is learned to the state after it."""

    leaves: list[Tensor]
    values: list[Tensor]
    after: State


class _Unroll(torch.autograd.Function):
    """The whole training as one node.

    From (plan, leaves of the first state, what is learned) to (leaves of the last state, losses).
    """

    @staticmethod
    def forward(ctx: Any, plan: _Plan, *given: Tensor) -> tuple[Tensor, ...]:
        count = len(given) - len(plan.names)
        state = _with_leaves(plan.start, [leaf.detach() for leaf in given[:count]])
        wanted = ctx.needs_input_grad[1 + count :] if any(ctx.needs_input_grad) else None
        losses = plan.forward(state, [value.detach() for value in given[count:]], wanted)
        ctx.plan, ctx.count = plan, count
        ctx.save_for_backward(*given[count:])
        ctx.mark_non_differentiable(losses)
        ctx.set_materialize_grads(False)
        return (*(leaf.clone() for leaf in _leaves(plan.last)), losses)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *adjoints: Tensor | None) -> tuple[Tensor | None, ...]:
        plan, learned = ctx.plan, [value.detach() for value in ctx.saved_tensors]
        wanted = ctx.needs_input_grad[1 + ctx.count :]
        start_wanted = any(ctx.needs_input_grad[1 : 1 + ctx.count])
        totals: list[Tensor | None] = [None] * len(learned)
        *carried, _ = adjoints
        with torch.no_grad():
            for done, graph, again in plan.backwards(learned, wanted):
                into_state = done > plan.constant or (done == 0 and start_wanted)
                carried, shares = _adjoint(graph, wanted, carried, into_state, again)
                totals = [_sum(total, share) for total, share in zip(totals, shares, strict=True)]
        if plan.constant:
            carried = [None] * ctx.count
        return (None, *carried, *totals)


def _adjoint(
    graph: _Graph,
    wanted: Sequence[bool],
    carried: Sequence[Tensor | None],
    into_state: bool,
    again: bool,
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """The adjoint of the state before a step, and the step's share of what is learned.

    Args:
        graph: The step's.
        wanted: What of what is learned gradients flow to.
        carried: The adjoint of the state after the step.
        into_state: Whether that of the state before it is wanted.
        again: Whether the graph is kept for another backward pass.
    """
    leaves, values = graph.leaves, graph.values
    pairs = [
        (output, adjoint)
        for output, adjoint in zip(_leaves(graph.after), carried, strict=True)
        if adjoint is not None and output.requires_grad
    ]
    inputs = [*(leaves if into_state else []), *(v for v, want in zip(values, wanted, strict=True) if want)]
    found: Iterator[Tensor | None] = iter(())
    if pairs and inputs:
        outputs, adjoints = zip(*pairs, strict=True)
        found = iter(torch.autograd.grad(outputs, inputs, adjoints, allow_unused=True, retain_graph=again))
    before = [next(found, None) if into_state else None for _ in leaves]
    return before, [next(found, None) if want else None for want in wanted]


def _gpus(tensors: Sequence[Tensor]) -> set[torch.device]:
    """The GPUs that tensors lie on."""
    return {tensor.device for tensor in tensors if tensor.device.type == "cuda"}


def _allocated(devices: set[torch.device]) -> int:
    """Bytes that torch has given out there."""
    return sum(map(torch.cuda.memory_allocated, devices))


def _memory(devices: set[torch.device]) -> int:
    """Bytes that they have."""
    return sum(torch.cuda.get_device_properties(each).total_memory for each in devices)


def _sum(total: Tensor | None, share: Tensor | None) -> Tensor | None:
    if total is None or share is None:
        return share if total is None else total
    return total + share


def _leaves(tree: Any) -> list[Tensor]:
    """The floating-point tensors of a state, in order."""
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in _leaves(value)]
    return [tree] if _is_leaf(tree) else []


def _with_leaves(tree: State, leaves: Sequence[Tensor]) -> State:
    """A state with other floating-point tensors, in the same order."""
    remaining = iter(leaves)

    def filled(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: filled(value) for key, value in part.items()}
        return next(remaining) if _is_leaf(part) else part

    state: State = filled(tree)
    return state


def _is_leaf(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
