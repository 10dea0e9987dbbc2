import pytest
import torch

from pydistill.optim import Adam, Sgd

RULES = [
    (Sgd(), torch.optim.SGD, {}),
    (Sgd(momentum=0.9), torch.optim.SGD, {"momentum": 0.9}),
    (Sgd(weight_decay=0.1), torch.optim.SGD, {"weight_decay": 0.1}),
    (
        Sgd(momentum=0.8, nesterov=True, weight_decay=0.1),
        torch.optim.SGD,
        {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
    ),
    (Adam(), torch.optim.Adam, {}),
    (
        Adam(beta1=0.5, beta2=0.9, eps=1e-3, weight_decay=0.2),
        torch.optim.Adam,
        {"betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.2},
    ),
    (Adam(weight_decay=0.2, decoupled=True), torch.optim.AdamW, {"weight_decay": 0.2}),
]
NAMES = ["sgd", "momentum", "decay", "nesterov", "adam", "adam-options", "adamw"]


def some(seed: int, *lead: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"weight": (3, 2), "bias": (3,)}
    return {
        name: torch.randn(*lead, *shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize(("rule", "theirs", "options"), RULES, ids=NAMES)
def test_both_forms_are_those_of_torch_optim(rule, theirs, options):
    expected = {name: value.clone().requires_grad_() for name, value in some(0).items()}
    reference = theirs(expected.values(), lr=0.05, **options)
    pure, state = some(0), rule.init(some(0))
    inplace, inplace_state = some(0), rule.init(some(0))
    for step in range(5):
        gradients = some(1 + step)
        for name, value in expected.items():
            value.grad = gradients[name].clone()
        reference.step()
        pure, state = rule.update(pure, gradients, state, 0.05)
        rule.update_(inplace, gradients, inplace_state, 0.05)
        assert all(torch.equal(gradients[name], value) for name, value in some(1 + step).items())
    for name, value in expected.items():
        torch.testing.assert_close(pure[name], value.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(inplace[name], value.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("rule", "theirs", "options"), RULES, ids=NAMES)
def test_pure_form_leaves_its_arguments_alone(rule, theirs, options):
    parameters, gradients = some(0), some(1)
    state = rule.init(parameters)
    _, state = rule.update(parameters, gradients, state, 0.1)
    before = {key: dict(value) if isinstance(value, dict) else value for key, value in state.items()}
    copies = {
        key: {name: tensor.clone() for name, tensor in value.items()}
        for key, value in before.items()
        if isinstance(value, dict)
    }
    rule.update(parameters, gradients, state, 0.1)
    assert all(torch.equal(parameters[name], value) for name, value in some(0).items())
    assert state.get("step") == before.get("step")
    for key, tensors in copies.items():
        assert all(torch.equal(state[key][name], value) for name, value in tensors.items())


@pytest.mark.parametrize("rule", [rule for rule, _, _ in RULES], ids=NAMES)
def test_stacked_networks_each_have_their_rate(rule):
    rates = torch.tensor([0.1, 0.01, 0.5], dtype=torch.float64)
    stacked, state = some(0, 3), rule.init(some(0, 3))
    inplace, inplace_state = some(0, 3), rule.init(some(0, 3))
    single = [{name: value[at] for name, value in some(0, 3).items()} for at in range(3)]
    states = [rule.init(each) for each in single]
    for step in range(3):
        gradients = some(1 + step, 3)
        stacked, state = rule.update(stacked, gradients, state, rates)
        rule.update_(inplace, gradients, inplace_state, rates)
        for at in range(3):
            mine = {name: value[at] for name, value in gradients.items()}
            single[at], states[at] = rule.update(single[at], mine, states[at], float(rates[at]))
    for name in stacked:
        expected = torch.stack([each[name] for each in single])
        torch.testing.assert_close(stacked[name], expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(inplace[name], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", [rule for rule, _, _ in RULES], ids=NAMES)
def test_pure_form_has_first_and_second_derivatives(rule):
    def three_steps(weight, gradient, rate):
        parameters, state = {"weight": weight}, rule.init({"weight": weight})
        for scale in (1.0, -0.5, 2.0):
            parameters, state = rule.update(parameters, {"weight": scale * gradient}, state, rate)
        return parameters["weight"]

    inputs = (
        some(0)["weight"].requires_grad_(),
        some(1)["weight"].requires_grad_(),
        torch.tensor(0.3, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(three_steps, inputs)
    assert torch.autograd.gradgradcheck(three_steps, inputs)


def test_adam_passes_a_finite_derivative_through_a_gradient_of_zero():
    gradient = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    start = {"weight": torch.zeros(2, dtype=torch.float64)}
    moved, _ = Adam().update(start, {"weight": gradient}, Adam().init(start), 0.1)
    (slope,) = torch.autograd.grad(moved["weight"].sum(), gradient)
    assert torch.isfinite(slope).all()


def test_inplace_form_keeps_no_graph_and_moves_the_very_tensors():
    weight = torch.ones(2, requires_grad=True)
    state = Sgd(momentum=0.5).init({"weight": weight})
    place = weight.data_ptr()
    Sgd(momentum=0.5).update_({"weight": weight}, {"weight": torch.ones(2)}, state, 0.25)
    assert weight.data_ptr() == place
    assert weight.grad_fn is None
    assert weight.requires_grad
    assert weight.tolist() == [0.75, 0.75]
    assert not state["momentum"]["weight"].requires_grad


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Sgd(momentum=1.0), r"momentum must be within \[0, 1\), got 1.0"),
        (lambda: Sgd(weight_decay=-1.0), "weight_decay must be at least 0"),
        (lambda: Sgd(nesterov=True), "nesterov needs a momentum"),
        (lambda: Adam(beta1=-0.1), "beta1 must be within"),
        (lambda: Adam(beta2=1.0), "beta2 must be within"),
        (lambda: Adam(eps=0.0), "eps must be above 0"),
        (lambda: Adam(weight_decay=float("nan")), "weight_decay must be at least 0"),
    ],
)
def test_values_out_of_range_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
