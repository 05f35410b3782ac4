"""C parts of the elementwise ops with parameters, which can follow in a fused layer: Requantize, Divide, Threshold,
Lookup."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qsim.errors import UnsupportedError
from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import Array, IntArray, Overflow, Rescale, Scheme, periodic
from qsim.proof.steps import affine, centred
from qsim.targets.c.lower.tiled import High, high_part, high_requantize
from qsim.targets.c.parts import Calls, Kernel, Lowering, Params, Part
from qsim.targets.c.types import I8, I16, I32, U8, CType, Reach, least, storage

_FLOAT32_MULTIPLIER = 1 << 24


def _calls(kernel: Kernel, params: str) -> Calls:
    return lambda xs, y, first, count: [f"{kernel.name}({xs[0]}, {y}, {first}, {count}, &{params});"]


def _part(op: o.Op, c: Lowering, kernel: Kernel, family: str, fields: list[tuple[str, str]], period: int) -> Part:
    params = c.local(family)
    return Part(
        calls=_calls(kernel, params),
        params=[Params(kernel.params, params, tuple(fields))],
        inner=c.graph[op.output].size,
        period=period,
    )


def _common_period(arrays: list[IntArray], tensor: Tensor) -> tuple[int, list[Array]]:
    """The arrays broadcast to ``tensor``, as flat arrays of their common period."""
    flats = [periodic(a, tensor.shape) for a in arrays]
    period = max(f.size for f in flats)
    return period, [np.tile(f, period // f.size) for f in flats]


def _plain(r: Rescale, tensor: Tensor) -> tuple[int, list[Array]]:
    """(period, [multiplier, addend, shift]) of a PLAIN rescale, left shifts moved into multiplier and addend."""
    period, (m, a, s) = _common_period([r.multiplier, r.addend, r.shift], tensor)
    left = [max(0, -int(v)) for v in s]
    scaled = [[int(v) << k for v, k in zip(values, left)] for values in (m, a)]
    return period, [*(np.array(v, dtype=object) for v in scaled), np.maximum(s, 0)]


def _reach_plain(reach: Reach, low: int, high: int, parts: list[Array], zero_point: int) -> None:
    m, a, s = (list(map(int, p)) for p in parts)
    steps = affine((low, high), m, a, [1 << k for k in s])
    reach.add(*steps.products, *steps.sums, *steps.parameters, *(end + zero_point for end in steps.results))
    reach.rounding(*steps.sums)


def _keeps(op: o.Requantize, low: int, high: int, parts: list[list[Array]]) -> bool:
    """Whether no rescaled value leaves the op's limits: a PLAIN rescale's extremes are those of the range's ends."""
    if any(r.scheme is not Scheme.PLAIN for r in (op.rescale, op.negative) if r is not None):
        return False
    ends = [
        (rounded + op.zero_point)
        for arrays in parts
        for m, a, s in zip(*(map(int, p) for p in arrays), strict=True)
        for total in (low * m + a, high * m + a)
        for rounded in (total >> s, -((-total) >> s))
    ]
    return op.low <= min(ends) and max(ends) <= op.high


class _Made(NamedTuple):
    """One rescale in C: the function, the type and initialiser of its parameters, its tag in the kernel's name."""

    function: str
    params: str
    header: str
    initialiser: str
    tag: str


