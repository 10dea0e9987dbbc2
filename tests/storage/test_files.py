"""Files are the old ones or the whole new ones; what killed writers left is cleared, nothing else is."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pydistill.data import RealData
from pydistill.errors import OutputError
from pydistill.experts import ExpertTraining, train_experts
from pydistill.storage import files
from pydistill.storage.run_folder import prepare
from tests.data.conftest import make_distilled

WRITER = """
import sys, time
from pathlib import Path
from pydistill.storage.files import partial
with partial(Path(sys.argv[1])) as temporary:
    if len(sys.argv) > 2:
        temporary.mkdir()
        temporary /= "inside"
    temporary.write_bytes(b"half")
    (temporary.parent / "of-another-library").write_bytes(b"half")
    print(next(Path(sys.argv[1]).parent.glob(".*")), flush=True)
    time.sleep(3600)
"""


@contextlib.contextmanager
def writer(path: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process in the middle of a save, and its partial file."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), *more], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", [(), ("folder",)])
def test_what_a_killed_writer_left_is_cleared_by_the_next_write(
    tmp_path: Path, kind: tuple[str, ...]
) -> None:
    with writer(tmp_path / "a.json", *kind) as (process, partial):
        files.write_text(tmp_path / "b.json", "new")
        assert partial.exists()  # it is being written
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert names(tmp_path) == sorted([partial.name, "b.json"])
        files.write_text(tmp_path / "b.json", "newer")
    assert names(tmp_path) == ["b.json"]
    assert (tmp_path / "b.json").read_text() == "newer"


SAVER = """
import sys
from pathlib import Path
import pydistill.storage.files as files
from tests.data.conftest import make_distilled
sync, seen = files.os.fsync, [0]
def slow(handle):
    seen[0] += 1
    if seen[0] == int(sys.argv[2]):
        print("saving", flush=True)
        sys.stdin.read()
    sync(handle)
files.os.fsync = slow
make_distilled(seed=1).save(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("at", ["1", "3"])
def test_a_set_whose_save_was_killed_is_whole_and_the_next_save_clears(tmp_path: Path, at: str) -> None:
    make_distilled().save(tmp_path)
    whole = names(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", SAVER, str(tmp_path), at],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "saving\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert any(name.startswith(".") for name in names(tmp_path))
    assert type(make_distilled()).load(tmp_path).images.equal(make_distilled().images)
    make_distilled().save(tmp_path)
    assert names(tmp_path) == whole


def test_what_is_not_certainly_a_left_over_stays(tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "kept").write_text("kept")
    others = [
        ".a.tmp",
        ".a.json.0123abcd.tmp",
        "a.0123456789abcdef.pydistill-partial",
        ".b.pydistill-partial",
    ]
    for name in others:
        (tmp_path / name).write_text("of others")
    link = tmp_path / ".c.0123456789abcdef.pydistill-partial"
    link.symlink_to(tmp_path / "else")
    (tmp_path / "else" / "lock.pydistill").touch()
    unlocked = tmp_path / ".d.0123456789abcdef.pydistill-partial"
    unlocked.mkdir()
    (unlocked / "kept").write_text("of nobody known")
    files.clear_leftovers(tmp_path)
    files.clear_leftovers(tmp_path / "nowhere")
    assert names(tmp_path) == sorted([*others, "else", link.name, unlocked.name])
    assert (tmp_path / "else" / "kept").exists()


def test_left_overs_from_before_and_after_the_lock_was_made_are_cleared(tmp_path: Path) -> None:
    for letter in "ab":
        (tmp_path / f".{letter}.0123456789abcdef.pydistill-partial").mkdir()
    (tmp_path / ".a.0123456789abcdef.pydistill-partial" / "lock.pydistill").touch()
    files.clear_leftovers(tmp_path)
    assert names(tmp_path) == []


def test_what_this_process_is_writing_is_no_left_over(tmp_path: Path) -> None:
    def write(temporary: Path) -> None:
        save_file({"a": torch.zeros(3)}, temporary)  # this replaces the file by another
        files.write_text(tmp_path / "b.json", "meanwhile")
        assert temporary.exists()

    files.write_atomically(tmp_path / "a.safetensors", write)
    assert names(tmp_path) == ["a.safetensors", "b.json"]


def test_long_names_and_nul(tmp_path: Path) -> None:
    files.write_text(tmp_path / ("n" * 250), "x")
    files.write_text(tmp_path / ("ü" * 120), "x\ud800")
    assert (tmp_path / ("ü" * 120)).read_bytes() == b"x\\ud800"
    with pytest.raises(OutputError, match="NUL"):
        files.write_text(tmp_path / "a\0b", "x")


@pytest.mark.parametrize("kind", ["resume", "experts"])
def test_what_a_killed_save_left_is_cleared_as_a_run_is_taken_up(
    tmp_path: Path, kind: str, tiny: RealData
) -> None:
    own = tmp_path / "0000" if kind == "experts" else tmp_path
    with writer(own / "checkpoint.safetensors") as (process, partial):
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert partial.exists()
    if kind == "resume":
        prepare(tmp_path, resume=True, overwrite=False)
    else:
        training = ExpertTraining(network="mlp:width=4", epochs=1, batch_size=32, learning_rate=0.01)
        train_experts(tiny, tmp_path, 1, training)
    assert not [name for name in (*names(tmp_path), *names(own)) if name.startswith(".")]
