"""A convolution's range, taken once for each kind of output position, against the rule at every position."""

from __future__ import annotations

import numpy as np
import pytest

from qsim.ir import Quantization, Tensor
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat
from qsim.proof.ranges import linear
from qsim.proof.ranges.base import Interval


def random_convolution(rng: np.random.Generator) -> tuple[o.Conv2D, Tensor, Tensor]:
    """Any kernel, stride, dilation, asymmetric padding, grouping, zero point, shift; with or without bias."""
    groups, group_in, per_group = (int(n) for n in rng.integers(1, 4, 3))
    kernel = tuple(int(n) for n in rng.integers(1, 5, 2))
    dilation = tuple(int(n) for n in rng.integers(1, 4, 2))
    padding = tuple(tuple(int(n) for n in rng.integers(0, 5, 2)) for _ in range(2))
    size = [int(rng.integers(1, 20)) + (k - 1) * d for k, d in zip(kernel, dilation)]
    out = groups * per_group
    op = o.Conv2D(
        inputs=("x",),
        output="y",
        layer="conv",
        weights=IntArray(rng.integers(-8, 8, (*kernel, group_in, out))),
        bias=IntArray(rng.integers(-99, 99, out)) if rng.random() < 0.5 else None,
        strides=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        dilation=(dilation[0], dilation[1]),
        padding=(padding[0], padding[1]),
        groups=groups,
        input_zero_point=int(rng.integers(-128, 128)),
        product_shift=int(rng.integers(0, 3)),
    )
    x = tensor("x", (size[0], size[1], groups * group_in), IntFormat(8, True))
    return op, x, tensor("y", o.output_shape(op, [x.shape]), IntFormat(40, True))


def tensor(name: str, shape: tuple[int, ...], fmt: IntFormat) -> Tensor:
    return Tensor(name=name, shape=shape, format=fmt, quantization=Quantization.of(1), range=(fmt.low, fmt.high))


def interval(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> Interval:
    """constant: over positions; border: with lines of its own around it; free: every element its own."""
    ends = np.sort(rng.integers(-128, 128, (2, 1, 1, shape[2])), axis=0)
    both = np.broadcast_to(ends, (2, *shape)).copy()
    if kind == "border":
        both[:, 0], both[1, :, -1] = np.sort(rng.integers(-128, 128, (2, *shape[1:])), axis=0), 127
    if kind == "free":
        both = np.sort(rng.integers(-128, 128, (2, *shape)), axis=0)
    return Interval(both[0], both[1])


@pytest.mark.parametrize("kind", ["constant", "border", "free"])
@pytest.mark.parametrize("seed", range(60))
def test_kinds_of_positions_give_the_range_of_every_position(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    op, x, y = random_convolution(rng)
    inputs = [interval(rng, x.shape, kind)]
    found = linear.RULES[o.Conv2D](op, inputs, [x], y)
    wanted = linear.RULES[o.Dense](op, inputs, [x], y)  # the rule that runs over all positions
    assert np.array_equal(found.low, wanted.low)
    assert np.array_equal(found.high, wanted.high)


def test_work_follows_the_kinds_and_not_the_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    plain = linear.apply

    def counted(*arguments):
        made = plain(*arguments)
        computed.append(made[..., 0].size)
        return made

    monkeypatch.setattr(linear, "apply", counted)
    op, _, _ = random_convolution(np.random.default_rng(0))
    kh, kw = op.weights.shape[:2]
    x = tensor("x", (300, 200, op.groups * op.weights.shape[2]), IntFormat(8, True))
    y = tensor("y", o.output_shape(op, [x.shape]), IntFormat(40, True))
    linear.RULES[o.Conv2D](op, [interval(np.random.default_rng(1), x.shape, "constant")], [x], y)
    assert computed
    assert max(computed) <= (2 * kh * op.dilation[0] + 1) * (2 * kw * op.dilation[1] + 1) < y.size // 100
