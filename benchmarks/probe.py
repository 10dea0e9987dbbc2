"""What a checkout's code does in a few steps of a method and in a short evaluation, as digests.

Run by :mod:`benchmarks.sides` in a fresh process, with the checkout first on the path: nothing of the
benchmarks is imported, so that the code of either side is asked by the same words. Jobs come as JSON on
standard input, answers go as JSON to standard output.
"""

import dataclasses
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

EPOCHS = 3


class HalfwayError(Exception):
    """Ends a run within its listener, as a user's interrupt would."""


def main() -> None:
    """Answer every job."""
    from pydistill import PydistillError, load_data

    asked, answers = json.load(sys.stdin), {}
    data = load_data(asked["data"])
    for job in asked["jobs"]:
        try:
            answers[job["row"]] = answer(job, data)
        except (PydistillError, ValueError, TypeError) as error:
            answers[job["row"]] = {"failed": str(error)}
    print(json.dumps(answers))


def answer(job: dict[str, Any], data: Any) -> dict[str, str]:
    """Digests of the set, of networks' scores on it, of kernels', and of the set of a resumed run."""
    from pydistill import distill, evaluate, make_method, methods

    small = understood(methods()[job["method"]], job.get("small", {}))
    method = make_method(job["method"], job["preset"], **small | job["options"])
    made = distill(data, method, ipc=job["ipc"], seed=0)
    shown = dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, training=None))
    runs = evaluate(
        shown, data, "quick", architectures=(job["network"],), epochs=EPOCHS, repeats=1, random_draws=1,
        whole=False, kernels=("trained",), split=job["split"], precision=job["precision"],
    ).runs  # fmt: skip
    scores = {
        kind: [
            (run.source, run.regime, run.value, run.loss)
            for run in runs
            if (run.architecture == job["network"]) == (kind == "networks")
        ]
        for kind in ("networks", "kernels")
    }
    found = {
        "set": content(made, data),
        **{kind: hashlib.sha256(repr(each).encode()).hexdigest() for kind, each in scores.items()},
    }
    if job.get("resume"):
        found["resumed"] = content(resumed(method, data, job["ipc"]), data)
    return found


def understood(kind: type, options: dict[str, Any]) -> dict[str, Any]:
    """Those options that this side's method has, of the type that it has them in."""
    usual = {f.name: f.default for f in dataclasses.fields(kind)}

    def fits(name: str, value: Any) -> bool:
        default = usual.get(name, ...)
        return (
            default is None
            or isinstance(value, type(default))
            or (type(value), type(default)) == (int, float)
        )

    return {name: value for name, value in options.items() if name in usual and fits(name, value)}


def content(made: Any, data: Any) -> str:
    """A digest of a set's images, targets, weights, and how it is to be trained on."""
    parts = (made.images, made.targets, getattr(made, "weights", None))
    numbers = b"".join(
        part.detach().cpu().contiguous().numpy().tobytes() for part in parts if part is not None
    )
    facts = f"{made.augment} {made.learning_rate} {made.factor} {data.fingerprint}".encode()
    return hashlib.sha256(numbers + facts).hexdigest()


def resumed(method: Any, data: Any, ipc: int) -> Any:
    """The set of a run that is ended half-way and taken up from its checkpoint."""
    from pydistill import distill

    def listen(event: Any) -> None:
        if type(event).__name__ == "Step" and event.index == method.steps // 2:
            raise HalfwayError

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        try:
            return distill(data, method, ipc=ipc, seed=0, folder=folder, on_event=listen)
        except HalfwayError:
            return distill(data, method, ipc=ipc, seed=0, folder=folder, resume=True)


if __name__ == "__main__":
    main()
