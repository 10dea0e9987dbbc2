"""A checkpoint comes back exactly, and a damaged one is refused."""

import pytest
import torch

from pydistill.errors import CheckpointError, FileFormatError, OutputError
from pydistill.storage.checkpoint import RECORD, Checkpoint
from pydistill.storage.records import write_tensors

CPU = torch.device("cpu")


@pytest.fixture
def saved(tmp_path):
    state = {
        "images": torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).to(
            memory_format=torch.channels_last
        ),
        "optimiser": {"step": 3, "buffers": [torch.arange(3), torch.tensor(2.5, dtype=torch.float64)]},
        "note": "half-way",
        "none": None,
        "flag": True,
        "half": torch.ones(2, dtype=torch.bfloat16),
        "empty": torch.empty(0, 4),
    }
    path = tmp_path / "checkpoint.safetensors"
    Checkpoint({"method": "dm", "options": {"momentum": 0.5}}, 7, 1.25, state).save(path)
    return path, state


def test_round_trip_is_exact(saved):
    path, state = saved
    back = Checkpoint.load(path, CPU)
    assert (back.index, back.seconds) == (7, 1.25)
    assert back.identity == {"method": "dm", "options": {"momentum": 0.5}}
    assert torch.equal(back.state["images"], state["images"])
    assert back.state["images"].is_contiguous(memory_format=torch.channels_last)
    assert back.state["optimiser"]["step"] == 3
    assert torch.equal(back.state["optimiser"]["buffers"][0], torch.arange(3))
    assert back.state["optimiser"]["buffers"][1].dtype == torch.float64
    assert torch.equal(back.state["half"], state["half"])
    assert back.state["empty"].shape == (0, 4)
    assert (back.state["note"], back.state["none"], back.state["flag"]) == ("half-way", None, True)


@pytest.mark.parametrize("shape", [(6, 1, 8, 8), (4, 3, 1, 1), (2, 3, 4, 5), (1, 1, 1, 1), (0, 3, 2, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_tensors_come_back_with_their_strides(shape, layout, tmp_path):
    tensor = torch.empty(shape, memory_format=layout).fill_(1.5)
    Checkpoint({}, 0, 0.0, {"images": tensor}).save(tmp_path / "c")
    back = Checkpoint.load(tmp_path / "c", CPU).state["images"]
    assert torch.equal(back, tensor)
    assert back.stride() == tensor.stride()


def test_tensors_that_share_memory_come_back_apart(tmp_path):
    whole = torch.arange(6.0)
    Checkpoint({}, 0, 0.0, {"a": whole[:4], "b": whole[2:]}).save(tmp_path / "c")
    state = Checkpoint.load(tmp_path / "c", CPU).state
    assert state["a"].tolist() == [0, 1, 2, 3]
    assert state["b"].tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_file_is_refused(saved, keep):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FileFormatError, match="cannot be read as a checkpoint"):
        Checkpoint.load(path, CPU)


def test_altered_pixel_and_altered_text_are_refused(saved):
    path, _ = saved
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="does not match its digest"):
        Checkpoint.load(path, CPU)
    content[-1] ^= 1
    path.write_bytes(bytes(content).replace(b"half-way", b"half-wax"))
    with pytest.raises(FileFormatError, match="does not match its digest"):
        Checkpoint.load(path, CPU)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileFormatError, match="nothing-here"):
        Checkpoint.load(tmp_path / "nothing-here", CPU)


def test_every_difference_is_named(saved):
    path, _ = saved
    with pytest.raises(
        CheckpointError, match=r"method is 'dm' there, 'mmd' here; options.momentum is 0.5 there, None here"
    ):
        Checkpoint.load(path, CPU).require({"method": "mmd"}, path)


def test_failed_write_leaves_the_old_file(saved, monkeypatch):
    path, _ = saved
    before = path.read_bytes()

    def full(tensors, name, metadata):
        name.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pydistill.storage.records.save_file", full)
    with pytest.raises(OutputError, match="No space left on device"):
        Checkpoint({}, 8, 2.0, {}).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_is_no_tree_is_refused(tmp_path):
    with pytest.raises(TypeError, match="state/net holds a Linear"):
        Checkpoint({}, 0, 0.0, {"net": torch.nn.Linear(1, 1)}).save(tmp_path / "c")


@pytest.mark.parametrize(
    "change",
    [
        {"state": {"images": {"__tensor__": "gone", "last": False}}},
        {"state": {"images": {"__tensor__": "x", "last": True}}},
        {"state": None},
        {"index": "7"},
        {"seconds": "1"},
        {"identity": []},
        {},
    ],
)
def test_sealed_files_of_other_content_are_refused(tmp_path, change):
    facts = {"identity": {}, "index": 7, "seconds": 1.0, "state": {}}
    facts = {**facts, **change} if change else {}
    write_tensors(tmp_path / "c", RECORD, facts, {"x": torch.zeros(3)})
    with pytest.raises(FileFormatError, match="does not hold a checkpoint"):
        Checkpoint.load(tmp_path / "c", CPU)
