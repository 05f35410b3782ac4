"""The emitted C as text: golden file, determinism, what it includes, options, refusals; and the build files at work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from c_graphs import C_GRAPHS
from graphs import OP_GRAPHS, corner_codes, small_cnn
from net import Net, plain, requantize, tflite

from qsim.errors import UnsupportedError, UsageError
from qsim.ir import Graph, Input, Output, Quantization, Tensor
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Overflow, Rounding, Scheme, scalar, shift_only
from qsim.simulate import Simulator
from qsim.targets.c.design import plan
from qsim.targets.c.plan import schedule
from qsim.targets.c.types import CType, Reach, least, storage
from qsim.targets.files import emit, files

GOLDEN = Path(__file__).parents[2] / "golden"
TESTS = Path(__file__).parents[2]
MODEL_FILES = ("model.h", "model.c", "weights.h", "weights.c", "kernels.h")


def tiny() -> Graph:
    """A convolution with a fused requantization, a view and a dense layer."""
    net = Net("tiny")
    x = net.input((3, 3, 1), IntFormat(4, True))
    kernel = IntArray(np.array([1, -2, 3, 4]).reshape(2, 2, 1, 1))
    y = net.add(
        o.Conv2D,
        x,
        weights=kernel,
        bias=IntArray([5]),
        strides=(1, 1),
        dilation=(1, 1),
        padding=o.NO_PADDING,
        groups=1,
        name="conv.acc",
    )
    y = requantize(net, y, 2, -8, 7, name="conv")
    y = net.add(o.Reshape, y, shape=(4,), name="flatten")
    return net.build(net.add(o.Dense, y, weights=IntArray(np.arange(-4, 4).reshape(4, 2)), bias=None, name="dense"))


@pytest.mark.parametrize("name", ["model.h", "model.c", "kernels.h", "weights.c"])
def test_golden(name: str) -> None:
    """The text of a tiny model, but for the version and the hash. After a wanted change: QSIM_UPDATE_GOLDEN=1."""
    text = re.sub(r"qsim [\w.+]+ for", "qsim VERSION for", files(tiny(), "c")[name])
    text = re.sub(r"SHA-256 [0-9a-f]{64}", "SHA-256 HASH", text)
    path = GOLDEN / f"c_tiny_{name}.txt"
    if os.environ.get("QSIM_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_the_same_bytes_for_every_hash_seed() -> None:
    code = (
        "import sys, hashlib; sys.path.insert(0, sys.argv[1])\n"
        "import graphs, c_graphs\n"
        "from qsim.targets.files import files\n"
        "for make in (*graphs.OP_GRAPHS.values(), *c_graphs.C_GRAPHS.values(), graphs.small_cnn):\n"
        "    print(hashlib.sha256(repr(files(make(), 'c')).encode()).hexdigest())\n"
    )
    seen = [
        subprocess.run(
            [sys.executable, "-c", code, str(TESTS)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "77")
    ]
    assert seen[0] == seen[1]
    assert seen[0].count("\n") == len(OP_GRAPHS) + len(C_GRAPHS) + 1


@pytest.mark.parametrize("name", ["roundings", "schemes", "linear_layers", "softmaxes", "movements", "odd_names"])
def test_the_model_is_plain_integer_c(name: str) -> None:
    """Only stdint.h and stddef.h, no floating point, no heap, nothing writable outside functions."""
    made = files((OP_GRAPHS | C_GRAPHS)[name](), "c")
    for file in (*MODEL_FILES, *(f for f in made if f.startswith("qsim_"))):
        text = re.sub(r"/\*.*?\*/|\"(\\.|[^\"\\])*\"", "", made[file], flags=re.S)
        assert set(re.findall(r"#include <(.*)>", text)) <= {"stdint.h", "stddef.h"}, file
        assert not re.search(r"\b(float|double|malloc|calloc|free)\b", text), file
        for line in text.splitlines():
            if re.match(r"(static |extern )?\w+ \*?\w+(\[\w+\])?( =.*)?;", line):
                assert re.match(r"(static |extern )?const |typedef ", line), (file, line)
        assert "  \n" not in made[file], file


def test_the_header_names_tool_model_graph_and_scheme() -> None:
    graph = small_cnn()
    made = files(graph, "c")
    for file in (*MODEL_FILES, "main.c", "Makefile", "CMakeLists.txt", "README.md"):
        assert graph.hash in made[file], file
        assert "profile qkeras" in made[file], file
    everything = "".join(made.values())
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b", everything)
    assert str(Path.home()) not in everything


def test_only_kernels_that_the_model_uses_are_emitted() -> None:
    made = files(tiny(), "c")
    kernels = sorted(f for f in made if f.startswith("qsim_"))
    assert kernels == [
        "qsim_common.h",
        "qsim_conv2d.h",
        "qsim_dense.h",
        "qsim_elementwise.h",
        "qsim_overflow.h",
        "qsim_requantize.h",
        "qsim_rescale.h",
        "qsim_round.h",
        "qsim_window.h",
    ]


def test_a_fused_accumulator_is_not_in_the_arena() -> None:
    plan = schedule(small_cnn())
    stored = [b.name for b in plan.memory.buffers]
    assert "conv2d1" not in stored
    assert "add5" not in stored
    assert "requantize2" in stored
    assert "dense13" not in stored  # written straight to the output


def test_an_accumulator_with_two_readers_is_stored() -> None:
    net = Net("shared")
    x = net.input((4, 4))
    y = net.add(o.Dense, x, weights=IntArray(np.ones((4, 3), dtype=int)), bias=None, name="acc")
    a, b = requantize(net, y, 1), requantize(net, y, 2)
    plan = schedule(net.build(net.add(o.Add, a, b, shifts=(0, 0), signs=(1, 1), zero_points=(0, 0))))
    assert "acc" in [buffer.name for buffer in plan.memory.buffers]


def test_prefix_option() -> None:
    made = files(tiny(), "c", {"prefix": "net2"})
    assert "int net2_run(void *arena" in made["model.h"]
    assert "NET2_ARENA_BYTES" in made["model.h"]
    assert "tiny_" not in made["model.c"] + made["weights.c"]
    with pytest.raises(UsageError, match="C identifier"):
        files(tiny(), "c", {"prefix": "2 nets"})
    with pytest.raises(UsageError, match="no option 'optimise'"):
        files(tiny(), "c", {"optimise": True})


def test_the_accumulator_type_follows_the_bound_of_every_partial_sum() -> None:
    """The result is small, but a partial sum of +2**33 comes before -2**33."""
    net = Net("partial")
    x = net.input((2,), IntFormat(32, False))
    ones = net.add(o.Concat, x, x, axis=0)
    net.add(o.Dense, ones, weights=IntArray([[3], [3], [-3], [-3]]), bias=None, name="acc")
    graph = net.build("acc")
    assert "int64_t" in files(graph, "c")["kernels.h"]
    small = Net("small")
    y = small.input((4,), IntFormat(8, True))
    small.add(o.Dense, y, weights=IntArray([[3], [3], [-3], [-3]]), bias=None, name="acc")
    assert "int64_t" not in files(small.build("acc"), "c")["kernels.h"]


def manual(op: o.Op, source: IntFormat, out: Tensor, shape: tuple[int, ...] = (2,)) -> Graph:
    """A graph that no builder has checked, as a damaged JSON file would hold."""
    q = Quantization.of(Fraction(1))
    x = Tensor(name="x", shape=shape, format=source, quantization=q, range=(source.low, source.high))
    return Graph(
        name="manual",
        profile="qkeras",
        inputs=(Input(tensor="x", rounding=Rounding.TRN, low=source.low, high=source.high),),
        outputs=(Output(tensor="y"),),
        ops=(op,),
        tensors={"x": x, "y": out},
    )


def tensor_y(fmt: IntFormat, shape: tuple[int, ...] = (2,)) -> Tensor:
    q = Quantization.of(Fraction(1))
    return Tensor(name="y", shape=shape, format=fmt, quantization=q, range=(fmt.low, fmt.high))


WIDE, WORD = IntFormat(62, True), IntFormat(32, True)
COMMON = {"inputs": ("x",), "output": "y", "layer": "layer 7"}
SATURATED = {"overflow": Overflow.SAT, "low": -(1 << 31), "high": (1 << 31) - 1}
REFUSED: dict[str, o.Op] = {
    "accumulator": o.Dense(**COMMON, weights=IntArray([[1 << 20, 1], [1 << 20, 1]]), bias=None),
    "product": o.Requantize(**COMMON, rescale=plain(1 << 10, 0, 3, Rounding.RND), **SATURATED),
    "left_shift": o.Requantize(**COMMON, rescale=shift_only(-9, Rounding.RND), **SATURATED),
    "tflite_single": o.Requantize(**COMMON, rescale=tflite(1 << 30, 3, Scheme.TFLITE_SINGLE), **SATURATED),
    "tflite_left": o.Requantize(**COMMON, rescale=tflite(1 << 30, -20, Scheme.TFLITE_DOUBLE), **SATURATED),
    "float32": o.Requantize(**COMMON, rescale=tflite(1 << 24, 1, Scheme.FLOAT32), **SATURATED),
    "float32_multiplier": o.Requantize(**COMMON, rescale=tflite(1 << 25, 50, Scheme.FLOAT32), **SATURATED),
    "sum": o.Add(inputs=("x", "x"), output="y", layer="layer 7", shifts=(2, 0), signs=(1, 1), zero_points=(0, 0)),
    "multiplication": o.Mul(inputs=("x", "x"), output="y", layer="layer 7"),
    "division": o.Divide(
        **COMMON,
        numerator=scalar(99),
        addend=scalar(0),
        divisor=scalar(2),
        rounding=Rounding.RND,
        low=-(1 << 31),
        high=(1 << 31) - 1,
    ),
    "table": o.Lookup(**COMMON, table=IntArray([[1, 2, 3]]), table_low=0),
    "softmax": o.Softmax(**COMMON, input_multiplier=1 << 30, input_left_shift=3, diff_min=-9),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_int64_cannot_compute_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    graph = manual(REFUSED[name], WIDE, tensor_y(WORD))
    with pytest.raises(UnsupportedError, match=r"layer 'layer 7': .+\. \w.+\.$"):
        emit(graph, "c", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrapping_to_uint64_is_refused() -> None:
    fmt = IntFormat(64, False)
    op = o.Requantize(**COMMON, rescale=shift_only(1, Rounding.TRN), overflow=Overflow.WRAP, low=fmt.low, high=fmt.high)
    with pytest.raises(UnsupportedError, match="int64"):
        files(manual(op, WORD, tensor_y(fmt)), "c")


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_storage_types(bits: int) -> None:
    for signed in (True, False):
        assert storage(IntFormat(bits, signed)) == CType(bits, signed)
        assert storage(IntFormat(bits // 2 + 1, signed)) == CType(bits, signed)
    assert least(0, (1 << (bits - 1)) - 1) == CType(bits, True)
    assert least(0, (1 << bits) - 1) == CType(bits, False)
    assert least(-(1 << (bits - 1)), 0) == CType(bits, True)


def test_rounded_values_leave_room_for_the_rounding_addition() -> None:
    quarter = 1 << 30
    assert Reach("l").rounding(quarter - 1, 1 - quarter).type("x").bits == 32
    assert Reach("l").rounding(quarter).type("x").bits == 64
    assert Reach("l").add((1 << 31) - 1, -(1 << 31)).type("x").bits == 32
    assert Reach("l").add(1 << 31).type("x").bits == 64
    with pytest.raises(UnsupportedError, match="x can reach 9223372036854775808"):
        Reach("l").add(1 << 63).type("x")


def test_make_builds_and_the_vectors_check(tmp_path: Path) -> None:
    """The emitted Makefile, and the test program's own comparison: equal vectors pass, one changed code fails."""
    graph = small_cnn()
    emit(graph, "c", tmp_path)
    done = subprocess.run(["make", "-j2", "all", "trace"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    codes = corner_codes(graph, 9)
    expected = Simulator(graph).run_codes(codes).astype(np.int16)
    codes["x"].astype(np.int8).tofile(tmp_path / "inputs.bin")
    expected.tofile(tmp_path / "outputs.bin")
    check = ["./model_test", "--check", "inputs.bin", "outputs.bin"]
    good = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True)
    assert (good.returncode, good.stdout) == (0, "9 samples equal\n")
    expected[4, 7] += 1
    expected.tofile(tmp_path / "outputs.bin")
    bad = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True)
    assert bad.returncode == 1
    assert f"sample 4, output SMALL_CNN_OUT_DENSE13, element 7: expected {expected[4, 7]}" in bad.stderr


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_make_stack_gives_the_compilers_frames(tmp_path: Path) -> None:
    """A frame holds at least its function's local arrays; with -O0 nothing is inlined, so every layer has one."""
    graph = small_cnn()
    emit(graph, "c", tmp_path)
    done = subprocess.run(["make", "stack", "CFLAGS=-O0"], cwd=tmp_path, capture_output=True, text=True, check=True)
    frames = [line.split("\t") for line in done.stdout.splitlines() if line.count("\t") == 2]
    sizes = [int(size) for _, size, _ in frames]
    assert sizes == sorted(sizes, reverse=True)
    assert any("model.c" in place for place, _, _ in frames)
    assert sizes[0] + sizes[1] >= plan(graph).footprint.stack > 0


