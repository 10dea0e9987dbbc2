"""Where methods start: real images, noise, or what a selector chooses."""

import dataclasses

import pytest
import torch
from torch import Tensor

from pydistill.budget import Budget
from pydistill.cli import main
from pydistill.data.formation import pack
from pydistill.engine.initial import initial, selected
from pydistill.engine.method import make_method, methods, parse_selector, selectors
from pydistill.engine.problem import make_problem
from pydistill.engine.run import distill
from pydistill.options import parse_options
from tests.engine.test_methods import small
from tests.evaluation.test_dense import real

STARTING = [
    name for name, kind in methods().items() if "init" in {field.name for field in dataclasses.fields(kind)}
]
EL2N = "el2n:keep=easiest,network=convnet:width=4,epochs=2"


def tensors(tree):
    """Every tensor in a method's state."""
    if isinstance(tree, Tensor):
        return [tree]
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [found for each in inner for found in tensors(each)]


def test_every_method_that_learns_images_can_be_told_where_to_start():
    learning = {name for name, kind in methods().items() if kind.family != "selection"}
    assert set(STARTING) == learning


@pytest.mark.parametrize("name", STARTING)
def test_random_is_real_bit_for_bit(name, tiny):
    problem = make_problem(tiny, ipc=2, seed=3, device="cpu")
    usual, random = (dataclasses.replace(small(name), init=init) for init in ("real", "random"))
    one, other = tensors(usual.start(problem)), tensors(random.start(problem))
    assert len(one) == len(other)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", STARTING)
@pytest.mark.parametrize("factor", [1, 2])
def test_it_starts_from_what_the_selector_chooses(name, factor, tiny):
    problem = make_problem(tiny, ipc=2, seed=3, device="cpu")
    init = "greedy:criteria=representativeness+diversity(over=9),embedding=thumbnails"
    method = dataclasses.replace(small(name), factor=factor, init=init)
    selector = make_method(
        "greedy",
        criteria="representativeness+diversity(over=9)",
        embedding="thumbnails",
        factor=factor,
    )
    chosen = selector.select(problem)
    expected = pack(tiny, chosen, factor).images
    found = tensors(method.start(problem))
    assert any(each.shape == expected.shape and torch.equal(each, expected) for each in found)


def test_the_whole_way_with_scores_that_are_trained_on_it(tiny):
    made = distill(
        tiny, "dm", ipc=2, init=EL2N, iterations=1, network="convnet:width=4", learning_rate=1e-9
    )
    selector = parse_selector(EL2N)
    chosen = selector.select(make_problem(tiny, ipc=2, device="cpu"))
    torch.testing.assert_close(made.images, tiny.inputs(tiny.train, chosen.indices), atol=1e-5, rtol=0)
    assert made.provenance.config["init"] == EL2N


def test_short_classes_give_what_they_have(tiny):
    groups = tiny.task.groups(tiny.train.targets).members
    kept = torch.cat([member[:count] for member, count in zip(groups, (9, 2, 5), strict=True)])
    uneven = dataclasses.replace(tiny, train=tiny.train.take(kept))
    problem = make_problem(uneven, ipc=4, short_classes="keep", device="cpu")
    assert torch.bincount(initial(problem, 1, "greedy").groups).tolist() == [4, 2, 4]
    with pytest.raises(ValueError, match="asked for, but class"):
        make_problem(uneven, ipc=4, device="cpu")


def test_a_selector_of_another_task_is_refused():
    problem = make_problem(real("segmentation"), budget=Budget.of(images=2), device="cpu")
    with pytest.raises(ValueError, match=r"el2n is for classification, the data .* for segmentation"):
        selected(problem, 1, "el2n")


def test_texts_of_selectors():
    assert parse_selector("random") == methods()["random"]()
    assert parse_selector("el2n:epochs=3,scores=none") == make_method("el2n", epochs=3)
    assert {"el2n", "greedy", "random"} <= set(selectors())
    assert "dm" not in selectors()


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("reel", r"init must be one of real, noise, or a selector: .*greedy.*; got 'reel' \(did you mean"),
        ("dm", "or a selector: .*; got 'dm'"),
        ("greedi", r"did you mean 'greedy'\?"),
        ("el2n:epoch=3", r"el2n has no option 'epoch' \(did you mean 'epochs'\?\)"),
        ("el2n:factor=2", "el2n has no option 'factor'"),
        ("el2n:epochs=few", "el2n: epochs must be int, got 'few'"),
        ("el2n:epochs=-1", "el2n: epochs must be at least 0, got -1"),
        ("el2n:keep=some", "keep must be one of hardest, easiest, window; got 'some'"),
        ("greedy:criteria=divers", "unknown criterion 'divers'"),
    ],
)
def test_starts_that_are_none_are_refused_with_what_is_near(init, message):
    with pytest.raises(ValueError, match=message):
        make_method("dc", init=init)


def test_the_command_line_takes_a_selector_and_refuses_what_is_none(tmp_path, capsys):
    out = tmp_path / "run"
    asked = ["distill", "digits", "--method", "dm", "--ipc", "1", "--out", str(out), "--iterations", "1"]
    assert main([*asked, "--init", "rael"]) == 2
    assert "did you mean 'real'?" in capsys.readouterr().err
    start = "greedy:criteria=representativeness-0.5*balance(classes=data),embedding=thumbnails"
    assert main([*asked, "--network", "convnet:width=4", "--init", start]) == 0


def test_commas_within_parentheses_belong_to_a_value():
    known = ("one", "two")
    assert parse_options("it", "one=f(a=1,b=2)+g(c,d),two=3", known) == {
        "one": "f(a=1,b=2)+g(c,d)",
        "two": "3",
    }
    with pytest.raises(ValueError, match="it has no option 'b'"):
        parse_options("it", "one=f(a=1,b=2", known)
