"""The engine's boundary: shapes, quantizers of inputs, batches, boundary functions, exact BLAS paths."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from graphs import corner_codes, small_cnn
from oracle import Oracle, round_fraction

from qsim.errors import UnsupportedError, UsageError
from qsim.ir import Output, Quantization
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Rounding, parse_format
from qsim.proof.builder import GraphBuilder
from qsim.simulate import Simulator, engine, numpy_engine
from qsim.simulate.native import engine as native_engine


def test_wrong_inputs_are_refused() -> None:
    simulator = Simulator(small_cnn())
    with pytest.raises(UsageError, match=r"shape \(N, 8, 8, 1\) is needed, \(8, 8, 1\) given"):
        simulator.run(np.zeros((8, 8, 1)))
    with pytest.raises(UsageError, match="NaN"):
        simulator.run(np.full((1, 8, 8, 1), np.nan))
    with pytest.raises(UsageError, match=r"code 8 lies outside \[-8, 7\]"):
        simulator.run_codes(np.full((1, 8, 8, 1), 8))
    with pytest.raises(UsageError, match="codes are integers"):
        simulator.run_codes(np.zeros((1, 8, 8, 1)))
    with pytest.raises(UsageError, match="are needed"):
        simulator.run({"y": np.zeros((1, 8, 8, 1))})


@pytest.mark.parametrize("mode", Rounding)
def test_input_quantizer(mode: Rounding) -> None:
    b = GraphBuilder("input", "qkeras")
    q = Quantization.of(Fraction(1, 4), zero_point=3)
    x = b.input("x", (1,), IntFormat(5, True), q, rounding=mode, low=-10, high=12)
    graph = b.build([b.add(o.Reshape(inputs=(x,), output="y", layer="y"), quantization=q, shape=(1, 1))])
    reals = np.arange(-40, 41)[:, None] / 8
    expected = [min(max(round_fraction(Fraction(float(r)) * 4, mode.value) + 3, -10), 12) for r in reals[:, 0]]
    assert Simulator(graph).quantize(reals)["x"][:, 0].tolist() == expected
    assert Simulator(graph).run(reals)[:, 0, 0].tolist() == [(c - 3) / 4 for c in expected]


@pytest.mark.parametrize("name", ["numpy", "native"])
def test_batches_are_cut_without_changing_codes(name: engine.EngineName, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = small_cnn()
    codes = corner_codes(graph, 11)
    whole = Simulator(graph, engine="numpy").trace_codes(codes)
    monkeypatch.setattr(numpy_engine, "_CHUNK_ELEMENTS", 700)
    monkeypatch.setattr(native_engine, "_CHUNK_BYTES", 7000)
    monkeypatch.setattr(engine, "_QUANTIZED_AT_ONCE", 700)
    cut = Simulator(graph, engine=name).trace_codes(codes)
    for name in graph.tensors:
        assert np.array_equal(whole[name], cut[name])


def test_trace_and_run_agree_and_cover_every_tensor() -> None:
    graph = small_cnn()
    codes = corner_codes(graph, 5)
    traced = Simulator(graph).trace_codes(codes)
    assert list(traced) == list(graph.tensors)
    assert np.array_equal(Simulator(graph).run_codes(codes), traced[graph.outputs[0].tensor])


def test_boundary_softmax_acts_on_real_values_only() -> None:
    graph = small_cnn()
    out = graph.outputs[0].tensor
    soft = dataclasses.replace(graph, outputs=(Output(tensor=out, boundary="softmax"),))
    codes = corner_codes(graph, 5)
    assert np.array_equal(Simulator(soft).run_codes(codes), Simulator(graph).run_codes(codes))
    x = codes["x"] / 16
    logits = Simulator(graph).run(x)
    e = np.exp(logits - logits.max(-1, keepdims=True))
    assert np.array_equal(Simulator(soft).run(x), e / e.sum(-1, keepdims=True))


@pytest.mark.parametrize("bits", [6, 12, 20, 26, 40])
def test_products_are_exact_on_every_blas_path(bits: int) -> None:
    # 6 bits run in float32, 12 and 20 in float64, 26 and 40 in int64: the bound decides, the codes stay exact.
    rng = np.random.default_rng(bits)
    b = GraphBuilder("wide", "qkeras")
    q = Quantization.of(1)
    x = b.input("x", (9,), IntFormat(bits, True), q)
    limit = 1 << min(bits, 17)
    w = IntArray(rng.integers(-limit, limit, (9, 3)))
    graph = b.build(
        [b.add(o.Dense(inputs=(x,), output="y", layer="y", weights=w, bias=IntArray([1, 0, -1])), quantization=q)]
    )
    codes = corner_codes(graph, 20)
    traced = Simulator(graph).trace_codes(codes)["y"]
    for i in range(20):
        expected = Oracle(graph).run({"x": codes["x"][i]})["y"]
        assert traced[i].tolist() == expected.tolist()


def test_no_samples_give_no_results() -> None:
    graph = small_cnn()
    simulator = Simulator(graph)
    (entry,) = graph.inputs
    nothing = np.zeros((0, *graph[entry.tensor].shape))
    assert simulator.run(nothing).shape == (0, *graph[graph.outputs[0].tensor].shape)
    assert {name: v.shape for name, v in simulator.trace(nothing).items()} == {
        name: (0, *t.shape) for name, t in graph.tensors.items()
    }


@pytest.mark.parametrize("mode", Rounding)
@pytest.mark.parametrize("width", [53, 54, 60, 63, 64])
def test_wide_inputs_are_clipped_as_integers(mode: Rounding, width: int) -> None:
    """Limits beyond 53 bits are no float64 numbers; clipping to the nearest one gave codes outside the format."""
    b = GraphBuilder("wide", "qkeras")
    q = Quantization.of(Fraction(1, 1 << (width - 2)))
    fmt = IntFormat(width, True)
    x = b.input("x", (1,), fmt, q, rounding=mode)
    graph = b.build([b.add(o.Reshape(inputs=(x,), output="y", layer="y"), quantization=q, shape=(1, 1))])
    values = np.array([[1.9999999], [2.0], [-2.0], [3.5], [-7.0], [1e300], [-1e300], [0.3]])
    codes = Simulator(graph).quantize(values)[x]
    for value, code in zip(values[:, 0].tolist(), codes[:, 0].tolist()):
        exact = round_fraction(Fraction(value) / q.scale[0], mode.value)
        assert code == min(max(exact, fmt.low), fmt.high)


def test_inputs_beyond_signed_64_bits_are_refused() -> None:
    b = GraphBuilder("beyond", "qkeras")
    with pytest.raises(UnsupportedError, match="at most 63 bits"):
        b.input("x", (1,), IntFormat(64, False), Quantization.of(Fraction(1)))
    with pytest.raises(UsageError, match="beyond float64"):
        parse_format("fixed<8,1200>")