def test_cmake_builds(tmp_path: Path) -> None:
    emit(tiny(), "c", tmp_path / "source")
    for arguments in (["-S", "source", "-B", "build"], ["--build", "build", "--target", "tiny_model_test"]):
        done = subprocess.run(["cmake", *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "build" / "libtiny.a").is_file()


def test_codes_outside_the_proven_range_and_bad_arenas_are_refused(tmp_path: Path) -> None:
    graph = small_cnn()
    emit(graph, "c", tmp_path)
    (tmp_path / "caller.c").write_text(
        '#include "model.h"\n#include <stdio.h>\n'
        "static uint64_t arena[SMALL_CNN_ARENA_BYTES / 8u + 1u];\n"
        "static int8_t x[SMALL_CNN_IN_X_SIZE];\nstatic int16_t y[SMALL_CNN_OUT_DENSE13_SIZE];\n"
        "int main(void)\n{\n"
        '    printf("%d", small_cnn_run(arena, x, y));\n'
        "    x[63] = SMALL_CNN_IN_X_HIGH + 1;\n"
        '    printf("%d", small_cnn_run(arena, x, y));\n'
        "    x[63] = SMALL_CNN_IN_X_LOW - 1;\n"
        '    printf("%d", small_cnn_run(arena, x, y));\n'
        "    x[63] = SMALL_CNN_IN_X_LOW;\n"
        '    printf("%d", small_cnn_run((uint8_t *)arena + 1, x, y));\n'
        '    printf("%d", small_cnn_run(NULL, x, y));\n'
        "    return 0;\n}\n"
    )
    for standard in ("c99", "c11"):
        flags = [f"-std={standard}", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror"]
        sources = ["caller.c", "model.c", "weights.c"]
        subprocess.run(["cc", *flags, *sources, "-o", "caller"], cwd=tmp_path, check=True)
        assert subprocess.run(["./caller"], cwd=tmp_path, capture_output=True, text=True).stdout == "02211"


def test_weights_of_one_bit_are_packed_and_the_xnor_kernel_needs_a_proof() -> None:
    """32 weights to a word; whole words are compared only where no code but +1 and -1 can come in."""

    def kernels(**fields: object) -> str:
        net = Net("bits")
        x = net.input((64,))
        sign = {"thresholds": IntArray([[0]]), "base": IntArray([-1]), "step": IntArray([2])} | fields
        y = net.add(o.Threshold, x, **sign)
        ones = IntArray(np.where(np.arange(64 * 3).reshape(64, 3) % 2 == 0, 1, -1))
        made = files(net.build(net.add(o.Dense, y, weights=ones, bias=None, name="d")), "c")
        assert "const uint32_t bits_d__weights[6]" in made["weights.c"]
        return made["kernels.h"]

    assert "qsim_conv2d_xnor.h" in kernels()
    assert "qsim_conv2d_xnor.h" in kernels(base=IntArray([1]), step=IntArray([-2]))
    assert "qsim_conv2d_masks.h" in kernels(thresholds=IntArray([[-3, 3]]), step=IntArray([1]))
    assert "qsim_conv2d_masks.h" in kernels(step=IntArray([1]))


def test_footprint_is_what_the_files_say() -> None:
    graph = small_cnn()
    taken = plan(graph).footprint
    made = files(graph, "c")
    sizes = {"int8_t": 1, "uint8_t": 1, "int32_t": 4}
    arrays = re.findall(r"^const (\w+) \w+\[(\d+)\]", made["weights.c"], flags=re.M)
    assert taken.rom == sum(sizes[t] * int(n) for t, n in arrays)
    assert f"SMALL_CNN_ARENA_BYTES {taken.arena}u" in made["model.h"]
    assert taken.stack == 64 + 256
