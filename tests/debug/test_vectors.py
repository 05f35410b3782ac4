"""Golden vectors: every file form holds the simulator's codes, and the benches pass on right and fail on wrong code."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from graphs import corner_codes, small_cnn

from qsim.debug.diff.diff import Diff, diff
from qsim.debug.vectors import write_vectors
from qsim.debug.waves.source import WavePort, read_waveform
from qsim.errors import UsageError
from qsim.simulate import Simulator
from qsim.targets.files import emit
from qsim.targets.rtl import verilator
from qsim.targets.text import identifiers

SAMPLES = 5


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = small_cnn()
    folder = tmp_path_factory.mktemp("vectors")
    write_vectors(graph, folder, corner_codes(graph, SAMPLES), codes=True)
    return folder


def test_every_form_of_every_tensor_holds_the_codes(vectors: Path) -> None:
    graph = small_cnn()
    trace = Simulator(graph).trace_codes(corner_codes(graph, SAMPLES))
    manifest = json.loads((vectors / "manifest.json").read_text())
    assert manifest["graph_sha256"] == graph.hash
    assert [t["tensor"] for t in manifest["tensors"]] == list(graph.tensors)
    for entry in manifest["tensors"]:
        tensor, expected = graph[entry["tensor"]], trace[entry["tensor"]]
        base = vectors / entry["files"]
        data = np.load(f"{base}.npy", allow_pickle=False)
        assert data.shape == (SAMPLES, *tensor.shape)
        assert np.array_equal(data, expected)
        assert hashlib.sha256(data.tobytes()).hexdigest() == entry["sha256"]
        flat = expected.reshape(-1).tolist()
        width = tensor.format.width
        raw = [int(line, 16) for line in Path(f"{base}.mem").read_text().split()]
        assert [v - (1 << width) if tensor.format.signed and v >> (width - 1) else v for v in raw] == flat
        assert [int(v) for v in Path(f"{base}.dat").read_text().split()] == flat
        body = Path(f"{base}.h").read_text().split("{", 1)[1].split("}", 1)[0]
        assert [int(v) for v in re.findall(r"-?\d+", body)] == flat


def test_layers_are_described_by_their_borders(vectors: Path) -> None:
    layers = {v["layer"]: v for v in json.loads((vectors / "manifest.json").read_text())["layers"]}
    assert layers["conv2d3"] == {
        "layer": "conv2d3",
        "inputs": ["requantize2"],
        "accumulators": [],
        "output": "conv2d3",
    }
    assert layers["add5"]["inputs"] == ["requantize2", "requantize4"]


def test_same_seed_same_files_and_unknown_layers_are_refused(tmp_path: Path) -> None:
    graph = small_cnn()
    for name in ("a", "b"):
        write_vectors(graph, tmp_path / name, samples=7, seed=3, layers=["add5"])
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert files
    for f in files:
        assert (tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes()
    with pytest.raises(UsageError, match="no layer 'nope'"):
        write_vectors(graph, tmp_path / "c", layers=["nope"])
    assert not (tmp_path / "c").exists()


def test_the_c_bench_passes_on_the_emitted_c_and_fails_on_a_changed_weight(vectors: Path, tmp_path: Path) -> None:
    graph = small_cnn()
    emit(graph, "c", tmp_path)
    (tmp_path / "dut.c").write_text(
        '#include "model.h"\n'
        "void dut_model_small_cnn(const int8_t *x, int16_t *out);\n"
        "void dut_model_small_cnn(const int8_t *x, int16_t *out) {\n"
        "    static uint64_t arena[SMALL_CNN_ARENA_BYTES / 8u + 1u];\n"
        "    small_cnn_run(arena, x, out);\n}\n"
    )

    def run() -> subprocess.CompletedProcess[str]:
        sources = [vectors / "tb" / "check.c", tmp_path / "dut.c", tmp_path / "model.c", tmp_path / "weights.c"]
        flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{vectors / 'tensors'}", f"-I{tmp_path}"]
        command = ["cc", *flags, "-DQSIM_CHECK_MODEL_SMALL_CNN", *map(str, sources), "-o", str(tmp_path / "check")]
        subprocess.run(command, check=True)
        return subprocess.run([str(tmp_path / "check")], capture_output=True, text=True, check=False)

    good = run()
    assert good.returncode == 0, good.stdout
    assert good.stdout == "PASS model_small_cnn: 5 samples of 10 codes\n"
    weights = tmp_path / "weights.c"
    text = weights.read_text()
    changed = re.sub(r"(conv2d1__weights\[[^{]*\{\s*)(-?\d+)", lambda m: m[1] + str(int(m[2]) ^ 1), text, count=1)
    assert changed != text
    weights.write_text(changed)
    bad = run()
    assert bad.returncode == 1
    assert "MISMATCH model_small_cnn sample" in bad.stdout


def test_the_systemverilog_bench_passes_on_the_emitted_rtl_and_fails_on_a_changed_weight(
    vectors: Path, tmp_path: Path
) -> None:
    graph = small_cnn()
    rtl = tmp_path / "rtl"
    emit(graph, "rtl", rtl)
    top = next(rtl.glob("*_top.sv")).stem
    design = (rtl / f"{top}.sv").read_text()

    build = tmp_path / "build"
    benches = [vectors / "tb" / f"{f}.sv" for f in ("qsim_stream_source", "qsim_stream_check", "tb_model_small_cnn")]
    sources = [*benches, *sorted((rtl / "kernels").glob("*.sv")), rtl / f"{top}.sv"]
    defines = [f"-DQSIM_DUT={top}", f'-DQSIM_VECTORS="{vectors / "tensors"}"']
    options = [
        "--binary",
        "--timing",
        "--trace",
        "-Wno-fatal",
        "-CFLAGS",
        "-fcoroutines -O0",
        "--Mdir",
        str(build),
        *defines,
    ]
    verilator.run(["verilator", *options, *map(str, sources), "--top", "tb_model_small_cnn"], rtl, "building the bench")

    def run() -> subprocess.CompletedProcess[str]:
        program = [str(build / "Vtb_model_small_cnn"), f"+wave={tmp_path / 'run.vcd'}"]
        return subprocess.run(program, cwd=rtl, capture_output=True, text=True, check=False)

    def diff_of_the_waveform() -> Diff:
        """Every tensor out of the waveform of the run: the design's internal streams, and its AXI4-Stream output."""
        streams = {t: f"{name}_" for t, name in identifiers(graph).items() if f" {name}__data;" in design}
        assert len(streams) > len(graph.tensors) - 2, "only reshapes have no stream of their own"
        ports = [
            WavePort(tensor=tensor, prefix=f"dut.{prefix}")
            for tensor, prefix in (streams | {graph.outputs[0].tensor: "m_axis"}).items()
        ]
        seen = read_waveform(graph, tmp_path / "run.vcd", ports, "dut.aclk", "dut.aresetn")
        assert all(len(codes) == SAMPLES for codes in seen.values())
        return diff(graph, seen.pop(graph.inputs[0].tensor), seen, codes=True, reals=False)

    good = run()
    assert good.returncode == 0, good.stdout + good.stderr
    assert "PASS model_small_cnn: 5 samples of 10 codes" in good.stdout
    assert diff_of_the_waveform().ok
    ident = identifiers(graph)["conv2d1"]
    memory = next(p for p in sorted((rtl / "mem").iterdir()) if ident in p.name and "weight" in p.name)
    first, rest = memory.read_text().split("\n", 1)
    memory.write_text(f"{int(first, 16) ^ 1:0{len(first)}x}\n{rest}")
    bad = run()
    assert bad.returncode != 0
    assert "MISMATCH sample" in bad.stdout
    first = diff_of_the_waveform().first
    assert first is not None
    assert first.layer == "conv2d1"
