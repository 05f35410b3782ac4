"""LiteRT's optimised ADD, SUB and MUL: vector code and the scalar code behind it, on all pairs of codes."""

from __future__ import annotations

import numpy as np
import pytest
from tflite_make import Maker, litert, simulate, tflm

from qsim import verify
from qsim.errors import UnsupportedError
from qsim.importers.tflite import load_tflite

CODES = np.arange(-128, 128)
PAIRS = tuple(v.reshape(1, -1) for v in np.meshgrid(CODES, CODES, indexing="ij"))

ROUNDS = {"ADD": (0.05, 3, 0.11, -40, 0.12, -7), "SUB": (0.05, 3, 0.11, -40, 0.12, -7), "MUL": (0.5, 3, 0.3, -40, 9, 5)}
"""Scales and zero points whose two roundings differ from one (93 pairs of ADD)."""
NARROWS = {
    "ADD": (0.5, 3, 0.3, -40, 0.003, 5),
    "SUB": (0.5, 3, 0.3, -40, 0.003, 5),
    "MUL": (0.5, 3, 0.3, -40, 0.05, 5),
}
"""An output range so small that the results leave 16 bits."""
BELOW = {"ADD": (0.5, 3, 0.3, -40, 1e-4, -9), "SUB": (0.5, 3, 0.3, -40, 1e-4, -9), "MUL": (0.5, 3, 0.3, -40, 1e-3, -9)}

Scales = tuple[float, int, float, int, float, int]


def model(op: str, scales: Scales, a: tuple[int, ...], b: tuple[int, ...], fused: int = 0) -> tuple[bytes, int]:
    maker = Maker()
    inputs = [
        maker.input("a", a, "INT8", scales[0], scales[1]),
        maker.input("b", b, "INT8", scales[2], scales[3]),
    ]
    y = maker.tensor("y", np.broadcast_shapes(a, b), "INT8", scales[4], scales[5])
    maker.operator(op, inputs, [y], op.title() + "Options", 2, fusedActivationFunction=fused)
    maker.output(y)
    return maker.bytes(), y


def simulated(data: bytes, codes: list[np.ndarray], profile: str) -> np.ndarray:
    graph = load_tflite(data, profile=profile)
    shaped = [c.reshape(len(c), *graph[entry.tensor].shape) for c, entry in zip(codes, graph.inputs, strict=True)]
    return simulate(graph, shaped)["y"].reshape(-1)


def compare(op: str, scales: Scales, codes: list[np.ndarray], profile: str = "litert-opt", fused: int = 0) -> int:
    """Equal codes for ``codes`` (each with the samples' axis in front); how many differ from the reference kernels."""
    data, y = model(op, scales, codes[0].shape[1:], codes[1].shape[1:], fused)
    codes = [c.astype(np.int8) for c in codes]
    found = simulated(data, codes, profile)
    assert np.array_equal(found, litert(data, codes, profile, keep=False)[y].reshape(-1)), (op, scales)
    return int((found != litert(data, codes, "litert-ref", keep=False)[y].reshape(-1)).sum())


@pytest.mark.parametrize("fused", [0, 1])
@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL"])
def test_all_pairs(op: str, fused: int) -> None:
    pairs = [v[None] for v in PAIRS]
    differing = [compare(op, scales[op], pairs, fused=fused) for scales in (ROUNDS, NARROWS, BELOW)]
    assert bool(differing[0]) == (op == "ADD")
    assert bool(differing[1]) == (op != "SUB")
    rng = np.random.default_rng(5)
    for _ in range(6):
        a, b = np.exp(rng.uniform(-5, -1, 2))
        y = (a * b if op == "MUL" else max(a, b)) * 10.0 ** rng.uniform(-3, 1.5)
        za, zb, zy = (int(z) for z in rng.integers(-128, 128, 3))
        compare(op, (a, za, b, zb, y, zy), pairs)


SHAPES = [
    *(((1, n), (1, n)) for n in (7, 8, 15, 16, 17, 31, 33)),
    *(((1, n), (1, 1)) for n in (7, 8, 9, 15, 16, 17, 31)),
    ((1, 1), (1, 17)),
    ((1, 20), ()),
    ((2, 17), (2, 1)),
    ((1, 3, 3, 17), (17,)),
    ((1, 3, 1, 17), (1, 3, 3, 17)),
    ((1, 3, 19, 1), (1, 3, 1, 1)),
    ((2, 1, 20), (1, 3, 20)),
    ((20, 1), (1, 20)),
    ((2, 1, 2, 20), (1, 2, 1, 20)),
    ((1, 4, 4, 3), (1, 4, 4, 3)),
    ((3, 1, 2, 5, 1), (1, 2, 2, 5, 9)),
]


@pytest.mark.parametrize("op", ["ADD", "MUL"])
def test_where_vector_code_ends(op: str) -> None:
    """Every length around a full vector, and every way of broadcasting; pairs that the two codes give other results."""
    found = 0
    for scales in (ROUNDS[op], NARROWS[op]):
        data, y = model(op, scales, (1, 65536), (1, 65536))
        pairs = [v[None].astype(np.int8) for v in PAIRS]
        one, other = (litert(data, pairs, p, keep=False)[y].reshape(-1) for p in ("litert-opt", "litert-ref"))
        telling = np.flatnonzero(one != other)[:40]
        for a, b in SHAPES if len(telling) else ():
            codes = [
                np.broadcast_to(PAIRS[i][0, telling].reshape(-1, *(1 for _ in shape)), (len(telling), *shape))
                for i, shape in enumerate((a, b))
            ]
            found += compare(op, scales, codes)
    assert found > 10000


def test_micro_and_reference_kernels_keep_the_scalar_arithmetic() -> None:
    pairs = [v[None].astype(np.int8) for v in PAIRS]
    for op in ("ADD", "MUL"):
        for scales in (ROUNDS[op], NARROWS[op]):
            data, _ = model(op, scales, (1, 65536), (1, 65536))
            assert np.array_equal(simulated(data, pairs, "tflm"), tflm(data, pairs)[0].reshape(-1))


def test_the_c_target_has_the_vector_arithmetic() -> None:
    rng = np.random.default_rng(1)
    for op, scales in (("ADD", ROUNDS["ADD"]), ("ADD", NARROWS["ADD"]), ("MUL", NARROWS["MUL"])):
        data, _ = model(op, scales, (1, 3, 19), (1, 1, 19))
        graph = load_tflite(data, profile="litert-opt")
        codes = {"a": rng.integers(-128, 128, (40, 3, 19)), "b": rng.integers(-128, 128, (40, 1, 19))}
        assert verify(graph, codes, targets=("c",), codes=True).ok


def test_input_scales_too_far_apart_are_refused() -> None:
    data, _ = model("ADD", (1e-8, 3, 0.3, -40, 0.3, 5), (1, 16), (1, 16))
    with pytest.raises(UnsupportedError, match="2\\*\\*20 apart"):
        load_tflite(data, profile="litert-opt")
    load_tflite(data, profile="litert-ref")


def test_an_output_scale_that_overflows_the_product_is_refused() -> None:
    data, _ = model("MUL", (0.5, 3, 0.3, -40, 2e-6, -9), (1, 16), (1, 16))
    for profile in ("tflm", "litert-ref", "litert-opt"):
        with pytest.raises(UnsupportedError, match="beyond int32"):
            load_tflite(data, profile=profile)
