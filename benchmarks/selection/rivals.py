"""Facility location by another package, timed in a process of its own, which need not have torch.

    PYTHON rivals.py apricot|submodlib FEATURES.npy COUNT [GIB]

with no more than so much memory, prints JSON: seconds from features to choice, of it for the similarities,
positions, versions. Similarities are (1 + cos) / 2 of float64, made by numpy; a small problem comes first,
so that nothing is compiled in the time.
"""

import importlib.metadata
import json
import resource
import sys
import time

import numpy as np


def similarities(features):
    """All of them, (n, n)."""
    unit = features.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    found = unit @ unit.T
    found += 1
    found /= 2
    return found


def apricot(matrix, count):
    """Positions in the order chosen."""
    from apricot import FacilityLocationSelection

    made = FacilityLocationSelection(count, metric="precomputed", optimizer="lazy")
    return made.fit(matrix).ranking.tolist()


def submodlib(matrix, count):
    """Positions in the order chosen."""
    from submodlib import FacilityLocationFunction

    made = FacilityLocationFunction(n=len(matrix), mode="dense", sijs=matrix, separate_rep=False)
    found = made.maximize(budget=count, optimizer="LazyGreedy", show_progress=False)
    return [at for at, _ in found]


PACKAGES = {"apricot": (apricot, "apricot-select"), "submodlib": (submodlib, "submodlib-py")}


def main():
    """Warm up, choose, print."""
    name, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    choose, package = PACKAGES[name]
    if len(sys.argv) > 4:
        resource.setrlimit(resource.RLIMIT_AS, (int(float(sys.argv[4]) * 2**30),) * 2)
    features = np.load(path)
    choose(similarities(features[:200]), 5)
    begun = time.perf_counter()
    matrix = similarities(features)
    made = time.perf_counter()
    positions = choose(matrix, count)
    ended = time.perf_counter()
    found = {"seconds": ended - begun, "similarities": made - begun, "positions": positions}
    found["peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["versions"] = {each: importlib.metadata.version(each) for each in (package, "numpy")}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
