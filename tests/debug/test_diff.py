"""The mismatch debugger: injected faults are found in the right layer with the right cause first; no false alarms."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from faults import Kernel, changed, faulty, flipped_weight, narrow, nchw, rounding, shifted, wrapped
from graphs import corner_codes, random_graph, small_cnn

from qsim.debug.diff.diff import diff
from qsim.errors import UsageError
from qsim.ir import Graph, Quantization
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Overflow, Rounding, scalar, shift_only
from qsim.proof.builder import GraphBuilder
from qsim.simulate import Simulator

FAULTS: dict[str, tuple[str, Kernel, str]] = {
    "half up": ("requantize4", rounding(Rounding.RND), "rounding rnd"),
    "truncation": ("requantize2", rounding(Rounding.TRN), "rounding trn"),
    "away from zero": ("requantize9", rounding(Rounding.RND_INF), ""),
    "half down": ("requantize4", rounding(Rounding.RND_MIN_INF), ""),
    "average truncated": ("requantize11", rounding(Rounding.TRN), "rounding trn"),
    "shift right": ("requantize4", shifted(1), "shift +1"),
    "shift left": ("requantize9", shifted(-1), "shift -1"),
    "wrap": ("requantize4", wrapped, "wrap for saturate"),
    "relu missing": ("requantize2", changed(low=-16, high=15), "ReLU missing"),
    "bias missing": ("conv2d3", changed(bias=None), "bias missing"),
    "bias scale": ("conv2d8", changed(bias=lambda op: IntArray(op.bias.values * 4)), "bias scale"),
    "bias of one channel": (
        "dense13",
        changed(bias=lambda op: IntArray(op.bias.values + 4 * (np.arange(10) == 3))),
        "bias value",
    ),
    "padding side": ("conv2d8", changed(padding=((1, 0), (1, 0))), "padding side"),
    "kernel transposed": (
        "conv2d3",
        changed(weights=lambda op: IntArray(op.weights.values.swapaxes(0, 1))),
        "kernel order",
    ),
    "kernel rotated": (
        "conv2d1",
        changed(weights=lambda op: IntArray(op.weights.values[::-1, ::-1])),
        "kernel flipped",
    ),
    "weight bit": ("conv2d3", changed(weights=flipped_weight), "weight bit"),
    "narrow, wrapping": ("conv2d3", narrow(2, Overflow.WRAP), "accumulator wrapping"),
    "narrow, saturating": ("conv2d3", narrow(3, Overflow.SAT), "accumulator saturating"),
    "residual not aligned": ("add5", changed(shifts=(0, 0)), "alignment missing"),
    "residual sign": ("add5", changed(signs=(1, -1)), "sign"),
    "multiplier narrow": (
        "requantize11",
        changed(rescale=lambda op: dataclasses.replace(op.rescale, multiplier=scalar(6), shift=scalar(5))),
        "",
    ),
    "NCHW": ("requantize9", nchw, "NCHW order"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("view", ["all tensors", "layer outputs only"])
def test_faults_are_found_and_explained(name: str, view: str) -> None:
    layer, kernel, cause = FAULTS[name]
    graph = small_cnn()
    codes = corner_codes(graph, 200 if name.startswith("narrow") else 60)  # few sums leave the narrow one
    dump = faulty(graph, codes, layer, kernel)
    if view == "layer outputs only":
        hidden = [op.output for op in graph.ops if isinstance(op, o.Conv2D | o.SumPool2D | o.Add)]
        dump = {k: v for k, v in dump.items() if k not in hidden}
    result = diff(graph, codes, dump, codes=True)
    assert not result.ok
    op = graph.producers[result.first.tensor]
    assert layer in (op.layer, *(p.layer for p in graph.ops if p.output in op.inputs))
    if cause:
        best = result.first.explanations[0]
        assert best.complete, str(result)
        assert best.name == cause, str(result)
        assert best.layer == layer or cause.startswith(("accumulator", "NCHW")), str(result)
    assert str(result).count("layer") >= 1


@pytest.mark.parametrize("count", [60, pytest.param(200, marks=pytest.mark.slow)])
def test_no_false_alarm_on_correct_runs(count: int) -> None:
    for seed in range(count):
        graph = random_graph(seed)
        codes = corner_codes(graph, 4)
        result = diff(graph, codes, Simulator(graph).trace_codes(codes), codes=True)
        assert result.ok, str(result)
        assert "all codes are equal" in str(result)


def test_real_valued_nchw_dump_in_files(tmp_path) -> None:
    graph = small_cnn()
    codes = corner_codes(graph, 20)
    traced = Simulator(graph).trace_codes(codes)
    reals = {n: graph[n].quantization.real(a).astype(np.float32) for n, a in traced.items()}
    turned = {n: np.moveaxis(a, -1, 1) if a.ndim == 4 else a for n, a in reals.items()}
    np.savez(tmp_path / "dump.npz", **turned)
    result = diff(graph, codes, tmp_path / "dump.npz", codes=True)
    assert result.ok, str(result)
    assert any("NCHW" in note for row in result.tensors for note in row.notes)
    (tmp_path / "folder").mkdir()
    for n, a in reals.items():
        np.save(tmp_path / "folder" / f"{n}.npy", a)
    assert diff(graph, codes, tmp_path / "folder", codes=True).ok


@pytest.mark.parametrize("shape", [(4, 3, 2), (3, 3, 3)])
def test_another_graph_whose_source_has_channels_in_front(shape: tuple[int, ...]) -> None:
    """Its input is read in another format, so that codes travel as real values: in its source's order."""

    def graph(bits: int, order: tuple[int, ...]) -> Graph:
        b = GraphBuilder("net", "onnx")
        b.input("x", shape, IntFormat(8 + bits, True), Quantization.of(Fraction(1, 16 << bits)), order=order)
        down = o.Requantize(
            inputs=("x",),
            output="y",
            layer="y",
            rescale=shift_only(bits, Rounding.TRN),
            overflow=Overflow.SAT,
            low=-128,
            high=127,
        )
        return b.build([b.add(down, quantization=Quantization.of(Fraction(1, 16)))])

    own, other = graph(0, ()), graph(2, (2, 0, 1))
    codes = {"x": np.random.default_rng(3).integers(-128, 128, (5, *shape))}
    result = diff(own, codes, other, codes=True)
    assert result.ok, str(result)
    assert len(result.tensors) == 1


