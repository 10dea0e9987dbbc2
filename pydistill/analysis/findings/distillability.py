"""What a budget of random images gives, and so what selecting or distilling can gain."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from pydistill import nets, seeds
from pydistill.analysis.finder import Finder, register
from pydistill.analysis.finding import Chart, Finding
from pydistill.analysis.scaling import FEWEST, Law, Prediction, fit
from pydistill.analysis.subject import Subject
from pydistill.data.real import RealData
from pydistill.engine.method import option
from pydistill.optim import Sgd
from pydistill.training.jobs import Training, TrainingJob
from pydistill.training.samples import SplitSamples
from pydistill.training.scoring import score
from pydistill.training.trainer import train

_BATCH, _RATE = 128, 0.05
_STEPS_A_ROOT = 16
_RATIO = 2.2
"""Between one size and the next."""
_TOLD = (1, 10, 50)
"""Images a class that predictions are told of."""
_SHARES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
_CLOSED = "on Fashion-MNIST distilling by mmd closed 57 % of such a gap in 45 s"


@register
@dataclass(frozen=True, kw_only=True)
class Distillability(Finder):
    """Accuracy by the number of random images, measured at a few small sizes and predicted at the others.

    Networks are trained on random images, equally many of each class, in max(200, 16 sqrt(n)) steps of a
    batch of 128, so that larger sets are trained for longer, and scored on the validation images. The law
    and its intervals: :mod:`pydistill.analysis.scaling`. Accuracy of random images foretells that of
    distilled ones ([0]); what lies between a budget's and that of all images is what there is to gain.

    [0] M. Li et al.: Dataset Distillation in Medical Imaging: A Feasibility Study. arXiv:2407.14429.
    """

    name: ClassVar[str] = "distillability"
    title: ClassVar[str] = "What a budget gives"
    summary: ClassVar[str] = "accuracy by the number of random images, and what there is to gain"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    least: ClassVar[int] = 100
    classes: ClassVar[int] = 2

    most: float = option(0.05, "largest size that is measured, as a share of the training images", above=0)
    sizes: int = option(6, "sizes that are measured", low=FEWEST)
    draws: int = option(2, "random draws of each size, a network each", low=1)
    network: str = option("convnet:width=32", "network that is trained")
    steps: int = option(200, "least steps of a training", low=1)

    def find(self, subject: Subject) -> Finding:
        data = subject.data_without_test()
        sizes = measured_sizes(len(data.train), len(data.task.class_names), self.most, self.sizes)
        steps, found = [steps_for(size, self.steps) for size in sizes], []
        for at, size in enumerate(sizes):
            accuracies = accuracy_of(
                data, size, steps[at], self.draws, self.network, subject.seed, subject.device
            )
            found.append(accuracies)
            told = f"{size:,} images: {100 * sum(accuracies) / len(accuracies):.1f} %"
            subject.tell(self.name, at + 1, len(sizes), told)
        values: dict[str, Any] = {
            "network": self.network,
            "sizes": sizes,
            "accuracies": found,
            "steps": steps,
            "scored on": f"{len(data.validation)} validation images",
        }
        try:
            law = fit(sizes, found, len(data.task.class_names), len(data.validation))
        except ValueError as error:
            return self.answer(f"No curve could be fitted: {error}.", values=values)
        return self._answer(data, law, values)

    def _answer(self, data: RealData, law: Law, values: dict[str, Any]) -> Finding:
        total, classes, images = len(data.train), len(data.task.class_names), len(data.validation)
        asked = {f"{each} a class": each * classes for each in _TOLD if each * classes < total}
        asked |= {
            f"{100 * share:g} %": round(share * total) for share in _SHARES if share * total >= classes
        }
        by_size = sorted(asked.items(), key=lambda each: each[1])
        told = {name: (size, law.predict(size, images)) for name, size in by_size}
        values["predictions"] = {
            name: {"images": size, "accuracy": p.accuracy, "low": p.low, "high": p.high}
            for name, (size, p) in told.items()
        }
        whole = told["100 %"][1]
        enough = law.size_for(0.95 * whole.accuracy, total)
        values["images for 95 % of it"] = None if enough is None else round(enough)
        first = next(iter(told))
        ten = told.get("10 a class")
        summary = (
            f"{first.capitalize()} gives a {self.network} {_percent(told[first][1])}, "
            + (f"ten a class {_percent(ten[1])}, " if ten else "")
            + f"all {total:,} images {_percent(whole)} (90 % intervals; what is above "
            f"{max(values['sizes']):,} images is predicted)."
        )
        return self.answer(
            summary,
            values=values,
            charts=(_chart(values, law, total, images),),
            recommendation=_advice(told, whole, enough, total),
        )


def measured_sizes(total: int, classes: int, most: float, count: int) -> list[int]:
    """Sizes to measure, ascending, each about twice the one before, the last a share of all images.

    Above a batch they are multiples of half of one, so that no step is of a few images.
    """
    last = max(min(total, round(most * total)), min(total, 4 * classes))
    found = []
    for at in range(count):
        size = last / _RATIO**at
        if size < classes:
            break
        found.append(round(size) if size < _BATCH else 64 * max(2, round(size / 64)))
    return sorted({min(size, total) for size in found})


def steps_for(size: int, least: int = 200) -> int:
    """Steps in which a network is trained on that many images."""
    return max(least, round(_STEPS_A_ROOT * math.sqrt(size)))


def accuracy_of(
    data: RealData, size: int, steps: int, draws: int, network: str, seed: int, device: torch.device
) -> list[float]:
    """Accuracies on the validation images of networks trained on random images, one a draw."""
    groups, jobs = data.task.strata(data.train.targets), []
    each, over = divmod(size, len(groups))
    wanted = [each + (at < over) for at in range(len(groups))]
    for draw in range(draws):
        picked = groups.draw(wanted, seeds.generator(seed, "distillability", size, draw), strict=False)
        samples = SplitSamples(data, data.train.take(picked.indices), device)
        jobs.append(TrainingJob(samples, seeds.derive(seed, "distillability network", draw), data.augment))
    training = Training(
        steps=steps,
        batch_size=_BATCH,
        optimiser=Sgd(momentum=0.9, weight_decay=5e-4),
        learning_rate=_RATE,
        schedule="cosine",
    )
    module = nets.build(network, data.shape, data.task.outputs, torch.Generator(), device=device)
    found = []
    for trained in train(network, jobs, data.task, training, device=device):
        module.load_state_dict({**trained.parameters, **trained.buffers})
        found.append(score(module, data, data.validation, device))
    return found


def _percent(p: Prediction) -> str:
    return f"{100 * p.accuracy:.1f} % ({100 * p.low:.1f} to {100 * p.high:.1f})"


def _chart(values: dict[str, Any], law: Law, total: int, images: int) -> Chart:
    """The median and both ends of the interval, from the smallest size to all images."""
    first = math.log(min(values["sizes"]))
    at = [math.exp(first + step / 24 * (math.log(total) - first)) for step in range(25)]
    found = [law.predict(size, images) for size in at]
    return Chart(
        "line",
        "Accuracy by the number of random images, in per cent",
        "training images",
        "accuracy, %",
        names=("median", "lower end, 90 %", "upper end, 90 %"),
        x=tuple(at),
        rows=tuple(tuple(100 * getattr(p, end) for p in found) for end in ("accuracy", "low", "high")),
        log=True,
    )


def _advice(
    told: dict[str, tuple[int, Prediction]], whole: Prediction, enough: float | None, total: int
) -> str:
    parts = []
    if "10 a class" in told:
        gap = 100 * whole.accuracy - 100 * told["10 a class"][1].accuracy
        parts.append(
            f"At ten images a class random selection leaves about {gap:.0f} points to what all images "
            f"give: that is what selecting and distilling can gain ({_CLOSED})."
        )
    if enough is not None and enough < 0.7 * total:
        parts.append(
            f"About {enough:,.0f} random images ({enough / total:.0%}) are predicted to give 95 % of "
            "the accuracy of all: with that many, select rather than distil."
        )
    else:
        parts.append("No small share of the images comes near what all of them give: more data would help.")
    return " ".join(parts)
