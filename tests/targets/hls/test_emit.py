"""The emitted HLS C++ as text: golden file, determinism, options, refusals, and the folder's own build at work."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from c_graphs import C_GRAPHS
from graphs import OP_GRAPHS, corner_codes, small_cnn
from net import Net, requantize

from qsim.errors import UsageError
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray
from qsim.simulate import Simulator
from qsim.targets.files import emit, files
from qsim.targets.hls.run import ap_types
from qsim.targets.hls.text import IntFormat, Table, literal, table, wrapped

TESTS = Path(__file__).parents[2]
GOLDEN = TESTS / "golden"


def tiny() -> Graph:
    """A convolution, a requantization, a residual sum, a dense layer."""
    net = Net("tiny")
    x = net.input((3, 3, 1), IntFormat(4, True))
    y = net.add(
        o.Conv2D,
        x,
        weights=IntArray(np.array([1, -2, 3, 4]).reshape(2, 2, 1, 1)),
        bias=IntArray([5]),
        strides=(1, 1),
        dilation=(1, 1),
        padding=((0, 1), (0, 1)),
        groups=1,
        name="conv.acc",
    )
    y = requantize(net, y, 2, -8, 7, name="conv")
    y = net.add(o.Add, x, y, shifts=(0, 1), signs=(1, -1), zero_points=(0, 0), name="sum")
    y = net.add(o.Reshape, y, shape=(9,), name="flatten")
    return net.build(net.add(o.Dense, y, weights=IntArray(np.arange(-9, 9).reshape(9, 2)), bias=None, name="dense"))


def anonymous(text: str) -> str:
    """``text`` without what changes with every release and every change of the graph's serialization."""
    return re.sub(r"SHA-256 [0-9a-f]{64}", "SHA-256 HASH", re.sub(r"qsim [\w.+]+ for", "qsim VERSION for", text))


