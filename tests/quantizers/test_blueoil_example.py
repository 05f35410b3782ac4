"""The second bundled example, 1-bit weights and 2-bit activations: Keras' recorded answers, and its packed C."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import qsim
from qsim.cli import app as cli
from qsim.demo import flow
from qsim.errors import UsageError

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


def accuracies(output: str) -> dict[str, list[str]]:
    """Source -> test images, correct answers, accuracy: the last table that the command prints."""
    lines = [line.split() for line in output.split("Accuracy\n")[-1].splitlines()]
    names = {"Keras": 1, "Simulator": 1, "C": 1, "HLS": 2, "SystemVerilog": 1}
    return {" ".join(w[: names[w[0]]]): w[names[w[0]] :][:3] for w in lines if w and w[0] in names}


def check_demo(arguments: list[str], targets: list[str], record, tmp_path: Path, capsys) -> None:
    """``qsim demo --model blueoil`` on 5 images: every source's accuracy, counted here from Keras' record."""
    assert cli.main(["demo", "--model", "blueoil", "--images", "5", "-o", str(tmp_path), *arguments]) == 0
    found = accuracies(capsys.readouterr().out)
    assert list(found) == ["Keras", "Simulator", *targets]
    right = record["predictions"] == record["labels"]
    for source, (total, correct, _) in found.items():
        images = 5 if source in targets else len(right)
        assert (int(total), int(correct)) == (images, right[:images].sum()), source
    assert "Bit-exact: 0 of" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_demo_in_c(record, tmp_path: Path, capsys) -> None:
    check_demo(["--target", "c"], ["C"], record, tmp_path, capsys)


@pytest.mark.slow
def test_demo_in_every_target(record, tmp_path: Path, capsys) -> None:
    check_demo([], ["C", "HLS C++", "SystemVerilog"], record, tmp_path, capsys)


def test_another_demo_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no bundled model 'mnist'; choose from digits, blueoil"):
        flow.run(tmp_path / "out", model="mnist")
    assert not (tmp_path / "out").exists()
