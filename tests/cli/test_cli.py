"""The command line from outside: what it writes, what it says, its exit codes."""

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from pydistill.cli import main
from pydistill.data import DistilledData
from tests.conftest import blobs

DM = ["--method", "dm", "--network", "convnet:width=4,depth=2", "--batch-real", "8"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "tiny.npz"
    np.savez(path, **blobs())
    return str(path)


def distill(source, out, *more):
    return main(["distill", source, "--ipc", "2", "--out", str(out), *more])


def test_distill_then_evaluate_writes_set_picture_and_report(source, tmp_path, capsys):
    assert distill(source, tmp_path / "run", *DM, "--iterations", "3", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["images"] == 6
    assert answer["provenance"]["config"]["iterations"] == 3
    assert (tmp_path / "run" / "preview.png").read_bytes().startswith(b"\x89PNG")
    network = ["--network", "convnet:width=4,depth=2", "--repeats", "2", "--epochs", "5"]
    assert main(["evaluate", str(tmp_path / "run"), *network]) == 0
    said = capsys.readouterr().out
    assert "random" in said
    assert "report.html" in said
    assert (tmp_path / "run" / "report.json").exists()
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(f"pydistill {command} " in page for command in ("distill", "evaluate"))
    assert "While it was distilled" in page


def test_a_packed_set_from_selection_to_report(source, tmp_path, capsys):
    assert distill(source, tmp_path, "--method", "random", "--factor", "2", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["images"], answer["factor"], answer["views"]) == (6, 2, 24)
    assert main(["info", str(tmp_path)]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (said["factor"], said["views"]) == ("2", "24")
    short = ["--network", "mlp:width=4", "--repeats", "1", "--epochs", "2"]
    assert main(["evaluate", str(tmp_path), *short]) == 0
    said = capsys.readouterr().out
    assert "factor 2: 2 stored images a class, trained on as 8 views" in said
    assert json.loads((tmp_path / "report.json").read_text())["formation"]["factor"] == 2


def test_short_classes_are_refused_by_name_or_kept_and_told(tmp_path, capsys):
    arrays, path = blobs(), tmp_path / "uneven.npz"
    kept = np.concatenate([np.arange(30), np.arange(30, 34), np.arange(60, 67)])
    np.savez(path, **{name: value[kept] if "train" in name else value for name, value in arrays.items()})
    run = ["--method", "random", "--ipc", "8", "--validation", "0.2"]
    assert distill(str(path), tmp_path / "run", *run) == 2
    said = capsys.readouterr().err
    assert "classes '1' (3), '2' (6) have fewer training images" in said
    assert distill(str(path), tmp_path / "run", *run, "--short-classes", "keep", "--clamp") == 0
    told = "class '1' has 3 of 8 images, class '2' 6 of 8"
    assert told in capsys.readouterr().err
    short = ["--network", "mlp:width=4", "--repeats", "1", "--epochs", "2"]
    assert main(["evaluate", str(tmp_path / "run"), *short]) == 0
    assert told in capsys.readouterr().out
    record = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {each["images"] for source, each in record["sets"]["classes"].items() if source != "whole"} == {
        17
    }
    assert any(told in note for note in record["notes"])


def test_pictures_are_exported_and_scored(source, tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "out"
    assert distill(source, run, *DM, "--iterations", "3", "--learning-rate", "9") == 0
    assert main(["export", str(run), str(out)]) == 0
    said = capsys.readouterr().out
    assert "of the pixels lay outside the range of a picture" in said
    assert "were clamped" in said
    short = ["--network", "mlp:width=4", "--repeats", "1", "--epochs", "2"]
    assert main(["evaluate", str(out), *short, "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any("was read from exported pictures" in note and "were clamped" in note for note in notes)
    assert main(["export", str(run), str(tmp_path / "stretched"), "--scale", "range", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"]["scale"] == "range"
    assert main(["export", str(run), str(tmp_path / "set.parquet")]) == 0
    assert DistilledData.from_parquet(tmp_path / "set.parquet") == DistilledData.load(run)
    assert main(["export", str(run), str(out)]) == 4


def test_a_packed_set_is_told_of_as_it_is_made(source, tmp_path, capsys):
    assert distill(source, tmp_path, "--method", "random", "--factor", "2") == 0
    assert "6 images of 4 views each" in capsys.readouterr().err


def test_same_command_twice_gives_the_same_file(source, tmp_path):
    for name in "ab":
        assert distill(source, tmp_path / name, *DM, "--iterations", "2", "--seed", "7") == 0
    first, second = (DistilledData.load(tmp_path / name) for name in "ab")
    assert first.images.equal(second.images)


def test_killed_run_resumes_bit_identical(source, tmp_path):
    """kill -9 half-way, --resume, and the result is the uninterrupted run's, bit for bit."""
    arguments = [*DM, "--iterations", "400", "--checkpoint-every", "5"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "pydistill.cli", "distill", source, "--ipc", "2", "--out", str(killed)]
    process = subprocess.Popen([*command, *arguments], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not (killed / "checkpoint.safetensors").exists():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint within ten minutes"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "distilled.json").exists()

    assert distill(source, killed, *arguments, "--resume") == 0
    assert distill(source, whole, *arguments) == 0
    files = [next(folder.glob("distilled-*.safetensors")) for folder in (killed, whole)]
    assert files[0].name == files[1].name
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not (killed / "checkpoint.safetensors").exists()
    first, second = (json.loads((folder / "history.json").read_text()) for folder in (killed, whole))
    assert first["steps"] == second["steps"] == list(range(1, 401))
    assert first["metrics"] == second["metrics"]
    begun = [line for line in (killed / "run.log").read_text().splitlines() if " begin: " in line]
    assert len(begun) == 2


def test_resume_after_the_end_gives_the_same_set(source, tmp_path):
    assert distill(source, tmp_path, *DM, "--iterations", "2") == 0
    before = DistilledData.load(tmp_path).images
    assert distill(source, tmp_path, *DM, "--iterations", "2", "--resume") == 0
    assert DistilledData.load(tmp_path).images.equal(before)


def test_a_run_is_evaluated_from_anywhere_and_keeps_its_command(source, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(os.path.dirname(source))
    arguments = ["--method", "random", "--preset", "quick", "--json"]
    assert distill("tiny.npz", tmp_path / "run", *arguments) == 0
    assert json.loads(capsys.readouterr().out)["provenance"]["preset"] == "quick"
    assert json.loads((tmp_path / "run" / "data.json").read_text())["source"] == source
    begun, ended = (tmp_path / "run" / "run.log").read_text().splitlines()
    assert "begin: pydistill" in begun
    assert ended.endswith("end: done")
    monkeypatch.chdir(tmp_path)
    short = ["--network", "mlp:width=4", "--repeats", "1", "--epochs", "2"]
    assert main(["evaluate", "run", *short]) == 0


@pytest.mark.parametrize("data", ["no-such-data", None])
def test_a_failed_command_leaves_no_new_folder(data, source, tmp_path):
    assert distill(data or source, tmp_path / "a" / "b", "--method", "random", "--ipc", "99") != 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--method", "dn"], 2, "unknown method 'dn' (did you mean 'dm'?)"),
        (["--method", "random", "--preset", "fast"], 2, "random has no preset 'fast'"),
        (["--method", "dm", "--iterations", "0"], 2, "iterations must be at least 1"),
        (["--method", "dm", "--network", "convnett"], 2, "convnet"),
        (["--method", "dm", "--network", "convnet:depth=5"], 2, "depth"),
        (["--method", "random", "--ipc", "0"], 2, "ipc must be at least 1, got 0"),
        (["--method", "random", "--ipc", "-1"], 2, "ipc must be at least 1, got -1"),
        (["--method", "random", "--ipc", "99"], 2, "(27) have fewer training images: ask for at most 27"),
        (["--method", "random", "--factor", "3"], 2, "factor 3 does not divide images of 8x8 pixels"),
        (["--method", "random", "--factor", "0"], 2, "factor must be at least 1, got 0"),
        (["--method", "random", "--factor", "4"], 2, "packed of 16 real ones"),
        (["--method", "random", "--device", "tpu"], 2, "device"),
        (["--method", "random", "--validation", "1.5"], 2, "validation"),
    ],
)
def test_wrong_arguments_exit_with_2(arguments, code, message, source, tmp_path, capsys):
    assert distill(source, tmp_path, *arguments) == code
    assert message in capsys.readouterr().err


def test_unknown_option_of_a_method_exits_with_2(source, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        distill(source, tmp_path, *DM, "--iteration", "3")
    assert stop.value.code == 2
    assert "unrecognized arguments: --iteration 3" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["no-such-data", "./missing/folder", "missing.npz"])
def test_missing_data_exits_with_3(name, tmp_path, capsys):
    assert distill(name, tmp_path, "--method", "random") == 3
    assert name.split("/")[-1] in capsys.readouterr().err


def garbage_idx(folder):
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (folder / name).write_bytes(b"this is no IDX file")
    return "train-images-idx3-ubyte"


def short_idx(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(
        struct.pack(">4B3I", 0, 0, 8, 3, 5, 8, 8) + b"\0" * 100
    )
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, 5) + bytes(range(5)))
    return "train-images-idx3-ubyte"


def garbage_parquet(folder):
    (folder / "train-00000-of-00001.parquet").write_bytes(b"PAR1 and then nothing that parquet knows PAR1")
    return "parquet"


def missing_labels(folder):
    arrays = blobs()
    arrays["y_train"] = np.where(arrays["y_train"] == 1, -1, arrays["y_train"])
    np.savez(folder / "gap.npz", **arrays)
    return "labels must not be below 0, found [-1, 0, 1, 2]"


def empty_class(folder):
    for name in ("cat", "dog"):
        (folder / name).mkdir()
    for at in range(5):
        Image.new("L", (8, 8), at).save(folder / "cat" / f"{at}.png")
    return "dog"


def empty_folder(folder):
    return folder.name


@pytest.mark.parametrize(
    "spoil", [garbage_idx, short_idx, garbage_parquet, missing_labels, empty_class, empty_folder]
)
def test_damaged_data_exits_with_3_and_says_what(spoil, tmp_path, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    named = spoil(folder)
    source = next(iter(folder.glob("*.npz")), folder)
    assert distill(str(source), tmp_path / "out", "--method", "random") == 3
    assert named.lower() in capsys.readouterr().err.lower()


def test_set_of_other_shape_than_the_data_exits_with_2(source, tmp_path, capsys):
    np.savez(tmp_path / "colour.npz", **blobs(channels=3))
    assert distill(source, tmp_path / "run", "--method", "random") == 0
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "colour.npz")]) == 2
    assert "(3, 8, 8)" in capsys.readouterr().err


def test_full_disk_exits_with_4_and_leaves_the_old_set(source, tmp_path, capsys, monkeypatch):
    assert distill(source, tmp_path, "--method", "random", "--seed", "1") == 0
    before = DistilledData.load(tmp_path).images

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert distill(source, tmp_path, "--method", "random", "--seed", "2", "--overwrite") == 4
    assert "No space left on device" in capsys.readouterr().err
    monkeypatch.undo()
    assert DistilledData.load(tmp_path).images.equal(before)


def test_not_a_number_pixels_exit_with_3(tmp_path, capsys):
    arrays = blobs()
    arrays["x_train"] = arrays["x_train"].astype(np.float32) / 255
    arrays["x_test"] = arrays["x_test"].astype(np.float32) / 255
    arrays["x_train"][4, 0, 1, 2] = np.nan
    np.savez(tmp_path / "bad.npz", **arrays)
    assert distill(str(tmp_path / "bad.npz"), tmp_path / "out", "--method", "random") == 3
    assert "NaN" in capsys.readouterr().err


def test_unwritable_folder_exits_with_4_before_any_work(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    assert distill("no-such-data", tmp_path / "file" / "out", "--method", "random") == 4
    assert "cannot write to" in capsys.readouterr().err


def test_altered_set_exits_with_4(source, tmp_path, capsys):
    assert distill(source, tmp_path, "--method", "random") == 0
    tensors = next(tmp_path.glob("distilled-*.safetensors"))
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    assert main(["evaluate", str(tmp_path)]) == 4
    assert str(tensors.name) in capsys.readouterr().err


def test_run_in_the_way_exits_with_2(source, tmp_path, capsys):
    assert distill(source, tmp_path, "--method", "random") == 0
    assert distill(source, tmp_path, "--method", "random") == 2
    assert "--overwrite" in capsys.readouterr().err


def test_help_of_a_method_shows_defaults_presets_and_citation(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["distill", "--method", "dm", "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "arXiv:2110.04181" in text
    assert "--batch-real" in text
    assert "default 256" in text
    assert "quick: 300" in text


def test_methods_lists_every_method(capsys):
    assert main(["methods", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"dm", "random"} <= set(rows)
    assert rows["dm"]["options"]["batch_real"] == 256
    assert main(["methods"]) == 0
    assert "dm" in capsys.readouterr().out


def test_info_tells_versions_and_the_extension(capsys):
    assert main(["info", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["torch"]
    assert answer["extension"]["loaded"] or answer["extension"]["reason"]
    assert main(["info"]) == 0
    assert "extension loaded" in capsys.readouterr().out


def test_info_tells_what_a_set_holds(source, tmp_path, capsys):
    assert distill(source, tmp_path, "--method", "random") == 0
    capsys.readouterr()
    assert main(["info", str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [answer[name] for name in ("stored images", "factor", "views", "shape")] == [6, 1, 6, [1, 8, 8]]
    assert answer["bytes"]["images"] == 6 * 64 * 4
    assert answer["provenance"]["method"] == "random"
    assert main(["info", str(tmp_path / "nowhere")]) == 3
    assert "there is no distilled set" in capsys.readouterr().err


def test_a_set_scored_as_it_was_learned_trains_no_network(source, tmp_path, capsys):
    kip = ["--method", "kip", "--iterations", "3", "--batch-real", "20"]
    assert distill(source, tmp_path, *kip) == 0
    assert main(["evaluate", str(tmp_path), "--as-learned", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {run["architecture"] for run in found["runs"]} == {"kernel ridge, ntk:depth=1"}
    assert main(["evaluate", str(tmp_path), "--as-learned", "--kernel", "linear"]) == 0
    assert "no network trained, 6 runs as the set was learned" in capsys.readouterr().out
    assert (tmp_path / "report.html").read_text().count("kernel ridge, linear") > 1
    assert main(["evaluate", str(tmp_path), "--as-learned", "--network", "mlp"]) == 2
    assert "--as-learned trains no network" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path), "--as-learned", "--kernel", "rfb"]) == 2
    assert "unknown kernel 'rfb' (did you mean 'rbf'?)" in capsys.readouterr().err


def test_what_was_understood_of_the_data_is_told(source, tmp_path, capsys):
    assert distill(source, tmp_path / "out", "--method", "random") == 0
    told = capsys.readouterr().err
    assert "images: train 81 (array 'x_train'), validation 9 (held out of the training images" in told
    assert "images are not mirrored" in told or "mirrored images keep their class" in told
