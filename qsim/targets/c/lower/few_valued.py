"""C parts of convolutions and dense layers whose weights are +s and -s, or +s, 0 and -s: one or two bits per weight.

s is 1 in most networks; else it goes into the factor that every sum is multiplied with once.

No kernel multiplies by a weight. Which one computes a layer follows from what is proven of its inputs and from how many
outputs share the work on a window (figures: docs/binary.md, ``benchmarks/binary_mac.py``):

- ``conv2d_xnor``: weights of one bit, every input provably one of two opposite values. Whole words are compared.
- ``conv2d_planes``: input codes of 0 to 3. Their bit planes are masked with the weights and counted.
- ``conv2d_sums``: any other codes. The sums of each four taps are made once, each output adds one of 16.
- ``conv2d_masks``: fewer outputs than ``_FEW_OUTPUTS``, or groups. The bits become masks, tap by tap.
- ``depthwise2d_bits``: depthwise convolutions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from qsim.ir import ops as o
from qsim.numerics import Array, IntArray
from qsim.proof.weights import encoding, sign_magnitude
from qsim.targets.c.parts import BLOCK, Kernel, Lowering, Params
from qsim.targets.c.types import CType, Reach, least, storage

_MAX_WINDOW_WORDS = 256
"""Words of a window that a kernel packs on the stack, once per plane."""

_MAX_PLANES = 2
"""Bits of input codes that are taken apart into planes; from three on, sums of four taps are shorter."""

_FEW_OUTPUTS = 4
"""Below this, a window's sums of four taps cost more than they save."""

_U32 = CType(32, False)


@dataclass(frozen=True)
class Packing:
    """bits: of a weight, 1 or 2. words: of 32 weights each (twice as many uint32_t with two bits) per row of weights;
    a row is what one output's window takes, or all channels of one tap of a depthwise convolution. scale: the size of
    a weight that is not 0."""

    bits: int
    words: int
    scale: int

    @property
    def ternary(self) -> bool:
        return self.bits == 2


