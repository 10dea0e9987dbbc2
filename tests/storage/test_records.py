"""Every record the library writes refuses every flipped bit and every truncation, by name."""

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pydistill import nets
from pydistill.analysis import Analysis, Finding, Flag
from pydistill.cli.data_options import RECIPE, RECORD, recorded
from pydistill.data import DistilledData
from pydistill.errors import FileFormatError, OutputError
from pydistill.evaluation import Report
from pydistill.experts import ExpertTraining, load_experts
from pydistill.experts import store as experts_store
from pydistill.experts.trajectory import read_snapshot, write_snapshot
from pydistill.seeds import generator
from pydistill.storage import records
from pydistill.storage.checkpoint import Checkpoint
from pydistill.storage.history import History, read_history
from pydistill.storage.run_folder import read_run, write_run
from tests.data.conftest import make_distilled
from tests.evaluation.test_report import FULL, make

CPU = torch.device("cpu")
FEW = 160
"""Positions tried in a large file; every one in a small file."""
Case = tuple[Path, Callable[[], object]]


def network(folder: Path) -> Case:
    path = folder / "network.safetensors"
    nets.save_network(nets.build("convnet:width=4,depth=1,norm=batch", (1, 8, 8), 3, generator(0)), path)
    return path, lambda: nets.load_network(path)


def snapshot(folder: Path) -> Case:
    path = folder / "0001.safetensors"
    write_snapshot(path, {"a": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}, torch.bfloat16)
    return path, lambda: read_snapshot(path)


def manifest(folder: Path) -> Case:
    shared = {"fingerprint": "f" * 64, "preprocess": "zca", "storage": "float32"}
    shared["training"] = dataclasses.asdict(ExpertTraining(network="mlp"))
    (folder / "0000").mkdir()
    facts = {"snapshots": 2, "losses": [0.1 + 0.2, 1e-5], "validation": 0.5, "seconds": 1.0}
    records.write_json(folder / "0000" / "expert.json", experts_store.EXPERT, facts)
    experts_store.write_manifest(folder, "tiny", shared)
    return folder / "manifest.json", lambda: load_experts(folder)


def expert(folder: Path) -> Case:
    manifest(folder)
    shared = experts_store.read_manifest(folder)
    return folder / "0000" / "expert.json", lambda: experts_store.write_manifest(folder, "tiny", shared)


def report(folder: Path) -> Case:
    make(FULL).save(folder)
    return folder / "report.json", lambda: Report.load(folder)


def recipe(folder: Path) -> Case:
    records.write_json(folder / RECIPE, RECORD, {"source": "tiny.npz", "validation": 0.1, "seed": 3})
    return folder / RECIPE, lambda: recorded(folder)


def checkpoint(folder: Path) -> Case:
    path = folder / "checkpoint.safetensors"
    state = {"images": torch.arange(12.0).reshape(1, 3, 2, 2), "step": 3, "sha256": {"sha256": "0" * 64}}
    Checkpoint({"method": "dm", "rate": 1e-5}, 7, 0.1 + 0.2, state).save(path)
    return path, lambda: Checkpoint.load(path, CPU)


def root(folder: Path) -> Case:
    make_distilled().save(folder)
    return folder / "distilled.json", lambda: DistilledData.load(folder)


def tensors(folder: Path) -> Case:
    make_distilled().save(folder)
    return next(folder.glob("*.safetensors")), lambda: DistilledData.load(folder)


def run(folder: Path) -> Case:
    write_run(folder, {"identity": {"method": "dm", "rate": 1e-5}, "preset": None})
    return folder / "run.json", lambda: read_run(folder)


def history(folder: Path) -> Case:
    History(3, [1, 2], {"loss": [0.1 + 0.2, None]}, [1.0, 2.0]).save(folder)
    return folder / "history.json", lambda: read_history(folder)


def _analysed(folder: Path, name: str) -> Case:
    found = Finding(
        "broken",
        "Broken",
        "Two.",
        {"share": 0.1 + 0.2},
        (Flag(1, 0.5, "blank"),),
        image_scores=torch.arange(6.0),
    )
    facts = {"machine": {}, "seconds": {"broken": 0.5}}
    Analysis({"broken": found}, {}, "insects", "f" * 64, "classification", 6, ("ant", "bee"), facts).save(
        folder
    )
    return folder / name, lambda: Analysis.load(folder)


def analysis(folder: Path) -> Case:
    return _analysed(folder, "analysis.json")


def image_scores(folder: Path) -> Case:
    return _analysed(folder, "analysis.safetensors")


KINDS = (
    network,
    snapshot,
    manifest,
    expert,
    report,
    recipe,
    run,
    history,
    checkpoint,
    root,
    tensors,
    analysis,
    image_scores,
)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return request.param(tmp_path)  # type: ignore[no-any-return]


def error_of(read: Callable[[], object]) -> str:
    """What is said as the file is refused; empty where it is read."""
    try:
        read()
    except FileFormatError as error:
        return str(error)
    return ""


def refused(path: Path, read: Callable[[], object], content: bytes, what: str) -> None:
    path.write_bytes(content)
    assert path.name in error_of(read), what


