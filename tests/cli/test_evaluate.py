"""``qsim evaluate`` on the command line: tables, JSON, profiles, progress, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import qsim
from qsim.cli import app as cli
from qsim.demo.flow import MODEL, Record

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process: (exit code, standard output, standard error)."""

    def call(*args: object) -> tuple[int, str, str]:
        code = cli.main([str(a) for a in args])
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    record = Record()
    np.save(tmp_path / "x.npy", record.images)
    np.save(tmp_path / "y.npy", record.labels)
    return tmp_path / "x.npy", tmp_path / "y.npy"


def test_tables_and_json(run: Run, data: tuple[Path, Path], tmp_path: Path) -> None:
    x, y = data
    found = qsim.evaluate(MODEL, x, y, top=(2,))
    code, out, err = run("evaluate", MODEL, "--data", x, "--labels", y, "--top", 2, "--record", tmp_path / "record")
    assert code == 0
    assert f"{found.correct}" in out
    assert f"{100 * found.correct / 500:.2f} %" in out
    assert "256 of 500 samples" in err
    rows = [line.split() for line in out.split("Confusion")[1].splitlines()]
    shown = {r[0]: r[1:] for r in rows if len(r) == 11 and r[0].isdigit()}
    assert {k: [0 if n == "." else int(n) for n in v] for k, v in shown.items()} == {
        str(k): counts for k, counts in enumerate(found.confusion.tolist())
    }
    code, out, err = run("evaluate", MODEL, "--data", x, "--labels", y, "--top", 2, "--json")
    assert (code, json.loads(out)) == (0, [json.loads(json.dumps(found.to_json() | {"name": "qkeras"}))])


def test_profiles_stand_side_by_side(run: Run, models: Path, tmp_path: Path) -> None:
    path = models / "tflite" / "mnist_cnn_int8.tflite"
    graph = qsim.load(path)
    (entry,) = graph.inputs
    rng = np.random.default_rng(2)
    np.save(tmp_path / "x.npy", rng.integers(entry.low, entry.high + 1, (64, *graph[entry.tensor].shape)))
    np.save(tmp_path / "y.npy", rng.integers(0, 10, 64))
    options = ("--data", tmp_path / "x.npy", "--labels", tmp_path / "y.npy", "--codes")
    code, out, _ = run("evaluate", path, *options, "--profiles", "tflm, litert-xnnpack", "--json")
    first, second = json.loads(out)
    assert (code, first["name"], second["name"]) == (0, "tflm", "litert-xnnpack")
    alone = qsim.evaluate(qsim.load(path, profile="litert-xnnpack"), tmp_path / "x.npy", tmp_path / "y.npy", codes=True)
    assert second["confusion"] == alone.to_json()["confusion"]
    code, out, _ = run("evaluate", path, *options, "--profiles", "tflm,litert-xnnpack")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("tflm", "litert-xnnpack"))] == [
        "tflm",
        "litert-xnnpack",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--labels is needed"),
        (("--labels", "nowhere.npy"), "nowhere.npy"),
        (("--labels", "Y", "--scheduler", "x"), "tcp://"),
        (("--labels", "Y", "--profiles", ","), "names no profile"),
        (("--labels", "Y", "--profiles", "a", "--profile", "b"), "either --profile or --profiles"),
        (("--labels", "Y", "--top", "11"), "top 11"),
        (("--labels", "Y", "--samples", "501"), "501 samples"),
        (("--labels", "Y", "--output", "no"), "no output 'no'"),
    ],
)
def test_wrong_calls(run: Run, data: tuple[Path, Path], options: tuple[str, ...], said: str) -> None:
    x, y = data
    code, out, err = run("evaluate", MODEL, "--data", x, *(y if o == "Y" else o for o in options))
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())


def test_sweep(run: Run, data: tuple[Path, Path], tmp_path: Path) -> None:
    x, y = data
    table, report = tmp_path / "s.csv", tmp_path / "s.html"
    options = ("--data", x, "--labels", y, "--vary", "rtl.folding=8,64", "--target", "rtl")
    code, out, err = run("sweep", MODEL, *options, "--csv", table, "--report", report)
    assert code == 0
    assert "rtl.folding 64" in err
    rows = table.read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["rtl.folding", "8", "64"]
    assert f"{100 * float(rows[1].split(',')[1]):.2f} %" in out
    assert "<svg" in report.read_text()
    code, out, _ = run("sweep", MODEL, *options, "--json")
    assert (code, [p["choices"]["rtl.folding"] for p in json.loads(out)["points"]]) == (0, ["8", "64"])
    code, _, err = run("sweep", MODEL, *options, "--csv", tmp_path / "s.txt")
    assert code == 2
    assert ".csv file" in " ".join(err.split())
