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

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.ir.ops import Linear
from qsim.numerics import Array, IntArray
from qsim.proof.weights import encoding, sign_magnitude
from qsim.targets.c.lower.loops import Fields, pairs
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
    op: Linear, c: Lowering, t: CType, weights: Array, pack: Packing, rows: str, inputs: int = 1
) -> tuple[Fields, list[str]]:
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


def _zero_point(op: Linear, t: CType) -> tuple[str, str]:
    return "input_zero_point", t.literal(op.input_zero_point)


Form = tuple[Kernel, Fields, str]
"""A kernel, what its parameters hold beside the weights and the window, and a note."""


@dataclass(frozen=True, kw_only=True)
class _Windows:
    """A convolution whose weights (outputs, taps) are packed; t: the type that it computes in."""

    op: Linear
    c: Lowering
    t: CType
    weights: Array
    pack: Packing
    groups: int

    @property
    def x(self) -> Tensor:
        return self.c.graph[self.op.inputs[0]]

    @property
    def word_by_word(self) -> bool:
        """Whether a kernel may pack a window on the stack."""
        return self.groups == 1 and self.pack.words <= _MAX_WINDOW_WORDS

    @property
    def size(self) -> int | None:
        """The size of inputs that are two opposite values, where the kernel for them takes the layer."""
        return sign_magnitude(self.c.graph, self.op) if self.word_by_word and not self.pack.ternary else None

    @property
    def planes(self) -> int:
        """Bits of the greatest input code; 0 where the kernel that counts bit planes does not take the layer."""
        planes = self.x.range[1].bit_length() if self.x.range[0] >= 0 else 0
        return planes if self.word_by_word and self.op.input_zero_point == 0 and planes <= _MAX_PLANES else 0

    @property
    def zero_point(self) -> Fields:
        return [_zero_point(self.op, self.t)]

    @property
    def said(self) -> str:
        return "two bits" if self.pack.ternary else "one bit"

    def kernel(self, family: str, tags: list[str], defines: Fields, *headers: str, stack: int = 0) -> Kernel:
        """The instance of a family; tags and defines: beyond the types of input, output and accumulator."""
        xt, yt = storage(self.x.format), storage(self.c.graph[self.op.output].format)
        types = [("QSIM_X", xt.name), ("QSIM_Y", yt.name), ("QSIM_T", self.t.name)]
        name = [xt.short, yt.short, "in", self.t.short, *tags]
        return self.c.kernel(family, name, types + defines, "qsim_window.h", *headers, stack=stack)

    @property
    def offset(self) -> tuple[list[str], tuple[str, str]]:
        """Tag and definition of the input's zero point."""
        zero = self.op.input_zero_point != 0
        return ["offset"] if zero else [], ("QSIM_ZERO_POINT", "p->input_zero_point" if zero else "0")

    @property
    def two_bits(self) -> tuple[list[str], tuple[str, str]]:
        """Tag and definition of the weights' bits."""
        return ["ternary"] if self.pack.ternary else [], ("QSIM_TERNARY", str(int(self.pack.ternary)))


def _xnor(w: _Windows) -> Form:
    words = w.pack.words
    tag, point = w.offset
    defines = [("QSIM_WORDS", str(words)), point]
    kernel = w.kernel("conv2d_xnor", [str(words), *tag], defines, "qsim_bits.h", stack=2 * words * _U32.bytes)
    return kernel, w.zero_point, "inputs and weights of one bit, compared word by word"


def _planes(w: _Windows) -> Form:
    words, planes = w.pack.words, w.planes
    tag, ternary = w.two_bits
    kernel = w.kernel(
        "conv2d_planes",
        [str(words), f"b{planes}", *tag],
        [("QSIM_WORDS", str(words)), ("QSIM_PLANES", str(planes)), ternary],
        "qsim_bits.h",
        stack=planes * words * _U32.bytes,
    )
    return kernel, [], f"inputs in {planes} bit planes, masked with weights of {w.said} and counted"


def _sums(w: _Windows) -> Form:
    (two, ternary), (offset, point) = w.two_bits, w.offset
    largest = four_taps(w.op, w.c)
    s = next(s for s in (CType(16, True), CType(32, True), CType(64, True)) if s.holds(-largest, largest))
    stack = 8 * 16 * s.bytes + (BLOCK + 4) * w.t.bytes
    tags, defines = [*two, *offset, s.short], [ternary, point, ("QSIM_S", s.name)]
    kernel = w.kernel("conv2d_sums", tags, defines, stack=stack)
    fields = [*w.zero_point, ("words", str(w.pack.words))]
    return kernel, fields, f"weights of {w.said} that choose among the sums of each four inputs"


def _masks(w: _Windows) -> Form:
    (two, ternary), (offset, point) = w.two_bits, w.offset
    kernel = w.kernel("conv2d_masks", [*two, *offset], [ternary, point])
    inputs, outputs = w.x.shape[-1] // w.groups, w.weights.shape[0] // w.groups
    fields = [*w.zero_point, ("words", str(w.pack.words)), *pairs(group_inputs=inputs, group_outputs=outputs)]
    return kernel, fields, f"weights of {w.said}, added or subtracted"


def binary_part(
    op: Linear, c: Lowering, t: CType, weights: Array, pack: Packing, groups: int, geometry: Fields
) -> tuple[Kernel, Params, str]:
    """Kernel, parameters and a note for weights (outputs, taps); geometry: the window and its dilation.

    The call is that of a convolution at (row, column); a dense layer is a 1x1 convolution over a row of positions.
    """
    layer = _Windows(op=op, c=c, t=t, weights=weights, pack=pack, groups=groups)
    size = layer.size
    fields, _ = _fields(op, c, t, weights, pack, f"[{weights.shape[0]}]", size or 1)
    if size is not None:
        form = _xnor
    elif layer.planes:
        form = _planes
    elif groups == 1 and weights.shape[0] >= _FEW_OUTPUTS:
        form = _sums
    else:
        form = _masks
    kernel, more, note = form(layer)
    return kernel, Params(kernel.params, c.local(kernel.family), (*fields, *more, *geometry)), note


def depthwise_part(op: o.Conv2D, c: Lowering, t: CType, pack: Packing, geometry: Fields) -> tuple[Kernel, Params, str]:
    """Kernel, parameters and a note of a depthwise convolution, its weights packed tap by tap."""
    inputs = c.graph[op.inputs[0]].shape[2]
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
        "qsim_window.h",
        stack=BLOCK * t.bytes,
    )
    fields += [_zero_point(op, t), *pairs(words=pack.words, multiplier=multiplier)]
    note = f"weights of {'two bits' if pack.ternary else 'one bit'}, added or subtracted"
    return kernel, Params(kernel.params, c.local(kernel.family), tuple(fields + geometry)), note


def four_taps(op: Linear, c: Lowering) -> int:
    """The greatest sum of four inputs that ``conv2d_sums`` may hold, in size."""
    low, high = c.graph[op.inputs[0]].range
    return 4 * max(abs(low - op.input_zero_point), abs(high - op.input_zero_point))


def reach_of_packed(op: Linear, c: Lowering, reach: Reach) -> None:
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
