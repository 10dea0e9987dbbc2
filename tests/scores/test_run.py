"""Scores of small data: what is recorded, kept, resumed, refused."""

import dataclasses

import numpy as np
import pytest
import torch

from pydistill.errors import CheckpointError, FileFormatError
from pydistill.scores import Scores, ScoreTraining, compute_scores, embed
from pydistill.scores.run import Scoring

TINY = {"network": "convnet:width=4,depth=2", "batch_size": 32}


class StoppedError(Exception):
    pass


def same(one, other):
    return one.arrays.keys() == other.arrays.keys() and all(
        np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays
    )


@pytest.fixture(scope="module")
def folded(tiny):
    return compute_scores(tiny, epochs=2, folds=3, networks=2, **TINY)


def test_every_image_has_a_value_of_every_measure_epoch_and_network(tiny, folded):
    assert len(folded) == len(tiny.train)
    for measure in tiny.task.measures:
        for network in range(2):
            assert folded.record(measure, network).shape == (2, len(tiny.train))
    assert (np.asarray(folded.record("entropy")) > 0).all()
    assert not same(
        folded, dataclasses.replace(folded, arrays={**folded.arrays, "loss-0": folded.record("loss", 1)})
    )


def test_values_are_means_over_networks(folded):
    parts = [folded.record("margin", network).astype(np.float32).mean(0) for network in range(2)]
    assert torch.allclose(folded.value("aum"), torch.from_numpy((parts[0] + parts[1]) / 2), atol=1e-6)
    assert torch.equal(folded.difficulty("aum"), -folded.value("aum"))
    assert torch.equal(folded.difficulty("el2n"), folded.value("el2n"))
    for name in folded.names:
        assert folded.value(name).shape == (len(folded),)
        assert folded.value(name).isfinite().all()


def test_out_of_fold_answers_are_of_networks_that_did_not_learn_the_image(tiny):
    """Wrong labels are learned by heart, and not by who never saw them."""
    targets = tiny.train.targets.clone()
    wrong = torch.arange(0, len(targets), 4)
    targets[wrong] = (targets[wrong] + 1) % 3
    noisy = dataclasses.replace(
        tiny, train=dataclasses.replace(tiny.train, targets=targets), fingerprint="noisy"
    )
    found = compute_scores(noisy, "mlp:width=64", epochs=60, folds=2, batch_size=16, augment="none")
    held = torch.from_numpy(found.out_of_fold)
    assert torch.allclose(held.sum(1), torch.ones(len(held)), atol=2e-3)
    own = held[wrong, targets[wrong]].mean()
    learned = torch.from_numpy(found.record("probability")[-1].astype(np.float32))[wrong].mean()
    assert learned > own + 0.3


def test_the_last_layers_gradient_is_that_of_autograd(tiny):
    scoring = Scoring(tiny, ScoreTraining(epochs=1, early=1, **TINY), 0, torch.device("cpu"))
    runs, ended = [], scoring._ended
    scoring._ended = lambda run, *rest: (runs.append(run), ended(run, *rest))
    list(scoring.run())
    found, network = scoring.scores(), runs[0].module.eval()
    last = [each for each in network.modules() if isinstance(each, torch.nn.Linear)][-1]
    for at in (0, 5):
        loss = tiny.task.loss(
            network(tiny.inputs(tiny.train, slice(at, at + 1))), tiny.train.targets[at : at + 1]
        )
        parts = torch.autograd.grad(loss, [last.weight, last.bias])
        length = torch.cat([part.flatten() for part in parts]).norm()
        assert float(found.value("grand")[at]) == pytest.approx(float(length), rel=5e-3)


