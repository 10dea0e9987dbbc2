"""What a checkout's code does in two steps of a method and in a short evaluation, as digests.

Run by ``benchmarks.methods.restate`` in a fresh process, with the checkout first on the path: nothing of
the benchmarks is imported, so that the code of either side is asked by the same words. Jobs come as JSON on
standard input, answers go as JSON to standard output.
"""

import dataclasses
import hashlib
import json
import sys
from typing import Any

STEPS, EPOCHS = 2, 3


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
    """Digests of the set after two steps, of networks' scores on it, and of kernels' on it."""
    from pydistill import distill, evaluate, make_method
    from pydistill.evaluate import named

    method = make_method(job["method"], job["preset"], **job["options"])
    made = distill(data, method, ipc=job["ipc"], seed=0)
    shown = dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, training=None))
    protocol = named(
        "quick", architectures=(job["network"],), epochs=EPOCHS, repeats=1, random_draws=1, whole=False,
        kernels=("trained",), split=job["split"], precision=job["precision"],
    )  # fmt: skip
    runs = evaluate(shown, data, protocol).runs
    own = max((getattr(run, "regime", "classes") for run in runs if run.source == "distilled"), default="")
    used = [
        run
        for run in runs
        if getattr(run, "regime", "classes") == (own if run.source == "distilled" else "classes")
    ]
    scores = {
        kind: [
            (run.source, run.value, run.loss)
            for run in used
            if (run.architecture == job["network"]) == (kind == "networks")
        ]
        for kind in ("networks", "kernels")
    }
    content = b"".join(
        part.detach().cpu().contiguous().numpy().tobytes() for part in (made.images, made.targets)
    )
    facts = f"{made.augment} {made.learning_rate} {made.factor} {data.fingerprint}".encode()
    return {
        "set": hashlib.sha256(content + facts).hexdigest(),
        **{kind: hashlib.sha256(repr(each).encode()).hexdigest() for kind, each in scores.items()},
    }


if __name__ == "__main__":
    main()
