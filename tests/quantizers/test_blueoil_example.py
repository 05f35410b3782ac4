"""The second bundled example, 1-bit weights and 2-bit activations: Keras' recorded answers, and its packed C."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import qsim
from qsim.demo import flow

FOLDER = Path(flow.__file__).parent


@pytest.fixture(scope="module")
def graph() -> qsim.Graph:
    return qsim.load(FOLDER / "blueoil_digits.keras")


@pytest.fixture(scope="module")
def record() -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / "blueoil_digits_test.npz"))


def test_answers_are_keras(graph, record) -> None:
    answers = qsim.Simulator(graph).run(record["images"]).argmax(axis=-1)
    assert np.array_equal(answers, record["predictions"])
    assert np.mean(answers == record["labels"]) == record["accuracy"] >= 0.96


def test_c_is_equal_and_packs_its_weights(graph, record, tmp_path: Path) -> None:
    """One bit a weight, each output channel's bits padded to words of 32."""
    report = qsim.verify(graph, record["images"][:20], targets=("c",))
    assert report.ok, str(report)
    qsim.emit(graph, "c", tmp_path)
    weights = (tmp_path / "weights.c").read_text()
    words = [int(n) for n in re.findall(r"^const uint32_t \w+__weights\[(\d+)\]", weights, flags=re.M)]
    taps = [(9 * 1, 16), (9 * 16, 32), (9 * 32, 32), (9 * 32, 32), (9 * 32, 64), (64, 10)]
    assert words == [-(-k // 32) * channels for k, channels in taps]


@pytest.mark.parametrize("bit", [0, 8])
def test_a_flipped_weight_bit_is_seen(bit: int, graph, record, tmp_path: Path) -> None:
    qsim.emit(graph, "c", tmp_path)
    source = (tmp_path / "weights.c").read_text()
    start = re.search(r"conv1__weights\[\d+\] = \{\n    (\d+)u,", source)
    assert start is not None
    changed = start[0].replace(f"{start[1]}u", f"{int(start[1]) ^ (1 << bit)}u")
    (tmp_path / "weights.c").write_text(source.replace(start[0], changed))
    report = qsim.verify(graph, record["images"][:20], targets=("c",), directories={"c": tmp_path})
    assert not report.ok
    assert report.mismatches[0].tensor == "conv1"
