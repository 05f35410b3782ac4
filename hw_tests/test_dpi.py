"""The DPI-C package: the emitted C inside Verilator, as judge of our own RTL and of RTL from elsewhere."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qsim
from qsim.errors import UsageError
from qsim.ir import Graph, Quantization
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Overflow, Rounding, shift_only
from qsim.proof.builder import GraphBuilder
from qsim.simulate import Simulator
from qsim.targets.files import emit, files
from qsim.targets.rtl import verilator

HERE = Path(__file__).parent
FOREIGN = HERE / "foreign" / "edge_pair"
Q = Quantization.of(Fraction(1, 16))
FAST = "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"
FRAMES = 4


def network() -> Graph:
    """int4 6x6x1 -> convolution, 3 channels -> uint4 -> dense -> int8."""
    rng = np.random.default_rng(7)
    b = GraphBuilder("dpi_net", "qkeras")
    x = b.input("x", (6, 6, 1), IntFormat(4, True), Q)
    conv = b.add(
        o.Conv2D(
            inputs=(x,),
            output="conv",
            layer="conv",
            weights=IntArray(rng.integers(-8, 8, (3, 3, 1, 3))),
            bias=IntArray(rng.integers(-9, 10, 3)),
            strides=(1, 1),
            dilation=(1, 1),
            padding=((0, 0), (0, 0)),
            groups=1,
        ),
        quantization=Q,
    )
    relu = _requantize(b, conv, "relu", 3, 0, 15)
    flat = b.add(o.Reshape(inputs=(relu,), output="flat", layer="flat"), quantization=Q, shape=(48,))
    kernel = IntArray(rng.integers(-8, 8, (48, 5)))
    scores = b.add(o.Dense(inputs=(flat,), output="scores", layer="scores", weights=kernel, bias=None), quantization=Q)
    return b.build([_requantize(b, scores, "codes", 4, -128, 127)])


def _requantize(b: GraphBuilder, x: str, name: str, shift: int, low: int, high: int) -> str:
    rescale = shift_only(shift, Rounding.RND_CONV)
    return b.add(
        o.Requantize(inputs=(x,), output=name, layer=name, rescale=rescale, overflow=Overflow.SAT, low=low, high=high),
        quantization=Q,
    )


def library(folder: Path, name: str) -> Path:
    """The model's static library, built as its Makefile says."""
    verilator.run(["make", "-C", str(folder / "dpi"), f"lib{name}_dpi.a"], folder, "the DPI library")
    return folder / "dpi" / f"lib{name}_dpi.a"


class Bench:
    """A design with checkers in it, built once by cocotb's runner."""

    def __init__(self, top: str, model: str, c: Path, sources: list[Path], build: Path) -> None:
        from cocotb_tools.runner import get_runner

        self.top, self.build = top, build
        self.runner = get_runner("verilator")
        package = [c / "dpi" / f"{model}_dpi_{part}.sv" for part in ("pkg", "check")]
        with _environment(), contextlib.redirect_stdout(io.StringIO()):
            self.runner.build(
                sources=[*package, *sources, HERE / "dpi" / f"{top}.sv"], hdl_toplevel=top, build_dir=build,
                build_args=["-Wno-fatal", str(library(c, model))], timescale=("1ns", "1ps"), log_file=build / "log",
            )  # fmt: skip

    def run(self, folder: Path, **settings: Any) -> tuple[list[dict[str, int]], str]:
        """The checkers' counts after each phase, and what the simulation said. The design reads ``folder``/mem."""
        text = settings | {"results": str(folder / "results.json"), "frames": FRAMES, "seed": 5, "timeout": 100_000}
        (folder / "settings.json").write_text(json.dumps(text))
        with _environment(QSIM_DPI=str(folder / "settings.json")), contextlib.redirect_stdout(io.StringIO()):
            self.runner.test(
                test_module="dpi_streams", hdl_toplevel=self.top, build_dir=self.build, test_dir=folder,
                results_xml=str(folder / "results.xml"), timescale=("1ns", "1ps"), log_file=folder / "log",
            )  # fmt: skip
        return json.loads((folder / "results.json").read_text()), (folder / "log").read_text()


@contextlib.contextmanager
def _environment(**more: str) -> Any:
    before, path = dict(os.environ), list(sys.path)
    base = verilator.environment()
    os.environ.update(base | {"MAKEFLAGS": f"{base['MAKEFLAGS']} {FAST}"} | more)
    sys.path.insert(0, str(HERE / "dpi"))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        sys.path[:] = path


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dpi")
    emit(network(), "c", folder / "c", {"dpi": True})
    emit(network(), "rtl", folder / "rtl")
    return folder


def flip_weight(mem: Path) -> None:
    """Flip a bit of the first weight in a memory file."""
    lines = mem.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line and not line.startswith("//"))
    lines[at] = f"{int(lines[at], 16) ^ 4:0{len(lines[at])}x}"
    mem.write_text("\n".join(lines) + "\n")


def test_own_rtl_under_cocotb(emitted: Path, tmp_path: Path) -> None:
    rtl = emitted / "rtl"
    sources = [rtl / name for name in (rtl / "sources.f").read_text().split()]
    bench = Bench("own_bench", "dpi_net", emitted / "c", sources, tmp_path / "build")
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder in (good, bad):
        folder.mkdir()
        shutil.copytree(rtl / "mem", folder / "mem")
    counts, said = bench.run(good, size=36, low_bits=4, corrupt=[0])
    assert counts == [{"out_frames": FRAMES, "out_mismatches": 0, "inner_frames": FRAMES, "inner_mismatches": 0}]
    assert "MISMATCH" not in said
    assert f"check_out: {FRAMES} frames of tensor codes compared, 0 mismatches" in said

    flip_weight(next((bad / "mem").glob("scores__weight*.mem")))
    counts, said = bench.run(bad, size=36, low_bits=4, corrupt=[0])
    assert counts[0]["out_frames"] == FRAMES
    assert counts[0]["out_mismatches"] > 0
    assert counts[0]["inner_mismatches"] == 0  # what lies before the flipped weight is as it was
    assert "own_bench.check_out.compare: MISMATCH frame" in said
    assert "tensor codes element" in said
    assert "check_inner.compare: MISMATCH" not in said


