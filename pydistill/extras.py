"""Packages that an extra brings: imported where they are used, named with their extra where absent."""

import importlib
from types import MappingProxyType
from typing import Any

from pydistill.errors import MissingExtraError

EXTRAS = MappingProxyType(
    {
        "datasets": "hub",
        "pyarrow": "parquet",
        "pandas": "hub",
        "sklearn": "kmeans",
        "faster_coco_eval": "detection",
    }
)
"""The extra that brings each package."""


def need(module: str, what: str, extra: str | None = None) -> Any:
    """Import a module of an extra.

    Args:
        module: Its full name.
        what: What it is needed for, to begin a sentence with.
        extra: The extra to name, where what is read needs more of it; None: the one that brings the module.

    Raises:
        MissingExtraError: It is not installed; the message names the command that installs it.
    """
    package = module.partition(".")[0]
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:  # something that the package itself needs
            raise
        raise MissingExtraError(
            f"{what} needs {package}, which is not installed: "
            f'pip install "pydistill[{extra or EXTRAS[package]}]"'
        ) from error
    return importlib.import_module(module)