@pytest.mark.parametrize("kept", [True, False])
def test_an_interrupted_computation_goes_on_to_the_same_scores(tiny, tmp_path, kept, folded):
    settings = ScoreTraining(epochs=2, folds=3, networks=2, **TINY)
    folder = tmp_path / "scores" if kept else None
    state = None
    for stop in (1, 4):
        scoring = Scoring(tiny, settings, 0, torch.device("cpu"), folder)
        if state is not None and not kept:
            scoring.restore(state)
        for event in scoring.run():
            if event.done == stop:
                state = {**scoring.state()}
                state["arrays"] = {name: value.clone() for name, value in state["arrays"].items()}
                break
    last = Scoring(tiny, settings, 0, torch.device("cpu"), folder)
    if not kept:
        last.restore(state)
    assert len(list(last.run())) == 12 - 4
    assert same(last.scores(), folded)


def test_scores_in_a_folder_are_mapped_and_given_back_at_once(tiny, tmp_path):
    made = compute_scores(tiny, epochs=1, folder=tmp_path, **TINY)
    events = []
    again = compute_scores(tiny, epochs=1, folder=tmp_path, on_event=events.append, **TINY)
    assert not events
    assert isinstance(again.embedding, np.memmap)
    assert same(made, again)
    with pytest.raises(CheckpointError, match=r"holds other scores: .*epochs is 1 there, 2 here"):
        compute_scores(tiny, epochs=2, folder=tmp_path, **TINY)
    copy = tmp_path / "copy"
    again.save(copy)
    assert same(Scores.load(copy), made)
    (copy / "loss-0.npy").write_bytes((copy / "loss-0.npy").read_bytes()[:-2])
    with pytest.raises(
        FileFormatError, match=r"loss-0\.npy was altered or is truncated; compute them again"
    ):
        Scores.load(copy)
    with pytest.raises(FileFormatError, match="holds no scores: make them with"):
        Scores.load(tmp_path / "nowhere")


def test_scores_of_other_data_are_refused(tiny, folded):
    folded.require(tiny)
    with pytest.raises(ValueError, match=r"the scores are of .* with fingerprint"):
        folded.require(dataclasses.replace(tiny, fingerprint="another"))
    with pytest.raises(ValueError, match="no score 'el3n' of"):
        folded.value("el3n")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"folds": 1}, "folds must be 0, or at least 2, got 1"),
        ({"epochs": 2, "early": 3}, "early must be at most 2"),
        ({"epochs": -1}, "epochs must be at least 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"folds": 1000}, "1000 folds asked for, but there are 81 training images"),
    ],
)
def test_bad_settings_are_named(tiny, settings, words):
    with pytest.raises(ValueError, match=words):
        compute_scores(tiny, **settings)


def test_embeddings_have_a_row_an_image(tiny, folded, tmp_path):
    split, count = tiny.train, len(tiny.train)
    random = embed(tiny, split, "random", seed=1)
    assert torch.equal(random, embed(tiny, split, "random", seed=1))
    assert not torch.equal(random, embed(tiny, split, "random", seed=2))
    small = embed(tiny, split, "thumbnails")
    assert torch.allclose(small.T @ small / count, torch.eye(small.shape[1]), atol=1e-3)
    assert embed(tiny, split, "trained", scores=folded).shape[0] == count
    np.save(tmp_path / "own.npy", small.numpy())
    assert torch.equal(embed(tiny, split, tmp_path / "own.npy"), small)
    assert torch.equal(embed(tiny, split, small.numpy()), small)
    assert embed(tiny, split, lambda images: images.mean(1)).shape == (count, 64)


def test_bad_embeddings_are_named(tiny, tmp_path):
    split = tiny.train
    for text, words in (
        ("trained", "needs their scores"),
        ("thumbnail", r"unknown embedding 'thumbnail' \(did you mean 'thumbnails'\?\)"),
        ("none.npy", "cannot be read"),
    ):
        with pytest.raises(ValueError, match=words):
            embed(tiny, split, text)
    with pytest.raises(ValueError, match=r"has shape \(3, 2\), expected a row for each of the 81 images"):
        embed(tiny, split, torch.zeros(3, 2))
    bad = torch.zeros(81, 2)
    bad[7, 1] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinity, first in the row of image 7"):
        embed(tiny, split, bad)