def test_foreign_rtl_under_cocotb(tmp_path: Path) -> None:
    emit(qsim.load(FOREIGN / "model.json"), "c", tmp_path / "c", {"dpi": True})
    bench = Bench("foreign_bench", "edge_pair", tmp_path / "c", [FOREIGN / "edge_pair.v"], tmp_path / "build")
    (tmp_path / "run").mkdir()
    (well, ill), said = bench.run(tmp_path / "run", size=120, low_bits=0, corrupt=[0, 1])
    assert well == {"out_frames": FRAMES, "out_mismatches": 0, "inner_frames": FRAMES, "inner_mismatches": 0}
    # Every code of the second channel is wrong in the second phase, and nothing inside
    assert ill == {"out_frames": 2 * FRAMES, "out_mismatches": 80 * FRAMES, "inner_frames": 2 * FRAMES,
                   "inner_mismatches": 0}  # fmt: skip
    assert f"MISMATCH frame {FRAMES} tensor edges element 1 (0, 0, 1): model" in said
    assert said.count("MISMATCH") == 10  # as many as are told, of those that are counted


def test_example_bench(emitted: Path, tmp_path: Path) -> None:
    """The bench and the Makefile as they are: PASS, and FAIL with a flipped weight."""
    c, rtl = tmp_path / "c", tmp_path / "rtl"
    shutil.copytree(emitted / "c", c)
    shutil.copytree(emitted / "rtl", rtl)
    with _environment():
        done = subprocess.run(["make", "-C", c / "dpi", "example", f"RTL={rtl}"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-800:] + done.stderr[-800:]
        assert "PASS dpi_net: 8 frames" in done.stdout
        flip_weight(next((rtl / "mem").glob("conv__weight*.mem")))
        again = subprocess.run([c / "dpi" / "obj_dir" / "example"], cwd=rtl, capture_output=True, text=True)
    assert again.returncode != 0
    assert "FAIL dpi_net: codes differ" in again.stdout + again.stderr
    assert "tensor codes element" in again.stdout


def test_files_lint_clean(emitted: Path) -> None:
    dpi = emitted / "c" / "dpi"
    command = ["verilator", "--lint-only", "-Wall", "--timing", "--top-module", "dpi_net_dpi_example",
               *(str(dpi / f"dpi_net_dpi_{part}.sv") for part in ("pkg", "check", "example")),
               "-F", str(emitted / "rtl" / "sources.f")]  # fmt: skip
    assert "%Warning" not in verilator.run(command, dpi, "lint")


def test_wrapper_by_itself(emitted: Path) -> None:
    """The C functions, called from Python: every tensor of a frame, refusals, names and places."""
    import ctypes

    verilator.run(["make", "-C", str(emitted / "c" / "dpi"), "libdpi_net_dpi.so"], emitted, "the DPI library")
    lib = ctypes.CDLL(str(emitted / "c" / "dpi" / "libdpi_net_dpi.so"))
    call = {
        name: getattr(lib, f"dpi_net_dpi_{name}") for name in ("open", "close", "put", "run", "get", "find", "size")
    }
    call["open"].restype = ctypes.c_void_p
    call["get"].restype = ctypes.c_longlong
    lib.dpi_net_dpi_place.restype = lib.dpi_net_dpi_name.restype = ctypes.c_char_p
    graph = network()
    x = np.random.default_rng(3).integers(-8, 8, (1, 6, 6, 1))
    trace = Simulator(graph).trace_codes({"x": x})
    model, other = ctypes.c_void_p(call["open"]()), ctypes.c_void_p(call["open"]())
    number = call["find"](b"x")
    for i, code in enumerate(x.reshape(-1).tolist()):
        assert call["put"](model, number, i, ctypes.c_longlong(code)) == 0
    assert call["run"](other) == 0  # all inputs zero: a model of its own
    assert call["run"](model) == 0
    for name in graph.tensors:
        tensor = call["find"](name.encode())
        assert lib.dpi_net_dpi_name(tensor) == name.encode()
        assert call["size"](tensor) == graph[name].size
        got = [call["get"](model, tensor, i) for i in range(graph[name].size)]
        assert got == trace[name].reshape(-1).tolist()
    zeros = Simulator(graph).run_codes(np.zeros((1, 6, 6, 1), np.int64)).reshape(-1).tolist()
    assert [call["get"](other, call["find"](b"codes"), i) for i in range(5)] == zeros
    for tensor, element, code in ((number, 36, 0), (number, -1, 0), (number, 0, 8), (call["find"](b"relu"), 0, 0)):
        assert call["put"](model, tensor, element, ctypes.c_longlong(code)) == 1
    assert call["find"](b"nothing") == -1
    assert lib.dpi_net_dpi_place(call["find"](b"relu"), 47) == b"(3, 3, 2)"
    call["close"](model)
    call["close"](other)


def test_option() -> None:
    plain = files(network(), "c")
    assert not [name for name in plain if name.startswith("dpi/")]
    assert files(network(), "c", {"dpi": 1}).items() > plain.items()
    with pytest.raises(UsageError, match=r"option dpi of target c is .yes.; it must be true or false"):
        files(network(), "c", {"dpi": "yes"})
