"""What there is to know of an installation and of a distilled set, as JSON can hold it."""

import dataclasses
import platform
from typing import Any

import numpy
import torch

from pydistill import ops, threads, toolchain
from pydistill._version import __version__
from pydistill.data import DistilledData
from pydistill.machine import describe_cpu


def installation() -> dict[str, Any]:
    """Versions, devices, and what the extension was built with or why it is absent."""
    extension = ops.status()
    facts = {
        "pydistill": __version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": describe_cpu(),
        "threads": torch.get_num_threads(),
        "idle threads": threads.idle(),
        "cuda devices": [torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count())],
        "extension": dataclasses.asdict(extension),
    }
    if not extension.loaded:
        facts["to build it"] = {
            "compiler": toolchain.compiler(),
            "ninja": toolchain.ninja(),
            "CUDA toolkit": str(toolchain.cuda_home() or "none"),
            "missing": toolchain.missing_for_cpu(),
        }
    return facts


def distilled_set(found: DistilledData) -> dict[str, Any]:
    """What is stored, what networks see of it, what it takes, and how it came to be."""
    return {
        "stored images": len(found.images),
        "shape": list(found.shape),
        "factor": found.factor,
        "views": len(found),
        "bytes": found.nbytes,
        "task": found.task.name,
        "classes": list(found.task.class_names),
        "targets": found.kind,
        "preprocess": found.preprocess.name,
        "augment": found.augment,
        "learning rate": found.learning_rate,
        "use": found.recipe.describe(),
        "provenance": dataclasses.asdict(found.provenance),
    }
