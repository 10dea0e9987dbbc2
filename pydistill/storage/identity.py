"""What makes two runs the same, and in what they differ."""

import math
from collections.abc import Collection, Mapping
from typing import Any

_TOLERANCE = 1e-3


def differences(
    wanted: Mapping[str, Any], found: Mapping[str, Any], optional: Collection[str] = ()
) -> list[str]:
    """One text for every part in which two runs differ, the nested ones by their path.

    Args:
        wanted: The run that is asked for.
        found: The run that is there.
        optional: Parts that are not compared where they were not recorded.
    """
    later = set(optional) - found.keys()
    here = _flat({key: value for key, value in wanted.items() if key not in later})
    there = _flat(found)
    return [
        f"{name} is {there.get(name)!r} there, {here.get(name)!r} here"
        for name in sorted(here.keys() | there.keys())
        if not _alike(here.get(name), there.get(name))
    ]


def _alike(one: Any, other: Any) -> bool:
    if one == other:
        return True
    both = (one, other)
    if not all(isinstance(each, list) and all(isinstance(x, float) for x in each) for each in both):
        return False
    scale = max(map(abs, [*one, *other]), default=0.0)
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE * scale)
        for a, b in zip(one, other, strict=True)
    )


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    if isinstance(tree, Mapping):
        return {
            name: leaf
            for key, value in tree.items()
            for name, leaf in _flat(value, f"{path}.{key}".lstrip(".")).items()
        }
    return {path: tree}