@pytest.mark.parametrize(
    "name",
    ["src/tiny_top.cpp", "src/tiny_top.h", "src/conv_acc_params.h", "tb/testbench.cpp", "vitis.tcl", "README.md"],
)
def test_golden(name: str) -> None:
    """The text of a tiny model, but for the version and the hash. After a wanted change: QSIM_UPDATE_GOLDEN=1."""
    text = anonymous(files(tiny(), "hls")[name])
    path = GOLDEN / f"hls_tiny_{name.replace('/', '_')}.txt"
    if os.environ.get("QSIM_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_the_same_bytes_for_every_hash_seed() -> None:
    code = (
        "import sys, hashlib; sys.path.insert(0, sys.argv[1])\n"
        "import graphs, c_graphs\n"
        "from qsim.targets.files import files\n"
        "for make in (*graphs.OP_GRAPHS.values(), *c_graphs.C_GRAPHS.values(), graphs.small_cnn):\n"
        "    print(hashlib.sha256(repr(files(make(), 'hls')).encode()).hexdigest())\n"
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
    assert len(set(seen[0].split())) == len(OP_GRAPHS) + len(C_GRAPHS) + 1


@pytest.mark.parametrize("make", [*OP_GRAPHS.values(), C_GRAPHS["odd_names"]], ids=lambda make: make.__name__)
def test_what_every_file_may_hold(make: object) -> None:
    """Header, no date, no path, no ap_fixed, no float, no line beyond 120 columns but Markdown's."""
    assert callable(make)
    graph = make()
    for name, text in files(graph, "hls").items():
        if not name.startswith("lib/"):
            assert graph.hash in text, name
        assert text.endswith("\n"), name
        assert not re.search(r"ap_fixed|\bfloat\b|\bdouble\b|/home/|/tmp/|/work/|20[0-9]{2}-", text), name
        if not name.endswith(".md"):
            assert max(map(len, text.splitlines())) <= 120, name


def test_reuse_sets_the_multipliers() -> None:
    def lanes(reuse: object) -> dict[str, int]:
        made = files(small_cnn(), "hls", {"reuse": reuse})
        found = [re.findall(r"struct (\w+)_cfg|int lanes = (\d+)", t) for t in made.values()]
        names: dict[str, int] = {}
        for hits in found:
            for (name, _), (_, count) in itertools.pairwise(hits):
                if name and count:
                    names[name] = int(count)
        return names

    assert lanes(1) == {"conv2d1": 9, "conv2d3": 36, "conv2d8": 36, "dense13": 6}
    assert lanes({"conv2d3": 5, "*": 3}) == {"conv2d1": 3, "conv2d3": 8, "conv2d8": 12, "dense13": 2}
    assert lanes({"conv2d8": 99})["conv2d8"] == 1
    assert lanes({"conv2d8": 1})["conv2d3"] == 18  # the default needs at most 32 of them


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fold": 2}, ["fold", "reuse"]),
        ({"reuse": 0}, ["reuse", "at least 1"]),
        ({"reuse": True}, ["reuse", "True"]),
        ({"reuse": {"conv": 2}}, ["'conv'", "no layer or tensor"]),
        ({"part": "x; exec"}, ["part", "device name"]),
        ({"clock_ns": -1}, ["clock_ns", "-1"]),
        ({"tlast": 2}, ["tlast", "true or false"]),
        ({"control": "axi"}, ["control", "'axi'", "ap_ctrl_hs", "s_axilite"]),
        ({"vectors": {"nothing": np.zeros((1, 2), int)}}, ["'nothing'", "no input or output"]),
        ({"vectors": {"x": np.zeros((2, 3), int)}}, ["'x'", "(N, *(8, 8, 1))"]),
        ({"vectors": [1]}, ["vectors", "map"]),
    ],
)
def test_bad_options_are_named(options: dict[str, object], words: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        files(small_cnn(), "hls", options)
    for word in words:
        assert word in str(error.value)


def test_part_and_clock_reach_the_script() -> None:
    text = files(small_cnn(), "hls", {"part": "xcku5p-ffvb676-2-e", "clock_ns": 3.5})["vitis.tcl"]
    assert "set_part xcku5p-ffvb676-2-e" in text
    assert "create_clock -period 3.5 " in text


def test_control_reaches_the_top_function() -> None:
    text = files(tiny(), "hls", {"control": "ap_ctrl_none"})["src/tiny_top.cpp"]
    assert "#pragma HLS INTERFACE ap_ctrl_none port=return" in text
    assert "ap_ctrl_hs" not in text


def test_tables_hold_their_values_in_the_least_width() -> None:
    values = np.array([[-9, 7, 0], [3, -1, 2]])
    made = table("t", values)
    assert (made.type, made.dims) == ("qsim::rom<5, true>::type", "[2][3]")
    assert json.loads("[" + "".join(made.lines).replace("{", "[").replace("},", "],")[:-1] + "]") == values.tolist()
    edge = table("t", np.array([-(1 << 63), (1 << 63) - 1]))
    assert isinstance(edge, Table)
    assert edge.lines == ("    (-9223372036854775807LL - 1), 9223372036854775807LL",)
    assert literal(-(1 << 31)) == "-2147483648LL"
    long = table("t", np.arange(-500, 500))
    assert [int(v) for line in long.lines for v in line.strip(" ,").split(", ")] == list(range(-500, 500))
    assert max(map(len, long.lines)) <= 112


def test_wrapped_lines_stay_within_120_columns() -> None:
    arguments = [f"argument_number_{i}" for i in range(20)]
    for head in ("f", "    qsim::kernel<params::name>", "x" * 115):
        text = wrapped(head, arguments, ";")
        assert re.sub(r"\s+", "", text) == re.sub(r"\s+", "", f"{head}({','.join(arguments)});")
        assert max(map(len, text.splitlines())) <= 120


def test_make_csim_compares_vectors_and_warns_of_nothing(tmp_path: Path) -> None:
    """The emitted Makefile and test bench alone, without qsim: equal, then one expected code changed."""
    if not shutil.which("make"):
        pytest.fail("make is not installed")
    graph = tiny()
    codes = corner_codes(graph, 6)
    y = Simulator(graph).run_codes(codes["x"])
    emit(graph, "hls", tmp_path, {"vectors": {**codes, "dense": y}})
    env = {k: v for k, v in os.environ.items() if k not in ("AP_TYPES", "XILINX_HLS", "MAKEFLAGS")}
    for how in ({"PYTHON": sys.executable}, {"AP_TYPES": str(ap_types())}):
        made = [f"{k}={v}" for k, v in how.items()]
        done = subprocess.run(["make", "csim", *made], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "6 samples, 0 codes differ" in done.stdout
        assert "warning" not in done.stderr
    expected = tmp_path / "vectors" / "dense_out.txt"
    rows = [line.split() for line in expected.read_text().splitlines()]
    rows[4][1] = str(int(rows[4][1]) + 1)
    expected.write_text("\n".join(" ".join(row) for row in rows) + "\n")
    done = subprocess.run([tmp_path / "build" / "csim", "vectors"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"dense_out: sample 4, element 1: expected {rows[4][1]}, got {y[4, 1]}" in done.stdout
    expected.unlink()
    (tmp_path / "vectors" / "x_in.txt").write_text("1 2 3\n")
    done = subprocess.run([tmp_path / "build" / "csim", "vectors"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "has 3 codes, not 9" in done.stderr


def test_tlast_marks_the_last_beat_and_the_bench_looks_at_it(tmp_path: Path) -> None:
    """Ports with side channels: no warning, equal codes, and a last beat in the wrong place is an error."""
    graph = tiny()
    codes = corner_codes(graph, 6)
    y = Simulator(graph).run_codes(codes["x"])
    emit(graph, "hls", tmp_path, {"tlast": True, "vectors": {**codes, "dense": y}})
    header = (tmp_path / "src" / "tiny_top.h").read_text()
    assert "typedef ap_axiu<8, 0, 0, 0> x_in_t;" in header  # 4 bits
    assert "typedef ap_axiu<16, 0, 0, 0> dense_out_t;" in header  # 11 bits
    build = ["make", "csim", f"AP_TYPES={ap_types()}"]
    env = {k: v for k, v in os.environ.items() if k != "MAKEFLAGS"}
    done = subprocess.run(build, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, "warning" in done.stderr) == (0, False), done.stderr
    assert "6 samples, 0 codes differ" in done.stdout
    kernels = tmp_path / "lib" / "qsim_axis.h"
    kernels.write_text(kernels.read_text().replace("i == CFG::elements - 1", "i == CFG::elements - 2"))
    done = subprocess.run(build, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode != 0
    assert "12 beats have TLAST wrong" in done.stderr


@pytest.mark.parametrize(("arguments", "steps"), [("", 4), ("-f vitis.tcl -tclargs csim csynth", 2)])
def test_the_script_runs_in_a_tcl_interpreter(arguments: str, steps: int) -> None:
    """vitis.tcl with Vitis' commands recorded: the files that it names exist, the steps come in order."""
    tkinter = pytest.importorskip("tkinter")
    made = files(small_cnn(), "hls")
    seen: list[tuple[str, ...]] = []
    tcl = tkinter.Tcl()
    names = ("open_project", "set_top", "add_files", "open_solution", "set_part", "create_clock")
    stages = ("csim_design", "csynth_design", "cosim_design", "export_design")
    for name in (*names, *stages, "exit"):
        tcl.createcommand(name, lambda *words, name=name: seen.append((name, *words)))
    tcl.eval(f"set argv {{{arguments}}}")
    tcl.eval(made["vitis.tcl"])
    assert ("set_top", "small_cnn_top") in seen
    added = [word for call in seen if call[0] == "add_files" for word in call[1:] if word.endswith(".cpp")]
    assert len(added) == 2
    assert set(added) <= set(made)
    assert [call[0] for call in seen if call[0] in stages] == list(stages[:steps])
    assert seen[-1] == ("exit",)
