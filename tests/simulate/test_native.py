"""The native engine gives the reference kernels' codes: every operation, mode and scheme, fused and apart, in every
form of its kernels that this machine's compiler makes; and a fault in a kernel is noticed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from c_graphs import C_GRAPHS
from graphs import OP_GRAPHS, corner_codes, random_graph, small_cnn
from random_dags import random_dag

from qsim.errors import ToolMissingError, UsageError
from qsim.ir import Graph
from qsim.numerics import Overflow, Rounding, Scheme
from qsim.simulate import Simulator
from qsim.simulate.native import library, structures
from qsim.simulate.native.engine import NativeEngine

FORMS: dict[str, tuple[str, ...]] = {
    "host": (),
    "portable": ("-DQSIM_PORTABLE",),
    "dot products": ("-DQSIM_EMULATE_DOT",),
}
"""The kernels that this machine's processor has; plain C; byte dot products, their instruction emulated."""
GRAPHS = {**OP_GRAPHS, **C_GRAPHS, "small cnn": small_cnn}


def differing(graph: Graph, options: tuple[str, ...] = (), samples: int = 6, threads: int = 1) -> list[str]:
    """Tensors whose codes differ between the engines: all of them stored, then the outputs alone, fused."""
    codes = corner_codes(graph, samples)
    expected = Simulator(graph, engine="numpy").trace_codes(codes)
    found = []
    for kept in (tuple(graph.tensors), tuple(out.tensor for out in graph.outputs)):
        made = NativeEngine(graph, kept, threads, options).run(codes, samples)
        found += [name for name in kept if not np.array_equal(made[name], expected[name])]
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", GRAPHS)
def test_every_operation(name: str, form: str) -> None:
    assert not differing(GRAPHS[name](), FORMS[form])


@pytest.mark.parametrize("form", FORMS)
def test_random_graphs(form: str) -> None:
    for seed in range(20):
        assert not differing(random_graph(seed), FORMS[form]), seed
        assert not differing(random_dag(seed), FORMS[form]), seed


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_a_thousand_random_graphs(block: int) -> None:
    for seed in range(20 + 50 * block, 70 + 50 * block):
        assert not differing(random_graph(seed), threads=2), seed
        assert not differing(random_dag(seed)), seed


def test_real_models(models: Path) -> None:
    from qsim.importers import load

    for name in ("kws_ref_model", "ad01_int8", "pretrainedResnet_quant", "micro_speech_quantized"):
        for profile in ("tflm", "litert-opt", "litert-xnnpack"):
            graph = load(models / "tflite" / f"{name}.tflite", profile=profile)
            assert not differing(graph, samples=4), (name, profile)
            kernels = {row.kernel for row in Simulator(graph, engine="native").plan()}
            assert "numpy" not in kernels, (name, profile)


def test_threads_and_blocks_change_nothing() -> None:
    graph = small_cnn()
    codes = corner_codes(graph, 600)
    expected = Simulator(graph, engine="numpy").run_codes(codes)
    for threads in (1, 2, 5):
        assert np.array_equal(Simulator(graph, engine="native", threads=threads).run_codes(codes), expected)


def test_c_counts_modes_as_python_does() -> None:
    header = (library.SOURCE / "qsim_native.h").read_text(encoding="utf-8")
    for members, first in ((Rounding, "QN_TRN,"), (Overflow, "QN_WRAP,"), (Scheme, "QN_PLAIN,")):
        line = next(line for line in header.splitlines() if f"{{ {first}" in line or f"{{{first}" in line)
        names = line.split("{")[1].split("}")[0].replace("QN_", "").split(",")
        assert [name.strip() for name in names] == [member.name for member in members]
    assert [np.dtype(t).itemsize for t in structures.TYPES] == [1, 1, 2, 4, 8]


FAULTS = {
    "a tile without its last product": ("linear.c", "p->offset[r] + 2 * k", "p->offset[r] + 2 * (k & ~1)"),
    "half up in place of half away": ("transforms.c", "upward ? 0 : x < 0", "0"),
    "the border of another sample": ("linear.c", "memset(image, p->raise,", "memset(image, p->raise + 1,"),
    "a pool without its last column": ("elementwise.c", "v < p->kernel_width", "v + 1 < p->kernel_width"),
    "a sum without its shift": ("elementwise.c", "(T)((U)(x[i] - zero) << shift) * sign", "x[i] - zero"),
    "a threshold that is not reached by equality": ("round.h", "(int64_t)x[i] >= ts", "(int64_t)x[i] > ts"),
    "a table one entry late": ("round.h", "(T)t->table[x[i] - low]", "(T)t->table[x[i] - low + (x[i] < 0)]"),
}


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the kernels' sources, built in place of the own ones while the test runs."""
    copy = tmp_path / "csrc"
    shutil.copytree(library.SOURCE, copy)
    monkeypatch.setattr(library, "SOURCE", copy)
    monkeypatch.setenv("QSIM_CACHE", str(tmp_path / "cache"))
    library.load.cache_clear()
    yield copy
    library.load.cache_clear()


def test_faults_are_noticed(sources: Path) -> None:
    """Each fault of a kernel shows in some graph of the tests, in plain C, where every line is compiled."""
    for fault, (name, right, wrong) in FAULTS.items():
        text = (sources / name).read_text(encoding="utf-8")
        assert text.count(right) >= 1, fault
        (sources / name).write_text(text.replace(right, wrong), encoding="utf-8")
        library.load.cache_clear()
        graphs = [make() for make in GRAPHS.values()]
        assert any(differing(graph, ("-O1", "-DQSIM_PORTABLE")) for graph in graphs), fault
        (sources / name).write_text(text, encoding="utf-8")


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    library.load.cache_clear()
    graph = small_cnn()
    with pytest.raises(ToolMissingError, match="needs a C compiler"):
        Simulator(graph, engine="native")
    plan = Simulator(graph).plan()
    assert {row.kernel for row in plan} == {"numpy"}
    library.load.cache_clear()


def test_engines_have_names() -> None:
    with pytest.raises(UsageError, match="choose from auto, native, numpy"):
        Simulator(small_cnn(), engine="gpu")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="threads"):
        Simulator(small_cnn(), threads=0)
