"""Structural checks, text, JSON and hash of graphs."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from graphs import OP_GRAPHS, random_graph, small_cnn

from qsim.errors import GraphError
from qsim.ir import Graph, Quantization, Tensor, from_json, to_json
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("make", [*OP_GRAPHS.values(), small_cnn], ids=lambda f: f.__name__)
def test_json_round_trip(make) -> None:
    graph = make()
    text = to_json(graph)
    again = from_json(text)
    assert to_json(again) == text
    assert again == graph
    assert again.hash == graph.hash
    assert [dataclasses.asdict(t) for t in again.tensors.values()] == [
        dataclasses.asdict(t) for t in graph.tensors.values()
    ]
    assert again.ops == graph.ops


def test_hash_depends_on_one_weight_bit() -> None:
    graph = small_cnn()
    ops = list(graph.ops)
    values = ops[0].weights.values.copy()
    values.flat[3] ^= 1
    ops[0] = dataclasses.replace(ops[0], weights=IntArray(values))
    assert dataclasses.replace(graph, ops=tuple(ops)) != graph


def test_text_is_golden() -> None:
    expected = (GOLDEN / "small_cnn.txt").read_text(encoding="utf-8")
    assert str(small_cnn()) == expected


def test_text_and_json_do_not_depend_on_the_hash_seed() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from graphs import small_cnn; g = small_cnn(); print(g, g.hash)"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script, str(Path(__file__).parents[1])],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("ops"),
        lambda d: d.update(qsim_graph=99),
        lambda d: d["ops"][0].update(op="Nothing"),
        lambda d: d["ops"][0].update(strides=[1]),
        lambda d: d["ops"][0].update(groups="1"),
        lambda d: d["ops"][0]["weights"].update(data="AAAA"),
        lambda d: d["tensors"][0].update(range=[5, -5]),
        lambda d: d["tensors"][0].update(format={"width": 0, "signed": True}),
        lambda d: d["outputs"][0].update(tensor="nowhere"),
        lambda d: d["ops"].reverse(),
        lambda d: d["inputs"].clear(),
    ],
)
def test_damaged_json_is_refused(damage) -> None:
    data = json.loads(to_json(small_cnn()))
    damage(data)
    with pytest.raises((GraphError, Exception)) as caught:
        from_json(json.dumps(data))
    assert type(caught.value).__module__ == "qsim.errors"


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "not json", '{"qsim_graph": 1}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(GraphError, match="not a qsim graph"):
        from_json(text)


def rebuild(graph: Graph, **changes) -> Graph:
    return dataclasses.replace(graph, **changes)


def test_structural_checks() -> None:
    graph = small_cnn()
    with pytest.raises(GraphError, match="before it is made"):
        rebuild(graph, ops=graph.ops[1:])
    with pytest.raises(GraphError, match="made twice"):
        rebuild(graph, ops=(*graph.ops, graph.ops[-1]))
    with pytest.raises(GraphError, match="no outputs"):
        rebuild(graph, outputs=())
    extra = Tensor(
        name="ghost", shape=(1,), format=IntFormat(1, True), quantization=Quantization.of(Fraction(1)), range=(0, 0)
    )
    with pytest.raises(GraphError, match="declared but never made"):
        rebuild(graph, tensors={**graph.tensors, "ghost": extra})
    with pytest.raises(GraphError, match=r"name 'net\\udce9' is no text"):
        rebuild(graph, name="net\udce9")
    requantize = next(op for op in graph.ops if isinstance(op, o.Requantize))
    with pytest.raises(GraphError, match="do not lie within"):
        rebuild(graph, ops=tuple(dataclasses.replace(op, high=99) if op is requantize else op for op in graph.ops))
    with pytest.raises(GraphError, match="has 2 inputs"):
        rebuild(
            graph,
            ops=tuple(
                dataclasses.replace(op, inputs=(*op.inputs, *op.inputs)) if op is requantize else op for op in graph.ops
            ),
        )


def test_registry_check_names_what_is_missing() -> None:
    with pytest.raises(TypeError, match="somewhere: no entry for \\['ArgMax'\\]"):
        o.check_registry({op: None for op in o.OPS if op is not o.ArgMax}, "somewhere")


def test_random_graphs_round_trip() -> None:
    for seed in range(30):
        graph = random_graph(seed)
        assert from_json(to_json(graph)) == graph


def test_quantization_frac() -> None:
    assert Quantization.of(Fraction(1, 128)).frac == 7
    assert Quantization.of(Fraction(4)).frac == -2
    assert Quantization.of(Fraction(1, 3)).frac is None
    assert Quantization.of(Fraction(1, 4), zero_point=1).frac is None
