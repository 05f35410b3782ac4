"""HLS kernels for weights of few values: every encoding with every kind of layer, input and padding against
simulator and integer oracle, code for code; and one flipped bit of packed weights is found."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built import ran
from graphs import corner_codes
from net import Net, requantize
from oracle import Oracle

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat
from qsim.simulate import Simulator
from qsim.targets.files import emit, files

VALUES: dict[str, list[int]] = {
    "binary": [-1, 1],
    "binary_scaled": [-3, 3],
    "ternary": [-1, 0, 1],
    "ternary_scaled": [-5, 0, 5],
    "zeros": [0],
    "powers": [-8, -4, -1, 1, 2, 16],
    "powers_with_zero": [-2, 0, 1, 4],
    "powers_scaled": [-6, 3, 12],
    "multiplier": [-7, -2, 0, 3, 6],
}
"""Name -> every value that occurs among the weights."""

INPUTS = ("wide", "signs", "offset_signs", "unsigned", "signed", "one_bit", "offset_few")
"""6-bit codes; +-1; 1 +- 4 (zero point 1); 0 ... 3; -4 ... 3; 0 and 1; -3 ... 4 with zero point 2."""

SAME, ASYMMETRIC = ((1, 1), (1, 1)), ((2, 0), (0, 1))
LAYERS: dict[str, dict[str, Any]] = {
    "dense": {},
    "dense_one": {"out": 1},
    "conv_valid": {},
    "conv_same": {"padding": SAME, "product_shift": 2},
    "conv_strided": {"padding": ASYMMETRIC, "strides": (2, 1), "kernel": (2, 3), "out": 1},
    "conv_dilated": {"padding": ((2, 2), (1, 0)), "dilation": (2, 1), "kernel": (3, 2)},
    "grouped": {"padding": SAME, "groups": 2, "out": 6},
    "depthwise": {"padding": SAME, "groups": 4, "out": 4},
    "depthwise_valid": {"groups": 4, "out": 8},
    "transposed": {"transposed": True, "strides": (2, 2), "out": 2},
    "transposed_overlapping": {"transposed": True, "strides": (1, 2), "kernel": (3, 3), "padding": ((1, 0), (0, 1))},
}


def few(rng: np.random.Generator, shape: tuple[int, ...], values: list[int]) -> IntArray:
    """Random ones of ``values``, each of which occurs (but for layers of fewer weights)."""
    flat = rng.choice(values, int(np.prod(shape)))
    values = values[: flat.size]
    flat[rng.choice(flat.size, len(values), replace=False)] = values
    return IntArray(flat.reshape(shape))


def source(net: Net, x: str, kind: str) -> tuple[str, int]:
    """The tensor of kind ``kind`` made from ``x``, and its zero point."""

    def sign(low: int, high: int) -> str:
        base, step = IntArray([low]), IntArray([high - low])
        return net.add(o.Threshold, x, thresholds=IntArray([[0]]), base=base, step=step, name=kind)

    match kind:
        case "wide":
            return x, 0
        case "signs":
            return sign(-1, 1), 0
        case "offset_signs":
            return sign(-3, 5), 1
        case "unsigned":
            return requantize(net, x, 3, 0, 3, name=kind), 0
        case "signed":
            return requantize(net, x, 3, -4, 3, name=kind), 0
        case "one_bit":
            return sign(0, 1), 0
        case _:
            return requantize(net, x, 3, -3, 4, name=kind), 2


def layer(net: Net, x: str, zero: int, layer: str, values: list[int], rng: np.random.Generator, name: str) -> str:
    fields = dict(LAYERS[layer])
    out = fields.pop("out", 3)
    channels = net.shape(x)[-1]
    shared: dict[str, Any] = {
        "bias": IntArray(rng.integers(-99, 99, out)) if rng.random() < 0.7 else None,
        "input_zero_point": zero,
        "name": name,
    }
    if layer.startswith("dense"):
        return net.add(o.Dense, x, weights=few(rng, (channels, out), values), **shared)
    kernel, strides = fields.pop("kernel", (2, 2)), fields.pop("strides", (1, 1))
    padding = fields.pop("padding", o.NO_PADDING)
    if fields.pop("transposed", False):
        height, width, _ = net.shape(x)
        size = tuple((n - 1) * s + k - sum(p) for n, s, k, p in zip((height, width), strides, kernel, padding))
        weights = few(rng, (*kernel, channels, out), values)
        return net.add(
            o.ConvTranspose2D, x, weights=weights, strides=strides, padding=padding, output_size=size, **shared
        )
    fields = {"dilation": (1, 1), "groups": 1} | fields
    weights = few(rng, (*kernel, channels // fields["groups"], out), values)
    return net.add(o.Conv2D, x, weights=weights, strides=strides, padding=padding, **fields, **shared)


def network(name: str, cells: list[tuple[str, str, str]], channels: int = 4) -> Graph:
    """One layer of its own per (layer, input, values), all from one input."""
    net = Net(name)
    x = net.input((4, 5, channels), IntFormat(6, True))
    made: dict[str, tuple[str, int]] = {}
    outs = []
    for count, (kind, given, values) in enumerate(cells):
        if given not in made:
            made[given] = source(net, x, given)
        rng = np.random.default_rng(zlib.crc32(f"{name} {kind} {given} {values}".encode()))
        tensor, zero = made[given]
        outs.append(layer(net, tensor, zero, kind, VALUES[values], rng, f"c{count}.{kind}.{given}.{values}"))
    return net.build(*outs)


def check(graph: Graph, folder: Path, options: dict[str, object] | None = None, samples: int = 12) -> None:
    codes = corner_codes(graph, samples)
    emit(graph, "hls", folder, options)
    actual, expected = ran(graph, "hls", folder, codes), Simulator(graph).trace_codes(codes)
    assert [n for n in graph.tensors if not np.array_equal(expected[n], actual[n])] == []
    for i in range(2):
        oracle = Oracle(graph).run({k: x[i] for k, x in codes.items()})
        for tensor in graph.tensors:
            assert np.array_equal(oracle[tensor].astype(np.int64), actual[tensor][i]), (tensor, i)


QUICK = [
    ("conv_same", "signs", "binary"),
    ("conv_dilated", "unsigned", "binary_scaled"),
    ("grouped", "signed", "binary"),
    ("depthwise", "signs", "binary"),
    ("transposed", "offset_signs", "binary"),
    ("dense", "offset_signs", "binary_scaled"),
    ("conv_strided", "wide", "ternary"),
    ("transposed_overlapping", "wide", "powers_with_zero"),
    ("depthwise_valid", "signs", "powers_scaled"),
]
FORMS = {
    ("conv_same", "signs", "binary"): "xnor_counted<true, 16, 16, 1>",
    ("conv_dilated", "unsigned", "binary_scaled"): "planes_counted<held_t, 2, false, 24, 24, 1>",
    ("grouped", "signed", "binary"): "planes_counted<held_t, 3, true, 8, 8, 1>",
    ("depthwise", "signs", "binary"): "added<qsim::binary_code, centred_t, 4, 4, 1>",
    ("transposed", "offset_signs", "binary"): "xnor_counted<false, 4, 4, 1>",
    ("dense", "offset_signs", "binary_scaled"): "xnor_counted<false, 4, 4, 1>",
    ("conv_strided", "wide", "ternary"): "added<qsim::ternary_code, centred_t, 24, 12, 2>",
    ("transposed_overlapping", "wide", "powers_with_zero"): (
        "added<qsim::power_of_two_code<shifted_t, 2, true>, centred_t, 4, 4, 1>"
    ),
    ("depthwise_valid", "signs", "powers_scaled"): (
        "added<qsim::power_of_two_code<shifted_t, 2, false>, centred_t, 4, 4, 1>"
    ),
}
"""Which kernel each of QUICK gets: the rule of docs/architecture.md."""


def test_one_of_each(tmp_path: Path) -> None:
    check(network("quick", QUICK), tmp_path)


@pytest.mark.parametrize("cell", FORMS, ids="-".join)
def test_the_rule_chooses_the_kernel(cell: tuple[str, str, str]) -> None:
    made = files(network("quick", [cell]), "hls")
    (text,) = [t for n, t in made.items() if n.startswith("src/c0")]
    assert f"typedef qsim::{FORMS[cell]} products;" in text
    assert "They use 0 multipliers in all." in made["README.md"]


@pytest.mark.parametrize(
    ("given", "values", "form"),
    [
        ("one_bit", "binary", "planes_counted<held_t, 1, false, "),
        ("offset_few", "binary", "planes_counted<held_t, 4, true, "),
        ("wide", "binary", "added<qsim::binary_code, "),
        ("signs", "ternary", "added<qsim::ternary_code, "),
        ("wide", "zeros", "added<qsim::ternary_code, "),
        ("signs", "multiplier", "multiplied<centred_t, weight_t, 4, 4>"),
    ],
)
def test_the_rule_follows_the_values(given: str, values: str, form: str) -> None:
    made = files(network("one", [("dense", given, values)]), "hls")
    (text,) = [t for n, t in made.items() if n.startswith("src/c0")]
    assert f"typedef qsim::{form}" in text


@pytest.mark.slow
@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("kind", LAYERS)
def test_every_layer_input_and_encoding(kind: str, values: str, tmp_path: Path) -> None:
    check(network("all", [(kind, given, values) for given in INPUTS]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("reuse", [1, 2, 3, 7, 1000])
def test_the_codes_do_not_depend_on_the_words(reuse: int, tmp_path: Path) -> None:
    """Windows of 44 to 99 products: words of every size, several in a cycle, last words that are not full."""
    check(network("words", QUICK, channels=12 if reuse % 2 else 20), tmp_path, {"reuse": reuse}, samples=6)


def test_one_flipped_bit_is_found_in_every_encoding(tmp_path: Path) -> None:
    """The same design with one bit of each layer's first word changed: every accumulator differs."""
    graph = network("flipped", QUICK)
    emit(graph, "hls", tmp_path)
    for path in sorted((tmp_path / "src").glob("c*_params.h")):
        hit = re.search(r"(_weights\S* = \{\n(?:\s*\{\n)?\s*\{)0x([0-9a-f]+)", text := path.read_text())
        assert hit is not None
        # the lowest bit of a power of two's exponent, else that of the first weight
        path.write_text(f"{text[: hit.start()]}{hit[1]}0x{int(hit[2], 16) ^ 1:0{len(hit[2])}x}{text[hit.end() :]}")
    codes = corner_codes(graph, 40)
    actual, expected = ran(graph, "hls", tmp_path, codes), Simulator(graph).trace_codes(codes)
    differing = [n for n in graph.tensors if not np.array_equal(expected[n], actual[n])]
    assert differing == [out.tensor for out in graph.outputs]


