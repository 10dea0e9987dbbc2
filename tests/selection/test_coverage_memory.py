"""Memory of every selector of coverage on 20,000 x 64, where all pairs would take 1,526 MiB."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SCRIPT = """
import json, resource, sys
import torch
from pydistill.selection import dpp, graph_cut, herding, k_center, k_means, kernel_herding, lazy_greedy
from pydistill.selection.similarity import Similarity

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def run(rows, count):
    rbf, cosine = Similarity.of(rows, "rbf"), Similarity.of(rows, "cosine")
    generator = torch.Generator().manual_seed(0)
    yield "facility_location", lazy_greedy.cover(cosine.block, len(rows), count, cosine.totals())
    yield "graph_cut", graph_cut.cut(cosine, 10 * count, 2.0)
    yield "k_center", k_center.farthest_first(rows, 10 * count)
    yield "herding", herding.herd(rows, 10 * count)
    yield "k_means", k_means.nearest_to_centres(rows, 10 * count, 2, generator)
    yield "kernel_herding", kernel_herding.kernel_herd(rbf, count)
    yield "dpp linear", dpp.spread_by_lines(rows, 10 * count, 1e-3)
    yield "dpp", dpp.spread_by_rbf(rbf, 10 * count, 1e-3)

torch.manual_seed(0)
for _ in run(torch.randn(300, 64), 4):
    pass
rows = torch.randn(20000, 64)
found, before = {}, peak()
for name, _ in run(rows, 5):
    now = peak()
    found[name], before = now - before, now
print(json.dumps(found))
"""


@pytest.mark.cpu_pool
def test_no_selector_holds_all_pairs():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    grown = json.loads(done.stdout.splitlines()[-1])
    assert len(grown) == 8
    assert sum(grown.values()) < 100, grown
