"""The command line: what it prints, its exit codes, and one readable paragraph for everything that goes wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archives import changed, with_nan

import qsim
from qsim.cli import app as cli
from qsim.cli import model
from qsim.demo.flow import MODEL, Record
from qsim.errors import UsageError
from qsim.importers import load
from qsim.ir import Graph, from_json
from qsim.targets.files import RECORD, Emission
from qsim.targets.registry import TARGETS
from qsim.targets.rtl.design import Design, Options
from qsim.targets.rtl.target import RTL

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process: (exit code, standard output, standard error)."""

    def call(*args: object) -> tuple[int, str, str]:
        code = cli.main([str(a) for a in args])
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="module")
def record() -> Record:
    return Record()


def error_paragraph(err: str) -> str:
    """The error text of standard error as one line; asserts that it is one paragraph and no traceback."""
    lines = [line for line in err.splitlines() if not line.startswith(("...", "Usage:"))]
    assert lines
    assert lines[0].startswith("Error: ")
    assert all(line.strip() for line in lines)
    assert "Traceback" not in err
    assert max(map(len, lines)) <= 120
    return " ".join(lines)


def set_field(name: str, **changes: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one layer's config."""

    def apply(entry: dict[str, Any]) -> None:
        if entry["config"]["name"] == name:
            entry["config"].update(changes)

    return apply


def set_class(name: str, class_name: str, config: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """A change of one layer's class, to one of Keras' own or to one that does not exist."""

    def apply(entry: dict[str, Any]) -> None:
        if entry["config"]["name"] == name:
            entry.update(class_name=class_name, registered_name=None, module="keras.layers")
            entry["config"] = {"name": name, "trainable": True, "dtype": "float32", **config}

    return apply


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"qsim, version {qsim.__version__}\n", "")


def test_help_names_every_command(run: Run) -> None:
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for command in ("demo", "compile", "run", "inspect", "doctor"):
        assert f"  {command} " in out
        assert run(command, "--help")[0] == 0


def test_entry_point_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qsim.cli", "run", str(MODEL), "--input", "nowhere.npy"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere.npy" in error_paragraph(done.stderr)


def test_inspect_shows_layers_and_ranges(run: Run) -> None:
    code, out, err = run("inspect", MODEL)
    assert (code, err) == (0, "")
    graph = load(MODEL)
    for name in graph.tensors:
        assert re.search(rf"^(input |output )?\s*{re.escape(name)} ", out, flags=re.M)
    assert graph.hash[:16] in out
    assert "\x1b" not in out  # no colour in a pipe
    for note in graph.notes:
        assert note in " ".join(out.split())


def test_inspect_text_and_json(run: Run) -> None:
    graph = load(MODEL)
    assert run("inspect", MODEL, "--text") == (0, str(graph), "")
    code, out, _ = run("inspect", MODEL, "--json")
    assert code == 0
    assert from_json(out) == graph


def test_run_real_values(run: Run, record: Record, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", record.images[:7])
    code, out, err = run("run", MODEL, "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    assert code == 0
    clipped = int((record.images[:7] > 15 / 16).sum())  # the brightest pixels, 1.0, lie beyond the greatest code
    assert f"{clipped} of 448 values" in " ".join(err.split())
    assert "7x10 values" in out
    expected = qsim.Simulator(load(MODEL)).run(record.images[:7])
    assert np.array_equal(np.load(tmp_path / "y.npy"), expected)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.npy", "y.npy"]


def test_run_codes_prints_every_code(run: Run, record: Record, tmp_path: Path) -> None:
    codes, _ = record.layers["pixels"]
    logits, _ = record.layers["logits"]
    np.save(tmp_path / "x.npy", codes[:3])
    code, out, _ = run("run", MODEL, "--input", tmp_path / "x.npy", "--codes")
    assert code == 0
    assert out.splitlines() == ["3x10 codes", *(" ".join(map(str, row)) for row in logits[:3].tolist())]


def test_input_format_replaces_a_missing_input_quantizer(run: Run, record: Record, tmp_path: Path) -> None:
    plain = changed(MODEL, tmp_path / "plain.keras", layer=set_class("pixels", "Dropout", {"rate": 0.1}))
    np.save(tmp_path / "x.npy", record.images[:3])
    code, _, err = run("run", plain, "--input", tmp_path / "x.npy")
    assert code == 1
    assert "--input-format" in error_paragraph(err) or "input_format" in error_paragraph(err)
    options = ("--input-format", "ufixed<4,0>", "-o", tmp_path / "y.npy")
    assert run("run", plain, "--input", tmp_path / "x.npy", *options)[0] == 0
    assert np.array_equal(np.load(tmp_path / "y.npy"), qsim.Simulator(load(MODEL)).run(record.images[:3]))


def not_a_model(folder: Path) -> Path:
    (folder / "m.keras").write_text("no model at all")
    return folder / "m.keras"


def truncated(folder: Path) -> Path:
    (folder / "m.keras").write_bytes(MODEL.read_bytes()[:30000])
    return folder / "m.keras"


BAD_MODELS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing file": (lambda folder: folder / "m.keras", "m.keras"),
    "not a model": (not_a_model, "m.keras"),
    "truncated archive": (truncated, "m.keras"),
    "missing weights": (lambda f: changed(MODEL, f / "m.keras", drop="model.weights.h5"), "weights"),
    "missing config": (lambda f: changed(MODEL, f / "m.keras", drop="config.json"), "config"),
    "unknown layer": (lambda f: changed(MODEL, f / "m.keras", layer=set_class("relu3", "Fancy", {})), "relu3"),
    "unquantized weights": (
        lambda f: changed(MODEL, f / "m.keras", layer=set_field("conv2", kernel_quantizer=None)),
        "conv2",
    ),
    "float input": (
        lambda f: changed(MODEL, f / "m.keras", layer=set_class("pixels", "Dropout", {"rate": 0.1})),
        "fixed<",
    ),
    "NaN weights": (lambda f: changed(MODEL, f / "m.keras", weights=with_nan), "NaN"),
}


@pytest.mark.parametrize("name", list(BAD_MODELS))
@pytest.mark.parametrize("command", ["compile", "run", "inspect"])
def test_bad_model_is_one_paragraph(command: str, name: str, run: Run, record: Record, tmp_path: Path) -> None:
    make, blamed = BAD_MODELS[name]
    model = make(tmp_path)
    np.save(tmp_path / "x.npy", record.images[:1])
    out = tmp_path / "out.npy"
    options: dict[str, tuple[object, ...]] = {
        "compile": ("-o", out, "--verify"),
        "run": ("--input", tmp_path / "x.npy", "-o", out),
        "inspect": (),
    }
    before = sorted(p.name for p in tmp_path.iterdir())
    code, shown, err = run(command, model, *options[command])
    assert code in (1, 2)
    assert blamed in error_paragraph(err)
    assert shown == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", [n for n in BAD_MODELS if n != "missing file"])
def test_doctor_says_what_is_wrong(name: str, run: Run, tmp_path: Path) -> None:
    make, blamed = BAD_MODELS[name]
    code, out, err = run("doctor", make(tmp_path))
    assert (code, err) == (1, "")
    assert "unsupported" in out
    assert blamed in out


def test_doctor_on_a_sound_model(run: Run) -> None:
    code, out, err = run("doctor", MODEL)
    assert (code, err) == (0, "")
    assert "at most 15 bits" in out
    assert "2440 weights" in out
    for target in ("C", "HLS C++", "SystemVerilog"):
        assert re.search(rf"^{re.escape(target)} +ok ", out, flags=re.M)
    assert "unsupported" not in out


BAD_INPUTS: dict[str, tuple[Any, tuple[str, ...], str]] = {
    "wrong shape": (np.zeros((2, 8, 9, 1)), (), "(N, 8, 8, 1)"),
    "no batch": (np.zeros((8, 8, 1)), (), "(N, 8, 8, 1)"),
    "NaN": (np.full((1, 8, 8, 1), np.nan), (), "NaN"),
    "code too large": (np.full((1, 8, 8, 1), 16), ("--codes",), "16"),
    "code too small": (np.full((1, 8, 8, 1), -1), ("--codes",), "-1"),
    "codes that are no integers": (np.zeros((1, 8, 8, 1)), ("--codes",), "float64"),
    "text": (np.full((1, 8, 8, 1), "seven"), (), "no plain numbers"),
    "objects": (np.full((1, 8, 8, 1), None), (), "x.npy"),
}


@pytest.mark.parametrize("name", list(BAD_INPUTS))
@pytest.mark.parametrize("command", ["compile", "run"])
def test_bad_input_is_one_paragraph(command: str, name: str, run: Run, tmp_path: Path) -> None:
    array, options, blamed = BAD_INPUTS[name]
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    check = ("--verify",) if command == "compile" else ()
    out = tmp_path / "out.npy"
    code, shown, err = run(command, MODEL, "--input", tmp_path / "x.npy", "-o", out, *check, *options)
    assert code == 2
    assert blamed in error_paragraph(err)
    assert shown == ""
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


@pytest.mark.parametrize(
    ("args", "blamed"),
    [
        (("frobnicate",), "frobnicate"),
        (("run", MODEL), "--input"),
        (("compile", MODEL), "--out"),
        (("compile", MODEL, "-o", "unused", "--target", "vhdl"), "vhdl"),
        (("compile", MODEL, "-o", "unused", "--input", "x.npy"), "--verify"),
        (("compile", MODEL, "-o", "unused", "--option", "folding=3"), "TARGET.NAME=VALUE"),
        (("compile", MODEL, "-o", "unused", "--option", "vhdl.folding=3"), "vhdl"),
        (("compile", MODEL, "-o", "unused", "--option", "rtl.wings=3"), "wings"),
        (("compile", MODEL, "-o", "unused", "--option", "rtl.folding.conv9=3"), "conv9"),
        (("compile", MODEL, "-o", "unused", "--option", "rtl.folding=3", "--option", "rtl.folding.conv1=3"), "conv1"),
        (("compile", MODEL, "-o", "unused", "--target", "c", "--option", "rtl.folding=3"), "rtl"),
        (("inspect", MODEL, "--profile", "nonesuch"), "nonesuch"),
        (("inspect", MODEL, "--input-format", "float32"), "fixed<W,I>"),
        (("run", MODEL, "--input", __file__), "neither"),
        (("run", MODEL, "--input", "x.npy", "-o", "y.txt"), ".npy"),
        (("run", MODEL, "--input", "x.npy", "-o", "no/such/folder/y.npy"), "folder"),
    ],
)
def test_wrong_usage_is_exit_code_2(args: tuple[object, ...], blamed: str, run: Run) -> None:
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert blamed in error_paragraph(err)


def test_compile_verifies_with_options(run: Run, tmp_path: Path) -> None:
    """A folding that is not the default, built, run, and its cycles as predicted; the report is written."""
    options = ("--option", "rtl.folding.conv2=16", "--target", "rtl", "--samples", 2)
    code, out, err = run("compile", MODEL, "-o", tmp_path / "out", "--verify", *options)
    assert code == 0, err
    assert "SystemVerilog: equal, 0 of" in out
    assert "Bit-exact: 0 of" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [RECORD, "report.html", "rtl"]
    (multipliers,) = re.findall(r"SystemVerilog +multipliers +(\d+)", out)
    assert int(multipliers) > 16


def test_a_mismatch_is_exit_code_1(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = Emission.write

    def damaged(self: Emission, target: str, made: Mapping[str, str | bytes]) -> list[Path]:
        paths = real(self, target, made)
        weights = self.directories[target] / "weights.c"
        text = weights.read_text()
        first = re.search(r"= \{\s*(-?\d+)", text)
        assert first
        weights.write_text(text[: first.start(1)] + str(int(first[1]) ^ 1) + text[first.end(1) :])
        return paths

    monkeypatch.setattr(Emission, "write", damaged)
    code, out, _ = run("compile", MODEL, "-o", tmp_path / "out", "--verify", "--target", "c")
    assert code == 1
    assert "C: DIFFERENT" in out
    assert "first at sample" in out
    assert "Not equal: " in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_output_folder_that_is_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    code, _, err = run("compile", MODEL, "-o", tmp_path / "out")
    assert code == 2
    assert "is a file" in error_paragraph(err)
    assert (tmp_path / "out").read_text() == "mine"


def test_a_defect_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(model, "load", broken)
    code, _, err = run("inspect", MODEL)
    assert code == 1
    text = error_paragraph(err)
    assert "bug in qsim" in text
    assert "ZeroDivisionError" in text
    code, _, err = run("--debug", "inspect", MODEL)
    assert code == 1
    assert "Traceback" in err


def test_an_error_with_debug_shows_its_traceback_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise UsageError("no such thing")

    monkeypatch.setattr(model, "load", refuse)
    code, _, err = run("--debug", "inspect", MODEL)
    assert code == 2
    assert "Traceback" in err
    assert "Error: no such thing" in err


def test_a_failing_target_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(graph: Graph, options: Options) -> Design:
        raise qsim.errors.UnsupportedError("this cannot be a circuit", layer="conv2")

    monkeypatch.setitem(TARGETS, "rtl", replace(RTL, plan=refuse))
    code, out, err = run("compile", MODEL, "-o", tmp_path / "out")
    assert (code, out) == (1, "")
    assert "conv2" in error_paragraph(err)
    assert not (tmp_path / "out").exists()
