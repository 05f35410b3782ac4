"""Real inputs beyond the input quantizer: the share, and the likely cause; silence where nothing is clipped."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import qsim
from qsim.cli.app import main
from qsim.compare.clipping import clipped_inputs
from qsim.demo.flow import MODEL

GRAPH = qsim.load(MODEL)  # ufixed<4,0>: 0 to 15/16
SHAPE = (3, 8, 8, 1)
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("x", "cause"),
    [
        (RNG.integers(0, 256, SHAPE), "pixels of 0 to 255 that were not scaled: divide them by 256"),
        (RNG.integers(0, 256, SHAPE).astype(np.float32), "pixels of 0 to 255"),
        (RNG.integers(-128, 128, SHAPE), "integer codes given as real values: add --codes"),
        (RNG.uniform(-1, 1, SHAPE), "centred around 0"),
        (RNG.normal(0, 9, SHAPE), "scaled otherwise than in training"),
        (RNG.uniform(0, 1.2, SHAPE), "come from the model's input quantizer"),
    ],
)
def test_share_and_cause(x: np.ndarray, cause: str) -> None:
    (text,) = clipped_inputs(GRAPH, x)
    assert cause in text
    outside = int(((x > 15 / 16 + 1 / 32) | (x < -1 / 32)).sum())
    assert f"{outside} of {x.size} values" in text
    assert f"the data reach from {float(x.min()):.6g} to {float(x.max()):.6g}" in text


def test_rounding_is_no_clipping() -> None:
    x = np.linspace(-1 / 32, 15 / 16 + 1 / 32, 64).reshape(1, 8, 8, 1)
    assert clipped_inputs(GRAPH, x) == ()
    assert clipped_inputs(GRAPH, {"pixels": x + 0.01}) != ()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--input", "x.npy", "-o", "y.npy"],
        ["run", "--input", "x.npy", "-o", "y.npy", "--sanitize"],
        ["inspect", "--input", "x.npy"],
        ["compile", "-o", "out", "--target", "c", "--verify", "--input", "x.npy"],
        ["diff", "--against", "c", "--input", "x.npy"],
    ],
    ids=lambda a: " ".join(a[:1] + a[-1:]),
)
def test_every_command_that_reads_samples_says_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", RNG.integers(0, 256, SHAPE).astype(np.float32))
    assert main([arguments[0], str(MODEL), *arguments[1:]]) == 0
    err = re.sub(r"\s+", " ", capsys.readouterr().err)
    assert err.count("pixels of 0 to 255") == 1
    np.save("x.npy", RNG.uniform(0, 15 / 16, SHAPE))
    assert main([arguments[0], str(MODEL), *arguments[1:]]) == 0
    assert "Note" not in capsys.readouterr().err
