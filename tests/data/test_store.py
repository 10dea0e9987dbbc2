import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from pydistill.data import DistilledData, store
from pydistill.errors import DataError, FileFormatError, OutputError
from pydistill.storage import files, records
from tests.data.conftest import assert_equal, make_distilled

Rewrite = Callable[[dict[str, Any]], None]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    make_distilled().save(tmp_path)
    return tmp_path


def tensor_file(folder: Path) -> Path:
    (found,) = folder.glob("*.safetensors")
    return found


def rewrite(folder: Path, change: Rewrite, *, seal: bool = True) -> None:
    """Change the JSON, as whoever tampers with it would: with a checksum that fits, or without."""
    facts = json.loads((folder / store.ROOT).read_text())
    checksum = facts.pop("checksum")
    change(facts)
    facts = records.sealed(facts) if seal else {**facts, "checksum": checksum}
    (folder / store.ROOT).write_text(json.dumps(facts))


def retensor(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the tensors and let the JSON name them."""
    path = tensor_file(folder)
    tensors = safetensors.torch.load_file(path)
    tensors = {name: value.clone() for name, value in tensors.items()}
    change(tensors)
    safetensors.torch.save_file(tensors, path)
    facts = {"file": path.name, "sha256": files.sha256(path), "bytes": path.stat().st_size}
    rewrite(folder, lambda whole: whole.update(tensors=facts))


def test_a_set_comes_back_bit_for_bit(tmp_path: Path, distilled: DistilledData) -> None:
    distilled.save(tmp_path / "new" / "folder")
    assert_equal(DistilledData.load(tmp_path / "new" / "folder"), distilled)
    assert_equal(DistilledData.load(str(tmp_path / "new" / "folder")), distilled)


def test_a_packed_set_comes_back_packed(tmp_path: Path, packed: DistilledData) -> None:
    packed.save(tmp_path)
    found = DistilledData.load(tmp_path)
    assert_equal(found, packed)
    assert found.factor == 2
    assert len(found) == 24


def test_a_set_saved_before_there_were_factors_has_factor_1(saved: Path) -> None:
    rewrite(saved, lambda facts: facts.pop("factor"))
    assert_equal(DistilledData.load(saved), make_distilled())


def test_a_set_without_a_rate(tmp_path: Path, without_rate: DistilledData) -> None:
    without_rate.save(tmp_path)
    assert DistilledData.load(tmp_path).learning_rate is None


def test_images_of_any_memory_layout_are_kept(tmp_path: Path) -> None:
    made = make_distilled()
    last = replace(made, images=made.images.to(memory_format=torch.channels_last).requires_grad_())
    last.save(tmp_path)
    assert_equal(DistilledData.load(tmp_path), made)


def test_saving_again_replaces_and_leaves_nothing_over(saved: Path) -> None:
    (saved / "report.html").write_text("of somebody else")
    other = make_distilled(seed=1)
    other.save(saved)
    assert_equal(DistilledData.load(saved), other)
    other.save(saved)
    assert_equal(DistilledData.load(saved), other)
    assert sorted(path.name for path in saved.iterdir()) == sorted(
        [store.ROOT, "report.html", tensor_file(saved).name]
    )


def test_the_same_set_makes_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "other"):
        make_distilled(zca=True).save(tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


def test_a_break_between_the_two_files_leaves_the_old_set(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, facts: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_sealed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_distilled(seed=1).save(saved)
    assert len(list(saved.glob("*.safetensors"))) == 2
    assert_equal(DistilledData.load(saved), make_distilled())
    make_distilled(seed=2).save(saved)
    assert_equal(DistilledData.load(saved), make_distilled(seed=2))
    assert len(list(saved.glob("*.safetensors"))) == 1


@pytest.mark.parametrize("failing", [".safetensors", ".json"])
def test_a_full_disk_leaves_the_old_set(saved: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    fill = files._fill

    def full(path: Path, content: bytes) -> None:
        if failing not in path.name:
            return fill(path, content)
        fill(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files, "_fill", full)
        with pytest.raises(
            OutputError, match=r"No space left on device; what stood there before is untouched"
        ):
            make_distilled(seed=1).save(saved)
    assert_equal(DistilledData.load(saved), make_distilled())
    assert not list(saved.glob(".*"))


def mount(folder: Path) -> bool:
    """A file system of 64 KiB in memory, where this user may mount one."""
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def little_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk that 64 KiB fill; where none can be mounted, one that files may not outgrow."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = mount(folder)
    yield folder
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full_leaves_the_old_set(
    little_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_distilled().save(little_disk)
    if os.path.ismount(little_disk):
        with pytest.raises(OSError, match="No space left"):
            (little_disk / "filler").write_bytes(bytes(100_000))
    else:
        monkeypatch.setattr(files, "_fill", lambda path, content: Path("/dev/full").write_bytes(content))
    with pytest.raises(OutputError, match="No space left on device"):
        make_distilled(seed=1).save(little_disk)
    assert_equal(DistilledData.load(little_disk), make_distilled())
    assert not list(little_disk.glob(".*"))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write .*file"):
        make_distilled().save(tmp_path / "file" / "set")
    assert (tmp_path / "file").read_text() == "in the way"


def test_no_set_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for folder in (tmp_path / "gone", tmp_path, tmp_path / "file"):
        with pytest.raises(DataError, match=r"there is no distilled set in .*distilled\.json"):
            DistilledData.load(folder)


def test_a_root_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / store.ROOT).mkdir()
    with pytest.raises(FileFormatError, match=r"distilled\.json cannot be read"):
        DistilledData.load(tmp_path)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"pydistill"', b"[" * 100_000, b'{"format": "other"}']
)
def test_a_json_file_that_is_truncated_or_foreign(saved: Path, text: bytes) -> None:
    (saved / store.ROOT).write_bytes(text)
    with pytest.raises(FileFormatError, match=r"distilled\.json"):
        DistilledData.load(saved)


def test_every_truncation_of_the_json_is_refused(saved: Path) -> None:
    whole = (saved / store.ROOT).read_bytes()
    for length in range(0, len(whole) - 2, 37):
        (saved / store.ROOT).write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match=r"distilled\.json"):
            DistilledData.load(saved)


def test_a_version_of_the_future(saved: Path) -> None:
    rewrite(saved, lambda facts: facts.update(version=4))
    with pytest.raises(FileFormatError, match="has version 4, pydistill here reads 1 to 3: upgrade it"):
        DistilledData.load(saved)


@pytest.mark.parametrize(
    "change", [{"learning_rate": 0.5}, {"augment": "none"}, {"learning_rate": float("nan")}, {"more": 1}]
)
def test_an_altered_json_file(saved: Path, change: dict) -> None:
    rewrite(saved, lambda facts: facts.update(change), seal=False)
    with pytest.raises(FileFormatError, match="was altered after it was written"):
        DistilledData.load(saved)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_tensor_file(saved: Path, keep: int) -> None:
    path = tensor_file(saved)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FileFormatError, match=rf"{path.name} is not what distilled\.json names"):
        DistilledData.load(saved)


def test_one_altered_byte_of_a_tensor(saved: Path) -> None:
    path = tensor_file(saved)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="is not what distilled"):
        DistilledData.load(saved)


def test_a_missing_tensor_file(saved: Path) -> None:
    tensor_file(saved).unlink()
    with pytest.raises(FileFormatError, match=r"named by distilled\.json, cannot be read: No such file"):
        DistilledData.load(saved)


@pytest.mark.parametrize("name", ["../{}", "/etc/passwd", "sub/{}", ".."])
def test_tensors_of_elsewhere_are_never_opened(saved: Path, name: str) -> None:
    elsewhere = name.format(tensor_file(saved).name)
    rewrite(saved, lambda facts: facts["tensors"].update(file=elsewhere))
    with pytest.raises(FileFormatError, match=r"must lie beside it|cannot be read"):
        DistilledData.load(saved)


def test_a_pickle_in_place_of_tensors_is_never_executed(saved: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (saved / "executed",))

    path = tensor_file(saved)
    torch.save({"images": Bomb()}, path)
    facts = {"file": path.name, "sha256": files.sha256(path), "bytes": path.stat().st_size}
    rewrite(saved, lambda whole: whole.update(tensors=facts))
    with pytest.raises(FileFormatError, match="holds no usable distilled set"):
        DistilledData.load(saved)
    assert not (saved / "executed").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("images"), r"expected tensors images, targets, found \['targets'\]"),
        (lambda t: t.update(more=torch.zeros(1)), "expected tensors images, targets"),
        (
            lambda t: t.update(images=t["images"][:4].contiguous()),
            r"expected images of shape \[6, 3, 4, 5\]",
        ),
        (lambda t: t.update(images=t["images"].double()), "float32"),
        (lambda t: t["images"].view(-1)[7:8].fill_(torch.nan), "only finite values"),
        (lambda t: t["targets"].fill_(3), "labels run from 3 to 3"),
        (lambda t: t.update(targets=t["targets"].int()), "int64 class indices"),
        (lambda t: t.pop("preprocess.std"), r"expected tensors \['mean', 'std'\], found \['mean'\]"),
        (lambda t: t["preprocess.std"].zero_(), "positive std"),
        (
            lambda t: t.update({"preprocess.mean": torch.zeros(2), "preprocess.std": torch.ones(2)}),
            "is not of images",
        ),
    ],
)
def test_tensors_that_do_not_fit(saved: Path, change: Any, message: str) -> None:
    retensor(saved, change)
    with pytest.raises(FileFormatError, match=message):
        DistilledData.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("augment"), "it lacks 'augment'"),
        (lambda f: f.pop("tensors"), "it lacks 'tensors'"),
        (lambda f: f.update(tensors=[]), "holds no usable"),
        (lambda f: f.update(task={"name": "juggling", "class_names": []}), "unknown task 'juggling'"),
        (lambda f: f.update(preprocess="none"), "unknown preprocess 'none'; known are standardise, zca"),
        (lambda f: f.update(preprocess=[]), "holds no usable"),
        (lambda f: f["task"].update(class_names=["a", "b"]), "labels run from 0 to 2"),
        (lambda f: f.update(augment=3), "expected a text as augment"),
        (lambda f: f.update(learning_rate="fast"), "a number as learning_rate"),
        (lambda f: f.update(learning_rate=-1), "learning rate above 0"),
        (lambda f: f.update(factor=2), "factor 2 does not divide images of 4x5 pixels"),
        (lambda f: f.update(factor="2"), "factor must be an integer, got '2'"),
        (lambda f: f.update(factor=None), "factor must be an integer, got None"),
        (lambda f: f["provenance"].pop("seed"), "seed"),
        (lambda f: f["provenance"].update(more=1), "more"),
    ],
)
def test_facts_that_do_not_fit(saved: Path, change: Rewrite, message: str) -> None:
    rewrite(saved, change)
    with pytest.raises(FileFormatError, match=message):
        DistilledData.load(saved)