def _rescale(op: o.Requantize, c: Lowering, r: Rescale, role: str, t: CType, parts: list[Array], period: int) -> _Made:
    m, a, s = (np.tile(p, period // p.size) for p in parts)

    def array(name: str, values: Array, ctype: CType) -> str:
        return c.array(op, f"{role}{name}", values, ctype, f"{op.output}: {name} of the rescale, {period} in all")

    if r.scheme is Scheme.PLAIN:
        mode = r.rounding.value
        shift = array("shift", np.minimum(s, t.bits - 1), U8)
        if all(v == 1 for v in m) and not any(a):
            function = f"qsim_shifted_{mode}_{t.short}"
            return _Made(function, "qsim_shift", "qsim_rescale.h", f"{{{shift}}}", f"shift_{mode}")
        initialiser = f"{{{array('multiplier', m, t)}, {array('addend', a, t)}, {shift}}}"
        function, params = f"qsim_plain_{mode}_{t.short}", f"qsim_rescale_{t.short}"
        return _Made(function, params, "qsim_rescale.h", initialiser, f"plain_{mode}")
    if r.scheme is Scheme.FLOAT32:
        initialiser = f"{{{array('multiplier', m, I32)}, {array('shift', s, I16)}}}"
        return _Made("qsim_float32_scale", "qsim_float32", "qsim_float32.h", initialiser, "float32")
    initialiser = f"{{{array('multiplier', m, I32)}, {array('shift', np.minimum(s, 63), I8)}}}"
    return _Made(f"qsim_{r.scheme.value}", "qsim_tflite", "qsim_tflite.h", initialiser, r.scheme.value)


def _check_scheme(op: o.Requantize, r: Rescale, low: int, high: int) -> None:
    """Raise UnsupportedError where a scheme's C function would leave its preconditions."""

    def refuse(reason: str) -> None:
        raise UnsupportedError(reason, layer=op.layer, way_out="choose another rescale or a narrower accumulator")

    magnitude = max(abs(low), abs(high))
    if r.scheme is Scheme.FLOAT32:
        if max(abs(r.multiplier.low), abs(r.multiplier.high)) > _FLOAT32_MULTIPLIER:
            refuse("a float32 rescale has a multiplier of more than 24 bits")
        if not I16.holds(r.shift.low, r.shift.high):
            refuse("a float32 rescale has a shift beyond 16 bits")
        for m, s in np.nditer(np.broadcast_arrays(r.multiplier.values, r.shift.values)):
            worst = (magnitude * abs(int(m)) * 5 // 4) << max(0, -int(s)) >> max(0, int(s))
            if magnitude >= 1 << 62 or worst >= 1 << 62:
                refuse(f"a float32 rescale of values up to {magnitude} leaves 62 bits")
        return
    if r.shift.low < -31:
        refuse(f"a {r.scheme.value} rescale shifts left by {-r.shift.low}")
    if r.scheme is Scheme.TFLITE_SINGLE:
        product = magnitude * max(abs(r.multiplier.low), abs(r.multiplier.high))
        if product >= 1 << 62:
            refuse(f"a {r.scheme.value} rescale makes a product up to {product}, beyond 62 bits")
    elif magnitude << max(0, -r.shift.low) >= 1 << 63:
        refuse(f"a {r.scheme.value} rescale shifts values up to {magnitude} beyond 64 bits")


def _overflow(op: o.Requantize, out: Tensor, t: CType) -> str:
    match op.overflow:
        case Overflow.SAT | Overflow.SAT_SYM:
            name = "sat"
        case Overflow.SAT_ZERO:
            name = "sat_zero"
        case Overflow.WRAP | Overflow.WRAP_SM:
            # A 64-bit signed format wraps nothing that int64_t can hold.
            name = "sat" if out.format.width == 64 else op.overflow.value
    return f"qsim_{name}_{t.short}"


def _computed(op: o.Requantize, c: Lowering, rescales: list[Rescale]) -> tuple[CType, list[list[Array]]]:
    """The type that holds every intermediate result, and the arrays of each rescale, of one period.

    Raises UnsupportedError where int64_t does not.
    """
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    low, high = centred(x.range, op.input_zero_point)
    wraps = op.overflow in (Overflow.WRAP, Overflow.WRAP_SM)
    if wraps and out.format.width == 64 and not out.format.signed:
        raise UnsupportedError(
            f"tensor {out.name!r} wraps to uint64, whose codes int64 does not hold",
            layer=op.layer,
            way_out="use 63 bits or fewer",
        )
    reach = Reach(op.layer).add(*x.range, low, high, op.low, op.high, op.zero_point, op.input_zero_point)
    parts: list[list[Array]] = []
    for r in rescales:
        if r.scheme is Scheme.PLAIN:
            _, arrays = _plain(r, out)
            _reach_plain(reach, low, high, arrays, op.zero_point)
        else:
            _check_scheme(op, r, low, high)
            _, arrays = _common_period([r.multiplier, r.addend, r.shift], out)
        parts.append(arrays)
    wide = any(r.scheme is not Scheme.PLAIN for r in rescales) or (wraps and out.format.width >= 32)
    return reach.type("a rescaled value", wide=wide), parts


def requantize(op: o.Requantize, c: Lowering) -> Part:
    form = high_requantize(op, c.graph)
    if isinstance(form, High):
        part = high_part(op, c, form, _part)
        part.notes.append(f"{op.output}: {_rescale_text(op)}, computed in 32 bits")
        return part
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    low, high = centred(x.range, op.input_zero_point)
    rescales = [op.rescale] if op.negative is None else [op.rescale, op.negative]
    t, parts = _computed(op, c, rescales)
    period = max(p[0].size for p in parts)
    made = [
        _rescale(op, c, r, role, t, p, period) for r, role, p in zip(rescales, ("", "negative_"), parts, strict=False)
    ]
    xt, yt = storage(x.format), storage(out.format)
    saturate = f"qsim_keep_{t.short}" if _keeps(op, low, high, parts) else _overflow(op, out, t)
    defines = [
        ("QSIM_X", xt.name),
        ("QSIM_Y", yt.name),
        ("QSIM_T", t.name),
        ("QSIM_RESCALE", made[0].function),
        ("QSIM_RESCALE_PARAMS", made[0].params),
    ]
    fields = [("rescale", made[0].initialiser)]
    if op.negative is not None:
        defines += [("QSIM_NEGATIVE", made[1].function), ("QSIM_NEGATIVE_PARAMS", made[1].params)]
        fields.append(("negative", made[1].initialiser))
    defines += [("QSIM_OVERFLOW", saturate), ("QSIM_PER_CHANNEL", str(int(period > 1)))]
    tags = [xt.short, yt.short, "in", t.short, *(m.tag for m in made), saturate.removeprefix("qsim_")[:-4]]
    kernel = c.kernel(
        "requantize",
        [*tags, *(["channels"] if period > 1 else [])],
        defines,
        *dict.fromkeys(m.header for m in made),
        "qsim_overflow.h",
    )
    fields += [
        ("input_zero_point", t.literal(op.input_zero_point)),
        ("zero_point", t.literal(op.zero_point)),
        ("low", t.literal(op.low)),
        ("high", t.literal(op.high)),
        ("period", str(period)),
    ]
    part = _part(op, c, kernel, "requantize", fields, period)
    part.notes.append(f"{op.output}: {_rescale_text(op)}, computed in {t.bits} bits")
    return part


def _rescale_text(op: o.Requantize) -> str:
    def one(r: Rescale) -> str:
        if r.is_shift and r.shift.size == 1:
            return f"x * 2^{-r.shift.item()}, rounding {r.rounding.value}"
        if r.scheme is Scheme.PLAIN and r.multiplier.size == r.addend.size == r.shift.size == 1:
            addend = f" + {r.addend.item()}" if r.addend.item() else ""
            return f"(x * {r.multiplier.item()}{addend}) * 2^{-r.shift.item()}, rounding {r.rounding.value}"
        return f"{r.scheme.value} rescale, rounding {r.rounding.value}"

    text = f"requantize by {one(op.rescale)}"
    if op.negative is not None:
        text += f"; negative x by {one(op.negative)}"
    return f"{text}; overflow {op.overflow.value} to [{op.low}, {op.high}]"


def divide(op: o.Divide, c: Lowering) -> Part:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    period, (n, a, d) = _common_period([op.numerator, op.addend, op.divisor], out)
    reach = Reach(op.layer).add(*x.range, op.low, op.high, op.zero_point)
    steps = affine(x.range, *(list(map(int, v)) for v in (n, a, d)))
    reach.add(*steps.products, *steps.sums, *steps.parameters, op.divisor.low, op.divisor.high)
    reach.add(*(end + op.zero_point for end in steps.results))
    t = reach.type("the numerator of a division")
    xt, yt = storage(x.format), storage(out.format)
    kernel = c.kernel(
        "divide",
        [xt.short, yt.short, "in", t.short, op.rounding.value, *(["channels"] if period > 1 else [])],
        [
            ("QSIM_X", xt.name),
            ("QSIM_Y", yt.name),
            ("QSIM_T", t.name),
            ("QSIM_DIVIDE", f"qsim_divide_{op.rounding.value}_{t.short}"),
            ("QSIM_CLIP", f"qsim_sat_{t.short}"),
            ("QSIM_PER_CHANNEL", str(int(period > 1))),
        ],
        "qsim_divide_round.h",
        "qsim_overflow.h",
    )
    comment = f"of the division, {period} in all"
    fields = [
        (role, c.array(op, role, values, t, f"{op.output}: {role} {comment}"))
        for role, values in (("numerator", n), ("addend", a), ("divisor", d))
    ]
    fields += [
        ("zero_point", t.literal(op.zero_point)),
        ("low", t.literal(op.low)),
        ("high", t.literal(op.high)),
        ("period", str(period)),
    ]
    part = _part(op, c, kernel, "divide", fields, period)
    part.notes.append(
        f"{op.output}: divide, rounding {op.rounding.value}, clipped to [{op.low}, {op.high}], in {t.bits} bits"
    )
    return part


def threshold(op: o.Threshold, c: Lowering) -> Part:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    channels = max(op.thresholds.shape[0], op.base.size, op.step.size)
    levels = op.thresholds.shape[1]
    base = np.broadcast_to(op.base.values.reshape(-1), (channels,))
    step = np.broadcast_to(op.step.values.reshape(-1), (channels,))
    reach = Reach(op.layer).add(*x.range, op.thresholds.low, op.thresholds.high)
    for b, s in zip(map(int, base), map(int, step)):
        reach.add(b, s, s * levels, b + s * levels)
    t = reach.type("a threshold's code")
    kt = least(op.thresholds.low, op.thresholds.high)
    xt, yt = storage(x.format), storage(out.format)
    kernel = c.kernel(
        "threshold",
        [xt.short, kt.short, yt.short, "in", t.short, *(["channels"] if channels > 1 else [])],
        [
            ("QSIM_X", xt.name),
            ("QSIM_Y", yt.name),
            ("QSIM_K", kt.name),
            ("QSIM_T", t.name),
            ("QSIM_PER_CHANNEL", str(int(channels > 1))),
        ],
    )
    rows = np.broadcast_to(op.thresholds.values, (channels, levels))
    fields = [
        ("thresholds", c.array(op, "thresholds", rows, kt, f"{op.output}: thresholds [{channels}][{levels}]")),
        ("base", c.array(op, "base", base, t, f"{op.output}: code below every threshold")),
        ("step", c.array(op, "step", step, t, f"{op.output}: what each threshold adds")),
        ("levels", str(levels)),
        ("period", str(channels)),
    ]
    part = _part(op, c, kernel, "threshold", fields, channels)
    part.notes.append(f"{op.output}: {levels} thresholds for {'each channel' if channels > 1 else 'all channels'}")
    return part


def lookup(op: o.Lookup, c: Lowering) -> Part:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    rows, entries = op.table.shape
    if x.range[0] < op.table_low or x.range[1] >= op.table_low + entries:
        raise UnsupportedError(
            f"the table covers [{op.table_low}, {op.table_low + entries - 1}], the input reaches {list(x.range)}",
            layer=op.layer,
            way_out="make the table cover the input's proven range",
        )
    reach = Reach(op.layer).add(*x.range, op.table_low, rows * entries, *(end - op.table_low for end in x.range))
    t = reach.type("a table index")
    kt = least(op.table.low, op.table.high)
    xt, yt = storage(x.format), storage(out.format)
    kernel = c.kernel(
        "lookup",
        [xt.short, kt.short, yt.short, "in", t.short, *(["channels"] if rows > 1 else [])],
        [
            ("QSIM_X", xt.name),
            ("QSIM_Y", yt.name),
            ("QSIM_K", kt.name),
            ("QSIM_T", t.name),
            ("QSIM_PER_CHANNEL", str(int(rows > 1))),
        ],
    )
    table = c.array(op, "table", op.table.values, kt, f"{op.output}: table [{rows}][{entries}], from {op.table_low} on")
    fields = [
        ("table", table),
        ("table_low", t.literal(op.table_low)),
        ("entries", str(entries)),
        ("period", str(rows)),
    ]
    part = _part(op, c, kernel, "lookup", fields, rows)
    part.notes.append(f"{op.output}: table of {entries} codes, x from {op.table_low} on")
    return part


LOWER = dict(
    (
        o.entry(o.Requantize, requantize),
        o.entry(o.Divide, divide),
        o.entry(o.Threshold, threshold),
        o.entry(o.Lookup, lookup),
    )
)

__all__ = ["LOWER"]
