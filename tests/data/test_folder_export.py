"""Folders of PNG: what they lose, and back."""

import csv
import errno
import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pydistill.data import DistilledData, load_data
from pydistill.data.folder_export import folder_names
from pydistill.errors import DataError, FileFormatError, OutputError
from tests.data.conftest import assert_equal, make_distilled


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    made = make_distilled()
    made.export_folder(tmp_path / "out")
    folders = ["ant", "bee_wasp", "cat"]
    held = {path.name for path in (tmp_path / "out").iterdir()}
    assert held == {*folders, "export.json", "export.safetensors"}
    for at, pixels in enumerate(made.pixels()):
        with Image.open(tmp_path / "out" / folders[at // 2] / f"{at:05d}.png") as image:
            expected = (pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            assert np.array_equal(np.asarray(image), expected)
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert "clamped" in about["lossy"]
    outside = (made.pixels() < 0) | (made.pixels() > 1)
    assert about["clamped_share_of_pixels"] == pytest.approx(float(outside.float().mean()))
    assert about["class_names"] == ["ant", "bee/wasp", "cat"]
    assert about["folders"] == folders
    assert (about["learning_rate"], about["augment"]) == (0.1 + 0.2, "color_crop")


def test_a_folder_holds_stored_images_and_says_how_to_decode_them(tmp_path: Path) -> None:
    made = make_distilled(soft=True, factor=2)
    made.export_folder(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "export.json").read_text())["factor"] == 2
    assert len((tmp_path / "out" / "targets.csv").read_text().splitlines()) == 1 + 6
    pictures = sorted((tmp_path / "out").glob("*/*.png"))
    assert len(pictures) == 6
    for path, pixels in zip(pictures, made.pixels(), strict=True):
        with Image.open(path) as image:
            expected = (pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            assert np.array_equal(np.asarray(image), expected)


def test_the_folder_can_be_read_as_images(tmp_path: Path) -> None:
    made = make_distilled()
    many = replace(made, images=made.images.repeat(3, 1, 1, 1), targets=made.targets.repeat(3))
    many.export_folder(tmp_path / "out")
    data = load_data(tmp_path / "out")
    assert data.task.class_names == ("ant", "bee_wasp", "cat")
    assert sum(map(len, (data.train, data.validation, data.test))) == 18


def test_soft_targets_go_into_a_table(tmp_path: Path) -> None:
    made = make_distilled(soft=True)
    made.export_folder(tmp_path / "out")
    with (tmp_path / "out" / "targets.csv").open(newline="") as handle:
        head, *rows = list(csv.reader(handle))
    assert head == ["file", "ant", "bee/wasp", "cat"]
    assert rows[2][0] == "bee_wasp/00002.png"
    values = torch.tensor([[float(value) for value in row[1:]] for row in rows])
    assert torch.equal(values, made.targets)


def test_class_names_that_would_share_a_folder_are_numbered(tmp_path: Path) -> None:
    made = make_distilled()
    alike = replace(made, task=replace(made.task, class_names=("a/b", "A_b", "..")))
    alike.export_folder(tmp_path / "out")
    folders = json.loads((tmp_path / "out" / "export.json").read_text())["folders"]
    assert folders == ["000_a_b", "001_A_b", "002_class"]


def test_grey_pictures_and_other_channels(tmp_path: Path) -> None:
    made = make_distilled()
    for channels in (1, 2):
        preprocess = type(made.preprocess).fit(torch.rand(9, channels, 4, 5))
        some = replace(made, images=made.images[:, :channels].contiguous(), preprocess=preprocess)
        if channels == 1:
            some.export_folder(tmp_path / "grey")
            with Image.open(tmp_path / "grey" / "ant" / "00000.png") as image:
                assert (image.mode, image.size) == ("L", (5, 4))
        else:
            with pytest.raises(
                ValueError, match="PNG holds 1 or 3 channels, the images have 2: use parquet"
            ):
                some.export_folder(tmp_path / "two")


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(OutputError, match="is not empty"):
        make_distilled().export_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    make_distilled().export_folder(tmp_path / "empty")
    assert (tmp_path / "empty" / "export.json").exists()


def test_a_full_disk_leaves_no_half_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OutputError, match=r"cannot write .*out: No space left"):
        make_distilled().export_folder(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        make_distilled().export_folder(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="cannot write"):
        make_distilled().export_parquet(tmp_path / "file" / "set.parquet")


def test_a_folder_comes_back_as_its_pictures_have_it(tmp_path: Path, distilled: DistilledData) -> None:
    for scale in ("clamp", "range"):
        distilled.export_folder(tmp_path / scale, scale)
        found = DistilledData.from_folder(tmp_path / scale)
        assert_equal(found, distilled.as_exported(scale))
        assert found == distilled.as_exported(scale) == DistilledData.load(tmp_path / scale)
        assert found != distilled
        assert torch.equal(found.targets, distilled.targets)
        assert found.provenance.exported == {
            "scale": scale,
            **{name: found.provenance.exported[name] for name in ("outside", "largest", "mean")},
        }


def test_a_range_restores_every_picture_to_within_half_a_level(tmp_path: Path) -> None:
    made = make_distilled()
    loss = made.export_folder(tmp_path / "out", "range")
    assert loss.outside > 0.05
    pixels, found = made.pixels(), DistilledData.from_folder(tmp_path / "out").pixels()
    spread = pixels.flatten(1).amax(1) - pixels.flatten(1).amin(1)
    error = (pixels - found).abs().flatten(1).amax(1)
    assert (error <= spread / 510 * 1.001 + 1e-6).all()
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    first = about["pictures"][0]
    with Image.open(tmp_path / "out" / first["file"]) as image:
        by_hand = np.asarray(image).astype(np.float64) / 255 * first["scale"] + first["offset"]
    assert np.allclose(by_hand, pixels[0].permute(1, 2, 0), atol=float(spread[0]) / 509)


def test_what_clamping_loses_is_told(tmp_path: Path) -> None:
    made = make_distilled()
    loss = made.export_folder(tmp_path / "out")
    pixels = made.pixels()
    excess = torch.maximum(-pixels, pixels - 1)
    assert loss.outside == pytest.approx(float((excess > 0).float().mean()))
    assert loss.largest == pytest.approx(float(excess.max()))
    assert loss.mean == pytest.approx(float(excess[excess > 0].mean()))
    assert f"{100 * loss.outside:.1f} % of the pixels lay outside" in loss.text()
    assert "were clamped" in json.loads((tmp_path / "out" / "export.json").read_text())["lossy"]
    within = replace(made, images=made.preprocess.apply(torch.rand(6, 3, 4, 5)))
    assert within.export_folder(tmp_path / "within").text().startswith("no pixel lay outside")


def test_a_picture_of_one_value_comes_back(tmp_path: Path) -> None:
    made = make_distilled()
    flat = replace(made, images=made.preprocess.apply(torch.full((6, 3, 4, 5), 1.5)))
    flat.export_folder(tmp_path / "out", "range")
    found = DistilledData.from_folder(tmp_path / "out").pixels()
    torch.testing.assert_close(found, torch.full((6, 3, 4, 5), 1.5))


def test_an_unknown_scale_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="scale must be one of clamp, range; got 'max'"):
        make_distilled().export_folder(tmp_path / "out", "max")
    with pytest.raises(ValueError, match="scale must be one of clamp, range; got 'max'"):
        make_distilled().as_exported("max")


def damaged(folder: Path, how: str) -> None:
    first = min(folder.glob("ant/*.png"))
    match how:
        case "no picture":
            first.unlink()
        case "another size":
            Image.new("RGB", (6, 4)).save(first)
        case "declared huge":
            whole = bytearray(first.read_bytes())
            whole[16:24] = struct.pack(">II", 60_000, 60_000)
            whole[29:33] = struct.pack(">I", zlib.crc32(whole[12:29]))
            first.write_bytes(whole)
        case "no PNG":
            first.write_bytes(b"GIF89a")
        case "cut":
            first.write_bytes(first.read_bytes()[:-30])
        case "a folder":
            first.unlink()
            first.mkdir()
        case "a link outside":
            outside = folder.parent / "other.png"
            first.rename(outside)
            first.symlink_to(outside)
        case "altered facts":
            root = folder / "export.json"
            root.write_text(root.read_text().replace('"factor": 1', '"factor": 2'))
        case "altered rest":
            rest = folder / "export.safetensors"
            rest.write_bytes(rest.read_bytes()[:-1] + b"x")
        case "no rest":
            (folder / "export.safetensors").unlink()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no picture", "'ant/00000.png' is missing"),
        ("another size", "expected 'ant/00000.png' of 4x5 pixels, found 4x6"),
        ("no PNG", "'ant/00000.png' cannot be decoded"),
        ("cut", "'ant/00000.png' cannot be decoded"),
        ("declared huge", "'ant/00000.png'"),
        ("a folder", "'ant/00000.png' is missing"),
        ("a link outside", "lies outside the folder"),
        ("altered facts", "altered"),
        ("altered rest", "not the file written with it"),
        ("no rest", "cannot be read"),
    ],
)
def test_a_damaged_export_is_refused_by_name(how: str, message: str, tmp_path: Path) -> None:
    make_distilled().export_folder(tmp_path / "out")
    damaged(tmp_path / "out", how)
    with pytest.raises(FileFormatError, match=message):
        DistilledData.from_folder(tmp_path / "out")


