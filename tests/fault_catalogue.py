"""The catalogue of injected faults: on the digits CNN, a QKeras MLP and ResNet-8, in dumped tensors.

Every entry names the op that is computed wrongly, or whose result arrives wrongly; ``causes`` are the names of which
the first explanation must be one (two causes may be the same function on every input of a layer: half down and half
toward zero of codes that a ReLU clips).
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from faults import (
    arriving,
    bias,
    bits_reversed,
    bytes_swapped,
    changed,
    faulty,
    lanes,
    narrow,
    nchw,
    one_bit,
    put,
    reading,
    rounding,
    shifted,
    stream,
    swapped,
    weights,
    wrapped,
)

import qsim
from qsim.compare.stimulus import sample_codes
from qsim.debug.diff.diff import Diff, diff
from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.numerics import Array, IntArray, Overflow, Rescale, Rounding, Scheme
from qsim.reference.kernels import KERNELS

MODELS = Path(os.environ.get("QSIM_MODELS", Path(__file__).parents[2] / "shared" / "models"))
Kernel = Callable[..., np.ndarray]


@dataclasses.dataclass(frozen=True)
class Fault:
    """name: in words. model: digits, mlp or resnet. find: the op. kernel: how it is computed. causes: see above.
    place: what the words on the place must hold, if anything."""

    name: str
    model: str
    find: Callable[[], o.Op]
    kernel: Kernel
    causes: tuple[str, ...]
    place: str = ""


def available(name: str) -> bool:
    """Whether a network is here: the real ones are not part of the project."""
    return name == "digits" or MODELS.is_dir()


@functools.cache
def model(name: str) -> Graph:
    if name == "digits":
        return qsim.load(Path(qsim.__file__).parent / "demo" / "digits.keras")
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


def at(name: str, kind: type[o.Op], n: int) -> Callable[[], o.Op]:
    return lambda: nth(name, kind, n)


def scaled(n: int) -> Callable[[], o.Requantize]:
    """The n-th Requantize of ResNet-8 with a TFLite multiplier."""

    def find() -> o.Requantize:
        ops = [op for op in model("resnet").ops if isinstance(op, o.Requantize)]
        return [op for op in ops if op.rescale.scheme is not Scheme.PLAIN][n]

    return find


def signed_sum() -> o.Requantize:
    """A TFLite rescale whose negative results are not all clipped by a ReLU."""
    return next(op for op in (scaled(n)() for n in range(12)) if op.zero_point > op.low)


def scheme(kind: Scheme) -> Kernel:
    mode = {Scheme.TFLITE_DOUBLE: Rounding.RND_INF}.get(kind, Rounding.RND)
    return changed(rescale=lambda op: dataclasses.replace(op.rescale, scheme=kind, rounding=mode))


def zero_padded(op: o.Op, xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
    assert isinstance(op, o.Conv2D)
    padded = np.pad(xs[0], ((0, 0), *op.padding, (0, 0)))
    return KERNELS[o.Conv2D](dataclasses.replace(op, padding=o.NO_PADDING), [padded], ts, out)


def zeroed(op: o.Op, xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
    assert isinstance(op, o.Requantize)
    wide = KERNELS[type(op)](dataclasses.replace(op, low=-(1 << 40), high=1 << 40), xs, ts, out)
    return np.where((wide < op.low) | (wide > op.high), 0, wide)


def flat_nchw(op: o.Op, xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
    return np.moveaxis(xs[0], -1, 1).reshape(len(xs[0]), *out.shape)


def per_tensor(op: o.Requantize) -> Rescale:
    r = op.rescale

    def first(values: IntArray) -> IntArray:
        return IntArray(np.full_like(values.values, values.values[0]))

    return dataclasses.replace(r, multiplier=first(r.multiplier), shift=first(r.shift))


def rotated_scales(op: o.Requantize) -> Rescale:
    r = op.rescale
    return dataclasses.replace(
        r, multiplier=IntArray(np.roll(r.multiplier.values, 1)), shift=IntArray(np.roll(r.shift.values, 1))
    )


D, M, R = "digits", "mlp", "resnet"
RELU1, BRANCH, RELU2, RELU3, POOL = (at(D, o.Requantize, n) for n in range(5))
CONV1, CONV2, CONV3 = (at(D, o.Conv2D, n) for n in range(3))
LOGITS, ADD = at(D, o.Dense, 0), at(D, o.Add, 0)

ARITHMETIC: list[Fault] = [
    Fault("half up", D, RELU1, rounding(Rounding.RND), ("rounding rnd", "rounding rnd_inf")),
    Fault("half up, signed", D, BRANCH, rounding(Rounding.RND), ("rounding rnd",)),
    Fault("half away", D, BRANCH, rounding(Rounding.RND_INF), ("rounding rnd_inf",)),
    Fault("half toward zero", D, BRANCH, rounding(Rounding.RND_ZERO), ("rounding rnd_zero",)),
    Fault("half down", D, BRANCH, rounding(Rounding.RND_MIN_INF), ("rounding rnd_min_inf",)),
    Fault("truncation", D, BRANCH, rounding(Rounding.TRN), ("rounding trn",)),
    Fault("toward zero", D, BRANCH, rounding(Rounding.TRN_ZERO), ("rounding trn_zero",)),
    Fault("average truncated", D, POOL, rounding(Rounding.TRN), ("rounding trn",)),
    Fault("shift off by one", D, RELU3, shifted(1), ("shift +1",)),
    Fault("shift off by two", D, BRANCH, shifted(2), ("shift +2",)),
    Fault("shift to the left", M, at(M, o.Requantize, 1), shifted(-1), ("shift -1",)),
    Fault("wrap for saturate", D, BRANCH, wrapped, ("wrap for saturate",)),
    Fault("zero for saturate", D, BRANCH, zeroed, ("zero for saturate",)),
    Fault("symmetric clip", D, BRANCH, changed(low=-15), ("symmetric clip",)),
    Fault("ReLU missing", D, RELU1, changed(low=-16), ("ReLU missing",), "always|only|the simulator"),
    Fault("extra ReLU", D, BRANCH, changed(low=0), ("extra ReLU",), "only where the simulator's value is negative"),
    Fault("residual's sign", D, ADD, changed(signs=(1, -1)), ("sign",)),
    Fault("residual left out", D, ADD, lambda op, xs, ts, out: xs[0], ("branch missing",)),
    Fault("bias missing", D, CONV2, changed(bias=None), ("bias missing",)),
    Fault("bias subtracted", D, CONV3, bias(lambda b: -b), ("bias sign",)),
    Fault("bias added twice", D, CONV2, bias(lambda b: 2 * b), ("bias twice", "bias scale")),
    Fault("bias order", D, CONV3, bias(lambda b: np.roll(b, 1)), ("bias order",)),
    Fault(
        "one channel's bias missing",
        D,
        CONV2,
        bias(lambda b: put(b, (3,), 0)),
        ("channel's bias missing",),
        "channel 3 ",
    ),
    Fault("bias at the wrong scale", M, at(M, o.Dense, 1), bias(lambda b: b >> 2), ("bias scale",)),
    Fault(
        "bias of a channel", M, at(M, o.Dense, 2), bias(lambda b: put(b, (1,), b[1] + 8)), ("bias value",), "channel 1 "
    ),
    Fault("kernel order", D, CONV3, weights(lambda w: w.swapaxes(0, 1)), ("kernel order",)),
    Fault("kernel rotated", D, CONV2, weights(lambda w: w[::-1, ::-1]), ("kernel flipped",)),
    Fault("dense kernel's memory order", D, LOGITS, weights(lambda w: w.T.reshape(w.shape)), ("kernel order",)),
    Fault("one weight bit", D, CONV3, weights(one_bit), ("weight bit",), "only in channel"),
    Fault("a kernel tap dropped", D, CONV2, weights(lambda w: put(w, (2, 2), 0)), ("kernel tap missing",)),
    Fault(
        "an input channel dropped",
        D,
        CONV3,
        weights(lambda w: put(w, (slice(None), slice(None), 5), 0)),
        ("input channel missing",),
    ),
    Fault("padding side", D, CONV1, changed(padding=((2, 0), (1, 1))), ("padding side",)),
    Fault("accumulator narrow", M, at(M, o.Dense, 1), narrow(2, Overflow.WRAP), ("accumulator wrapping",)),
    Fault("accumulator saturates", M, at(M, o.Dense, 2), narrow(3, Overflow.SAT), ("accumulator saturating",)),
    Fault("single rounding", R, scaled(1), scheme(Scheme.TFLITE_SINGLE), ("scheme tflite_single",)),
    Fault("upward rounding", R, signed_sum, scheme(Scheme.TFLITE_UPWARD), ("scheme tflite_upward",)),
    Fault("output zero point missing", R, scaled(1), changed(zero_point=0), ("zero point missing",)),
    Fault(
        "output zero point twice",
        R,
        signed_sum,
        changed(zero_point=lambda op: 2 * op.zero_point),
        ("zero point twice",),
    ),
    Fault("input zero point missing", R, at(R, o.Conv2D, 2), changed(input_zero_point=0), ("zero point missing",)),
    Fault(
        "input zero point twice",
        R,
        at(R, o.Conv2D, 2),
        changed(input_zero_point=lambda op: 2 * op.input_zero_point),
        ("zero point twice",),
    ),
    Fault("zero padding", R, at(R, o.Conv2D, 1), zero_padded, ("padding value",), "border"),
    Fault("per tensor scale", R, scaled(2), changed(rescale=per_tensor), ("per-tensor scale",)),
    Fault("scales rotated", R, scaled(2), changed(rescale=rotated_scales), ("scales rotated",)),
]

TRANSPORT: list[Fault] = [
    Fault("NCHW flatten", D, at(D, o.Reshape, 0), flat_nchw, ("NCHW order",)),
    Fault("NCHW feature maps", D, RELU3, nchw, ("NCHW order",)),
    Fault("stream late by an element", D, RELU1, arriving(stream(1)), ("stream late",)),
    Fault("stream early by an element", D, BRANCH, arriving(stream(-1)), ("stream early",)),
    Fault("stream late by a pixel", D, RELU3, arriving(stream(16)), ("stream late",)),
    Fault("stream early by a pixel", D, RELU2, arriving(stream(-8, None)), ("stream early",)),
    Fault("stream late by a row", D, RELU2, arriving(stream(64, None)), ("stream late",)),
    Fault("stream late, dense", M, at(M, o.Requantize, 1), arriving(stream(1)), ("stream late",)),
    Fault("TLAST misplaced", D, POOL, arriving(stream(5, None)), ("frame boundary",)),
    Fault("all zeros", D, RELU2, arriving(lambda y: y * 0), ("stuck value",), "the other side always has 0"),
    Fault("stuck value", D, RELU1, arriving(lambda y: y * 0 + 5), ("stuck value",)),
    Fault("stuck bit high", D, BRANCH, arriving(lambda y: y | 1), ("stuck bit",), r"always by \+1$"),
    Fault("stuck bit low", D, RELU3, arriving(lambda y: y & ~4), ("stuck bit",), "always by -4"),
    Fault("stuck sign bit", D, LOGITS, arriving(lambda y: y & 0x3FFF), ("stuck bit",), "negative"),
    Fault("one channel dead", D, RELU3, arriving(lambda y: put(y, (..., 7), 0)), ("stuck channel",), "channel 7 "),
    Fault("two channels swapped", D, RELU1, arriving(swapped(3, 2, 5)), ("channels swapped",), "channels 2 and 5"),
    Fault("channels reversed", D, BRANCH, arriving(lambda y: y[..., ::-1]), ("channels reversed",)),
    Fault("channels rotated", D, RELU2, arriving(lambda y: np.roll(y, 1, -1)), ("channels rotated",)),
    Fault("two logits swapped", D, LOGITS, arriving(swapped(1, 0, 9)), ("channels swapped",), "channels 0 and 9"),
    Fault("rows rolled", D, RELU3, arriving(lambda y: np.roll(y, 1, 1)), ("rows rolled",)),
    Fault("columns rolled", D, RELU1, arriving(lambda y: np.roll(y, -1, 2)), ("columns rolled",)),
    Fault("upside down", D, RELU3, arriving(lambda y: y[:, ::-1]), ("rows reversed",)),
    Fault("mirrored", D, RELU1, arriving(lambda y: y[:, :, ::-1]), ("columns reversed",)),
    Fault("two rows swapped", D, BRANCH, arriving(swapped(1, 2, 3)), ("rows swapped",), "rows 2 and 3"),
    Fault("two samples swapped", D, RELU2, arriving(swapped(0, 50, 60)), ("samples swapped",), "samples 50 and 60"),
    Fault("a stale frame", D, BRANCH, arriving(lambda y: put(y, (70,), y[69])), ("stale frame",), "sample 70 "),
    Fault(
        "every frame late by one", D, LOGITS, arriving(lambda y: np.concatenate([y[:1] * 0, y[:-1]])), ("stale frames",)
    ),
    Fault(
        "constant offset in a channel",
        D,
        LOGITS,
        arriving(lambda y: put(y, (..., 2), y[..., 2] + 37)),
        ("bias value", "constant offset"),
        "channel 2 ",
    ),
    Fault("constant offset", D, LOGITS, arriving(lambda y: y + 11), ("constant offset",), r"always by \+11$"),
    Fault("endianness", D, LOGITS, arriving(bytes_swapped), ("endianness",)),
    Fault("bits reversed", D, RELU1, arriving(bits_reversed(4)), ("bits reversed",)),
    Fault("two lanes swapped", D, RELU3, arriving(lanes(4, [0, 2, 1, 3])), ("lanes swapped",)),
    Fault("lanes reversed", D, RELU3, arriving(lanes(4, [3, 2, 1, 0])), ("lanes reversed",)),
    Fault("signed read as unsigned", D, BRANCH, arriving(lambda y: y % 32), ("signedness",), "negative"),
    Fault("unsigned read as signed", D, RELU1, arriving(lambda y: y - 16 * (y >= 8)), ("signedness",)),
    Fault("input late by an element", D, CONV2, reading(stream(1)), ("stream late",)),
    Fault("input early by a pixel", D, CONV3, reading(stream(-8)), ("stream early",)),
    Fault("input's channels reversed", D, CONV2, reading(lambda x: x[..., ::-1]), ("channels reversed",)),
    Fault("input mirrored", D, CONV3, reading(lambda x: x[:, :, ::-1]), ("columns reversed",)),
    Fault("quantized codes of ResNet late", R, scaled(1), arriving(stream(1)), ("stream late",)),
    Fault(
        "channels of ResNet swapped",
        R,
        scaled(2),
        arriving(swapped(3, 0, 1)),
        ("channels swapped",),
        "channels 0 and 1",
    ),
]

FAULTS = ARITHMETIC + TRANSPORT


@dataclasses.dataclass(frozen=True)
class Verdict:
    """right_layer: the fault's. rank: of the first right cause that explains every code, from 1; 0 for none. first: the
    name of the first explanation, or "". claimed: whether the first one claims every code. place: in words."""

    right_layer: bool
    layer: str
    rank: int
    first: str
    claimed: bool
    place: str
    text: str


@functools.cache
def judge(index: int) -> Verdict:
    """What ``diff`` says of one fault; only what a framework or a board shows is dumped."""
    fault = FAULTS[index]
    graph, op = model(fault.model), fault.find()
    alone = dataclasses.replace(graph, ops=tuple(dataclasses.replace(p, layer=p.output) for p in graph.ops))
    dump = faulty(alone, codes(fault.model), op.output, fault.kernel)
    hidden = [p.output for p in graph.ops if p.output.endswith((".acc", ".sum"))]
    shown = {k: v for k, v in dump.items() if k not in hidden}
    result: Diff = diff(graph, codes(fault.model), shown, codes=True)
    if result.first is None:
        return Verdict(False, "", 0, "", False, "", str(result))
    layers = {op.layer} | {p.layer for p in graph.ops if op.output in p.inputs and op.output in hidden}
    found = result.first.explanations
    ranks = [n for n, e in enumerate(found, 1) if e.complete and e.name in fault.causes]
    return Verdict(
        right_layer=result.first.layer in layers,
        layer=result.first.layer,
        rank=ranks[0] if ranks else 0,
        first=found[0].name if found else "",
        claimed=bool(found) and found[0].complete,
        place=", ".join(result.first.where),
        text=str(result),
    )


HEAD = """# Which cause is named first

