"""The emitted HLS C++ in C simulation with the real ap_int headers, against simulator and integer oracle: every op and
mode, every tensor; and each kind of change to the emitted files is found in the tensor where it acts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from built import ran
from c_graphs import C_GRAPHS
from graphs import OP_GRAPHS, corner_codes, random_graph, small_cnn
from net import Net, plain, requantize
from oracle import Oracle

import qsim
from qsim.compare.stimulus import sample_codes
from qsim.errors import GraphError, ToolMissingError
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Rounding
from qsim.simulate import Simulator
from qsim.targets.files import emit
from qsim.targets.hls.run import ap_types, compiler

GRAPHS = OP_GRAPHS | C_GRAPHS
QUICK = (*OP_GRAPHS, "softmaxes", "odd_names")
"""The graphs of every default run: every op and mode. The others (corners of widths and shapes) are slow to compile."""


def traced(graph: Graph, codes: dict[str, np.ndarray], folder: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Run what ``folder`` holds: the tensors that differ from the simulator's, in graph order, and all codes."""
    actual = ran(graph, "hls", folder, codes)
    expected = Simulator(graph).trace_codes(codes)
    assert set(actual) == set(graph.tensors)
    for name, found in actual.items():
        assert found.dtype == np.int64
        assert found.shape == expected[name].shape, name
    return [name for name in graph.tensors if not np.array_equal(expected[name], actual[name])], actual


def differing(graph: Graph, codes: dict[str, np.ndarray], folder: Path) -> list[str]:
    return traced(graph, codes, folder)[0]


def test_the_graphs_hold_every_op() -> None:
    assert {type(op) for name, make in GRAPHS.items() if name in QUICK for op in make().ops} == set(o.OPS)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in GRAPHS])
def test_every_tensor_equals_simulator_and_oracle(name: str, tmp_path: Path) -> None:
    graph = GRAPHS[name]()
    codes = corner_codes(graph, 24)
    emit(graph, "hls", tmp_path)
    different, actual = traced(graph, codes, tmp_path)
    assert different == []
    if not any(isinstance(op, o.Softmax) for op in graph.ops):
        for i in range(4):
            expected = Oracle(graph).run({k: x[i] for k, x in codes.items()})
            for tensor in graph.tensors:
                assert np.array_equal(expected[tensor].astype(np.int64), actual[tensor][i]), (tensor, i)


