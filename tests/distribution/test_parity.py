"""One step of every method against its paper's objective, written slowly: class by class, in float64.

Network, augmentation, real images and what a discriminator or sampler has learned are the method's own;
features, objective and gradient are computed anew, out of torch's own layers.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pydistill import nets
from pydistill.augment import Augmentation
from pydistill.distribution.discrepancies.adversary import reversal_strength
from pydistill.engine.method import make_method
from pydistill.engine.problem import make_problem

NETWORK, CLASSES, IPC, BATCH = "convnet:width=6,depth=2", 3, 2, 9


class Slow(nn.Module):
    """A ConvNet of the same weights in float64; gives every block's maps."""

    def __init__(self, network):
        super().__init__()
        self.weights = [value.detach().double() for _, value in network.named_parameters()]

    def forward(self, images):
        maps, found = images.double(), []
        for conv, bias, scale, shift in zip(*[iter(self.weights[:8])] * 4, strict=True):
            maps = F.instance_norm(F.conv2d(maps, conv, bias, padding=1), weight=scale, bias=shift)
            maps = F.avg_pool2d(F.relu(maps), 2)
            found.append(maps)
        return found


def features(problem, method, images, factor=1):
    """Blocks of each class's real and synthetic images: two lists of lists of maps."""
    network = Slow(nets.build(NETWORK, problem.data.shape, CLASSES, problem.generator("network", 0)))
    augmentation = Augmentation.parse(method.augment)
    views = augmentation.sample(CLASSES, problem.generator("augmentation", 0), together=False, size=(8, 8))
    draw = problem.groups.draw(method.batch_real, problem.generator("real batch", 0), strict=False)
    found = [], []
    for group in range(CLASSES):
        own = problem.images(draw.indices[draw.groups == group])
        learned = images[IPC * group : IPC * (group + 1)]
        if factor > 1:
            learned = torch.cat(
                [
                    F.interpolate(patch[None], scale_factor=factor, mode="bilinear")
                    for image in learned
                    for row in image.chunk(factor, 1)
                    for patch in row.chunk(factor, 2)
                ]
            )
        for batch, into in ((own, found[0]), (learned, found[1])):
            into.append(
                network(augmentation.apply_images(batch, views.rows(torch.full((len(batch),), group))))
            )
    return found


# ---- objectives, from the real and the synthetic maps of each class -----------------------------------


def flat(blocks, at=-1):
    return [maps[at].flatten(1) for maps in blocks]


def mean_embedding(real, learned, state, method):
    """arXiv:2110.04181, equation 6."""
    pairs = zip(flat(real), flat(learned), strict=True)
    return sum((ours.mean(0) - theirs.mean(0)).square().sum() for ours, theirs in pairs)


def mmd(real, learned, state, method):
    """arXiv:2312.15927 and Gretton et al. (2012), equation 5, over every pair of images."""
    apart = torch.cat([torch.pdist(rows) for rows in flat(real)]).square()
    widths = [multiple * float(apart.float().median()) / 2 for multiple in (0.25, 0.5, 1, 2, 4)]

    def kernel(a, b):
        return sum(math.e ** (-(a - b).square().sum() / (2 * square)) for square in widths)

    total = 0.0
    for x, y in zip(flat(real), flat(learned), strict=True):
        total = total + sum(kernel(a, b) for a in x for b in x) / len(x) ** 2
        total = total + sum(kernel(a, b) for a in y for b in y) / len(y) ** 2
        total = total - 2 * sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))
    return total


def kl(real, learned, state, method):
    """The closed form, feature by feature, of variances shrunk by a tenth."""
    total = 0.0
    for x, y in zip(flat(real), flat(learned), strict=True):
        spread = x.var(0, correction=0).mean()
        p, q = (0.9 * each.var(0, correction=0) + 0.1 * spread for each in (x, y))
        apart = (x.mean(0) - y.mean(0)).square()
        total = total + ((q / p).log() + (p + apart) / q - 1).sum() / 2 / x.shape[1]
    return total


def characteristic(real, learned, state, method):
    """arXiv:2502.20653, equations 5 to 8, frequency by frequency, in complex numbers."""
    learned_state = state["learned"][0]
    sampler, draw = (
        {k: v.double() for k, v in learned_state[part].items()} for part in ("sampler", "draw")
    )
    hidden = (draw["noise"] @ sampler["in"] + sampler["in bias"]).clamp_min(0)
    scales = (math.log(2) * torch.tanh(hidden @ sampler["out"] + sampler["out bias"])).exp()
    total = 0.0
    for x, y in zip(flat(real), flat(learned), strict=True):
        for frequency in draw["normals"] * scales:
            p, q = (torch.exp(1j * (each @ frequency)).mean() for each in (x, y))
            amplitude = (p.abs() - q.abs()) ** 2
            phase = 2 * p.abs() * q.abs() * (1 - (p.angle() - q.angle()).cos())
            total = total + ((amplitude + phase) / 2).sqrt() / len(draw["normals"])
    return total


