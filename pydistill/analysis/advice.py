"""What to do with a data set, in plain words, from what was found of it."""

from collections.abc import Mapping

from pydistill.analysis.finding import Finding
from pydistill.shown import duration

_SMALL, _LARGE, _FEW = 2000, 20_000, 20
"""Training images that are few and many; images a class that are few."""


def recommend(
    findings: Mapping[str, Finding],
    task: str,
    images: int,
    classes: tuple[str, ...],
    seconds: Mapping[str, float] | None = None,
) -> tuple[str, ...]:
    """Sentences: what to clean first, then method, budget and preset, with reasons.

    Args:
        findings: By name. What ``distillability`` says of budgets comes before the advice on methods.
        task: By name.
        images: Training images.
        classes: Names of the classes.
        seconds: That each finding took here.
    """
    told = [*_clean(findings)]
    curve = findings.get("distillability")
    if curve is not None and curve.recommendation:
        told.append(curve.recommendation)
        told += _time(curve, (seconds or {}).get("distillability"))
    told += _distil(task, images, len(classes))
    told += [
        each.recommendation
        for name, each in findings.items()
        if each.recommendation and name not in ("distillability", "duplicates", "label_errors", "broken")
    ]
    return tuple(told)


def _time(curve: Finding, seconds: float | None) -> list[str]:
    """What training takes here, by what it took."""
    if seconds is None or "steps" not in curve.values:
        return []
    steps = sum(
        count * len(found)
        for count, found in zip(curve.values["steps"], curve.values["accuracies"], strict=True)
    )
    return [
        f"A network as small as {curve.values['network']} takes {duration(300 * seconds / steps)} here for "
        "the 300 steps of an evaluation at ten images a class, one of width 128 up to 16 times as long."
    ]


def _clean(findings: Mapping[str, Finding]) -> list[str]:
    told, names, count = [], [], 0
    for name in ("duplicates", "label_errors", "broken"):
        found = findings.get(name)
        if found is None or found.recommendation is None:
            continue
        own = {flag.position for flag in found.flagged if flag.split == "train" and not flag.on_request}
        if own:
            names.append(name)
            count += len(own)
    if names:
        told.append(
            f"First leave out the {count:,} training images that {', '.join(names)} flags, once you have "
            "looked at "
            f"some: --analysis DIR --drop {','.join(names)}, DIR being where this analysis lies."
        )
    told += [
        f"{findings[name].title}: {findings[name].recommendation}"
        for name in ("duplicates", "label_errors", "broken")
        if name in findings and findings[name].recommendation
    ]
    return told


def _distil(task: str, images: int, classes: int) -> list[str]:
    """Methods and budgets to begin with."""
    each = images / max(1, classes)
    if task != "classification":
        share = "10%" if images < _SMALL else "5%"
        return [
            f"Select before you learn: --method balanced --fraction {share} chooses images that hold rare "
            f"classes; evaluate compares it with random selection. No method learns images of {task} yet."
        ]
    ipc = 1 if each < _FEW else 10
    told = [
        f"Begin with --method kernel_herding --ipc {ipc}, which selects in seconds and trains nothing, and "
        f"with --method mmd --preset quick --ipc {ipc}, which learns images in minutes: on Fashion-MNIST "
        "both were above random selection at ten images a class. Of about "
        f"{each:,.0f} images a class that is {100 * ipc / max(each, 1):.2g} %; evaluate compares each with "
        "random selection."
    ]
    if images < _SMALL:
        told.append(
            f"With {images:,} training images a network learns all of them in little time: distil for the "
            "size of the set, not for the time."
        )
    elif images >= _LARGE:
        told.append(
            "Where a third of the data is affordable, --method random --fraction 30% is what to beat."
        )
    return told
