"""A user's own ``torch.nn.Module`` among the networks that an evaluation trains from scratch.

Every network of an evaluation starts from fresh weights that follow from a seed. Of a module that is given
as it is, a copy is taken and the weights of all its parts are drawn anew, by ``reset_parameters`` as
torch's own layers have it; a function or class that makes the module is called anew. Either way torch's
global generator is seeded for it, and left as it was.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn

from pydistill import nets
from pydistill.data.equality import alike
from pydistill.tasks import Task

Own: TypeAlias = nn.Module | Callable[[], nn.Module]
"""A module, or what makes one: a function or class without arguments."""

_SEEDS = 2**63 - 1


@dataclass(frozen=True, eq=False)
class OwnNetwork:
    """A network to be trained from scratch, again and again.

    Attributes:
        name: What reports call it.
        given: A module, or what makes one.
    """

    name: str
    given: Own

    def build(self, generator: torch.Generator, device: torch.device | str = "cpu") -> nn.Module:
        """The network with fresh weights, in training mode; the global generator is left as it was."""
        seed = int(torch.randint(_SEEDS, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            if isinstance(self.given, nn.Module):
                network = copy.deepcopy(self.given).cpu()
                for part in reversed(list(network.modules())):  # a whole may set its parts in its own way
                    draw = _redraw(part)
                    if draw is not None and _holds_parameters(part):
                        draw()
            else:
                network = self.given()
                if not isinstance(network, nn.Module):
                    raise TypeError(
                        f"{self.name}: expected a torch.nn.Module to be made, got {type(network).__name__}"
                    )
        return network.to(device, torch.float32).train()

    def check(self, shape: tuple[int, int, int], task: Task) -> None:
        """Refuse a network that does not fit the data or whose weights do not follow from a seed.

        Args:
            shape: (C, H, W) of an image.
            task: Says what outputs a network has to give.

        Raises:
            TypeError: Weights cannot be drawn anew, or no module is made.
            ValueError: They do not follow from torch's generator alone, or the outputs do not fit.
        """
        if isinstance(self.given, nn.Module):
            self._check_resettable(self.given)
        first, again, other = (self.build(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        weights = [dict(each.named_parameters()) for each in (first, again, other)]
        if not weights[0]:
            raise ValueError(f"{self.name} has no parameters to train")
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in weights[0].values()):
            raise ValueError(f"{self.name} has lazy parameters: call it on a batch of images first")
        shared = {p.data_ptr() for p in weights[0].values()} & {p.data_ptr() for p in weights[1].values()}
        if first is again or shared - {0}:
            raise ValueError(
                f"{self.name}: what makes it gives the same module again: it must make a new one each time"
            )
        if not alike(weights[0], weights[1]):
            raise ValueError(
                f"{self.name}: its weights do not follow from torch's seed: draw them by torch alone"
            )
        if alike(weights[0], weights[2]):
            raise ValueError(
                f"{self.name}: its weights are the same whatever the seed: networks are trained from "
                "scratch here, each from weights of its own"
            )
        with torch.no_grad():
            found = first.eval()(torch.zeros(2, *shape))
        try:
            task.check_outputs(found, torch.zeros(2, *shape))
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}, for images {(2, *shape)}") from error

    def _check_resettable(self, given: nn.Module) -> None:
        stuck = sorted(
            {
                f"{type(part).__name__} {name!r}" if name else type(part).__name__
                for name, part in given.named_modules()
                if _holds_parameters(part) and _redraw(part) is None
            }
        )
        if stuck:
            raise TypeError(
                f"{self.name}: weights of {', '.join(stuck[:5])} cannot be drawn anew, they have no "
                "reset_parameters(): give the class, or a function that makes the network, in place of the "
                "network itself"
            )


def take(architectures: object) -> tuple[object, dict[str, OwnNetwork]]:
    """Descriptions as a protocol keeps them, and the networks of the user's own by their names.

    Args:
        architectures: What ``evaluate`` was given: texts, modules, functions or classes that make modules,
            in a sequence; or a mapping of names to them; or one of them.

    Raises:
        TypeError: One is none of these.
        ValueError: A name is that of another network.
    """
    if isinstance(architectures, nn.Module) or _makes(architectures):
        architectures = (architectures,)
    if isinstance(architectures, Mapping):
        pairs: list[tuple[str | None, Any]] = [(str(name), own) for name, own in architectures.items()]
    elif isinstance(architectures, Sequence) and not isinstance(architectures, str):
        pairs = [(None, own) for own in architectures]
    else:
        return architectures, {}
    names: list[str] = []
    found: dict[str, OwnNetwork] = {}
    for given, own in pairs:
        if isinstance(own, str):
            names.append(own)
            continue
        if not (isinstance(own, nn.Module) or _makes(own)):
            raise TypeError(
                "expected a network's description, a torch.nn.Module or a function that makes one, "
                f"got {own!r}"
            )
        name = _own_name(own, found) if given is None else given
        if _is_description(name) or name in found:
            raise ValueError(f"{name!r} is another network's description: give this one another name")
        names.append(name)
        found[name] = OwnNetwork(name, own)
    return tuple(names), found


def _makes(own: object) -> bool:
    return callable(own) and not isinstance(own, nn.Module | str | Mapping)


def _holds_parameters(part: nn.Module) -> bool:
    return next(part.parameters(recurse=False), None) is not None


def _redraw(part: nn.Module) -> Callable[[], Any] | None:
    """What draws a part's own weights anew; attention has it under a name of its own."""
    named = (getattr(part, name, None) for name in ("reset_parameters", "_reset_parameters"))
    return next((each for each in named if callable(each)), None)


def _own_name(own: Own, taken: Mapping[str, Any]) -> str:
    """``MyNet (own)``, numbered where there are several."""
    title = type(own).__name__ if isinstance(own, nn.Module) else getattr(own, "__name__", "network")
    title = "network" if title == "<lambda>" else title
    return next(name for name in _numbered(title) if name not in taken)


def _numbered(title: str) -> Iterator[str]:
    yield f"{title} (own)"
    count = 2
    while True:
        yield f"{title} (own, {count})"
        count += 1


def _is_description(name: str) -> bool:
    try:
        nets.parse(name)
    except (ValueError, TypeError):
        return False
    return True
