"""Saved graphs: what a damaged or crafted file says is refused in one sentence; no claim of it is simply believed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from graphs import corner_codes, random_graph, small_cnn, tables
from readers import campaign, limits

import qsim
from qsim.errors import GraphError
from qsim.ir import Graph, to_json
from qsim.proof.saved import prove
from qsim.simulate import Simulator

TEXT = to_json(small_cnn())


def test_what_was_saved_is_proven_again(tmp_path: Path) -> None:
    for seed in range(20):
        graph = random_graph(seed)
        prove(graph)
        (tmp_path / "g.json").write_text(to_json(graph))
        assert qsim.load(tmp_path / "g.json") == graph


def tensor(data: dict, name: str) -> dict:
    return next(t for t in data["tensors"] if t["name"] == name)


def operation(data: dict, layer: str) -> dict:
    return next(op for op in data["ops"] if op["layer"] == layer)


CLAIMS: list[tuple[Callable[[dict], object], str]] = [
    (lambda d: tensor(d, "conv2d1")["quantization"].update(scale=["1/0"]), "fraction of integers expected"),
    (lambda d: tensor(d, "conv2d1")["quantization"].update(scale=["1e999999999"]), "fraction of integers expected"),
    (lambda d: tensor(d, "conv2d1")["quantization"].update(scale=[1]), "fraction of integers expected"),
    (lambda d: tensor(d, "conv2d1").update(range=[0, 1]), "beyond the declared"),
    (lambda d: tensor(d, "conv2d1").update(shape=[1, 1, 1]), r"is declared as \(1, 1, 1\), the op gives"),
    (lambda d: tensor(d, "x").update(shape=[1 << 40, 1, 3]), "elements, more than"),
    (lambda d: tensor(d, "conv2d1")["format"].update(width=4000), "1 to 64 bits"),
    (lambda d: operation(d, "conv2d3").update(padding=[[1 << 40, 0], [0, 0]]), "out of all proportion"),
    (lambda d: operation(d, "conv2d3").update(strides=[0, 1]), "op Conv2D"),
    (lambda d: operation(d, "conv2d3")["weights"].update(int=0), "not a qsim graph"),
    (lambda d: operation(d, "conv2d3")["weights"].update(shape=[1 << 40]), "not a qsim graph"),
    (lambda d: d["ops"].append({"op": "Python"}), "not a qsim graph"),
]


@pytest.mark.parametrize(("change", "text"), CLAIMS, ids=range(len(CLAIMS)))
def test_claims_are_not_believed(tmp_path: Path, change: Callable[[dict], object], text: str) -> None:
    data = json.loads(TEXT)
    change(data)
    path = tmp_path / "g.json"
    path.write_text(json.dumps(data))
    with limits(20, 1 << 28), pytest.raises(GraphError, match=text) as caught:
        qsim.load(path)
    assert re.search("g.json", str(caught.value))
    assert "\n" not in str(caught.value)


def run(path: Path) -> None:
    graph = qsim.load(path)
    codes = corner_codes(graph, 2)
    trace = Simulator(graph).trace_codes(codes)
    for name, array in trace.items():
        low, high = graph[name].range
        assert low <= int(np.min(array)), name
        assert int(np.max(array)) <= high, name


@pytest.mark.parametrize("count", [100, pytest.param(1500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("make", [small_cnn, tables])
def test_damaged_graphs(tmp_path: Path, make: Callable[[], Graph], count: int) -> None:
    accepted, refused = campaign(tmp_path / "g.json", to_json(make()).encode(), run, count, text=True)
    assert refused > count // 2
    assert accepted > 0
