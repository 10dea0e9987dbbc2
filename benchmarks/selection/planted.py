"""What the analysis finds of faults that were planted in real data: precision and recall of each finding.

    python -m benchmarks.selection.planted PATH/TO/fashion-mnist --name fashion_mnist --seeds 3

Planted: labels changed in 10 % of the training images (half to any other class, half to a similar one
where there is one), near copies over 3 % (moved by a pixel, or JPEG at quality 75), exact copies of 1 % of
the test images, one class at 1 in 50, 20 images made dark or blank; every image has one fault at most.
Beside the planted data the clean data is analysed, whose flags count as false alarms (of real data some are
right: they are an upper bound). Label errors are ranked beside ``cleanlab``'s scores of the same
probabilities, where it is installed. Results go to ``benchmarks/results/selection/planted_NAME.json``.
"""

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks import measure
from benchmarks.selection.plant import SIMILAR, Planted, plant
from benchmarks.selection.side_by_side import RESULTS
from pydistill.analysis import Analysis, analyse
from pydistill.data import RealData, load_data
from pydistill.scores import Scores, compute_scores


def auc(score: Tensor, planted: Tensor) -> float:
    """Area under the receiver's curve of (N,) scores, high where an image is planted; ties count half."""
    order = torch.argsort(score)
    _, inverse, counts = torch.unique(score[order], return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    ranks = (last - (counts.double() - 1) / 2)[inverse]
    truth = torch.zeros(len(score), dtype=torch.bool)
    truth[planted] = True
    positive = int(truth.sum())
    above = float(ranks[truth[order]].sum()) - positive * (positive + 1) / 2
    return above / (positive * (len(score) - positive))


def found(flagged: Iterable[int], planted: Iterable[int], total: int) -> dict[str, float]:
    """Precision, recall, and the share of other images that were flagged."""
    flags, truth = set(flagged), set(planted)
    hits = len(flags & truth)
    return {
        "planted": len(truth),
        "flagged": len(flags),
        "precision": hits / max(1, len(flags)),
        "recall": hits / max(1, len(truth)),
        "false alarms": len(flags - truth) / (total - len(truth)),
    }


def cleanlab_scores(scores: Scores, targets: Tensor) -> Tensor | None:
    """(N,) ``cleanlab``'s label quality, turned so that errors are high; None where it is not installed."""
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return None
    held = np.asarray(scores.out_of_fold, dtype=np.float64)
    held /= held.sum(1, keepdims=True)
    return -torch.from_numpy(get_label_quality_scores(targets.numpy(), held))


def flags(analysis: Analysis, name: str) -> list[int]:
    """Training images that a finding flags."""
    return [each.position for each in analysis.findings[name].flagged if each.split == "train"]


def copies(analysis: Analysis, pairs: Tensor, total: int) -> dict[str, Any]:
    """Near copies: a planted pair is found where either of its images is flagged as a copy.

    Which of two copies is the original nobody can tell, so either counts; other flags are false alarms.
    """
    flagged = {
        each.position
        for each in analysis.findings["duplicates"].flagged
        if each.split == "train" and each.reason != "leak"
    }
    hit = [bool({to, source} & flagged) for to, source in pairs.tolist()]
    either = {at for pair in pairs.tolist() for at in pair}
    return {
        "planted": len(pairs),
        "flagged": len(flagged),
        "precision": sum(hit) / max(1, sum(hit) + len(flagged - either)),
        "recall": sum(hit) / max(1, len(hit)),
        "false alarms": len(flagged - either) / (total - len(either)),
    }


def leaks(analysis: Analysis, pairs: Tensor) -> dict[str, Any]:
    """Copies of test images among the training images, pair by pair."""
    found_pairs = {
        (each.position, each.other_position)
        for each in analysis.findings["duplicates"].pairs
        if (each.split, each.other_split) == ("train", "test") and each.score >= 1
    }
    planted = {(to, source) for to, source in pairs.tolist()}
    return {
        "planted": len(planted),
        "found": len(found_pairs),
        "recall": len(planted & found_pairs) / max(1, len(planted)),
        "others": len(found_pairs - planted),
    }


def examined(planted: Planted, scores: Scores, analysis: Analysis) -> dict[str, Any]:
    """Each finding against the truth."""
    total = len(planted.data.train)
    ranked = analysis.findings["label_errors"].image_scores
    assert ranked is not None
    ranked = -ranked  # the finding's is low where a label looks wrong
    rows: dict[str, Any] = {
        "label errors": {
            **found(flags(analysis, "label_errors"), planted.flipped.tolist(), total),
            "auc": auc(ranked, planted.flipped),
            "auc of similar classes": auc(ranked, planted.similar) if len(planted.similar) else None,
        },
        "near copies": copies(analysis, planted.copies, total),
        "leaks": leaks(analysis, planted.leaks),
        "broken": found(flags(analysis, "broken"), planted.broken.tolist(), total),
        "imbalance": analysis.findings["classes"].values["imbalance"],
    }
    beside = cleanlab_scores(scores, planted.data.train.targets)
    if beside is not None:
        rows["label errors"]["auc of cleanlab"] = auc(beside, planted.flipped)
    return rows


def measured(data: RealData, given: argparse.Namespace, seed: int, console: Console) -> dict[str, Any]:
    """One planting, analysed; and what is flagged of the data as it was."""
    similar = SIMILAR.get(Path(given.data).name)
    planted = plant(data, seed=seed, rare=None if given.no_rare else 8, similar=similar)
    row: dict[str, Any] = {"seed": seed}
    for name, each in (("planted", planted.data), ("clean", data)):
        if name == "clean" and seed:
            continue
        begun = time.perf_counter()
        folder = None if given.scores is None else Path(given.scores) / f"{name}-{seed}"
        scores = compute_scores(
            each, given.network, folds=2, epochs=given.epochs, seed=seed, folder=folder,
            device="cpu", on_event=lambda event: console.print(event),
        )  # fmt: skip
        trained = time.perf_counter() - begun
        findings = ("classes", "broken", "duplicates", "label_errors")
        analysis = analyse(each, scores, findings=findings, seed=seed, device="cpu")
        row |= {
            f"{name} seconds": {"scores": trained, **analysis.facts["seconds"]},
            f"{name} peak memory": analysis.facts["peak memory"],
        }
        if given.keep:
            analysis.save(Path(given.keep) / f"{given.name}-{name}-{seed}")
        if name == "planted":
            row["findings"] = examined(planted, scores, analysis)
        else:
            counts = {
                finding: len(set(flags(analysis, finding))) / len(each.train)
                for finding in ("broken", "duplicates", "label_errors")
            }
            row["flagged of clean data"] = counts
        console.print(row)
    return row


def main() -> None:
    """Every seed, written when it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="as load_data takes it")
    parser.add_argument("--name", required=True, help="of the result")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--network", default="auto")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--no-rare", action="store_true", help="leave the classes as they are")
    parser.add_argument("--scores", help="folder where scores are kept")
    parser.add_argument("--keep", help="folder for pages")
    given = parser.parse_args()
    console, data, rows = Console(width=110), load_data(given.data), []
    for seed in range(given.seeds):
        rows.append(measured(data, given, seed, console))
        facts = {"data": data.name, "network": given.network, "epochs": given.epochs}
        measure.write(RESULTS / f"planted_{given.name}.json", "planted faults", rows, **facts)


if __name__ == "__main__":
    main()
