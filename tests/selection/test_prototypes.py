"""Representative images: nearest to the centres of clusters, class by class."""

import torch

from pydistill.data import load_data
from pydistill.engine.problem import make_problem
from pydistill.seeds import generator
from pydistill.selection.prototypes import representatives
from pydistill.tasks import Draw


def clustered(each=30):
    """Two classes, each of three flat greys with a little noise around them."""
    levels = torch.tensor([[20, 120, 220], [60, 160, 250]])
    labels = torch.arange(2).repeat_interleave(each)
    kinds = torch.arange(2 * each) % 3
    noise = torch.randint(-4, 5, (2 * each, 1, 4, 4), generator=generator(0))
    images = (levels[labels, kinds].view(-1, 1, 1, 1) + noise).clamp(0, 255).to(torch.uint8)
    arrays = {"x_train": images.numpy(), "y_train": labels.numpy()}
    return load_data(arrays | {"x_test": images.numpy(), "y_test": labels.numpy()}, name="clustered")


def test_one_image_of_every_cluster_is_taken():
    problem = make_problem(clustered(), ipc=3, max_batch=7)
    every = problem.groups.draw(1000, problem.generator("all"), strict=False)
    found = representatives(problem, every, 3, lambda images: images, "here")
    assert found.groups.tolist() == [0, 0, 0, 1, 1, 1]
    targets = problem.targets(found.indices)
    assert torch.equal(targets, found.groups)
    levels = problem.data.train.images[found.indices].float().mean((1, 2, 3)).view(2, 3).sort(1).values
    expected = torch.tensor([[20.0, 120, 220], [60, 160, 250]])
    assert (levels - expected).abs().max() < 4


def test_the_nearest_of_a_cluster_is_nearest_to_its_mean():
    problem = make_problem(clustered(), ipc=1)
    every = problem.groups.draw(1000, problem.generator("all"), strict=False)
    found = representatives(problem, every, 1, lambda images: images, "here")
    for group in range(2):
        own = every.indices[every.groups == group]
        features = problem.images(own).flatten(1)
        nearest = own[(features - features.mean(0)).norm(dim=1).argmin()]
        assert int(found.indices[group]) == int(nearest)


def test_equal_images_and_small_groups_still_give_their_number():
    same = torch.full((12, 1, 4, 4), 7, dtype=torch.uint8)
    same[6:] = 9
    labels = torch.arange(2).repeat_interleave(6)
    data = load_data(
        {
            "x_train": same.numpy(),
            "y_train": labels.numpy(),
            "x_test": same.numpy(),
            "y_test": labels.numpy(),
        },
        name="same",
    )
    problem = make_problem(data, ipc=2)
    size = min(len(member) for member in problem.groups.members)
    every = problem.groups.draw(1000, problem.generator("all"), strict=False)
    found = representatives(problem, every, size - 1, lambda images: images, "here")
    assert len(found.indices.unique()) == 2 * (size - 1)
    few = Draw(every.indices[:2], every.groups[:2])
    assert torch.equal(representatives(problem, few, 5, lambda images: images, "here").indices, few.indices)
