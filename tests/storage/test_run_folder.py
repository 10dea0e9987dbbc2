"""What a run keeps beside its result, when it is taken up again, what it leaves behind where it fails."""

import dataclasses
import json

import pytest

from pydistill import distill, load_data
from pydistill.data.identity import READ, preprocess_values
from pydistill.errors import CheckpointError, FileFormatError
from pydistill.events import Saved, Snapshot, Started, Step
from pydistill.storage.history import RECORD, History, read_history
from pydistill.storage.identity import differences
from pydistill.storage.records import write_json
from pydistill.storage.run_folder import read_run, write_run
from tests.conftest import blobs

DM = {"network": "convnet:width=4,depth=2", "batch_real": 8}


class BrokenOffError(Exception):
    pass


def until(step, kind=Step):
    def stop(event):
        if isinstance(event, kind) and event.index == step:
            raise BrokenOffError

    return stop


def test_history_has_every_step_once_however_often_it_was_broken_off(tiny, tmp_path):
    run = {"ipc": 1, "iterations": 7, "checkpoint_every": 2, **DM}
    whole = distill(tiny, "dm", folder=tmp_path / "whole", **run)
    folder = tmp_path / "broken"
    for stop in (until(3), until(4, Saved), until(5)):
        with pytest.raises(BrokenOffError):
            distill(tiny, "dm", folder=folder, resume=True, on_event=stop, **run)
    seen = []
    made = distill(tiny, "dm", folder=folder, resume=True, on_event=seen.append, **run)
    assert made.images.equal(whole.images)
    assert [(each.index, each.total) for each in seen if isinstance(each, Started)] == [(5, 7)]
    first, second = read_history(folder), read_history(tmp_path / "whole")
    assert first["steps"] == second["steps"] == [1, 2, 3, 4, 5, 6, 7]
    assert first["metrics"] == second["metrics"]
    assert first["seconds"] == sorted(first["seconds"])


def test_history_that_reached_beyond_the_checkpoint_is_cut(tmp_path):
    kept = History(5)
    for step in range(1, 5):
        kept.add(step, {"loss": step / 2, **({"late": 1.0} if step > 2 else {})}, float(step))
    kept.save(tmp_path)
    again = History.load(tmp_path, 5, until=3)
    again.add(4, {"loss": 9.0}, 4.0)
    assert again.record() == {
        "steps": [1, 2, 3, 4],
        "metrics": {"late": [None, None, 1.0, None], "loss": [0.5, 1.0, 1.5, 9.0]},
        "seconds": [1.0, 2.0, 3.0, 4.0],
    }


def test_long_history_is_thinned_with_its_first_and_last_step():
    kept = History(50_001)
    for step in range(1, 50_002):
        kept.add(step, {"loss": 0.0}, 0.0)
    assert 1_000 < len(kept.steps) <= 2_002
    assert (kept.steps[0], kept.steps[-1]) == (1, 50_001)


@pytest.mark.parametrize("text", ['{"steps": [1]', "[]", '{"steps": [1], "seconds": [], "metrics": {}}'])
def test_damaged_history_is_refused_by_name(text, tmp_path):
    (tmp_path / "history.json").write_text(text)
    with pytest.raises(FileFormatError, match=r"history\.json"):
        read_history(tmp_path)


def test_history_of_columns_that_differ_is_refused_by_name(tmp_path):
    write_json(tmp_path / "history.json", RECORD, {"steps": [1], "seconds": [], "metrics": {}})
    with pytest.raises(FileFormatError, match=r"history\.json.*differ in length"):
        read_history(tmp_path)


def test_a_finished_run_is_given_back_at_once(tiny, tmp_path):
    run = {"ipc": 1, "iterations": 2, "folder": tmp_path, **DM}
    made = distill(tiny, "dm", preset="quick", **run)
    seen = []
    again = distill(tiny, "dm", resume=True, max_batch=5, preset="quick", on_event=seen.append, **run)
    assert [type(event) for event in seen] == [Snapshot]
    assert again.images.equal(made.images)
    assert again.provenance == made.provenance
    with pytest.raises(CheckpointError, match="seed is 0 there, 1 here"):
        distill(tiny, "dm", resume=True, seed=1, preset="quick", **run)
    with pytest.raises(CheckpointError, match="horizontal_flip is True there, False here"):
        distill(dataclasses.replace(tiny, horizontal_flip=False), "dm", resume=True, preset="quick", **run)


