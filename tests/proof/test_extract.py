"""Cut layers compute what they computed in the whole graph: names, formats, codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graphs import OP_GRAPHS, corner_codes, random_graph, small_cnn
from net import Net

from qsim.demo.flow import MODEL
from qsim.errors import UsageError
from qsim.importers import load
from qsim.ir import Graph, from_json, to_json
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat
from qsim.proof.extract import Extract
from qsim.simulate import Simulator

TFLITE = ("hello_world_int8", "micro_speech_quantized", "kws_ref_model", "ad01_int8", "pretrainedResnet_quant")


def check(graph: Graph, layers: tuple[str, ...], traced: dict[str, np.ndarray]) -> Graph:
    """Cut ``layers`` out and simulate them on the whole graph's codes: every tensor must have the whole graph's."""
    cut = Extract(layers=layers)(graph)
    own = [op.output for op in graph.ops if op.layer in layers]
    assert [op.output for op in cut.ops if not isinstance(op, o.Constant)] == [
        name for name in own if not isinstance(graph.producers[name], o.Constant)
    ]
    found = Simulator(cut).trace_codes({entry.tensor: traced[entry.tensor] for entry in cut.inputs})
    assert list(found) == list(cut.tensors)
    for name, codes in found.items():
        assert np.array_equal(codes, traced[name]), name
        was, now = graph[name], cut[name]
        assert (now.shape, now.quantization) == (was.shape, was.quantization)
        assert now.format == was.format or now.format.holds(was.format.low, was.format.high)
    for entry in cut.inputs:
        whole = [i for i in graph.inputs if i.tensor == entry.tensor]
        assert cut[entry.tensor] == graph[entry.tensor]
        assert (entry.low, entry.high) == ((whole[0].low, whole[0].high) if whole else graph[entry.tensor].range)
    assert from_json(to_json(cut)) == cut
    return cut


def every_layer(graph: Graph, samples: int) -> int:
    """Cut every layer that reads anything; returns how many."""
    traced = Simulator(graph).trace_codes(corner_codes(graph, samples))
    layers = [layer for layer in graph.layers() if any(op.inputs for op in graph.ops if op.layer == layer)]
    for layer in layers:
        check(graph, (layer,), traced)
    return len(layers)


@pytest.mark.parametrize("seed", range(60))
def test_layers_of_random_graphs(seed: int) -> None:
    assert every_layer(random_graph(seed), 8)


@pytest.mark.parametrize("name", list(OP_GRAPHS))
def test_layers_of_every_op(name: str) -> None:
    assert every_layer(OP_GRAPHS[name](), 8) > 5


@pytest.mark.parametrize("name", TFLITE)
def test_layers_of_real_models(name: str, models: Path) -> None:
    graph = load(models / "tflite" / f"{name}.tflite")
    assert every_layer(graph, 4) == len(graph.layers())


def test_layers_of_qkeras_models(models: Path) -> None:
    assert every_layer(load(MODEL), 4) > 8
    assert every_layer(load(models / "qkeras" / "qkeras-v3_3layer.keras", input_format="fixed<16,6>"), 4) > 4


@pytest.mark.parametrize("seed", range(12))
def test_runs_of_layers(seed: int) -> None:
    """Every run of neighbouring layers of the small CNN and of a random graph."""
    for graph in (small_cnn(), random_graph(seed + 100)):
        traced = Simulator(graph).trace_codes(corner_codes(graph, 4, seed))
        layers = graph.layers()
        for start in range(len(layers)):
            for stop in range(start + 1, len(layers) + 1):
                check(graph, layers[start:stop], traced)


def test_ends() -> None:
    """A residual block has its branch point as input once, and as outputs what is read outside."""
    graph = small_cnn()
    layers = graph.layers()
    add = next(op for op in graph.ops if isinstance(op, o.Add))
    cut = Extract(layers=(add.layer,))(graph)
    assert [i.tensor for i in cut.inputs] == list(add.inputs)
    assert [out.tensor for out in cut.outputs] == [add.output]
    assert cut.name == f"small_cnn.{add.layer}"
    assert Extract(layers=(add.layer,), name="sum")(graph).name == "sum"
    first = Extract(layers=layers[:2])(graph)
    assert first.inputs == graph.inputs
    assert [out.tensor for out in first.outputs] == [graph.ops[1].output]
    last = Extract(layers=layers[-1:])(graph)
    assert last.outputs == graph.outputs


def two_channels() -> Net:
    """Channel 0 reaches all of -8 .. 7, channel 1 only 0 .. 1: the whole graph's ranges differ element by element."""
    net = Net("two_channels")
    x = net.input((2,), IntFormat(4, True))
    steps = net.add(o.Lookup, x, name="steps", table=IntArray([list(range(-8, 8)), [0] * 8 + [1] * 8]), table_low=-8)
    net.add(o.Dense, steps, name="sum", weights=IntArray([[0, 1], [9, 0]]), bias=None)
    return net


def test_wider_ranges_are_proven_anew() -> None:
    """The cut input may hold -8 in channel 1 too: the sum is stored wider, a table behind it is extended."""
    net = two_channels()
    net.add(o.Lookup, "sum", name="table", table=IntArray([[*range(100, 118)]]), table_low=-8)
    graph = net.build("table")
    assert graph["sum"].range == (-8, 9)
    cut = Extract(layers=("sum", "table"))(graph)
    assert cut["steps"].range == (-8, 7)
    assert cut["sum"].range == (-72, 63)
    assert cut["sum"].format == IntFormat(8, True)
    table = cut.ops[-1]
    assert isinstance(table, o.Lookup)
    assert (table.table_low, table.table.shape[1]) == (-72, 136)
    corners = np.array([[-8, -8], [7, 7], [3, 1]])
    assert Simulator(cut).trace_codes(corners)["sum"].tolist() == [[-72, -8], [63, 7], [9, 3]]
    traced = Simulator(graph).trace_codes(np.array([[-8, -8], [7, 7], [0, -1], [-1, 5]]))
    check(graph, ("sum", "table"), traced)


def test_constants_come_along() -> None:
    net = Net("constants")
    x = net.input((3,))
    c = net.add(o.Constant, name="constant", values=IntArray([1, 2, 3]))
    y = net.add(o.Add, x, c, name="first", shifts=(0, 0), signs=(1, 1), zero_points=(0, 0))
    net.add(o.Add, y, c, name="second", shifts=(0, 0), signs=(1, 1), zero_points=(0, 0))
    graph = net.build("second")
    traced = Simulator(graph).trace_codes(corner_codes(graph, 5))
    for layer in ("first", "second"):
        cut = check(graph, (layer,), traced)
        assert [type(op) for op in cut.ops] == [o.Constant, o.Add]
        assert len(cut.inputs) == len(cut.outputs) == 1
    with pytest.raises(UsageError, match=r"'constant' reads no tensor"):
        Extract(layers=("constant",))(graph)


def test_an_unknown_layer_is_named() -> None:
    with pytest.raises(UsageError, match=r"no layer 'nowhere'; it has: conv2d1"):
        Extract(layers=("nowhere",))(small_cnn())
