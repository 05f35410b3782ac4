"""HLS views of the ops that combine several tensors, by broadcasting or side by side, and what they read first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.proof.steps import magnitude
from qsim.targets.hls.lower.needs import Need, elementwise
from qsim.targets.hls.lower.rearrange import row_major, strided
from qsim.targets.hls.text import Context, View, bits, literal


def _broadcasts(op: o.Op, context: Context) -> dict[int, View]:
    """A repeating process for every input whose shape is not the output's."""
    out = context.graph[op.output].shape
    found = {}
    for i, x in enumerate(context.tensors(op)):
        if x.size == math.prod(out):
            continue
        shape = (1,) * (len(out) - len(x.shape)) + x.shape
        strides = [0 if n == 1 else s for n, s in zip(shape, row_major(shape))]
        name = f"{context.names[op.output]}_broadcast{i}"
        found[i] = strided(x, name, out, strides, 0, f"input {i} repeated to {'x'.join(map(str, out))}")
    return found


def _centred_expression(i: int, zero_point: int) -> str:
    if not zero_point:
        return f"x{i}"
    return f"(x{i} {'-' if zero_point > 0 else '+'} wide({literal(abs(zero_point))}))"


def _reads(op: o.Op, context: Context) -> tuple[str, ...]:
    return tuple(f"const tensors::{context.names[n]}_t x{i} = in{i}.read();" for i, n in enumerate(op.inputs))


def _elementwise(op: o.Op, context: Context, equation: str, width: int, steps: Sequence[str]) -> View:
    return View(
        equation=equation,
        body="elementwise",
        statements=(f"typedef ap_int<{width}> wide;", *_reads(op, context), *steps),
        sizes=(context.graph[op.output].size,),
        broadcasts=_broadcasts(op, context),
    )


def _add(op: o.Add, context: Context) -> View:
    reach, steps = 0, []
    for i, x in enumerate(context.tensors(op)):
        zero, shift = op.zero_points[i], op.shifts[i]
        reach += max(magnitude((x.format.low, x.format.high), zero), abs(zero)) << shift
        term = f"wide({_centred_expression(i, zero)})" + (f" << {shift}" if shift else "")
        if i == 0:
            steps.append(f"wide y = {'-wide(' + term + ')' if op.signs[i] < 0 else term};")
        else:
            steps.append(f"y {'-' if op.signs[i] < 0 else '+'}= {term};")
    equation = "aligned sum of " + ", ".join(op.inputs)
    return _elementwise(op, context, equation, bits(reach, -reach) + 1, steps)


def _mul(op: o.Mul, context: Context) -> View:
    product = 1
    for x, zero in zip(context.tensors(op), op.zero_points):
        product *= max(magnitude((x.format.low, x.format.high), zero), abs(zero), 1)
    expression = " * ".join(f"wide({_centred_expression(i, z)})" for i, z in enumerate(op.zero_points))
    steps = [f"const wide y = {expression};"]
    return _elementwise(op, context, "elementwise product", bits(product, -product) + 1, steps)


def _extremum(op: o.Extremum, context: Context) -> View:
    width, steps = 1, []
    sign = ">" if op.kind == "max" else "<"
    for i, (x, shift) in enumerate(zip(context.tensors(op), op.shifts)):
        width = max(width, bits(x.format.low << shift, x.format.high << shift) + 1)
        term = f"wide(x{i})" + (f" << {shift}" if shift else "")
        if i == 0:
            steps.append(f"wide y = {term};")
        else:
            steps += [f"const wide y{i} = {term};", f"if (y{i} {sign} y) y = y{i};"]
    return _elementwise(op, context, f"elementwise {op.kind}", width, steps)


def _concat(op: o.Concat, context: Context) -> View:
    out = context.graph[op.output].shape
    sizes = (math.prod(out[: op.axis]), *(math.prod(x.shape[op.axis :]) for x in context.tensors(op)))
    return View(equation=f"concatenation along axis {op.axis}", body="concat", sizes=sizes)


def _concat_need(op: o.Concat, inputs: Sequence[Tensor], out: Tensor) -> Need:
    sizes = [math.prod(x.shape[op.axis :]) for x in inputs]
    k = np.arange(out.size + 1, dtype=np.int64)
    outer, inner = k // sum(sizes), k % sum(sizes)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [outer * n + np.clip(inner - start, 0, n) for n, start in zip(sizes, starts)]


VIEWS = dict(
    (
        o.entry(o.Add, _add),
        o.entry(o.Mul, _mul),
        o.entry(o.Extremum, _extremum),
        o.entry(o.Concat, _concat),
    )
)

NEEDS = dict(
    (
        o.entry(o.Add, elementwise),
        o.entry(o.Mul, elementwise),
        o.entry(o.Extremum, elementwise),
        o.entry(o.Concat, _concat_need),
    )
)


__all__ = ["NEEDS", "VIEWS"]
