"""The catalogue of injected faults: on the digits CNN, a QKeras MLP and ResNet-8, in dumped tensors and in emitted C.

Every entry names the layer that must be found; ``causes`` are the names of which the first explanation must be one (two
causes may be the same function on every input of a layer: half down and half toward zero of codes that a ReLU clips).
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faults import changed, faulty, narrow, nchw, rounding, shifted, wrapped

import qsim
from qsim.compare.stimulus import sample_codes
from qsim.debug.diff.diff import Diff, diff
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, Overflow, Rounding, Scheme
from qsim.reference.kernels import KERNELS

MODELS = Path(os.environ.get("QSIM_MODELS", Path(__file__).parents[3] / "shared" / "models"))


@functools.cache
def model(name: str) -> Graph:
    """The three networks; the real ones are skipped where they are absent."""
    if name == "digits":
        return qsim.load(Path(qsim.__file__).parent / "demo" / "digits.keras")
    if not MODELS.is_dir():
        pytest.skip("the real models are not here: set QSIM_MODELS to their folder")
    if name == "mlp":
        return qsim.load(MODELS / "qkeras" / "qkeras-v3_3layer.keras", input_format="fixed<16,6>")
    return qsim.load(MODELS / "tflite" / "pretrainedResnet_quant.tflite")


@functools.cache
def codes(name: str) -> dict[str, np.ndarray]:
    """Inputs: random with corners; for the MLP centred values, so that accumulators are not all saturated."""
    found = sample_codes(model(name), {"digits": 200, "mlp": 400, "resnet": 6}[name], 0)
    if name == "mlp":
        rng = np.random.default_rng(1)
        found = {
            k: np.clip(np.rint(rng.normal(0, 900, v.shape)), -32768, 32767).astype(np.int64) for k, v in found.items()
        }
    return found


def nth(name: str, kind: type[o.Op], n: int) -> o.Op:
    """The n-th op of a kind."""
    return [op for op in model(name).ops if isinstance(op, kind)][n]


def scaled(name: str, n: int) -> o.Requantize:
    """The n-th Requantize with a TFLite multiplier."""
    found = [op for op in model(name).ops if isinstance(op, o.Requantize) and op.rescale.scheme is not Scheme.PLAIN]
    return found[n]


def signed_sum() -> o.Requantize:
    """A TFLite rescale whose negative results are not all clipped by a ReLU."""
    ops = [scaled("resnet", n) for n in range(12)]
    return next(op for op in ops if op.zero_point > op.low)


def scheme(kind: Scheme) -> Callable:
    mode = {Scheme.TFLITE_DOUBLE: Rounding.RND_INF}.get(kind, Rounding.RND)
    return changed(rescale=lambda op: dataclasses.replace(op.rescale, scheme=kind, rounding=mode))


def weight_bit(op: o.Op) -> IntArray:
    w = op.weights.values.copy()
    w.reshape(-1)[w.size // 2] ^= 1
    return IntArray(w)


def bias_of_channel(op: o.Op) -> IntArray:
    b = op.bias.values.copy()
    b[1] += 8
    return IntArray(b)


def zero_padded(op, xs, ts, out):
    padded = np.pad(xs[0], ((0, 0), *op.padding, (0, 0)))
    return KERNELS[o.Conv2D](dataclasses.replace(op, padding=o.NO_PADDING), [padded], ts, out)


def at(name: str, kind: type[o.Op], n: int) -> Callable[[], o.Op]:
    return lambda: nth(name, kind, n)


FAULTS: list[tuple[str, str, Callable[[], o.Op], Callable, tuple[str, ...]]] = [
    ("half up", "digits", at("digits", o.Requantize, 0), rounding(Rounding.RND), ("rounding rnd", "rounding rnd_inf")),
    ("half up, signed", "digits", at("digits", o.Requantize, 1), rounding(Rounding.RND), ("rounding rnd",)),
    ("half away", "digits", at("digits", o.Requantize, 1), rounding(Rounding.RND_INF), ("rounding rnd_inf",)),
    ("half toward zero", "digits", at("digits", o.Requantize, 1), rounding(Rounding.RND_ZERO), ("rounding rnd_zero",)),
    ("half down", "digits", at("digits", o.Requantize, 1), rounding(Rounding.RND_MIN_INF), ("rounding rnd_min_inf",)),
    ("truncation", "digits", at("digits", o.Requantize, 1), rounding(Rounding.TRN), ("rounding trn",)),
    ("toward zero", "digits", at("digits", o.Requantize, 1), rounding(Rounding.TRN_ZERO), ("rounding trn_zero",)),
    ("average truncated", "digits", at("digits", o.Requantize, 4), rounding(Rounding.TRN), ("rounding trn",)),
    ("shift off by one", "digits", at("digits", o.Requantize, 3), shifted(1), ("shift +1",)),
    ("wrap for saturate", "digits", at("digits", o.Requantize, 1), wrapped, ("wrap for saturate",)),
    ("symmetric clip", "digits", at("digits", o.Requantize, 1), changed(low=-15), ("symmetric clip",)),
    ("bias missing", "digits", at("digits", o.Conv2D, 1), changed(bias=None), ("bias missing",)),
    ("kernel order", "digits", at("digits", o.Conv2D, 2),
     changed(weights=lambda op: IntArray(op.weights.values.swapaxes(0, 1))), ("kernel order",)),
    ("one weight bit", "digits", at("digits", o.Conv2D, 2), changed(weights=weight_bit), ("weight bit",)),
    ("padding side", "digits", at("digits", o.Conv2D, 0), changed(padding=((2, 0), (1, 1))), ("padding side",)),
    ("NCHW flatten", "digits", at("digits", o.Reshape, 0),
     lambda op, xs, ts, out: np.moveaxis(xs[0], -1, 1).reshape(len(xs[0]), *out.shape), ("NCHW order",)),
    ("NCHW feature maps", "digits", at("digits", o.Requantize, 3), nchw, ("NCHW order",)),
    ("accumulator narrow", "mlp", at("mlp", o.Dense, 1), narrow(2, Overflow.WRAP), ("accumulator wrapping",)),
    ("accumulator saturates", "mlp", at("mlp", o.Dense, 2), narrow(3, Overflow.SAT), ("accumulator saturating",)),
    ("bias at the wrong scale", "mlp", at("mlp", o.Dense, 1),
     changed(bias=lambda op: IntArray(op.bias.values >> 2)), ("bias scale",)),
    ("bias of a channel", "mlp", at("mlp", o.Dense, 2), changed(bias=bias_of_channel), ("bias value",)),
    ("shift to the left", "mlp", at("mlp", o.Requantize, 1), shifted(-1), ("shift -1",)),
    ("single rounding", "resnet", lambda: scaled("resnet", 1), scheme(Scheme.TFLITE_SINGLE), ("scheme tflite_single",)),
    ("upward rounding", "resnet", signed_sum, scheme(Scheme.TFLITE_UPWARD), ("scheme tflite_upward",)),
    ("output zero point", "resnet", lambda: scaled("resnet", 1), changed(zero_point=0), ("zero point missing",)),
    ("input zero point", "resnet", at("resnet", o.Conv2D, 2), changed(input_zero_point=0), ("zero point missing",)),
    ("zero padding", "resnet", at("resnet", o.Conv2D, 1), zero_padded, ("padding value",)),
    ("per tensor scale", "resnet", lambda: scaled("resnet", 2),
     changed(rescale=lambda op: dataclasses.replace(
         op.rescale,
         multiplier=IntArray(np.full_like(op.rescale.multiplier.values, op.rescale.multiplier.values[0])),
         shift=IntArray(np.full_like(op.rescale.shift.values, op.rescale.shift.values[0])))),
     ("per-tensor scale",)),
]  # fmt: skip


@functools.cache
def judged(index: int) -> tuple[bool, bool, str]:
    """(right layer, right cause first, text) of one entry; only what a framework or board shows is dumped."""
    _, name, find, kernel, causes = FAULTS[index]
    graph, op = model(name), find()
    dump = faulty_op(graph, codes(name), op, kernel)
    hidden = [p.output for p in graph.ops if p.output.endswith((".acc", ".sum"))]
    shown = {k: v for k, v in dump.items() if k not in hidden}
    result = diff(graph, codes(name), shown, codes=True)
    if result.first is None:
        return False, False, str(result)
    layers = {op.layer} | {p.layer for p in graph.ops if op.output in p.inputs and op.output in hidden}
    explained = result.first.explanations
    right = bool(explained) and explained[0].complete and explained[0].name in causes
    return result.first.layer in layers, right, str(result)


def faulty_op(graph: Graph, inputs: dict[str, np.ndarray], op: o.Op, kernel: Callable) -> dict[str, np.ndarray]:
    """As ``faulty``, for one op of a layer that may have several."""
    alone = dataclasses.replace(graph, ops=tuple(dataclasses.replace(p, layer=p.output) for p in graph.ops))
    return faulty(alone, inputs, op.output, kernel)


@pytest.mark.parametrize("index", range(len(FAULTS)), ids=[f"{f[1]}: {f[0]}" for f in FAULTS])
def test_the_layer_is_found(index: int) -> None:
    layer, _, text = judged(index)
    assert layer, text


def test_the_cause_is_named_first_in_nearly_all() -> None:
    if not MODELS.is_dir():
        pytest.skip("the real models are not here: set QSIM_MODELS to their folder")
    wrong = [f"{FAULTS[i][1]}: {FAULTS[i][0]}: {judged(i)[2]}" for i in range(len(FAULTS)) if not judged(i)[1]]
    assert len(FAULTS) >= 24
    assert len(wrong) <= len(FAULTS) - 26, "\n".join(wrong)


def edited(folder: Path, name: str, pattern: str, replacement: str) -> None:
    """Change an emitted file by a regular expression; the change must be one."""
    path = folder / name
    text = path.read_text()
    new = re.sub(pattern, replacement, text, count=1)
    assert new != text
    path.write_text(new)


@pytest.mark.parametrize(("shift", "cause"), [(4, "shift +1"), (2, "shift -1")])
def test_faults_in_emitted_c_are_explained(tmp_path: Path, shift: int, cause: str) -> None:
    graph = model("digits")
    qsim.emit(graph, "c", tmp_path)
    edited(tmp_path, "weights.c", r"(digits_branch__shift\[[^{]*\{\s*)3", rf"\g<1>{shift}")
    result: Diff = diff(graph, codes("digits"), tmp_path, codes=True)
    assert result.first is not None
    assert result.first.layer == "branch"
    assert result.first.explanations[0].complete, str(result)
    assert result.first.explanations[0].name == cause


def test_a_weight_bit_in_emitted_c_is_named(tmp_path: Path) -> None:
    graph = model("digits")
    qsim.emit(graph, "c", tmp_path)
    edited(
        tmp_path,
        "weights.c",
        r"(digits_conv2__weights\[[^{]*\{\s*)(-?\d+)",
        lambda m: m[1] + str(int(m[2]) ^ 1),  # type: ignore[arg-type]
    )
    result = diff(graph, codes("digits"), tmp_path, codes=True)
    assert result.first is not None
    assert result.first.layer == "conv2"
    assert result.first.explanations[0].complete, str(result)
    assert result.first.explanations[0].name == "weight bit"


def test_no_false_alarm_on_unchanged_c(tmp_path: Path) -> None:
    graph = model("digits")
    qsim.emit(graph, "c", tmp_path)
    assert diff(graph, codes("digits"), tmp_path, codes=True).ok


def half_up_in_rtl(folder: Path) -> None:
    """The rescale of layer branch rounds ties upward."""
    path = folder / "digits_top.sv"
    top = path.read_text()
    end = top.index(") branch__kernel (")
    start = top.rindex("qsim_requantize #(", 0, end)
    new = top[start:end].replace('.MODE("RND_CONV")', '.MODE("RND")')
    assert new != top[start:end]
    path.write_text(top[:start] + new + top[end:])


def half_up_in_hls(folder: Path) -> None:
    edited(folder, "src/branch_params.h", "RND_CONV", "RND")


@pytest.mark.parametrize(
    ("target", "fault"), [("hls", half_up_in_hls), pytest.param("rtl", half_up_in_rtl, marks=pytest.mark.slow)]
)
def test_a_rounding_mode_in_emitted_hardware_is_explained(
    tmp_path: Path, target: str, fault: Callable[[Path], None]
) -> None:
    graph = model("digits")
    qsim.emit(graph, target, tmp_path)
    fault(tmp_path)
    result = diff(graph, {name: c[:24] for name, c in codes("digits").items()}, tmp_path, codes=True)
    assert result.first is not None
    assert result.first.layer == "branch"
    assert result.first.explanations[0].complete, str(result)
    assert result.first.explanations[0].name == "rounding rnd"
