"""The emulation of CUDA on the host: right kernels come out right, wrong ones are caught."""

import pytest
import torch

from pydistill.seeds import generator
from tests.emulation.build import HERE, build

NAMES = [
    "sum",
    "halves",
    "race",
    "half barrier",
    "lost lane",
    "two masks",
    "outside",
    "unset",
    "collectives",
]
NAMES += ["indices"]


@pytest.fixture(scope="module")
def probe():
    library = torch.library.Library("pydistill_probe", "DEF")
    library.define("probe(Tensor x, int which, int threads, int size) -> Tensor")
    torch.ops.load_library(build([HERE / "probe.cu"]))

    def run(name, x, threads, size):
        return torch.ops.pydistill_probe.probe(x, NAMES.index(name), threads, size)

    yield run
    library._destroy()


def values(count):
    return torch.randn(count, generator=generator(0, "probe"))


def test_block_reduction_with_shuffles_and_shared_memory(probe):
    x = values(5000)
    assert probe("sum", x, 128, 1).item() == pytest.approx(x.double().sum().item(), abs=1e-3)


def test_reduction_in_dynamic_shared_memory(probe):
    x = values(64)
    assert probe("halves", x, 64, 1).item() == pytest.approx(x.double().sum().item(), abs=1e-4)


def test_collectives(probe):
    x = values(32)
    out = probe("collectives", x, 64, 7)
    assert out.tolist() == [1, 1, 0, x[4].item(), x[6].item(), x[3].item(), 64]


def test_every_index_is_run_once(probe):
    assert torch.equal(probe("indices", values(1), 1, 2 * 3 * 2 * 4 * 2 * 2), torch.ones(192))


def test_missing_barrier_shows_as_a_wrong_result(probe):
    x = values(32)
    out = probe("race", x, 32, 32)
    assert not torch.equal(out, x.roll(-1))
    assert out.isnan().any()


def test_unset_shared_memory_is_not_a_number(probe):
    assert probe("unset", values(32), 32, 32).isnan().all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("half barrier", "__syncthreads is not reached by all threads"),
        ("lost lane", "__shfl_xor_sync is not reached by all threads"),
        ("two masks", "different masks"),
        ("outside", "written outside a shared array of 256 bytes"),
    ],
)
def test_wrong_kernels_are_caught(probe, name, message):
    with pytest.raises(RuntimeError, match=message):
        probe(name, values(64), 64, 64)
    assert probe("sum", torch.ones(10), 128, 1).item() == 10  # and the next launch is not harmed
