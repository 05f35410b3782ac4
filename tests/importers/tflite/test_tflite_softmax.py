"""SOFTMAX over rows so long that the engines leave their own formula."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tflite_make import Maker, litert, simulate, tflm

from qsim.importers.tflite import load_tflite


def model(logits: int, bits: int = 8) -> bytes:
    maker = Maker()
    x = maker.input("x", (1, logits), "INT8", 0.1, 3)
    y = maker.tensor("y", (1, logits), f"INT{bits}", 2.0**-bits, -(1 << (bits - 1)))
    maker.operator("SOFTMAX", [x], [y], "SoftmaxOptions", 3, beta=1.0)
    maker.output(y)
    return maker.bytes()


def engine(data: bytes, codes: np.ndarray, profile: str) -> np.ndarray:
    found = tflm(data, [codes])[0] if profile == "tflm" else litert(data, [codes], profile, keep=False)[1]
    return found.reshape(codes.shape)


@pytest.mark.parametrize("profile", ["tflm", "litert-ref", "litert-opt", "litert-xnnpack"])
def test_long_rows_are_exact_or_noted(profile: str) -> None:
    """511 equal logits are computed as every engine does; from 512 on a note names what the engine does instead, and
    logits that are not near-equal keep their codes."""
    equal = np.zeros((1, 511), np.int8)
    graph = load_tflite(model(511), profile=profile)
    assert not graph.notes
    assert np.array_equal(simulate(graph, [equal])["y"], engine(model(511), equal, profile))
    for logits in (512, 1001):
        data = model(logits)
        graph = load_tflite(data, profile=profile)
        assert len(graph.notes) == 1
        expected = "aborts" if profile in ("tflm", "litert-ref") else "other codes"
        assert f"{logits} logits add up to 512" in graph.notes[0]
        assert expected in graph.notes[0]
        rng = np.random.default_rng(logits)
        spread = rng.integers(-128, 128, (30, logits)).astype(np.int8)
        spread[:, 0] = 127
        assert np.array_equal(simulate(graph, [spread])["y"], engine(data, spread, profile))


def test_the_optimised_kernel_gives_other_codes_on_equal_logits() -> None:
    equal = np.zeros((1, 512), np.int8)
    assert set(engine(model(512), equal, "litert-opt").reshape(-1).tolist()) == {-127}
    assert set(simulate(load_tflite(model(512), profile="litert-opt"), [equal])["y"].reshape(-1).tolist()) == {-128}


def test_micro_aborts_on_equal_logits(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(model(512))
    script = (
        "import sys, numpy as np\n"
        "from tflite_micro.python.tflite_micro import runtime\n"
        "i = runtime.Interpreter.from_file(sys.argv[1])\n"
        "i.set_input(np.zeros((1, 512), np.int8), 0)\n"
        "i.invoke()\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "model.tflite")]
    done = subprocess.run(arguments, capture_output=True, check=False)
    assert done.returncode < 0


def test_16_bit_results_have_room_for_512() -> None:
    assert not load_tflite(model(1001, 16)).notes
    assert load_tflite(model(4096, 16)).notes