def test_a_mutated_export_loads_or_is_refused(tmp_path: Path) -> None:
    make_distilled(soft=True).export_folder(tmp_path)
    source = np.random.default_rng(0)
    names = ["export.json", "export.safetensors", "ant/00000.png", "cat/00005.png"]
    for at in range(200):
        path = tmp_path / names[at % len(names)]
        whole = path.read_bytes()
        changed = bytearray(whole)
        match int(source.integers(3)):
            case 0:
                changed[int(source.integers(len(changed)))] ^= 1 << int(source.integers(8))
            case 1:
                del changed[int(source.integers(len(changed))) :]
            case _:
                start = int(source.integers(len(changed)))
                changed[start : start + 8] = source.bytes(8)
        path.write_bytes(changed)
        try:
            found = DistilledData.from_folder(tmp_path)
        except FileFormatError:
            pass
        else:
            assert path.suffix == ".png"  # pictures are read as they lie there
            assert found.images.shape == (6, 3, 4, 5)
        path.write_bytes(whole)


def test_a_folder_that_holds_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no export\.json"):
        DistilledData.from_folder(tmp_path)


def test_folders_of_long_class_names_can_be_made() -> None:
    names = folder_names(("ä" * 300, "b"))
    assert [len(name.encode()) for name in names] == [100, 1]
    assert len(set(folder_names(("a" * 300 + "1", "a" * 300 + "2")))) == 2


@pytest.mark.parametrize(
    "names",
    [
        ("..", "/", "a\0b"),
        ("x" * 300, "é" * 200, "x" * 299 + "y"),
        ("export.json", "targets.csv", "export.safetensors"),
        ("CON", "nul", "."),
        ("\ud800", "\x1b[31m", "\n"),
        ("../../escape", "/etc/passwd", "C:\\x"),
        ("", " ", "~"),
    ],
)
@pytest.mark.parametrize("soft", [False, True])
def test_no_class_name_leads_out_of_the_folder_or_breaks_it(
    tmp_path: Path, names: tuple[str, ...], soft: bool
) -> None:
    made = make_distilled(soft=soft)
    made = replace(made, task=replace(made.task, class_names=names))
    made.export_folder(tmp_path / "out", scale="range")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    folders = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert len(folders) == 3
    assert all(len(path.name.encode()) <= 255 and path.name.isprintable() for path in folders)
    back = DistilledData.from_folder(tmp_path / "out")
    assert back.task.class_names == names
    assert back.images.shape == made.images.shape