def test_the_loops_turn_as_often_as_the_readme_says(tmp_path: Path) -> None:
    """Every turn of a pipelined loop of the kernels with products, counted in C simulation."""
    net = Net("turns")
    x = net.input((4, 5, 4), IntFormat(6, True))
    rng = np.random.default_rng(5)
    few_bits, _ = source(net, x, "unsigned")
    outs = [
        layer(net, x, 0, "conv_strided", [-7, 3, 5], rng, "multiplied"),
        layer(net, few_bits, 0, "grouped", [-1, 1], rng, "counted"),
        layer(net, few_bits, 0, "transposed_overlapping", [-1, 1], rng, "transposed"),
        layer(net, x, 0, "dense", [-1, 0, 1], rng, "dense"),
    ]
    transposed = net.add(o.Transpose, x, perm=(0, 2, 1))
    graph = net.build(*outs, net.add(o.MatMul, x, transposed, zero_points=(0, 0), name="product"))
    emit(graph, "hls", tmp_path, {"reuse": 3})
    counter = f"""
struct counter {{
    long turns;
    counter() : turns(0) {{}}
    ~counter() {{
        FILE *file = fopen("{tmp_path / "turns.txt"}", "w");
        fprintf(file, "%ld", turns);
        fclose(file);
    }}
}};
static counter counted;
"""
    kernels = tmp_path / "lib" / "qsim_linear.h"
    text = kernels.read_text().replace("#pragma HLS PIPELINE II=1", "++counted.turns;")
    text = text.replace("namespace qsim {\n", "namespace qsim {\n" + counter, 1)
    kernels.write_text("#include <stdio.h>\n" + text)
    ran(graph, "hls", tmp_path, corner_codes(graph, 3))
    table = (tmp_path / "README.md").read_text().split("| loop turns |")[1].split("\n\n")[0]
    turns = [int(line.split("|")[-2]) for line in table.splitlines()[2:]]
    assert len(turns) == 5
    assert int((tmp_path / "turns.txt").read_text()) == 3 * sum(turns)