Every fault below was put into one operation of a network (or into the way of its codes), what a board would show was
dumped, and `qsim diff` was asked. *Layer* is the first that it names, *where* what it says of the place, *first cause*
the name of the first explanation, *rank* the place of the right one among those that reproduce every differing code.
`make causes` writes this file; a test compares rows with a run.

digits is the bundled CNN; mlp a QKeras network of dense layers and resnet ResNet-8 as a `.tflite` (neither is part of
the project: set `QSIM_MODELS` to a folder that holds them).
"""


def row(index: int) -> str:
    """One line of the table in docs/causes.md."""
    fault, verdict = FAULTS[index], judge(index)
    rank = str(verdict.rank) if verdict.rank else "not named"
    cells = (fault.name, fault.model, verdict.layer.split(";")[0], verdict.place, verdict.first or "none", rank)
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """The text of docs/causes.md."""
    verdicts = [judge(index) for index in range(len(FAULTS))]
    layers, first = sum(v.right_layer for v in verdicts), sum(v.rank == 1 for v in verdicts)
    false = sum(v.claimed and v.rank != 1 for v in verdicts)
    count = len(FAULTS)
    summary = f"{count} faults: the right layer in {layers}, the right cause first in {first}, a false one in {false}."
    columns = "| fault | network | layer | where | first cause | rank |\n|---|---|---|---|---|---|"
    return "\n".join([HEAD, summary, "", columns, *(row(index) for index in range(count))]) + "\n"
