"""The emitted C, built strictly and run, against simulator and integer oracle: every op, every mode, every tensor."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from built import ran
from c_graphs import C_GRAPHS
from graphs import OP_GRAPHS, corner_codes, random_graph, small_cnn
from oracle import Oracle
from random_dags import random_dag

from qsim.errors import ToolMissingError
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.simulate import Simulator
from qsim.targets.c.run import CBuildError
from qsim.targets.files import emit
from qsim.targets.registry import planned

GRAPHS = OP_GRAPHS | C_GRAPHS


def differing(graph: Graph, expected: dict[str, np.ndarray], actual: dict[str, np.ndarray]) -> list[str]:
    """Names of the tensors that differ, in graph order; every tensor must be there with its shape."""
    assert list(actual) == list(graph.tensors)
    for name, codes in actual.items():
        assert codes.dtype == np.int64
        assert codes.shape == expected[name].shape, name
    return [name for name in graph.tensors if not np.array_equal(expected[name], actual[name])]


def test_the_graphs_hold_every_op() -> None:
    assert {type(op) for make in GRAPHS.values() for op in make().ops} == set(o.OPS)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_tensor_equals_simulator_and_oracle(name: str, tmp_path: Path) -> None:
    """Under UBSan and ASan, so that no overflow, bad shift or stray access hides behind a right answer."""
    graph = GRAPHS[name]()
    codes = corner_codes(graph, 40)
    emit(graph, "c", tmp_path)
    actual = ran(graph, "c", tmp_path, codes, sanitize=True)
    assert differing(graph, Simulator(graph).trace_codes(codes), actual) == []
    if not any(isinstance(op, o.Softmax) for op in graph.ops):
        for i in range(2):
            expected = Oracle(graph).run({k: x[i] for k, x in codes.items()})
            for tensor in graph.tensors:
                assert np.array_equal(expected[tensor].astype(np.int64), actual[tensor][i]), (tensor, i)


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_equal_the_simulator(seed: int, tmp_path: Path) -> None:
    graph = random_graph(1000 + seed)
    codes = corner_codes(graph, 30)
    emit(graph, "c", tmp_path)
    assert differing(graph, Simulator(graph).trace_codes(codes), ran(graph, "c", tmp_path, codes)) == []


@pytest.mark.parametrize("seed", range(12))
def test_random_dags_equal_the_simulator(seed: int, tmp_path: Path) -> None:
    graph = random_dag(seed)
    codes = corner_codes(graph, 20)
    emit(graph, "c", tmp_path)
    assert differing(graph, Simulator(graph).trace_codes(codes), ran(graph, "c", tmp_path, codes)) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(150))
def test_many_random_dags_equal_the_simulator(seed: int, tmp_path: Path) -> None:
    graph = random_dag(100 + seed)
    codes = corner_codes(graph, 20)
    emit(graph, "c", tmp_path)
    actual = ran(graph, "c", tmp_path, codes, sanitize=True)
    assert differing(graph, Simulator(graph).trace_codes(codes), actual) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200))
def test_many_random_networks_equal_the_simulator(seed: int, tmp_path: Path) -> None:
    graph = random_graph(5000 + seed)
    codes = corner_codes(graph, 60)
    emit(graph, "c", tmp_path)
    actual = ran(graph, "c", tmp_path, codes, sanitize=True)
    assert differing(graph, Simulator(graph).trace_codes(codes), actual) == []


def edit(directory: Path, file: str, old: str, new: str) -> None:
    """Replace the first occurrence in an emitted file; it must be there."""
    text = (directory / file).read_text()
    assert old in text
    (directory / file).write_text(text.replace(old, new, 1))


def mutated(tmp_path: Path, file: str, old: str, new: str) -> list[str]:
    """The tensors of the small CNN that differ after one edit."""
    graph = small_cnn()
    codes = corner_codes(graph, 60)
    emit(graph, "c", tmp_path)
    edit(tmp_path, file, old, new)
    return differing(graph, Simulator(graph).trace_codes(codes), ran(graph, "c", tmp_path, codes))


def test_a_flipped_weight_bit_is_seen_in_its_layer(tmp_path: Path) -> None:
    first = "small_cnn_conv2d3__weights[144] = {\n    -8,"
    bad = mutated(tmp_path, "weights.c", first, first.replace("-8", "-7"))
    assert bad[0] == "conv2d3"
    assert "requantize2" not in bad


def test_a_wrong_bias_is_seen_although_the_accumulator_is_never_stored(tmp_path: Path) -> None:
    start = "small_cnn_conv2d8__bias[6] = {\n    0,"
    bad = mutated(tmp_path, "weights.c", start, start.replace("    0,", "    1,"))
    assert bad[0] == "conv2d8"


def test_a_shift_off_by_one_is_seen_in_its_layer(tmp_path: Path) -> None:
    start = "small_cnn_requantize4__shift[1] = {\n    5,"
    bad = mutated(tmp_path, "weights.c", start, start.replace("5,", "4,"))
    assert bad[0] == "requantize4"
    assert "conv2d3" not in bad


def test_half_up_in_place_of_half_even_is_seen_in_its_layer(tmp_path: Path) -> None:
    bad = mutated(tmp_path, "kernels.h", "qsim_shifted_rnd_conv_i32", "qsim_shifted_rnd_i32")
    assert bad[0] == "requantize2"
    assert "conv2d1" not in bad


def test_a_wrong_kernel_constant_is_seen(tmp_path: Path) -> None:
    bad = mutated(tmp_path, "model.c", ".pad_left = 1,", ".pad_left = 0,")
    assert bad[0] == "conv2d1"


def test_an_overlap_in_the_arena_is_seen(tmp_path: Path) -> None:
    bad = mutated(
        tmp_path, "model.c", "(base + 256); /* 256 bytes, layers 1 to 2", "(base + 0); /* 256 bytes, layers 1 to 2"
    )
    assert bad


def test_a_tensor_that_is_not_traced_is_an_error(tmp_path: Path) -> None:
    graph = small_cnn()
    emit(graph, "c", tmp_path)
    edit(tmp_path, "model.c", 'QSIM_TRACE_TENSOR("add5", block_add5, count, 8, 0);', "")
    with pytest.raises(CBuildError, match="add5: 0 of 256 elements"):
        ran(graph, "c", tmp_path, corner_codes(graph, 2))


def test_an_overflow_is_stopped_by_the_sanitizer(tmp_path: Path) -> None:
    graph = small_cnn()
    emit(graph, "c", tmp_path)
    edit(tmp_path, "model.c", ".product_scale = 1,", ".product_scale = 2000000000,")
    with pytest.raises(CBuildError, match="signed integer overflow"):
        ran(graph, "c", tmp_path, corner_codes(graph, 5), sanitize=True)


def test_an_implicit_conversion_does_not_compile(tmp_path: Path) -> None:
    graph = small_cnn()
    emit(graph, "c", tmp_path)
    edit(tmp_path, "qsim_requantize.h", "return (QSIM_Y)QSIM_OVERFLOW", "return QSIM_OVERFLOW")
    with pytest.raises(CBuildError, match="does not compile"):
        ran(graph, "c", tmp_path, corner_codes(graph, 2))


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("binary_layers", "conv2d_xnor_i8_i8_in_i32_4"),
        ("binary_layers", "conv2d_planes_u8_i16_in_i32_4_b2"),
        ("binary_layers", "conv2d_sums_i8_i16_in_i32_i16"),
        ("binary_layers", "conv2d_masks_i8_i16_in_i32"),
        ("binary_layers", "depthwise2d_bits_i8_i16_in_i32"),
        ("ternary_layers", "conv2d_planes_u8_i8_in_i32_4_b2_ternary"),
        ("ternary_layers", "conv2d_sums_i8_i16_in_i32_ternary_i16"),
        ("ternary_layers", "conv2d_masks_i8_i16_in_i32_ternary"),
        ("ternary_layers", "depthwise2d_bits_i8_i8_in_i32_ternary"),
    ],
)
def test_a_flipped_bit_of_a_packed_weight_is_seen(name: str, kernel: str, tmp_path: Path) -> None:
    """In each kernel of packed weights: the first layer that uses it, and no tensor that does not depend on it."""
    graph = GRAPHS[name]()
    codes = corner_codes(graph, 40)
    emit(graph, "c", tmp_path)
    before = (tmp_path / "model.c").read_text().split(f"static const {kernel}_params", 1)[1]
    symbol = re.search(r"\.weights = (\w+),", before)[1]
    start = re.search(rf"{symbol}\[\d+\] = \{{\n    (\d+)u,", (tmp_path / "weights.c").read_text())
    edit(tmp_path, "weights.c", start[0], start[0].replace(f"{start[1]}u", f"{int(start[1]) ^ 16}u"))
    bad = differing(graph, Simulator(graph).trace_codes(codes), ran(graph, "c", tmp_path, codes))
    assert symbol == f"{name}_{bad[0]}__weights"


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = small_cnn()
    emit(graph, "c", tmp_path)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ToolMissingError, match=r"'no-such-compiler' is not installed.*apt-get install gcc"):
        ran(graph, "c", tmp_path, corner_codes(graph, 1))


def test_the_figures_are_reported(tmp_path: Path) -> None:
    graph = small_cnn()
    emit(graph, "c", tmp_path)
    figures = planned(graph, "c").run(tmp_path, corner_codes(graph, 1)).figures
    facts = {figure.name: figure.value for figure in figures}
    assert facts["RAM: arena and stack"] == 768 + 64 + 256  # arena, block of the sum, a pool's accumulators
    assert facts["ROM: weights and tables"] == (36 + 144 + 216 + 60) + 4 * (4 + 4 + 6 + 10) + 5 + 4 + 4
