"""What idle threads do: sleep under the command, unless the environment says otherwise."""

import os
import subprocess
import sys

import pytest

SHOWN = (
    "import sys, contextlib, os\n"
    "from pydistill.cli import main\n"
    "assert 'torch' not in sys.modules\n"
    "with contextlib.suppress(SystemExit):\n"
    "    main(['--version'])\n"
    "print(os.environ['OMP_WAIT_POLICY'])\n"
)


@pytest.mark.parametrize(("given", "found"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_the_command_lets_idle_threads_sleep_unless_told_otherwise(given, found):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {} if given is None else {"OMP_WAIT_POLICY": given}
    done = subprocess.run(
        [sys.executable, "-c", SHOWN], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == found


def test_where_torch_is_loaded_nothing_is_set(monkeypatch):
    from pydistill import threads

    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    threads.sleep_when_idle()
    assert "OMP_WAIT_POLICY" not in os.environ
    assert threads.idle() == "spin"
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    assert threads.idle() == "sleep"