def test_every_flipped_bit_is_refused(case: Case) -> None:
    path, read = case
    whole, chance = path.read_bytes(), random.Random(0)
    read()
    places = range(len(whole)) if len(whole) <= FEW else sorted(chance.sample(range(len(whole)), FEW))
    for at in places:
        bit = chance.randrange(8)
        content = bytearray(whole)
        content[at] ^= 1 << bit
        refused(path, read, bytes(content), f"bit {bit} of byte {at} ({whole[at : at + 1]!r}) flipped")
    path.write_bytes(whole)
    read()


def test_every_truncation_and_addition_is_refused(case: Case) -> None:
    path, read = case
    whole = path.read_bytes()
    lengths = {0, 1, 7, 8, 9, len(whole) - 1, len(whole) - 2, *range(0, len(whole), len(whole) // 60 + 1)}
    for length in lengths:
        refused(path, read, whole[:length], f"cut to {length} bytes")
    for more in (b"\n", b" ", b"\0", b"{}"):
        refused(path, read, whole + more, f"{more!r} behind")


@pytest.mark.parametrize("change", [(b"e-05", b"E-05"), (b"0.30000000000000004", b"0.30000000000000005")])
def test_another_spelling_of_the_same_number_is_refused(
    tmp_path: Path, change: tuple[bytes, bytes]
) -> None:
    path, read = expert(tmp_path)
    content = path.read_bytes()
    assert change[0] in content
    refused(path, read, content.replace(*change), "another spelling")


KIND = records.Kind("pydistill.thing", 3, "a thing", "make it again")


def test_other_kinds_and_versions_are_named(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    for version, words in ((2, "holds a thing of version 2, this pydistill reads 3: make it again"),):
        old = dataclasses.replace(KIND, version=version)
        records.write_json(path, old, {"a": 1})
        with pytest.raises(FileFormatError, match=words):
            records.read_json(path, KIND)
        records.write_tensors(path, old, {"a": 1}, {"x": torch.zeros(2)})
        with pytest.raises(FileFormatError, match=words):
            records.read_tensors(path, KIND)
    other = dataclasses.replace(KIND, format="other")
    records.write_json(path, other, {})
    with pytest.raises(FileFormatError, match=r"no record of a thing: expected .*\.thing, found 'other'"):
        records.read_json(path, KIND)


def test_records_come_back_equal_and_files_repeat(tmp_path: Path) -> None:
    facts = {"a": [1, 0.1, None, "\x1b\u00fc\ud800"], "b": {"c": True}}
    for name in "12":
        records.write_json(tmp_path / f"json{name}", KIND, facts)
        records.write_tensors(
            tmp_path / f"tensors{name}", KIND, facts, {"x": torch.arange(3), "y": torch.ones(1)}
        )
    assert records.read_json(tmp_path / "json1", KIND) == facts
    found, held = records.read_tensors(tmp_path / "tensors1", KIND)
    assert found == facts
    assert held["x"].tolist() == [0, 1, 2]
    for name in ("json", "tensors"):
        assert (tmp_path / f"{name}1").read_bytes() == (tmp_path / f"{name}2").read_bytes()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"[" * 100_000, b'{"format": "pydistill.thing", "version": 3}', b"1" * 9999],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "thing").write_bytes(content)
    for read in (records.read_json, records.read_tensors):
        with pytest.raises(FileFormatError, match="thing"):
            read(tmp_path / "thing", KIND)


@pytest.mark.parametrize("path", ["nowhere/x", ".", "a\0b", "n" * 300])
def test_paths_that_cannot_be_read_or_written(tmp_path: Path, path: str) -> None:
    for read in (records.read_json, records.read_tensors):
        with pytest.raises(FileFormatError, match="a thing"):
            read(tmp_path / path, KIND)
    if path != "nowhere/x":
        with pytest.raises(OutputError, match="cannot write"):
            records.write_tensors(tmp_path / path, KIND, {}, {"x": torch.zeros(2)})


def test_tensor_files_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    for metadata in (None, {"pydistill": "3"}, {"pydistill": "{"}, {"format": "pydistill.snapshot 1"}):
        save_file({"x": torch.zeros(2)}, path, metadata=metadata)
        with pytest.raises(FileFormatError, match="make it again"):
            records.read_tensors(path, KIND)


def test_records_written_before_they_were_sealed_are_refused_with_the_mend(tmp_path: Path) -> None:
    old = make(FULL).to_json()
    (tmp_path / "report.json").write_text(json.dumps(old, indent=1) + "\n")
    with pytest.raises(
        FileFormatError, match=r"report\.json.*it holds no checksum.*; evaluate the set again"
    ):
        Report.load(tmp_path)
    manifest(tmp_path)
    facts = {"format": "pydistill.experts", "version": 1, **experts_store.read_manifest(tmp_path)}
    (tmp_path / "manifest.json").write_text(json.dumps(facts, indent=1))
    with pytest.raises(FileFormatError, match=r"manifest\.json holds .* of version 1.*train them again"):
        load_experts(tmp_path)
