"""The boundary between float32's rounding and a real mismatch: excused where it must be, nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from faults import changed, faulty, rounding
from graphs import corner_codes, small_cnn
from net import Net, requantize

from qsim.debug.diff.diff import diff
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Rounding, shift_only
from qsim.simulate import Simulator


def wide() -> Graph:
    """A dense layer whose sums pass 2**24, then a rounding to few bits."""
    rng = np.random.default_rng(0)
    net = Net("wide")
    x = net.input((32,), IntFormat(20, True))
    w = IntArray(rng.integers(-128, 128, (32, 16)))
    y = net.add(o.Dense, x, weights=w, bias=IntArray(rng.integers(-999, 999, 16)), name="fc")
    return net.build(
        requantize(net, y, rescale=shift_only(9, Rounding.RND_CONV), low=-(1 << 21), high=1 << 21, name="q")
    )


def float32_run(graph: Graph, codes: dict[str, np.ndarray], bias: bool = True) -> dict[str, np.ndarray]:
    """What a framework computes in float32: the sum rounded as it grows, then quantized."""
    op = graph.producers["fc"]
    scale = np.float32(1 / 16)
    x = codes["x"].astype(np.float32) * scale
    acc = np.zeros((len(x), 16), dtype=np.float32)
    for c in range(32):
        acc = acc + x[:, c : c + 1] * op.weights.values[c].astype(np.float32)
    if bias:
        acc = acc + op.bias.values.astype(np.float32) * scale
    q = np.clip(np.rint(acc / scale / np.float32(512)), -(1 << 21), 1 << 21) * scale
    return {"fc": acc, "q": q.astype(np.float32)}


def test_float32_rounding_of_wide_sums_is_no_mismatch() -> None:
    graph = wide()
    codes = corner_codes(graph, 3000)
    dump = float32_run(graph, codes)
    exact = Simulator(graph).trace_codes(codes)
    assert (np.rint(dump["fc"].astype(np.float64) * 16) != exact["fc"]).any()
    assert (np.rint(dump["q"].astype(np.float64) * 16) != exact["q"]).any()
    whole = diff(graph, codes, dump, codes=True)
    assert whole.ok, str(whole)
    assert "float32's rounding error" in str(whole)
    only_result = diff(graph, codes, {"q": dump["q"]}, codes=True)
    assert only_result.ok, str(only_result)
    assert only_result.tensors[0].float32 > 0


def test_the_same_numbers_in_float64_are_a_mismatch() -> None:
    graph = wide()
    codes = corner_codes(graph, 3000)
    dump = {k: v.astype(np.float64) for k, v in float32_run(graph, codes).items()}
    assert not diff(graph, codes, dump, codes=True).ok


def test_a_real_fault_behind_wide_sums_is_found() -> None:
    graph = wide()
    codes = corner_codes(graph, 500)
    result = diff(graph, codes, float32_run(graph, codes, bias=False), codes=True)
    assert not result.ok
    assert result.first.layer == "fc"
    # The bias alone, or float32 alone, explains less than half: neither is named.
    assert not any(e.complete for e in result.first.explanations)


@pytest.mark.parametrize("mode", [Rounding.RND, Rounding.TRN])
def test_nothing_is_excused_where_float32_is_exact(mode: Rounding) -> None:
    graph = small_cnn()
    codes = corner_codes(graph, 100)
    dump = faulty(graph, codes, "requantize4", rounding(mode))
    reals = {n: graph[n].quantization.real(v).astype(np.float32) for n, v in dump.items()}
    result = diff(graph, codes, reals, codes=True)
    assert not result.ok
    assert result.first.layer == "requantize4"
    assert not any(t.float32 for t in result.tensors)


def test_an_average_truncated_is_found_in_a_float32_dump() -> None:
    graph = small_cnn()
    codes = corner_codes(graph, 200)
    dump = faulty(graph, codes, "requantize11", rounding(Rounding.TRN))
    reals = {n: graph[n].quantization.real(v).astype(np.float32) for n, v in dump.items()}
    result = diff(graph, codes, reals, codes=True)
    assert not result.ok
    assert result.first.explanations[0].name == "rounding trn"
    dump = faulty(graph, codes, "dense13", changed(bias=None))
    reals = {n: graph[n].quantization.real(v).astype(np.float32) for n, v in dump.items()}
    assert diff(graph, codes, reals, codes=True).first.layer == "dense13"
