"""The operators' test suite, once on the CUDA kernels run on the host, once without any kernel.

Each in a process of its own, since operators are registered once. The CUDA kernels run under
UndefinedBehaviorSanitizer, and their values under AddressSanitizer as well.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.emulation.build import HERE, ROOT, operators

PASSED = re.compile(r"(\d+) passed")


def run(which, *arguments, **environment):
    command = [
        sys.executable,
        str(HERE / "run_suite.py"),
        str(which),
        *arguments,
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-6000:]
    return int(PASSED.search(output).group(1))


def test_cuda_kernels_on_the_host():
    assert (
        run(operators("undefined"), "tests/ops", UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1") > 400
    )


def test_cuda_kernels_touch_no_memory_but_theirs():
    compiler = os.environ.get("CXX", "g++")
    found = subprocess.run(
        [compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    runtime = Path(found.stdout.strip())
    assert runtime.is_absolute(), "the compiler has no AddressSanitizer library"
    options = "detect_leaks=0:detect_stack_use_after_return=0:verify_asan_link_order=0"
    suite = ["tests/ops/test_norm_relu_pool.py", "tests/ops/test_gram.py", "tests/ops/test_gram_limits.py"]
    suite += ["tests/ops/test_mmd.py", "tests/ops/test_siamese_augment.py"]
    suite += ["tests/ops/test_gradient_distance.py", "-k", "not gradcheck"]
    passed = run(operators("address"), *suite, LD_PRELOAD=str(runtime), ASAN_OPTIONS=options)
    assert passed > 370


def test_without_the_extension():
    """All but gradcheck: the derivatives are then torch's, and torch's to check."""
    assert run("reference", "tests/ops", "-k", "not gradcheck") > 280