def test_a_finished_run_that_was_recorded_under_earlier_names_is_compared_too(tiny, tmp_path):
    run = {"ipc": 1, "iterations": 2, "folder": tmp_path, **DM}
    made = distill(tiny, "dm", **run)
    facts = read_run(tmp_path)
    facts["identity"]["mirror"] = facts["identity"].pop("horizontal_flip")
    write_run(tmp_path, facts)
    assert distill(tiny, "dm", resume=True, **run).images.equal(made.images)
    with pytest.raises(CheckpointError, match="horizontal_flip is True there, False here"):
        distill(dataclasses.replace(tiny, horizontal_flip=False), "dm", resume=True, **run)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"preprocess": "zca"}, "preprocess is 'standardise' there, 'zca' here"),
        ({"horizontal_flip": False}, "horizontal_flip is True there, False here"),
        ({"size": 4}, r"shape is \[1, 8, 8\] there, \[1, 4, 4\] here"),
    ],
)
@pytest.mark.parametrize("broken", [True, False], ids=["broken off", "finished"])
def test_a_run_on_data_read_otherwise_is_not_taken_up(broken, changes, named, tmp_path):
    arrays, run = blobs(), {"ipc": 1, "iterations": 3, "folder": tmp_path, **DM}
    if broken:
        with pytest.raises(BrokenOffError):
            distill(load_data(arrays), "dm", on_event=until(2), **run)
    else:
        distill(load_data(arrays), "dm", **run)
    with pytest.raises(CheckpointError, match=named):
        distill(load_data(arrays, **changes), "dm", resume=True, **run)


def test_fitted_values_are_part_of_what_a_run_is_but_rounding_is_not(tiny):
    def told(scale):
        mean = tiny.preprocess.mean
        return {
            "preprocess_values": preprocess_values(dataclasses.replace(tiny.preprocess, mean=mean * scale))
        }

    assert differences(told(1.0), told(1.0 + 1e-6)) == []
    assert len(differences(told(1.0), told(1.1))) == 1
    assert differences(told(1.0), {}, READ) == []  # written by a version that did not record it


def test_what_fails_before_anything_is_kept_leaves_no_folder(tiny, tmp_path):
    deep = tmp_path / "new" / "deeper"
    with pytest.raises(ValueError, match="factor 3"):
        distill(tiny, "random", ipc=1, factor=3, folder=deep)
    with pytest.raises(BrokenOffError):
        distill(tiny, "dm", ipc=1, folder=deep, on_event=until(0, Started), **DM)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BrokenOffError):
        distill(tiny, "dm", ipc=1, folder=deep, on_event=until(1), **DM)
    assert (deep / "checkpoint.safetensors").exists()


def test_a_failed_replacement_leaves_the_checkpoint_that_was_there(tiny, tmp_path):
    with pytest.raises(BrokenOffError):
        distill(tiny, "dm", ipc=1, folder=tmp_path, on_event=until(2), **DM)
    kept = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(ValueError, match="factor 3"):
        distill(tiny, "random", ipc=1, factor=3, folder=tmp_path, overwrite=True)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == kept


def test_the_run_is_described(tiny, tmp_path):
    distill(tiny, "dm", ipc=1, iterations=1, preset="quick", folder=tmp_path, **DM)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["preset"] == "quick"
    assert facts["identity"]["method"] == "dm"
    assert facts["pydistill"]


def test_a_run_under_zca_goes_on_under_zca(tmp_path):
    run = {"ipc": 1, "iterations": 3, "folder": tmp_path, **DM}
    with pytest.raises(BrokenOffError):
        distill(load_data(blobs(), preprocess="zca"), "dm", on_event=until(1), **run)
    assert distill(load_data(blobs(), preprocess="zca"), "dm", resume=True, **run).preprocess.name == "zca"