def packing(weights: IntArray, row: int) -> Packing | None:
    """How weights are packed in rows of ``row``; None where they take more values than +s, 0, -s, or words take no less
    memory than bytes."""
    found = encoding(weights)
    if found.kind not in ("binary", "ternary"):
        return None
    words = -(-row // 32)
    least_bytes = least(weights.low, weights.high).bytes
    return Packing(found.bits, words, found.scale) if 4 * words * found.bits < row * least_bytes else None


def convolution_packing(op: o.Conv2D, inputs: int) -> Packing | None:
    """``packing`` of a convolution's weights; inputs: channels of its input."""
    kh, kw, group_in, outputs = op.weights.shape
    return packing(op.weights, outputs if is_depthwise(op, inputs) else kh * kw * group_in)


def is_depthwise(op: o.Conv2D, inputs: int) -> bool:
    return op.weights.shape[2] == 1 and op.groups == inputs and inputs > 1


def _packed(weights: Array, pack: Packing) -> Array:
    """(rows, weights of a row) -> (rows, words, bits): bit k of a row, from the lowest, is 1 for +1; with two bits the
    second word of a pair holds 1 for -1."""
    rows, length = weights.shape
    planes = [weights > 0, weights < 0][: pack.bits]
    bits = np.zeros((rows, pack.words * 32, pack.bits), dtype=np.int64)
    for k, plane in enumerate(planes):
        bits[:, :length, k] = plane
    return np.asarray((bits.reshape(rows, pack.words, 32, pack.bits) << np.arange(32)[:, None]).sum(axis=2))


def _fields(
    op: Any, c: Lowering, t: CType, weights: Array, pack: Packing, rows: str, inputs: int = 1
) -> tuple[list[tuple[str, str]], list[str]]:
    """Weights, bias and factor of the parameter structure; and the tags of the kernel's name for them.

    inputs: the size of the inputs, where the kernel takes them as +1 and -1.
    """
    pair = "[2]" if pack.ternary else ""
    how = "two bits per weight: 1 for +1, 1 for -1" if pack.ternary else "one bit per weight, 1 for +1 and 0 for -1"
    layout = f"{op.output}: weights {rows}[{pack.words}]{pair}, {how}"
    fields = [("weights", c.array(op, "weights", _packed(weights, pack), _U32, layout))]
    bias = "NULL" if op.bias is None else c.array(op, "bias", op.bias.values, t, f"{op.output}: bias [{op.bias.size}]")
    fields += [("bias", bias), ("product_scale", t.literal(pack.scale * inputs << op.product_shift))]
    return fields, ["ternary"] if pack.ternary else []


def _zero_point(op: Any, t: CType) -> tuple[str, str]:
    return "input_zero_point", t.literal(op.input_zero_point)


def binary_part(
    op: Any,
    c: Lowering,
    t: CType,
    weights: Array,
    pack: Packing,
    groups: int,
    geometry: list[tuple[str, str]],
    image: dict[str, int],
) -> tuple[Kernel, Params, str]:
    """Kernel, parameters and a note for weights (outputs, taps); geometry: the fields of the window; image: its size.

    The call is that of a convolution at (row, column); a dense layer is a 1x1 convolution over a row of positions.
    """
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    xt, yt = storage(x.format), storage(out.format)
    defines = [("QSIM_X", xt.name), ("QSIM_Y", yt.name), ("QSIM_T", t.name)]
    words, ternary = pack.words, int(pack.ternary)
    size = sign_magnitude(c.graph, op) if not ternary and groups == 1 and words <= _MAX_WINDOW_WORDS else None
    fields, two = _fields(op, c, t, weights, pack, f"[{weights.shape[0]}]", size or 1)
    zero = op.input_zero_point != 0
    offset = ["offset"] if zero else []
    one = "two bits" if ternary else "one bit"
    words_fit = groups == 1 and not zero and words <= _MAX_WINDOW_WORDS
    planes = x.range[1].bit_length() if x.range[0] >= 0 else 0
    point = ("QSIM_ZERO_POINT", "p->input_zero_point" if zero else "0")
    in_planes = size is None and words_fit and 1 <= planes <= _MAX_PLANES
    fields += [] if in_planes else [_zero_point(op, t)]
    sizes = image
    if size is not None:
        kernel = c.kernel(
            "conv2d_xnor",
            [xt.short, yt.short, "in", t.short, str(words), *offset],
            [*defines, ("QSIM_WORDS", str(words)), point],
            "qsim_bits.h",
            stack=2 * words * _U32.bytes,
        )
        note = "inputs and weights of one bit, compared word by word"
    elif in_planes:
        kernel = c.kernel(
            "conv2d_planes",
            [xt.short, yt.short, "in", t.short, str(words), f"b{planes}", *two],
            [*defines, ("QSIM_WORDS", str(words)), ("QSIM_PLANES", str(planes)), ("QSIM_TERNARY", str(ternary))],
            "qsim_bits.h",
            stack=planes * words * _U32.bytes,
        )
        note = f"inputs in {planes} bit planes, masked with weights of {one} and counted"
    else:
        defines += [("QSIM_TERNARY", str(ternary)), point]
        fields.append(("words", str(words)))
        tags = [xt.short, yt.short, "in", t.short, *two, *offset]
        if groups == 1 and weights.shape[0] >= _FEW_OUTPUTS:
            largest = four_taps(op, c)
            s = next(s for s in (CType(16, True), CType(32, True), CType(64, True)) if s.holds(-largest, largest))
            kernel = c.kernel(
                "conv2d_sums",
                [*tags, s.short],
                [*defines, ("QSIM_S", s.name)],
                stack=8 * 16 * s.bytes + (BLOCK + 4) * t.bytes,
            )
            note = f"weights of {one} that choose among the sums of each four inputs"
        else:
            kernel = c.kernel("conv2d_masks", tags, defines)
            note = f"weights of {one}, added or subtracted"
            sizes = image | {
                "group_inputs": image["inputs"] // groups,
                "group_outputs": weights.shape[0] // groups,
            }
    fields += [(name, str(value)) for name, value in sizes.items()]
    return kernel, Params(kernel.params, c.local(kernel.family), tuple(fields + geometry)), note


def depthwise_part(
    op: o.Conv2D, c: Lowering, t: CType, pack: Packing, geometry: list[tuple[str, str]]
) -> tuple[Kernel, Params, str]:
    """Kernel, parameters and a note of a depthwise convolution, its weights packed tap by tap."""
    height, width, inputs = c.graph[op.inputs[0]].shape
    kh, kw, _, outputs = op.weights.shape
    multiplier = outputs // inputs
    xt, yt = storage(c.graph[op.inputs[0]].format), storage(c.graph[op.output].format)
    zero = op.input_zero_point != 0
    fields, two = _fields(op, c, t, op.weights.values.reshape(kh * kw, outputs), pack, f"[{kh}][{kw}]")
    tags = [xt.short, yt.short, "in", t.short, *two, *(["offset"] if zero else [])]
    kernel = c.kernel(
        "depthwise2d_bits",
        tags + (["multiplier"] if multiplier > 1 else []),
        [
            ("QSIM_X", xt.name),
            ("QSIM_Y", yt.name),
            ("QSIM_T", t.name),
            ("QSIM_TERNARY", str(int(pack.ternary))),
            ("QSIM_ZERO_POINT", "p->input_zero_point" if zero else "0"),
            ("QSIM_INPUT(o)", "(o)" if multiplier == 1 else "((o) / p->multiplier)"),
        ],
        stack=BLOCK * t.bytes,
    )
    sizes = {"words": pack.words, "height": height, "width": width, "inputs": inputs, "multiplier": multiplier}
    fields += [_zero_point(op, t), *((k, str(v)) for k, v in sizes.items())]
    note = f"weights of {'two bits' if pack.ternary else 'one bit'}, added or subtracted"
    return kernel, Params(kernel.params, c.local(kernel.family), tuple(fields + geometry)), note


def four_taps(op: Any, c: Lowering) -> int:
    """The greatest sum of four inputs that ``conv2d_sums`` may hold, in size."""
    low, high = c.graph[op.inputs[0]].range
    return 4 * max(abs(low - op.input_zero_point), abs(high - op.input_zero_point))


def reach_of_packed(op: Any, c: Lowering, reach: Reach) -> None:
    """What the kernels of this module compute beyond the sums of the layer itself: sums of four inputs."""
    row = math.prod(op.weights.shape[:-1])
    if packing(op.weights, row) is not None:
        reach.add(-four_taps(op, c), four_taps(op, c))


__all__ = [
    "Packing",
    "binary_part",
    "convolution_packing",
    "depthwise_part",
    "is_depthwise",
    "packing",
    "reach_of_packed",
]
