import torch

from benchmarks.measure import peak_growth

BLOCK = 48 * 2**20


def allocate() -> torch.Tensor:
    return torch.ones(BLOCK // 4)


def test_growth_is_what_the_run_adds():
    assert 40 < peak_growth(allocate) < 80
    assert peak_growth(lambda: None) < 8


def test_what_the_warm_up_loads_is_not_counted_and_it_goes_first():
    order, kept = [], []

    def load_once() -> None:
        order.append("warm" if not kept else "run")
        kept.extend([allocate()] if not kept else [])

    assert peak_growth(load_once, load_once) < 8
    assert order == ["warm", "run"]
    kept.clear()
    assert peak_growth(load_once) > 40
