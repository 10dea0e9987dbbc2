"""Where networks to match in come from: fresh, from a pool that learns, from a folder."""

import pytest
import torch

from pydistill import nets
from pydistill.engine.pool import Folder, Fresh, Pool, SyntheticBatch, parse_networks
from pydistill.engine.problem import make_problem
from pydistill.engine.run import distill
from pydistill.errors import DataError
from pydistill.seeds import generator

NETWORK = "convnet:width=4,depth=2"


def batch(problem):
    draw = problem.groups.draw(4, problem.generator("batch"), strict=True)
    return SyntheticBatch(problem.images(draw.indices), problem.targets(draw.indices), "none")


def weights(network):
    return torch.cat([value.flatten() for value in network.state_dict().values()])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("random", Fresh()),
        ("pool", Pool()),
        ("pool:size=3,data=real, rate=0.1", Pool(size=3, data="real", rate=0.1)),
        ("folder:some/where,else", Folder("some/where,else")),
    ],
)
def test_texts_say_where_networks_come_from(text, expected):
    assert parse_networks(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fresh", "networks must be random, pool,.* or folder:PATH; got 'fresh'"),
        ("folder:", "networks must be random"),
        ("random:3", "networks must be random"),
        (
            "pool:sise=3",
            r"pool has no option 'sise' \(did you mean 'size'\?\); it has: size, shortest, longest",
        ),
        ("pool:size=x", "pool: size must be int, got 'x'"),
        ("pool:size=0", "pool: size must be at least 1, got 0"),
        ("pool:shortest=9,longest=8", "pool: shortest must be at most longest = 8, got 9"),
        ("pool:rate=0", "pool: rate must be above 0"),
        ("pool:data=test", "pool: data must be one of synthetic, real; got 'test'"),
        ("pool:size=1,size=2", "pool: expected size=VALUE once"),
    ],
)
def test_other_texts_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_networks(text)


def test_fresh_networks_differ_from_turn_to_turn(tiny):
    problem, source = make_problem(tiny, ipc=1), Fresh()
    found = [weights(source.network(problem, NETWORK, {}, outer)) for outer in (0, 1, 1)]
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found[1], found[2])


@pytest.mark.parametrize("data", ["synthetic", "real"])
def test_a_pools_networks_learn(data, tiny):
    problem = make_problem(tiny, ipc=1)
    source = Pool(size=1, longest=1000, steps=8, batch=12, data=data, rate=0.05)
    state, given = source.start(problem, NETWORK), batch(problem)
    if state["members"][0]["life"] <= 40:
        state["members"][0]["life"] = 1000
    losses = []
    for outer in range(6):
        network = source.network(problem, NETWORK, state, outer)
        assert not network.training
        assert not any(value.requires_grad for value in network.parameters())
        losses.append(float(problem.task.loss(network(given.images), given.targets)))
        source.advance(problem, NETWORK, state, outer, given)
    assert state["members"][0]["age"] == 48
    assert losses[-1] < 0.6 * losses[0]


def test_a_network_is_renewed_when_its_life_is_over(tiny):
    problem = make_problem(tiny, ipc=1)
    source = Pool(size=2, longest=3, steps=3, batch=4)
    state, given = source.start(problem, NETWORK), batch(problem)
    born = [member["weights"]["classifier.weight"].clone() for member in state["members"]]
    assert not torch.equal(*born)
    for outer in range(6):
        before = [member["generation"] for member in state["members"]]
        source.advance(problem, NETWORK, state, outer, given)
        after = [member["generation"] for member in state["members"]]
        assert sum(after) == sum(before) + 1
        assert all(member["age"] == 0 for member in state["members"])
    assert sum(member["generation"] for member in state["members"]) == 6


def test_lengths_of_life_are_spread_from_one_to_the_longest(tiny):
    problem = make_problem(tiny, ipc=1)
    state = Pool(size=200, longest=4).start(problem, "convnet:width=1,depth=1")
    assert sorted({member["life"] for member in state["members"]}) == [1, 2, 3, 4]


def test_running_statistics_are_part_of_a_pooled_network(tiny):
    problem = make_problem(tiny, ipc=1)
    source, text = Pool(size=1, longest=1000, steps=2, batch=12), "convnet:width=4,depth=2,norm=batch"
    state = source.start(problem, text)
    state["members"][0]["life"] = 1000
    name = next(name for name in state["members"][0]["weights"] if name.endswith("running_mean"))
    assert not state["members"][0]["weights"][name].any()
    source.advance(problem, text, state, 0, batch(problem))
    kept = state["members"][0]["weights"][name]
    assert kept.any()
    assert torch.equal(source.network(problem, text, state, 1).state_dict()[name], kept)


def test_a_folders_networks_are_drawn(tiny, tmp_path):
    problem = make_problem(tiny, ipc=1)
    kept = [nets.build(NETWORK, (1, 8, 8), 3, generator(seed)) for seed in range(2)]
    for at, network in enumerate(kept):
        nets.save_network(network, tmp_path / f"{at}.safetensors")
    source = Folder(str(tmp_path))
    state = source.start(problem, NETWORK)
    found = {tuple(weights(source.network(problem, NETWORK, state, outer)).tolist()) for outer in range(12)}
    assert found == {tuple(weights(network).tolist()) for network in kept}


def test_a_folder_that_does_not_fit_is_refused(tiny, tmp_path):
    problem = make_problem(tiny, ipc=1)
    with pytest.raises(DataError, match=r"expected networks .* found none"):
        Folder(str(tmp_path)).start(problem, NETWORK)
    nets.save_network(nets.build("mlp", (1, 8, 8), 3, generator(0)), tmp_path / "a.safetensors")
    with pytest.raises(DataError, match="holds mlp for images"):
        Folder(str(tmp_path)).start(problem, NETWORK)
    nets.save_network(nets.build(NETWORK, (1, 8, 8), 5, generator(0)), tmp_path / "a.safetensors")
    with pytest.raises(DataError, match="has 5 outputs, the data needs 3"):
        Folder(str(tmp_path)).start(problem, NETWORK)


@pytest.mark.parametrize(
    "networks", ["pool:size=2,longest=4,steps=2,batch=4", "pool:size=1,data=real", "folder"]
)
def test_methods_match_in_them(networks, tiny, tmp_path):
    if networks == "folder":
        nets.save_network(nets.build(NETWORK, (1, 8, 8), 3, generator(0)), tmp_path / "a.safetensors")
        networks = f"folder:{tmp_path}"
    run = {"ipc": 2, "network": NETWORK, "iterations": 6, "steps_per_network": 2, "batch_real": 8}
    made, again, fresh = (
        distill(tiny, "dm", **run, networks=source).images for source in (networks, networks, "random")
    )
    assert torch.equal(made, again)
    assert not torch.equal(made, fresh)
