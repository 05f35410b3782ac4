"""The debugger's commands on real models: what they find, what they print, their exit codes."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import qsim
from qsim.cli import app as cli
from qsim.compare.stimulus import sample_codes
from qsim.demo.flow import MODEL, Record
from qsim.ir import ops as o
from qsim.reference.kernels import KERNELS
from qsim.simulate import Simulator

Run = Callable[..., tuple[int, str, str]]
MODELS = Path(os.environ.get("QSIM_MODELS", Path(__file__).parents[3] / "shared" / "models"))


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process: (exit code, standard output with single blanks, standard error)."""

    def call(*args: object) -> tuple[int, str, str]:
        code = cli.main([str(a) for a in args])
        out, err = capfd.readouterr()
        assert "\x1b" not in out
        return code, " ".join(out.split()), err

    return call


@pytest.fixture(scope="module")
def graph() -> qsim.Graph:
    return qsim.load(MODEL)


@pytest.fixture(scope="module")
def emitted(graph: qsim.Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("emitted") / "c"
    qsim.emit(graph, "c", folder)
    return folder


def tflite(name: str) -> Path:
    path = MODELS / "tflite" / name
    if not path.is_file():
        pytest.skip("the real models are not here: set QSIM_MODELS to their folder")
    return path


def faulty_copy(emitted: Path, folder: Path, pattern: str, replacement: str | Callable[[re.Match[str]], str]) -> Path:
    """The emitted C with one constant changed."""
    folder.mkdir()
    for path in emitted.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(emitted)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    text = (folder / "weights.c").read_text()
    changed = re.sub(pattern, replacement, text, count=1)
    assert changed != text
    (folder / "weights.c").write_text(changed)
    return folder


def test_diff_of_an_unchanged_build_is_equal(run: Run, emitted: Path) -> None:
    code, out, _ = run("diff", MODEL, "--against", emitted, "--samples", 8)
    assert code == 0
    assert "All codes are equal." in out
    assert "13 tensors compared" in out


@pytest.mark.parametrize(
    ("pattern", "replacement", "layer", "cause"),
    [
        (r"(digits_branch__shift\[[^{]*\{\s*)3", r"\g<1>4", "branch", "a shift 1 bit too far right"),
        (
            r"(digits_conv2__weights\[[^{]*\{\s*)(-?\d+)",
            lambda m: m[1] + str(int(m[2]) ^ 1),
            "conv2",
            "bit 0 flipped",
        ),
    ],
)
def test_diff_explains_a_fault_in_emitted_c(
    run: Run, emitted: Path, tmp_path: Path, pattern: str, replacement: str, layer: str, cause: str
) -> None:
    bad = faulty_copy(emitted, tmp_path / "c", pattern, replacement)
    # The folder that compile wrote (with c/ in it) serves as well as the target's own.
    code, out, _ = run("diff", MODEL, "--against", tmp_path, "--samples", 40, "--report", tmp_path / "page.html")
    assert code == 1
    assert f"Layer '{layer}' is the first to differ" in out
    assert "every one is explained by" in out
    assert cause in out
    page = (tmp_path / "page.html").read_text()
    assert "explains every code" in page
    assert cause in page
    assert run("diff", MODEL, "--against", bad, "--samples", 40, "--terms", 0)[0] == 1


def test_diff_of_dumped_tensors(run: Run, graph: qsim.Graph, tmp_path: Path) -> None:
    images = Record().images[:6]
    np.save(tmp_path / "x.npy", images)
    trace = Simulator(graph).trace(images)
    reals = {n: graph[n].quantization.real(a).astype(np.float32) for n, a in trace.items() if "sum" not in n}
    np.savez(tmp_path / "dump.npz", **reals)
    code, out, _ = run("diff", MODEL, "--against", tmp_path / "dump.npz", "--input", tmp_path / "x.npy")
    assert code == 0, out
    assert "Not observed: 1 tensor (pool.sum)" in out
    reals["relu2"][2, 3, 1, 0] += 0.125
    np.savez(tmp_path / "dump.npz", **reals)
    code, out, _ = run("diff", MODEL, "--against", tmp_path / "dump.npz", "--input", tmp_path / "x.npy")
    assert code == 1
    assert "Layer 'relu2' is the first to differ: 1 of" in out
    assert "First at sample 2, element (3, 1, 0)" in out


def test_diff_against_another_model_file(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("diff", MODEL, "--against", MODEL, "--samples", 4)
    assert code == 0, out


def test_diff_against_live_keras(run: Run) -> None:
    pytest.importorskip("qkeras")
    code, out, _ = run("diff", MODEL, "--against", "keras", "--samples", 12)
    assert code == 0, out
    assert "12 tensors compared" in out


def test_diff_against_tflm(run: Run) -> None:
    pytest.importorskip("tflite_micro")
    code, out, _ = run("diff", tflite("hello_world_int8.tflite"), "--against", "tflm", "--samples", 12)
    assert code == 0, out
    assert "1 tensor compared" in out


def test_profiles_count_what_changes(run: Run) -> None:
    model = tflite("ad01_int8.tflite")
    code, out, _ = run("diff", model, "--profiles", "tflm,litert-ref,litert-opt", "--samples", 8)
    assert code == 1
    assert "litert-ref: own along largest litert-opt: own along largest" in out
    graphs = {p: qsim.load(model, profile=p) for p in ("tflm", "litert-ref")}
    codes = sample_codes(graphs["tflm"], 8, 1)
    name = graphs["tflm"].outputs[0].tensor
    a, b = (Simulator(g).trace_codes(codes)[name] for g in graphs.values())
    total = int((a != b).sum())
    row = re.search(rf"Identity {a.size} (\d+) (\d+) ", out)
    assert row is not None
    assert 0 < int(row[1]) < int(row[2]) == total
    assert run("diff", tflite("hello_world_int8.tflite"), "--profiles", "tflm,tflm")[0] == 2


def write_vcd(path: Path, graph: qsim.Graph, trace: dict[str, np.ndarray], stalls: int) -> None:
    """Two AXI4-Streams at the edges of a design, a beat an element, valid and ready going down at random."""
    vcd = pytest.importorskip("vcd")
    rng = np.random.default_rng(3)
    streams = {"s_axis": graph.inputs[0].tensor, "m_axis": graph.outputs[0].tensor}
    with path.open("w") as file, vcd.VCDWriter(file, timescale="1 ns", date="") as writer:
        clock = writer.register_var("tb.dut", "aclk", "wire", size=1, init=0)
        handles, queues = {}, {}
        for prefix, name in streams.items():
            width = -(-graph[name].format.width // 8) * 8
            for role, size in (("tdata", width), ("tvalid", 1), ("tready", 1)):
                handles[prefix, role] = writer.register_var("tb.dut", f"{prefix}_{role}", "wire", size=size, init=0)
            mask = (1 << width) - 1
            queues[prefix] = [int(v) & mask for v in trace[name].reshape(-1)]
        time = 1
        while any(queues.values()):
            writer.change(clock, time, 0)
            for prefix, queue in queues.items():
                valid = int(bool(queue) and rng.random() > 0.3)
                ready = int(rng.random() * 10 >= stalls)
                writer.change(handles[prefix, "tdata"], time, queue[0] if valid else 0)
                writer.change(handles[prefix, "tvalid"], time, valid)
                writer.change(handles[prefix, "tready"], time, ready)
                if valid and ready:
                    queue.pop(0)
            writer.change(clock, time + 5, 1)
            time += 10


def test_diff_against_a_waveform(run: Run, graph: qsim.Graph, tmp_path: Path) -> None:
    pytest.importorskip("pywellen")
    trace = {n: a.copy() for n, a in Simulator(graph).trace_codes(sample_codes(graph, 9, 5)).items()}
    write_vcd(tmp_path / "good.vcd", graph, trace, stalls=3)
    ports = ("--clock", "aclk", "--port", "pixels=s_axis", "--port", "logits=m_axis")
    code, out, _ = run("diff", MODEL, "--against", tmp_path / "good.vcd", *ports)
    assert code == 0, out
    assert "9 samples, 1 tensor compared" in out
    trace["logits"][4, 7] -= 1
    write_vcd(tmp_path / "bad.vcd", graph, trace, stalls=0)
    code, out, _ = run("diff", MODEL, "--against", tmp_path / "bad.vcd", *ports)
    assert code == 1
    assert "First at sample 4, element (7)" in out
    assert run("diff", MODEL, "--against", tmp_path / "bad.vcd", "--clock", "aclk", "--port", "logits=m_axis")[0] == 2


def test_vectors(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("vectors", MODEL, "-o", tmp_path / "v", "--samples", 5, "--seed", 4, "--layer", "conv2")
    assert code == 0
    manifest = json.loads((tmp_path / "v" / "manifest.json").read_text())
    assert (manifest["samples"], manifest["seed"]) == (5, 4)
    assert [layer["layer"] for layer in manifest["layers"]] == ["conv2"]
    assert f"{sum(1 for p in (tmp_path / 'v').rglob('[!.]*') if p.is_file())} files" in out
    np.save(tmp_path / "x.npy", Record().images[:3])
    assert run("vectors", MODEL, "-o", tmp_path / "w", "--input", tmp_path / "x.npy")[0] == 0
    assert np.load(tmp_path / "w" / "tensors" / "conv2.npy").shape[0] == 3


def test_estimate(run: Run, graph: qsim.Graph) -> None:
    code, out, _ = run("estimate", MODEL, "--samples", 30)
    assert code == 0
    for cost in qsim.estimate.estimate(graph):
        assert f"{cost.layer} {cost.kind} {cost.operations} {cost.weights} " in out
    assert "Horowitz" in out
    from qsim.targets.c.design import plan

    assert f"{plan(graph).footprint.arena:,} bytes of arena" in out


def test_sanitizer(run: Run, graph: qsim.Graph, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", Record().images[:20])
    code, out, _ = run("inspect", MODEL, "--input", tmp_path / "x.npy")
    assert code == 0
    relu = Simulator(graph).trace(Record().images[:20])["relu1"]
    assert f"relu1 uint4 [0, {relu.max()}] [0, 15]" in out
    assert "saturate low" in out
    code, again, _ = run("run", MODEL, "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npy", "--sanitize")
    assert code == 0
    assert again.endswith(out)


def test_the_exported_worst_case_attains_the_bound(run: Run, graph: qsim.Graph, tmp_path: Path) -> None:
    code, out, _ = run("inspect", MODEL, "--worst-case", "conv3", "-o", tmp_path / "w.npy")
    assert code == 0
    op = graph.producers["conv3"]
    assert isinstance(op, o.Conv2D)
    x = np.load(tmp_path / "w.npy")[None]
    y = KERNELS[o.Conv2D](op, [x], [graph[op.inputs[0]]], graph["conv3"])
    assert int(y.max()) == graph["conv3"].range[1]
    assert str(graph["conv3"].range[1]) in out


def test_explain(run: Run, graph: qsim.Graph) -> None:
    code, out, _ = run("explain", MODEL, "branch")
    assert code == 0
    assert "round(x / 2^3)" in out
    assert "halves to the even one" in out
    assert "Layer 'branch': Requantize, 8x8x8 -> 8x8x8" in out
    assert "Layer 'conv1'" not in out
    code, out, _ = run("explain", MODEL)
    assert code == 0
    for layer in graph.layers():
        assert f"Layer '{layer}':" in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["diff", MODEL], "either --against"),
        (["diff", MODEL, "--against", "c", "--profiles", "a,b"], "either --against"),
        (["diff", MODEL, "--against", "nowhere"], "none of c, hls, rtl"),
        (["diff", MODEL, "--against", "nowhere.keras"], "no file nowhere.keras"),
        (["diff", MODEL, "--against", "tflm"], "runs .tflite files"),
        (["diff", MODEL, "--against", "x.vcd"], "--clock"),
        (["diff", MODEL, "--against", "x.vcd", "--clock", "clk"], "--port TENSOR=PREFIX"),
        (["diff", MODEL, "--against", "x.vcd", "--clock", "clk", "--port", "logits"], "cannot read the port"),
        (
            ["diff", MODEL, "--against", "x.vcd", "--clock", "clk", "--port", "logits=m,lanes=0"],
            "cannot read 'lanes=0'",
        ),
        (["diff", MODEL, "--against", "c", "--clock", "clk"], "describe a waveform"),
        (["diff", MODEL, "--against", "c", "--report", "page.txt"], ".html file"),
        (["diff", MODEL, "--against", "c", "--codes"], "--codes says"),
        (["diff", MODEL, "--profiles", "qkeras"], "at least two"),
        (["diff", MODEL, "--profiles", "qkeras,tflm"], "not one of a Keras model's"),
        (["vectors", MODEL, "-o", "unused", "--layer", "nope"], "no layer 'nope'"),
        (["cosim", "nowhere"], "no nowhere"),
        (["cosim", "."], "can be read: No such file"),
        (["explain", MODEL, "nope"], "not one layer"),
        (["inspect", MODEL, "--worst-case", "conv1"], "go together"),
        (["inspect", MODEL, "--worst-case", "relu1", "-o", "a.npy"], "not the accumulator"),
    ],
)
def test_wrong_usage(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    if importlib.util.find_spec("yaml") is None and args[0] == "cosim":
        pytest.skip("no YAML reader")
    code, out, err = run(*args)
    assert code == 2
    assert out == ""
    text = " ".join(err.split())
    assert "Error: " in text
    assert words in text
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_wrapped_model_without_a_graph_still_shows_its_variables(run: Run, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    inner = {"class_name": "UpSampling2D", "config": {"name": "a", "size": [2, 2], "interpolation": "bilinear"}}
    wrapper = {"name": "quant_a", "layer": inner, "quantize_config": {"class_name": "NoOpQuantizeConfig", "config": {}}}
    layers = [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [None, 4, 4, 1]}},
        {"class_name": "QuantizeWrapperV2", "config": wrapper},
    ]
    with h5py.File(tmp_path / "q.h5", "w") as file:
        config = {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}
        file.attrs["model_config"] = json.dumps(config)
        file.create_group("model_weights/x").attrs["weight_names"] = []
        group = file.create_group("model_weights/quant_a")
        file["model_weights"].attrs["layer_names"] = ["x", "quant_a"]
        group["quant_a/optimizer_step:0"] = np.int32(-1)
        group.attrs["weight_names"] = ["quant_a/optimizer_step:0"]
    code, out, err = run("explain", tmp_path / "q.h5")
    assert code == 1
    assert "quant_a/optimizer_step scalar 1 counter of training steps" in out
    assert "Error: " in err