def scores(real, learned, critic, group, every):
    centre = torch.cat(every).mean(0)
    deviation = torch.cat(every).std(0, correction=0).mean()
    hidden = F.leaky_relu((learned - centre) / deviation @ critic["in"] + critic["in bias"], 0.2)
    return hidden @ (critic["out"][:, 0] + critic["class"][:, group]) + critic["out bias"]


def adversarial(real, learned, state, method):
    """arXiv:1406.2661, the non-saturating loss: -log sigmoid(score), averaged within a class."""
    critic = {name: value.double() for name, value in state["learned"][0]["critic"].items()}
    every, total = flat(real), 0.0
    for group, y in enumerate(flat(learned)):
        total = total - F.logsigmoid(scores(None, y, critic, group, every)).mean()
    return total


def attention(real, learned, state, method):
    """arXiv:2310.00093, equations 2 to 4: maps of the first block, the mean embedding of the last."""

    def attend(maps):
        energy = (maps.abs() ** 4).sum(1).flatten(1)
        return energy / energy.norm(dim=1, keepdim=True)

    total = 0.01 * mean_embedding(real, learned, state, method)
    for x, y in zip(real, learned, strict=True):
        total = total + (attend(x[0]).mean(0) - attend(y[0]).mean(0)).square().sum()
    return total


def cafe(real, learned, state, method):
    """arXiv:2203.01531, equations 2 and 5: all layers' means, and real images under synthetic centres."""
    total = 0.0
    for at in range(2):
        for x, y in zip(flat(real, at), flat(learned, at), strict=True):
            total = total + (x.mean(0) - y.mean(0)).square().sum()
    centres = torch.stack([y.mean(0) for y in flat(learned)])
    losses = [-(x @ centres.T).log_softmax(1)[:, group] for group, x in enumerate(flat(real))]
    return total + torch.cat(losses).mean()


OBJECTIVES = {
    "dm": (mean_embedding, {}),
    "mmd": (mmd, {}),
    "kl": (kl, {}),
    "ncfm": (characteristic, {"frequencies": 5}),
    "adversarial": (adversarial, {"critic_hidden": 7}),
    "attention": (attention, {}),
    "layer_statistics": (cafe, {}),
}


@pytest.mark.parametrize("augment", ["none", "color_crop_cutout_scale_rotate"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_and_gradient_are_the_papers(name, augment, tiny):
    objective, options = OBJECTIVES[name]
    compare(tiny, name, objective, augment=augment, **options)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_so_they_are_where_a_stored_image_holds_four(name, tiny):
    objective, options = OBJECTIVES[name]
    compare(tiny, name, objective, augment="none", factor=2, **options)


def compare(data, name, objective, **options):
    method = make_method(
        name, network=NETWORK, batch_real=BATCH, learning_rate=0.5, momentum=0.0, iterations=1, **options
    )
    problem = make_problem(data, ipc=IPC, seed=11, max_batch=4)
    state = method.start(problem)
    before = state["images"].clone()
    measured = method.step(problem, state, 0)
    images = before.clone().requires_grad_()
    loss = objective(*features(problem, method, images, method.factor), state, method)
    (gradient,) = torch.autograd.grad(loss, images)
    torch.testing.assert_close(measured["loss"].double(), loss.detach(), rtol=1e-3, atol=1e-5)
    scale = float(gradient.abs().max())
    assert scale > 1e-5
    torch.testing.assert_close((before - state["images"]) / 0.5, gradient, rtol=1e-2, atol=5e-3 * scale)


def test_domain_adversaries_reverse_their_gradient(tiny):
    """arXiv:1505.07818: the discriminators' loss, whose gradient reaches the images with -strength."""
    method = make_method(
        "domain_adversarial", network=NETWORK, batch_real=BATCH, learning_rate=0.5, momentum=0.0,
        iterations=4, augment="none", critic_hidden=7, steps_per_network=4,
        layers="block1.pooled,embedding:0.5",
    )  # fmt: skip
    problem = make_problem(tiny, ipc=IPC, seed=11)
    state = method.start(problem)
    method.step(problem, state, 0)
    assert torch.equal(state["images"], method.start(problem)["images"])  # at the start its strength is 0
    before = state["images"].clone()
    method.step(problem, state, 1)
    images = before.clone().requires_grad_()
    real, learned = features(problem, method, images)
    pick = [lambda blocks: blocks[0].mean((2, 3)), lambda blocks: blocks[1].flatten(1)]
    total = 0.0
    for at, (layer, weight) in enumerate(zip(pick, (1.0, 0.5), strict=True)):
        critic = {key: value.double() for key, value in state["learned"][at]["critic"].items()}
        every = [layer(blocks) for blocks in real]
        for group, blocks in enumerate(learned):
            own = scores(None, layer(blocks), critic, group, every)
            total = total - weight * F.logsigmoid(-own).mean()
    (gradient,) = torch.autograd.grad(total, images)
    moved = (before - state["images"]) / 0.5
    expected = -reversal_strength(1 / 4) * gradient
    torch.testing.assert_close(moved, expected, rtol=1e-2, atol=5e-3 * float(expected.abs().max()))
