"""Reports that earlier versions wrote, in the present form."""

from collections.abc import Mapping
from typing import Any


def upgraded(record: Mapping[str, Any]) -> dict[str, Any]:
    """A report of format 1 as one of format 2.

    Format 1 had no regimes: the distilled set was trained on with its own targets and loss, all other sets
    with classes. Where those targets were classes the regime is ``classes``; else its runs are ``stored``.
    Random selection stands beside them where it would be trained no differently today; where the loss was
    the squared one, networks on random selections stand apart, with classes.

    Raises:
        KeyError, TypeError, AttributeError: It is not such a report.
    """
    sets: dict[str, Any] = {source: _facts(found) for source, found in record["sets"].items()}
    own, networks = record["sets"]["distilled"], record["protocol"]["architectures"]
    soft, notes = bool(own.get("soft")), record["notes"]
    runs = [{**run, "regime": "classes"} for run in record["runs"]]
    if not soft:
        return {**record, "runs": runs, "sets": {"classes": sets}, "class_names": [], "details": []}
    squared = any("by the squared error" in note for note in notes)
    stored = any("stored augmented views" in note for note in notes)
    targets = "values" if squared else "augmentations" if stored else "probabilities"
    loss = "squared error" if squared else "cross-entropy"
    sets["distilled"] |= {"targets": targets, "loss": loss, "regime": "stored"}
    apart = {"classes": {"random": sets["random"]}} if squared and "random" in sets else {}
    if apart:
        sets["random"] = {**sets["random"], "targets": targets, "loss": loss, "regime": "stored"}
    for run in runs:
        alike = bool(apart) and run["source"] == "random" and run["architecture"] not in networks
        if run["source"] == "distilled" or alike:
            run["regime"] = "stored"
    return {**record, "runs": runs, "sets": {"stored": sets, **apart}, "class_names": [], "details": []}


def _facts(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "soft"}
