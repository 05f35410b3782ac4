"""Emitted C on emulated microcontrollers: every tensor, faults, and figures within their limits."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from c_graphs import C_GRAPHS
from graphs import OP_GRAPHS, corner_codes, random_graph
from tiled_graphs import TILED_GRAPHS

import qsim
from qsim import process
from qsim.errors import ToolMissingError, UsageError
from qsim.ir import Graph
from qsim.simulate import Simulator
from qsim.targets.c.mcu.build import build, compiler_for
from qsim.targets.c.mcu.cpus import CPUS, cpu_named
from qsim.targets.c.mcu.emulate import Machine, available
from qsim.targets.files import emit

pytestmark = pytest.mark.skipif(not available(), reason="pip install 'qsim-hw[mcu]'")

GRAPHS = TILED_GRAPHS | OP_GRAPHS | C_GRAPHS
QUICK = [("cortex-m4", name) for name in TILED_GRAPHS]
QUICK += [("cortex-m0plus", "tiled_int8"), ("cortex-m3", "strips"), ("rv32imc", "tiled_int16")]
ALL = [(cpu, name) for cpu in CPUS for name in GRAPHS]


def differing(graph: Graph, folder: Path, cpu: str, codes: dict[str, np.ndarray], **options: str) -> list[str]:
    """Tensors that the emulated core computes differently from the simulator."""
    scratch = folder / "build"
    scratch.mkdir(exist_ok=True)
    machine = Machine(build(graph, folder, scratch, cpu_named(cpu), trace=True, **options))
    actual = machine.trace(codes)
    expected = Simulator(graph).trace_codes(codes)
    assert set(actual) == set(expected)
    return [name for name, x in expected.items() if not np.array_equal(x.reshape(len(x), -1), actual[name])]


@pytest.mark.parametrize(("cpu", "name"), [pytest.param(*case, id="-".join(case)) for case in QUICK])
def test_every_tensor_equals_the_simulator(cpu: str, name: str, tmp_path: Path) -> None:
    graph = GRAPHS[name]()
    emit(graph, "c", tmp_path)
    assert differing(graph, tmp_path, cpu, corner_codes(graph, 3)) == []


@pytest.mark.slow
@pytest.mark.parametrize("optimize", ["speed", "size"])
@pytest.mark.parametrize(("cpu", "name"), [pytest.param(*case, id="-".join(case)) for case in ALL])
def test_every_graph_on_every_core(cpu: str, name: str, optimize: str, tmp_path: Path) -> None:
    graph = GRAPHS[name]()
    emit(graph, "c", tmp_path)
    assert differing(graph, tmp_path, cpu, corner_codes(graph, 5), optimize=optimize) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
@pytest.mark.parametrize("cpu", ["cortex-m4", "rv32imc"])
def test_random_graphs(cpu: str, seed: int, tmp_path: Path) -> None:
    graph = random_graph(5000 + seed)
    emit(graph, "c", tmp_path)
    assert differing(graph, tmp_path, cpu, corner_codes(graph, 4)) == []


def test_a_program_without_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = GRAPHS["tiled_int8"]()
    emit(graph, "c", tmp_path)
    text, count = re.subn(r"return \w+_OK;", "for (;;) {\n    }", (tmp_path / "model.c").read_text())
    assert count == 1
    (tmp_path / "model.c").write_text(text)
    machine = Machine(build(graph, tmp_path, tmp_path, cpu_named("cortex-m4")))
    monkeypatch.setenv(process.VARIABLE, "0.5")
    with pytest.raises(process.TimeLimitError, match=r"the emulated cortex-m4 did not end within 0\.5 s"):
        machine.run(corner_codes(graph, 1))


FAULTS = {
    "swapped lanes": ("qsim_tile_four.h", r'QSIM_LANE\("r3", "r7"\)', 'QSIM_LANE("r4", "r7")', "tiled_int8"),
    "wrong ror": ("qsim_tile.h", r"r11, ror #8", "r11, ror #16", "tiled_int8"),
    "one lane": ("qsim_tile_one.h", r'QSIM_PAIR\("r4", "r5"\)', 'QSIM_PAIR("r5", "r4")', "dense_tiles"),
    "no zero point": ("qsim_strip2d.h", r"xtab16 r8, r6, r9    ", "xtb16 r8, r9         ", "strips"),
    "no rounding": ("qsim_form.h", r"smmulr", "smmul", "high_requantizers"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_kernel_is_seen(fault: str, tmp_path: Path) -> None:
    file, pattern, by, name = FAULTS[fault]
    graph = GRAPHS[name]()
    emit(graph, "c", tmp_path)
    text, count = re.subn(pattern, by, (tmp_path / file).read_text())
    assert count
    (tmp_path / file).write_text(text)
    assert differing(graph, tmp_path, "cortex-m4", corner_codes(graph, 3)) != []


LIMITS = {
    ("kws_ref_model", "speed"): 0.65 * 7.50e6,
    ("ad01_int8", "speed"): 0.70 * 0.576e6,
    ("micro_speech_quantized", "speed"): 0.40 * 1.464e6,
    ("pretrainedResnet_quant", "speed"): 0.55 * 29.34e6,
    ("pretrainedResnet_quant", "size"): 0.62 * 29.34e6,
}
"""Instructions an inference on a Cortex-M4: shares of CMSIS-NN 99f736a's on the same models (docs/mcu.md)."""


@pytest.mark.parametrize(("name", "optimize"), LIMITS)
def test_instructions_of_real_models(name: str, optimize: str, models: Path, tmp_path: Path) -> None:
    """Outputs equal, and fewer instructions than the limit; by gcc, for which the limits hold."""
    cpu = cpu_named("cortex-m4")
    try:
        compiler_for(cpu, "gcc")
    except ToolMissingError as missing:
        pytest.skip(str(missing))
    graph = qsim.load(models / "tflite" / f"{name}.tflite")
    emit(graph, "c", tmp_path)
    (tmp_path / "build").mkdir()
    program = build(graph, tmp_path, tmp_path / "build", cpu, optimize=optimize, compiler="gcc")
    codes = corner_codes(graph, 5)
    last = {key: x[4:] for key, x in codes.items()}
    machine = Machine(program)
    counted = machine.count(last)
    assert np.array_equal(next(iter(machine.run(last).values())), Simulator(graph).run_codes(next(iter(last.values()))))
    assert counted.instructions <= LIMITS[name, optimize]
    assert counted.instructions == sum(counted.functions.values())
    if optimize == "size":
        assert program.kernels <= 4500


def test_instructions_counted_one_by_one(tmp_path: Path) -> None:
    """The count by blocks against a hook at every instruction, on cores without conditional instructions."""
    import unicorn

    graph = TILED_GRAPHS["dense_tiles"]()
    emit(graph, "c", tmp_path)
    (tmp_path / "build").mkdir()
    for cpu in ("cortex-m0plus", "rv32imc"):
        machine = Machine(build(graph, tmp_path, tmp_path / "build", cpu_named(cpu)))
        codes = corner_codes(graph, 1)
        counted = machine.count(codes)
        seen = [0]

        def one(uc: object, address: int, size: int, data: object, seen: list[int] = seen) -> None:
            seen[0] += 1

        machine.uc.hook_add(unicorn.UC_HOOK_CODE, one)
        machine.run(codes)
        assert seen[0] == counted.instructions


def test_names_of_cores() -> None:
    assert cpu_named("m4") is cpu_named("cortex-m4") is CPUS["cortex-m4"]
    with pytest.raises(UsageError, match="rv32imc"):
        cpu_named("z80")
