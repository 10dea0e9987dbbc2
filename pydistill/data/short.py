"""What is said of classes that have fewer training images than a budget asks for."""

from collections.abc import Mapping


def shortage(short: Mapping[str, int], ipc: int, factor: int) -> str:
    """A clause such as ``class 'x' has 3 of 10 images``; nothing where no class is short.

    Args:
        short: Training images by class, of the short ones, as
            :class:`~pydistill.data.distilled.Provenance` has them.
        ipc: Stored images a class that were asked for.
        factor: Real images along each side of a stored one.
    """
    if not short:
        return ""
    packed = factor**2
    what = "images" if packed == 1 else f"training images, {packed} to a stored one"
    (first, size), *rest = short.items()
    others = "".join(f", class {name!r} {count} of {ipc * packed}" for name, count in rest)
    return f"class {first!r} has {size} of {ipc * packed} {what}{others}"
