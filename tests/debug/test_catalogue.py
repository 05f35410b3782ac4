"""The catalogue of injected faults (tests/fault_catalogue.py), in dumped tensors and in emitted C, HLS C++ and RTL."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import fault_catalogue as catalogue
import numpy as np
import pytest
from fault_catalogue import FAULTS, codes, judge, model
from graphs import corner_codes, small_cnn

import qsim
from qsim.debug.diff.diff import Diff, diff
from qsim.simulate import Simulator

PAGE = Path(__file__).parents[2] / "docs" / "causes.md"
NAMES = [f"{f.model}: {f.name}" for f in FAULTS]
SAMPLE = [i for i, f in enumerate(FAULTS) if f.model == "digits" and i % 3 == 0]
"""Of the default run; the rest, and the networks that are no part of the project, run as slow."""


def cases() -> list:
    return [pytest.param(i, id=NAMES[i], marks=() if i in SAMPLE else pytest.mark.slow) for i in range(len(FAULTS))]


@pytest.mark.parametrize("index", cases())
def test_the_layer_is_found_and_no_false_cause_is_claimed(index: int) -> None:
    fault = FAULTS[index]
    if not catalogue.available(fault.model):
        pytest.skip("the real models are not here: set QSIM_MODELS to their folder")
    verdict = judge(index)
    assert verdict.right_layer, verdict.text
    assert not verdict.claimed or verdict.first in fault.causes, verdict.text
    assert re.search(fault.place, verdict.place), verdict.text
    assert catalogue.row(index) in PAGE.read_text(encoding="utf-8")


def first_in_nearly_all(indices: list[int]) -> None:
    wrong = [f"{NAMES[i]}: {judge(i).text}" for i in indices if judge(i).rank != 1]
    assert len(wrong) * 10 <= len(indices), "\n".join(wrong)


def test_the_cause_is_named_first_in_nearly_all_of_a_sample() -> None:
    first_in_nearly_all(SAMPLE)


@pytest.mark.slow
def test_the_cause_is_named_first_in_nearly_all() -> None:
    if not all(catalogue.available(f.model) for f in FAULTS):
        pytest.skip("the real models are not here: set QSIM_MODELS to their folder")
    assert len(FAULTS) >= 60
    first_in_nearly_all(list(range(len(FAULTS))))
    assert catalogue.table() == PAGE.read_text(encoding="utf-8")


def test_the_page_has_every_fault() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (digits|mlp|resnet) \|", text, re.MULTILINE)
    assert rows == [(f.name, f.model) for f in FAULTS]
    assert f"{len(FAULTS)} faults: the right layer in {len(FAULTS)}," in text


def test_noise_is_no_cause() -> None:
    """Random codes in random places have no cause: nothing is claimed, but single faults that are counted as many."""
    graph = small_cnn()
    inputs = corner_codes(graph, 12)
    trace = Simulator(graph).trace_codes(inputs)
    rng = np.random.default_rng(3)
    for number in range(4):
        name = ("requantize2", "requantize4", "requantize9", "dense13")[number % 4]
        noisy = trace[name].copy()
        places = rng.integers(0, noisy.size, rng.integers(2, 40))
        low, high = graph[name].range
        noisy.reshape(-1)[places] = rng.integers(low, high + 1, len(places))
        result = diff(graph, inputs, {name: noisy}, codes=True)
        if result.first is not None:
            assert all(e.fits > 1 for e in result.first.explanations if e.complete), str(result)


def edited(folder: Path, name: str, pattern: str, replacement: str) -> None:
    """Change an emitted file by a regular expression; the change must be one."""
    path = folder / name
    text = path.read_text()
    new = re.sub(pattern, replacement, text, count=1)
    assert new != text
    path.write_text(new)


@pytest.mark.parametrize(("shift", "cause"), [(4, "shift +1"), (2, "shift -1")])
def test_faults_in_emitted_c_are_explained(tmp_path: Path, shift: int, cause: str) -> None:
    graph = model("digits")
    qsim.emit(graph, "c", tmp_path)
    edited(tmp_path, "weights.c", r"(digits_branch__shift\[[^{]*\{\s*)3", rf"\g<1>{shift}")
    result: Diff = diff(graph, codes("digits"), tmp_path, codes=True)
    assert result.first is not None
    assert result.first.layer == "branch"
    assert result.first.explanations[0].complete, str(result)
    assert result.first.explanations[0].name == cause


def test_a_weight_bit_in_emitted_c_is_named(tmp_path: Path) -> None:
    graph = model("digits")
    qsim.emit(graph, "c", tmp_path)
    edited(
        tmp_path,
        "weights.c",
        r"(digits_conv2__weights\[[^{]*\{\s*)(-?\d+)",
        lambda m: m[1] + str(int(m[2]) ^ 1),  # type: ignore[arg-type]
    )
    result = diff(graph, codes("digits"), tmp_path, codes=True)
    assert result.first is not None
    assert result.first.layer == "conv2"
    assert result.first.explanations[0].complete, str(result)
    assert result.first.explanations[0].name == "weight bit"


def test_no_false_alarm_on_unchanged_c(tmp_path: Path) -> None:
    graph = model("digits")
    qsim.emit(graph, "c", tmp_path)
    assert diff(graph, codes("digits"), tmp_path, codes=True).ok


def half_up_in_rtl(folder: Path) -> None:
    """The rescale of layer branch rounds ties upward."""
    path = folder / "digits_top.sv"
    top = path.read_text()
    end = top.index(") branch__kernel (")
    start = top.rindex("qsim_requantize #(", 0, end)
    new = top[start:end].replace('.MODE("RND_CONV")', '.MODE("RND")')
    assert new != top[start:end]
    path.write_text(top[:start] + new + top[end:])


def half_up_in_hls(folder: Path) -> None:
    edited(folder, "src/branch_params.h", "RND_CONV", "RND")


@pytest.mark.slow
@pytest.mark.parametrize(("target", "fault"), [("hls", half_up_in_hls), ("rtl", half_up_in_rtl)])
def test_a_rounding_mode_in_emitted_hardware_is_explained(
    tmp_path: Path, target: str, fault: Callable[[Path], None]
) -> None:
    graph = model("digits")
    qsim.emit(graph, target, tmp_path)
    fault(tmp_path)
    result = diff(graph, {name: c[:24] for name, c in codes("digits").items()}, tmp_path, codes=True)
    assert result.first is not None
    assert result.first.layer == "branch"
    assert result.first.explanations[0].complete, str(result)
    assert result.first.explanations[0].name == "rounding rnd"
