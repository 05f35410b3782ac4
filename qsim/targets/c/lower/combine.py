"""C parts of the ops that combine several tensors: by broadcasting, or side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qsim.ir import ops as o
from qsim.proof.steps import aligned_terms, centred, product
from qsim.targets.c.lower.loops import (
    Walk,
    strided_copy,
    whole,
)
from qsim.targets.c.parts import Kernel, Lowering, Params, Part
from qsim.targets.c.types import CType, Reach, storage


def _at(name: str, step: int) -> str:
    return f"{name}[i]" if step else f"{name}[0]"


def _binary_defines(
    at: CType, bt: CType, yt: CType, t: CType, steps: tuple[int, int]
) -> tuple[list[str], list[tuple[str, str]]]:
    tags = [at.short + ("" if steps[0] else "x1"), bt.short + ("" if steps[1] else "x1"), yt.short, "in", t.short]
    defines = [("QSIM_A", at.name), ("QSIM_B", bt.name), ("QSIM_Y", yt.name), ("QSIM_T", t.name)]
    return tags, [*defines, ("QSIM_A_AT(i)", _at("a", steps[0])), ("QSIM_B_AT(i)", _at("b", steps[1]))]


def _fold(op: o.Add | o.Extremum, c: Lowering, kind: str, factors: list[int], zero_points: list[int]) -> Part:
    """Add and Extremum: inputs folded from the left, two at a time; partial results stay in a block on the stack."""
    operands, out = c.tensors(op), c.graph[op.output]
    walk = Walk(op, operands, out)
    reach = Reach(op.layer).add(*out.range)
    within = aligned_terms([x.range for x in operands], zero_points, factors)
    for x, f, z, term in zip(operands, factors, zero_points, within.terms, strict=True):
        reach.add(*x.range, *centred(x.range, z), f, z, *term)
    if kind == "sum":
        reach.add(*within.partial)
    t = reach.type("a sum")
    yt = storage(out.format)
    if len(operands) == 1:
        xt = storage(operands[0].format)
        kernel = c.kernel(
            "scale",
            [xt.short, yt.short, "in", t.short],
            [("QSIM_X", xt.name), ("QSIM_Y", yt.name), ("QSIM_T", t.name)],
        )
        single = (("factor", t.literal(factors[0])), ("zero_point", t.literal(zero_points[0])))
        scale = Params(kernel.params, c.local("scale"), single)
        return Part(
            calls=lambda xs, y, first, count: [
                f"{kernel.name}({walk.pointer(xs[0], 0, first)}, {y}, {count}, &{scale.name});"
            ],
            params=[scale],
            loops=walk.loops,
            inner=walk.inner,
        )
    steps: list[tuple[Kernel, Params]] = []
    for k in range(1, len(operands)):
        left, left_step = (storage(operands[0].format), walk.steps[0]) if k == 1 else (t, 1)
        target = yt if k == len(operands) - 1 else t
        tags, defines = _binary_defines(left, storage(operands[k].format), target, t, (left_step, walk.steps[k]))
        kernel = c.kernel("combine", [kind, *tags], [*defines, ("QSIM_COMBINE", f"qsim_{kind}_{t.short}")])
        fields = (
            ("a_factor", t.literal(factors[0] if k == 1 else 1)),
            ("a_zero_point", t.literal(zero_points[0] if k == 1 else 0)),
            ("b_factor", t.literal(factors[k])),
            ("b_zero_point", t.literal(zero_points[k])),
        )
        steps.append((kernel, Params(kernel.params, c.local("combine"), fields)))

    def calls(xs: Sequence[str], y: str, first: str, count: str) -> list[str]:
        lines = []
        for k, (kernel, params) in enumerate(steps, start=1):
            a = walk.pointer(xs[0], 0, first) if k == 1 else f"partial{k - 1}"
            target = y if k == len(steps) else f"partial{k}"
            lines.append(f"{kernel.name}({a}, {walk.pointer(xs[k], k, first)}, {target}, {count}, &{params.name});")
        return lines

    part = Part(
        calls=calls,
        params=[params for _, params in steps],
        loops=walk.loops,
        inner=walk.inner,
        temporaries=[(f"partial{k}", t) for k in range(1, len(steps))],
    )
    part.notes.append(f"{op.output}: {kind} of {len(operands)} tensors, computed in {t.bits} bits")
    return part


def add(op: o.Add, c: Lowering) -> Part:
    factors = [sign << shift for sign, shift in zip(op.signs, op.shifts)]
    return _fold(op, c, "sum", factors, list(op.zero_points))


def extremum(op: o.Extremum, c: Lowering) -> Part:
    return _fold(op, c, op.kind, [1 << s for s in op.shifts], [0] * len(op.shifts))


def mul(op: o.Mul, c: Lowering) -> Part:
    operands, out = c.tensors(op), c.graph[op.output]
    walk = Walk(op, operands, out)
    reach = Reach(op.layer).add(*out.range, *op.zero_points)
    left, right = (centred(x.range, z) for x, z in zip(operands, op.zero_points))
    reach.add(*left, *right, *product(left, right))
    for x in operands:
        reach.add(*x.range)
    t = reach.type("a product")
    a, b = (storage(x.format) for x in operands)
    tags, defines = _binary_defines(a, b, storage(out.format), t, (walk.steps[0], walk.steps[1]))
    kernel = c.kernel("mul", tags, defines)
    fields = (("a_zero_point", t.literal(op.zero_points[0])), ("b_zero_point", t.literal(op.zero_points[1])))
    params = Params(kernel.params, c.local("mul"), fields)
    part = Part(
        calls=lambda xs, y, first, count: [
            f"{kernel.name}({walk.pointer(xs[0], 0, first)}, {walk.pointer(xs[1], 1, first)}, {y}, {count}, "
            f"&{params.name});"
        ],
        params=[params],
        loops=walk.loops,
        inner=walk.inner,
    )
    part.notes.append(f"{op.output}: product of two tensors, computed in {t.bits} bits")
    return part


def concat(op: o.Concat, c: Lowering) -> Part:
    out = c.graph[op.output]
    axis = op.axis % len(out.shape)
    inner = math.prod(out.shape[axis + 1 :])
    row = out.shape[axis] * inner
    copies, at = [], 0
    for x in c.tensors(op):
        run = x.shape[axis] * inner
        copies.append(strided_copy(op, c, x, [(out.size // row, (run, row)), (run, (1, 1))], (0, at)))
        at += run
    return whole(
        op,
        c,
        [params for params, _ in copies],
        lambda xs, y: [call(x, y) for x, (_, call) in zip(xs, copies, strict=True)],
        f"{len(copies)} tensors joined along axis {axis}",
    )


LOWER = dict(
    (
        o.entry(o.Add, add),
        o.entry(o.Mul, mul),
        o.entry(o.Extremum, extremum),
        o.entry(o.Concat, concat),
    )
)


__all__ = ["LOWER"]