@pytest.mark.parametrize("seed", range(1))
def test_random_networks_equal_the_simulator(seed: int, tmp_path: Path) -> None:
    graph = random_graph(2000 + seed)
    emit(graph, "hls", tmp_path)
    assert differing(graph, corner_codes(graph, 30), tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_many_random_networks_equal_the_simulator(seed: int, tmp_path: Path) -> None:
    graph = random_graph(seed)
    emit(graph, "hls", tmp_path, {"reuse": seed % 5 + 1})
    assert differing(graph, corner_codes(graph, 30, seed), tmp_path) == []


@pytest.mark.parametrize("reuse", [7])
def test_the_codes_do_not_depend_on_reuse_and_ports(reuse: int, tmp_path: Path) -> None:
    graph = small_cnn()
    emit(graph, "hls", tmp_path, {"reuse": reuse, "tlast": "true", "control": "ap_ctrl_none"})
    assert differing(graph, corner_codes(graph, 12), tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("model", ["kws_ref_model", "pretrainedResnet_quant", "ad01_int8", "micro_speech_quantized"])
def test_real_tflite_models(model: str, models: Path, tmp_path: Path) -> None:
    graph = qsim.load(models / "tflite" / f"{model}.tflite")
    emit(graph, "hls", tmp_path)
    assert differing(graph, sample_codes(graph, 8, 1), tmp_path) == []


def pipeline() -> Graph:
    """A dense layer, its requantization, a channelwise one: the chain that the mutations act on. Ties are frequent."""
    net = Net("pipeline")
    x = net.input((4,), IntFormat(6, True))
    rng = np.random.default_rng(9)
    weights = IntArray(rng.integers(-8, 8, (4, 6)))
    y = net.add(o.Dense, x, weights=weights, bias=IntArray(np.arange(6)), name="dense")
    y = requantize(net, y, 2, -64, 63, name="first")
    z = requantize(net, y, rescale=plain([1, 3, 5, 7, 9, 11], 0, 3, Rounding.RND_CONV), low=-99, high=99, name="second")
    return net.build(z)


def substitute(pattern: str, replacement: str | Callable[[re.Match[str]], str]) -> Callable[[str], str]:
    def change(text: str) -> str:
        changed, count = re.subn(pattern, replacement, text, count=1)
        assert count == 1
        assert changed != text
        return changed

    return change


@pytest.mark.parametrize(
    ("file", "change", "first"),
    [
        # the lowest bit of the first weight
        (
            "src/dense_params.h",
            substitute(r"(dense_weights\S* = \{\n\s*\{)(-?\d+)", lambda m: f"{m[1]}{int(m[2]) ^ 1}"),
            "dense",
        ),
        ("src/dense_params.h", substitute(r"(dense_bias\S* = \{\n\s*)0,", r"\g<1>1,"), "dense"),
        ("src/first_params.h", substitute(r"shift = 2;", "shift = 3;"), "first"),
        ("src/first_params.h", substitute(r"RND_CONV", "RND"), "first"),
        ("src/first_params.h", substitute(r"high = 63;", "high = 62;"), "first"),
        ("src/second_params.h", substitute(r"RND_CONV", "RND"), "second"),
        ("src/second_params.h", substitute(r"1, 3, 5, 7, 9, 11", "1, 3, 5, 6, 9, 11"), "second"),
        ("lib/qsim_round.h", substitute(r"guard && \(sticky \|\| odd\)", "guard"), "first"),
    ],
    ids=["weight", "bias", "shift", "rounding", "limit", "channel_rounding", "multiplier", "kernel"],
)
def test_a_changed_file_is_found_where_it_acts(
    file: str, change: Callable[[str], str], first: str, tmp_path: Path
) -> None:
    graph = pipeline()
    emit(graph, "hls", tmp_path)
    path = tmp_path / file
    path.write_text(change(path.read_text()))
    codes = {"x": np.random.default_rng(0).integers(-32, 32, (600, 4))}
    found = differing(graph, codes, tmp_path)
    assert found, "the change went unnoticed"
    assert found[0] == first


def test_a_stream_that_is_not_drained_is_an_error(tmp_path: Path) -> None:
    graph = pipeline()
    emit(graph, "hls", tmp_path)
    path = tmp_path / "src" / "first_params.h"
    path.write_text(substitute(r"elements = 6;", "elements = 5;")(path.read_text()))
    with pytest.raises(GraphError, match="tensor first: 5 elements on the stream, not 6"):
        ran(graph, "hls", tmp_path, {"x": np.zeros((1, 4), np.int64)})


def test_files_that_do_not_compile_are_an_error(tmp_path: Path) -> None:
    graph = pipeline()
    emit(graph, "hls", tmp_path)
    (tmp_path / "src" / "first_params.h").write_text("#error broken here\n")
    with pytest.raises(GraphError, match=r"do not compile:(.|\n)*broken here"):
        ran(graph, "hls", tmp_path, {"x": np.zeros((1, 4), np.int64)})


def test_missing_tools_say_how_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AP_TYPES", str(tmp_path))
    with pytest.raises(ToolMissingError, match=r'pip install "qsim-hw\[hls\]"') as error:
        ap_types()
    assert str(tmp_path) in str(error.value)
    monkeypatch.delenv("AP_TYPES")
    monkeypatch.setenv("XILINX_HLS", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolMissingError, match=r'pip install "qsim-hw\[hls\]"'):
        ap_types()
    (tmp_path / "include").mkdir()
    for name in ("ap_int.h", "hls_stream.h"):
        (tmp_path / "include" / name).touch()
    assert ap_types() == tmp_path / "include"
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ToolMissingError, match="no-such-compiler"):
        compiler()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="install g\\+\\+"):
        compiler()