def test_the_dissection_adds_up() -> None:
    graph = small_cnn()
    codes = corner_codes(graph, 50)
    dump = faulty(graph, codes, "requantize4", rounding(Rounding.RND))
    first = diff(graph, codes, dump, codes=True).first
    assert [s.op for s in first.steps] == ["Conv2D", "Requantize"]
    conv, requantize = first.steps
    assert conv.terms[-1].running + int(graph.ops[2].bias.values[first.index[-1]]) == conv.value
    assert requantize.value == first.expected
    running = 0
    for term in conv.terms:
        running += term.x * term.weight
        assert running == term.running


def test_what_cannot_be_compared_is_refused(tmp_path) -> None:
    graph = small_cnn()
    codes = corner_codes(graph, 2)
    with pytest.raises(UsageError, match="none of the names"):
        diff(graph, codes, {"nothing": np.zeros(3)}, codes=True)
    with pytest.raises(UsageError, match="has shape"):
        diff(graph, codes, {"conv2d1": np.zeros(3)}, codes=True)
    with pytest.raises(UsageError, match=r"neither a folder of \.npy files nor an \.npz"):
        diff(graph, codes, tmp_path / "absent", codes=True)
    with pytest.raises(UsageError, match="cannot compare with int"):
        diff(graph, codes, 3, codes=True)
