"""Signals from outside: what is kept, what is said, the exit code, and that nothing runs on."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pydistill.cli import main
from pydistill.cli.stopping import Signals, StoppedError
from pydistill.data import DistilledData
from tests.conftest import blobs

DM = ["--method", "dm", "--network", "convnet:width=4,depth=2", "--batch-real", "8", "--ipc", "2"]
PATIENCE = 600


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "tiny.npz"
    np.savez(path, **blobs())
    return str(path)


class Running:
    """A command in a process group of its own."""

    def __init__(self, *arguments, before="", log):
        code = f"import signal, sys\n{before}\nfrom pydistill.cli import main\nsys.exit(main())"
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, *map(str, arguments)],
                stdout=file, stderr=file, start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip

    def until(self, ready):
        deadline = time.monotonic() + PATIENCE
        while not ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)
        return self

    def stop(self, *numbers, group=False):
        for number in numbers:
            (os.killpg if group else os.kill)(self.process.pid, number)
        code = self.process.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while self.runs_on():
            assert time.monotonic() < deadline, "something runs on"
            time.sleep(0.01)
        return code, self.log.read_text()

    def runs_on(self):
        """Whether a process of the group has not ended; one that nobody waits for counts as ended."""
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, group = path.read_text().rpartition(")")[2].split()[:3]
                if int(group) == self.process.pid and state != "Z":
                    return True
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_is_kept_and_goes_on_as_the_message_says(number, source, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["distill", source, *DM, "--iterations", "1000000", "--out", out]
    running = Running(*arguments, log=tmp_path / "log").until((out / "run.json").exists)
    code, said = running.stop(number)
    assert code == 128 + number
    assert (out / "checkpoint.safetensors").exists()
    after = re.search(rf"stopped by {number.name}; after ([\d,]+) of 1,000,000 iterations", said)
    history = json.loads((out / "history.json").read_text())
    assert history["steps"][0] == 1
    assert int(after[1].replace(",", "")) >= history["steps"][-1]
    again = shlex.split(re.search(r"go on with:\npydistill (.*)", said)[1])
    assert again[-1] == "--resume"
    assert f"end: StoppedError: stopped by {number.name}" in (out / "run.log").read_text()

    done = int(after[1].replace(",", ""))
    again[again.index("--iterations") + 1] = str(done + 1)
    assert main(again) == 4  # another run by its iterations, so the checkpoint was found and read
    assert "options.iterations is 1000000 there" in capsys.readouterr().err


def test_a_stopped_run_ends_as_the_whole_one_does(source, tmp_path):
    arguments = ["distill", source, *DM, "--iterations", "12", "--checkpoint-every", "1000"]
    out, whole = tmp_path / "run", tmp_path / "whole"
    before = "import pydistill.storage.history as h; add = h.History.add; " + (
        "h.History.add = lambda *a: (add(*a), signal.raise_signal(15) if a[1] == 6 else None)"
    )
    running = Running(*arguments, "--out", out, before=before, log=tmp_path / "log")
    code, said = running.stop()
    assert code == 143
    assert "after 6 of 12 iterations" in said
    assert main([*arguments, "--out", str(out), "--resume"]) == 0
    assert main([*arguments, "--out", str(whole)]) == 0
    assert DistilledData.load(out).images.equal(DistilledData.load(whole).images)
    first, second = (json.loads((folder / "history.json").read_text()) for folder in (out, whole))
    assert first["steps"] == second["steps"] == list(range(1, 13))
    assert first["metrics"] == second["metrics"]


def test_a_second_signal_exits_at_once(source, tmp_path):
    out = tmp_path / "run"
    hang = "import pydistill.storage.history as h, time; h.History.add = lambda *a: time.sleep(3600)"
    running = Running("distill", source, *DM, "--out", out, before=hang, log=tmp_path / "log")
    running.until((out / "run.json").exists)
    running.process.send_signal(signal.SIGTERM)
    running.until(lambda: "once more: exit at once" in running.log.read_text())
    assert running.stop(signal.SIGTERM)[0] == 143


def test_a_hang_up_that_is_ignored_stays_ignored(source, tmp_path):
    out = tmp_path / "run"
    ignore = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    arguments = ["distill", source, *DM, "--iterations", "1000000", "--out", out]
    running = Running(*arguments, before=ignore, log=tmp_path / "log").until((out / "run.json").exists)
    running.process.send_signal(signal.SIGHUP)
    code, said = running.stop(signal.SIGINT)
    assert code == 130
    assert "stopped by SIGINT" in said


def test_a_run_stopped_before_its_first_iteration_leaves_nothing(source, tmp_path):
    out = tmp_path / "run"
    hang = "import pydistill.engine.run, time; d = sys.modules['pydistill.engine.run']; " + (
        "d.data_identity = lambda *a: time.sleep(3600)"
    )
    running = Running("distill", source, *DM, "--out", out, before=hang, log=tmp_path / "log")
    code, said = running.until((out / "run.log").exists).stop(signal.SIGTERM)
    assert code == 143
    assert "nothing is kept; the same command starts again" in said
    assert not out.exists()


def test_evaluate_says_how_to_go_on(source, tmp_path):
    assert (
        main(["distill", source, "--method", "random", "--ipc", "1", "--out", str(tmp_path / "run")]) == 0
    )
    before = "import pydistill.evaluation.run; r = sys.modules['pydistill.evaluation.run']; " + (
        "r.notes_on = lambda *a: signal.raise_signal(15)"
    )
    short = ["--network", "mlp:width=4", "--repeats", "1", "--epochs", "1"]
    running = Running("evaluate", tmp_path / "run", *short, before=before, log=tmp_path / "log")
    code, said = running.stop()
    assert code == 143
    assert "networks that were trained are kept; go on with:\npydistill evaluate" in said
    assert list((tmp_path / "run" / "evaluation").rglob("*.json"))
    assert not (tmp_path / "run" / "report.json").exists()


@pytest.mark.parametrize(
    ("processes", "number", "group"),
    [
        (1, signal.SIGTERM, False),
        (2, signal.SIGTERM, False),
        (2, signal.SIGINT, True),
        (2, signal.SIGHUP, True),
    ],
)
def test_experts_end_with_all_their_processes_and_go_on(processes, number, group, source, tmp_path):
    out = tmp_path / "experts"
    arguments = ["experts", source, "--network", "mlp:width=8", "--out", out, "--count", "2"]
    more = ["--epochs", "100000", "--processes", str(processes)]
    first = out / "0000" / "0002.safetensors"
    running = Running(*arguments, *more, log=tmp_path / "log").until(first.exists)
    code, said = running.stop(number, group=group)
    assert code == 128 + number
    assert f"stopped by {number.name}; every finished epoch is kept; go on with:\npydistill experts" in said
    assert "Traceback" not in said
    assert not list(out.rglob("*.tmp"))


def test_the_first_signal_waits_only_where_it_is_looked_for():
    with Signals() as signals:
        with pytest.raises(StoppedError, match=r"stopped by SIGTERM$"):
            signal.raise_signal(signal.SIGTERM)
        assert signals.caught == signal.SIGTERM
    with Signals() as signals:
        signals.deferred = True
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(StoppedError, match="stopped by SIGINT") as stop:
            signals.check()
        assert stop.value.code == 130
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "pydistill", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("pydistill ")
