"""How the HLS target forms a layer's products, from the real values of its weights and the proven codes of its inputs.

The rule stands in docs/binary.md, the arithmetic in templates/hls/lib/qsim_products.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qsim.ir.ops import Linear
from qsim.numerics import Array, IntFormat
from qsim.proof.weights import WeightEncoding, encoding, sign_magnitude
from qsim.targets.hls.text import Context, Table, bits, centred, const, table, typedef

MAX_WORD = 32
"""Bits of a stored word of packed weights: readable as one hexadecimal number, and what qsim_products.h counts."""

MAX_PLANES = 4
"""Bits of inputs that are counted bit plane by bit plane; from five on, adding and subtracting takes no more logic."""

COUNTED_BITS = 256
"""Bits that are counted in a cycle, by default: two to three lookup tables each, about what 32 adders take."""


@dataclass(frozen=True, kw_only=True)
class Products:
    """What a layer's configuration and tables say of its products.

    config: members of the configuration struct. weights: the table of packed weights, of ``bits`` bits in all. lanes:
    products per step, of which one element takes ``steps``. counts: whether sums are counted with a part that outputs
    share. multipliers: how many of the lanes multiply. text: the kind, for the README.
    """

    config: tuple[str, ...]
    weights: Table
    bits: int
    lanes: int
    steps: int
    counts: bool
    multipliers: int
    text: str


@dataclass(frozen=True, kw_only=True)
class _Words:
    """Packing: PER_WORD weights of ``bits`` bits in a word, PARALLEL words in a cycle."""

    bits: int
    per_word: int
    parallel: int

    @classmethod
    def of(cls, lanes: int, bits: int, terms: int) -> _Words:
        """Words for ``lanes`` of ``terms`` products in a cycle: as few as hold them, or a few more where that leaves
        fewer unused bits in an output's last word."""
        least = -(-lanes // (MAX_WORD // bits))
        sizes = [(-(-lanes // parallel), parallel) for parallel in range(least, least + 4)]
        per_word, parallel = min(sizes, key=lambda size: (-terms % size[0], size[1]))
        return cls(bits=bits, per_word=per_word, parallel=parallel)

    def pack(self, codes: Array) -> Array:
        """(..., terms) codes of ``bits`` bits -> (..., words), weight 0 lowest."""
        terms = codes.shape[-1]
        words = -(-terms // self.per_word)
        padded = np.zeros((*codes.shape[:-1], words * self.per_word), dtype=np.int64)
        padded[..., :terms] = codes
        parts = padded.reshape(*codes.shape[:-1], words, self.per_word)
        return np.asarray((parts << (self.bits * np.arange(self.per_word))).sum(axis=-1))


def products(op: Linear, context: Context, weights: Array, group_outputs: int, axes: str, *, outside: bool) -> Products:
    """The products of ``op``.

    weights: (outputs, ..., terms) in the order of the kernel; axes says it in words. group_outputs: outputs that read
    the same window. outside: whether a window can hold positions outside the image.
    """
    x, terms = context.graph[op.inputs[0]], weights.shape[-1]
    found, fmt = encoding(op), centred(x, op.input_zero_point)
    if found.multiplies:
        lanes = context.lanes(op, terms)
        config = (
            typedef("centred_t", fmt),
            typedef("weight_t", op.weights.format),
            f"typedef qsim::multiplied<centred_t, weight_t, {terms}, {lanes}> products;",
            *_words_config(terms, lanes, lanes, 1),
        )
        return Products(
            config=config,
            weights=table(
                f"{context.names[op.output]}_weights",
                weights,
                op.weights.format,
                comment=f"weights, {op.weights.format}: {axes}",
            ),
            bits=weights.size * op.weights.format.width,
            lanes=lanes,
            steps=-(-terms // lanes),
            counts=False,
            multipliers=lanes,
            text=f"multiplied by {op.weights.format}",
        )
    if found.kind == "binary" and (counted := _counted(op, context, weights, found, axes, group_outputs, outside)):
        return counted
    code, types = f"qsim::{found.kind}_code", [typedef("centred_t", fmt)]
    if found.kind == "power_of_two":
        width = bits(fmt.low << found.exponent, fmt.high << found.exponent)
        types.append(f"typedef ap_int<{width}> shifted_t;")
        code += f"<shifted_t, {found.bits - 1}, {_boolean(found.zeros)}>"
    how = "shifted and added" if found.kind == "power_of_two" else "added or subtracted"
    words = _Words.of(context.lanes(op, terms), found.bits, terms)
    return _packed(op, context, weights, found, axes, words, (f"added<{code}, centred_t", how), tuple(types))


def _counted(
    op: Linear, context: Context, weights: Array, found: WeightEncoding, axes: str, group_outputs: int, outside: bool
) -> Products | None:
    """Binary weights against inputs of one bit or of few: counted, where several outputs share what depends on the
    inputs alone, or where nothing does. None where the inputs do not allow it."""
    x, zero, terms = context.graph[op.inputs[0]], op.input_zero_point, weights.shape[-1]
    magnitude = sign_magnitude(context.graph, op)
    if magnitude is not None and (group_outputs > 1 or not outside):
        words = _Words.of(context.lanes(op, terms, COUNTED_BITS), 1, terms)
        how = (f"xnor_counted<{_boolean(outside)}", "inputs of 1 bit, xnor counted")
        return _packed(op, context, weights, found, axes, words, how, (), magnitude, counts=outside)
    held = IntFormat.for_range(min(x.range[0] - zero, 0), max(x.range[1] - zero, 0))
    if held.width > MAX_PLANES or group_outputs == 1:
        return None
    words = _Words.of(context.lanes(op, terms, COUNTED_BITS // held.width), 1, terms)
    how = (
        f"planes_counted<held_t, {held.width}, {_boolean(held.signed)}",
        f"inputs in {held.width} bit plane{'s' if held.width > 1 else ''}, counted",
    )
    return _packed(op, context, weights, found, axes, words, how, (typedef("held_t", held),), counts=True)


def _packed(
    op: Linear,
    context: Context,
    weights: Array,
    found: WeightEncoding,
    axes: str,
    words: _Words,
    how: tuple[str, str],
    types: tuple[str, ...],
    factor: int = 1,
    counts: bool = False,
) -> Products:
    """Products of packed weights. how: the type of qsim_products.h but for its last three arguments, and the same in
    words. types: declarations that it needs. factor: of the inputs, beside the encoding's own.
    counts: see Products."""
    packed = words.pack(found.codes(weights))
    terms, per_output = weights.shape[-1], packed.shape[-1]
    parallel = min(words.parallel, per_output)
    lanes = min(parallel * words.per_word, terms)
    config = (
        *types,
        f"typedef qsim::{how[0]}, {terms}, {words.per_word}, {parallel}> products;",
        *_words_config(per_output, parallel, lanes, found.scale * factor),
    )
    fmt = IntFormat(words.bits * words.per_word, False)
    place = "in the lowest bit" if words.bits == 1 else f"in the lowest {words.bits} bits"
    listed = table(
        f"{context.names[op.output]}_weights",
        packed,
        fmt,
        hexadecimal=True,
        comment=f"weights, {found}: {axes}, {words.per_word} to a word, the first {place}",
    )
    return Products(
        config=config,
        weights=listed,
        bits=packed.size * fmt.width,
        lanes=lanes,
        steps=-(-per_output // parallel),
        counts=counts,
        multipliers=0,
        text=f"{found}; {how[1]}",
    )


def _words_config(words: int, step_words: int, lanes: int, scale: int) -> tuple[str, ...]:
    return (
        const("words", words),
        const("step_words", step_words),
        const("lanes", lanes),
        typedef("scale_t", IntFormat.for_range(scale, scale)),
        const("weight_scale", scale),
    )


def _boolean(value: bool) -> str:
    return "true" if value else "false"
