"""What the processor computes natively, and what is said of a precision that it emulates."""

import platform

import pytest
import torch

from pydistill import about, distill, evaluate, make_method, methods, train
from pydistill.cli import main
from pydistill.engine.method import with_native_precision
from pydistill.evaluation.machine import describe
from pydistill.evaluation.protocol import PROTOCOLS
from pydistill.events import Notice
from pydistill.machine import cpu_level, describe_cpu, native_bfloat16, resolve_precision, slowdown
from pydistill.training.trainer import Training

DM = {"network": "convnet:width=4,depth=2", "batch_real": 8, "iterations": 2, "ipc": 1}
SHORT = {"architectures": ("mlp:width=4",), "repeats": 1, "epochs": 2, "random_draws": 0, "whole": False}


@pytest.fixture(params=[True, False], ids=["native", "emulated"])
def native(request, monkeypatch):
    monkeypatch.setattr("pydistill.machine.native_bfloat16", lambda device="cpu": request.param)
    monkeypatch.setattr("pydistill.machine.slowdown", lambda kind="cpu": 20.0)
    return request.param


@pytest.mark.skipif(platform.machine() != "x86_64", reason="levels of x86")
@pytest.mark.parametrize(
    ("own", "held", "level"),
    [
        ("AVX512", "", "AVX-512"),
        ("AVX2", "", "AVX2"),
        ("DEFAULT", "", "baseline"),
        ("AVX512", "AVX2", "AVX2"),
        ("AVX512", "avx512_core", "AVX-512"),
        ("AVX512", "SSE41", "baseline"),
        ("AVX512", "DEFAULT", "AVX-512"),
        ("AVX2", "AVX512_CORE", "AVX2"),
    ],
)
def test_the_level_is_the_lower_of_what_is_there_and_what_is_allowed(own, held, level, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: own)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", held)
    assert cpu_level() == level


@pytest.mark.skipif(platform.machine() != "x86_64", reason="levels of x86")
@pytest.mark.parametrize(
    ("held", "native"),
    [("", True), ("AVX2", False), ("AVX512_CORE", False), ("AVX512_CORE_BF16", True), ("DEFAULT", True)],
)
def test_bfloat16_units_that_may_not_be_used_do_not_count(held, native, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", held)
    assert native_bfloat16() is native
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert native_bfloat16() is False


def test_level_is_in_every_description():
    told = describe_cpu()
    assert told["bfloat16"] in ("native", "emulated")
    assert describe(torch.device("cpu"))["level"] == told["level"]
    assert about.installation()["processor"] == told


def test_info_shows_the_level(capsys):
    assert main(["info"]) == 0
    lines = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if "  " in line)
    assert lines["processor level"].strip() == cpu_level()


def test_auto_is_what_is_native(native):
    assert resolve_precision("auto", "cpu") == ("bfloat16" if native else "float32")
    assert resolve_precision("float32", "cpu") == "float32"
    method = make_method("dm", real_precision="auto")
    assert with_native_precision(method, torch.device("cpu")).real_precision == (
        "bfloat16" if native else "float32"
    )
    assert with_native_precision(make_method("random"), torch.device("cpu")) == make_method("random")


def test_a_method_records_what_auto_meant_and_computes_in_it(native, tiny):
    made = distill(tiny, "dm", real_precision="auto", **DM)
    assert made.provenance.config["real_precision"] == ("bfloat16" if native else "float32")
    plain = distill(tiny, "dm", **DM)
    assert made.images.equal(plain.images) is not native


def test_a_run_goes_on_in_the_precision_that_it_began_in(tiny, tmp_path, monkeypatch):
    run = {"folder": tmp_path, "real_precision": "auto", **DM}
    monkeypatch.setattr("pydistill.machine.native_bfloat16", lambda device="cpu": True)
    made = distill(tiny, "dm", **run)
    monkeypatch.setattr("pydistill.machine.native_bfloat16", lambda device="cpu": False)
    assert distill(tiny, "dm", resume=True, **run).images.equal(made.images)


def test_what_is_emulated_is_said_before_it_starts(native, tiny):
    told = []
    made = distill(tiny, "dm", real_precision="bfloat16", on_event=told.append, **DM)
    evaluate(made, tiny, on_event=told.append, precision="bfloat16", **SHORT)
    train(made, "mlp:width=4", on_event=told.append, precision="bfloat16", epochs=1)
    notices = [event.text for event in told if isinstance(event, Notice)]
    assert len(notices) == (0 if native else 3)
    assert all("takes 20 times as long as in float32" in text for text in notices)
    if not native:
        assert isinstance(told[0], Notice)
        with pytest.warns(UserWarning, match="bfloat16 is emulated"):
            distill(tiny, "dm", real_precision="bfloat16", **DM)


def test_a_report_names_what_auto_meant(native, tiny):
    report = evaluate(distill(tiny, "random", ipc=1), tiny, precision="auto", **SHORT)
    assert report.protocol["precision"] == ("bfloat16" if native else "float32")


def test_the_factor_is_measured_in_no_time():
    slowdown.cache_clear()
    assert 0.01 < slowdown() < 1000


def test_nothing_asks_for_bfloat16_unless_it_is_told_to():
    asked = [
        make_method(name, preset).config()
        for name, kind in methods().items()
        for preset in (None, *kind.presets)
    ]
    assert not any("bfloat16" in config.values() for config in asked)
    assert {protocol.precision for protocol in PROTOCOLS.values()} <= {"float32", "auto"}
    assert Training(steps=1).precision == "float32"
