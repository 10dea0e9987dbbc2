"""Without the packages that extras bring the core works, and what needs them says which extra it is."""

import os
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from sklearn.datasets import load_digits

import pydistill
from pydistill import extras
from pydistill.cli import main
from tests.conftest import ROOT

CORE = """
import sys
for name in "sklearn scipy pandas pyarrow datasets huggingface_hub fsspec dill faster_coco_eval".split():
    sys.modules[name] = None
import pkgutil, pydistill
for module in pkgutil.walk_packages(pydistill.__path__, "pydistill."):
    if module.name not in ("pydistill._C", "pydistill.cli.__main__", "pydistill.__main__"):
        __import__(module.name)
data = pydistill.load_data("digits")
small = pydistill.distill(data, "dm", ipc=1, iterations=1, batch_real=4, network="convnet:width=4")
network = ("convnet:width=4",)
short = {"repeats": 1, "epochs": 1, "random_draws": 1, "whole": False}
report = pydistill.evaluate(small, data, architectures=network, **short)
report.save("here")
small.save("here")
small.export_folder("here/images")
small.preview("here/preview.png")
assert len(pydistill.DistilledData.load("here").images) == 10
"""


def hide(monkeypatch, *packages):
    for name in [*sys.modules]:
        if name.partition(".")[0] in packages:
            monkeypatch.delitem(sys.modules, name)
    for name in packages:
        monkeypatch.setitem(sys.modules, name, None)


def test_the_core_needs_no_extra(tmp_path):
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", CORE], cwd=tmp_path, capture_output=True, text=True, env=here
    )
    assert done.returncode == 0, done.stderr


def test_every_package_of_an_extra_is_named_with_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional, core = project["optional-dependencies"], " ".join(project["dependencies"])
    brought = {"sklearn": "scikit-learn", "pandas": "datasets", "faster_coco_eval": "faster-coco-eval"}
    for package, extra in extras.EXTRAS.items():
        named = brought.get(package, package)
        assert any(each.startswith(named) for each in optional[extra]), package
        assert named not in core
        assert extra in optional["all"][0]


def test_exporting_to_parquet_names_its_extra(tiny, tmp_path, monkeypatch):
    small = pydistill.distill(tiny, "random", ipc=1)
    hide(monkeypatch, "pyarrow")
    with pytest.raises(pydistill.MissingExtraError, match=r'pyarrow.*pip install "pydistill\[parquet\]"'):
        small.export_parquet(tmp_path / "set.parquet")
    assert not list(tmp_path.iterdir())


def test_images_chosen_by_clusters_name_their_extra(tiny, monkeypatch):
    hide(monkeypatch, "sklearn")
    with pytest.raises(ImportError, match=r'sklearn.*pip install "pydistill\[kmeans\]"'):
        pydistill.distill(tiny, "dm", ipc=1, iterations=1, init="kmeans", network="convnet:width=4,depth=2")


def test_the_command_line_names_the_extra_of_a_hub_data_set(tmp_path, monkeypatch, capsys):
    hide(monkeypatch, "datasets")
    out = tmp_path / "out"
    assert main(["distill", "mnist", "--method", "random", "--ipc", "1", "--out", str(out)]) == 4
    assert 'pip install "pydistill[hub]"' in capsys.readouterr().err


@pytest.mark.parametrize("file", ["train-00000-of-00001.parquet", "dataset_dict.json"])
def test_a_folder_names_the_extra_that_is_enough_for_it(file, tmp_path, monkeypatch):
    (tmp_path / file).write_bytes(b"PAR1")
    hide(monkeypatch, "datasets", "pyarrow")
    with pytest.raises(pydistill.MissingExtraError, match=r'pip install "pydistill\[hub\]"'):
        pydistill.load_data(tmp_path)


def test_a_package_that_fails_by_itself_is_not_called_missing(monkeypatch, tmp_path):
    (tmp_path / "sklearn.py").write_text("import no_such_package_anywhere")
    hide(monkeypatch, "sklearn")
    monkeypatch.delitem(sys.modules, "sklearn")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package_anywhere") as stop:
        extras.need("sklearn", "A test")
    assert not isinstance(stop.value, pydistill.MissingExtraError)


def test_digits_are_those_of_scikit_learn_bit_for_bit():
    found, data = load_digits(), pydistill.load_data("digits")
    assert data.fingerprint == "f372e4b3278a69b212cc762a51aca8a5e570ca4c0e911f091e5153f808bb07d6"
    raw = pydistill.data.sources.SOURCES[0].read("digits", pydistill.data.sources.Options())
    assert raw.train.images.numpy().tobytes() == (found.images / 16).astype(np.float32).tobytes()
    assert raw.train.targets.tolist() == found.target.tolist()
