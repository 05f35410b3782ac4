"""Reference kernels of the sums of products: exact integer convolutions and matrix products, through BLAS wherever a
bound proves every partial sum exact.

A float64 (float32) product of integers is exact in any summation order while the sum of magnitudes of its terms stays
below 2**53 (2**24). The bound used is max over output channels of sum |w| times max |x|, so it covers every partial
sum. Beyond 2**53 the product runs in int64; beyond 62 bits the graph would not have been built.
"""

from __future__ import annotations

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.ir.ops import Padding2D
from qsim.numerics import FLOAT32_EXACT, FLOAT64_EXACT, Array, IntArray, assert_fits
from qsim.reference.base import magnitude
from qsim.reference.windows import pad2d, windows


def partial_sum_bound(weights: Array, x_magnitude: int, reduce_axes: tuple[int, ...]) -> int:
    """An upper bound of every partial sum's magnitude: max over outputs of sum |w|, times max |x|, at least both.

    The sum of |w| is taken in float64, which is exact up to 2**53 and rounded up by a factor of two beyond."""
    total = np.abs(weights.astype(np.float64)).sum(axis=reduce_axes).max(initial=0.0)
    magnitude = int(total) if total < FLOAT64_EXACT else int(total) * 2
    return max(magnitude * x_magnitude, magnitude, x_magnitude)


def exact_dtype(bound: int) -> type[np.generic]:
    """The dtype in which sums up to ``bound`` are exact. Raises UnsupportedError beyond 62 bits."""
    if bound < FLOAT32_EXACT:
        return np.float32
    if bound < FLOAT64_EXACT:
        return np.float64
    assert_fits(-bound, bound, "a sum of products")
    return np.int64


def conv2d(
    x: Array,
    weights: Array,
    *,
    strides: tuple[int, int],
    dilation: tuple[int, int],
    padding: Padding2D,
    groups: int,
    x_magnitude: int,
) -> Array:
    """sum w * x over zero-padded windows, int64 (N, OH, OW, Cout).

    x: (N, H, W, Cin), weights: (KH, KW, Cin/groups, Cout), both integers.
    ``x_magnitude`` is a proven bound of |x|.
    """
    kh, kw, group_in, out = weights.shape
    dtype = exact_dtype(partial_sum_bound(weights, x_magnitude, (0, 1, 2)))
    view = windows(pad2d(x.astype(dtype), padding), (kh, kw), strides, dilation)
    n, oh, ow = view.shape[:3]
    w = weights.astype(dtype)
    result: Array
    if groups == 1:
        result = view.reshape(n * oh * ow, kh * kw * group_in) @ w.reshape(-1, out)
    elif group_in == 1:
        per_group = out // groups
        result = np.zeros((n * oh * ow, groups, per_group), dtype=dtype)
        taps = w.reshape(kh, kw, groups, per_group)
        for u in range(kh):
            for v in range(kw):
                result += view[:, :, :, u, v, :, None].reshape(-1, groups, 1) * taps[u, v]
    else:
        by_group = view.reshape(n * oh * ow, kh * kw, groups, group_in).transpose(2, 0, 1, 3)
        grouped: Array = by_group.reshape(groups, n * oh * ow, kh * kw * group_in)
        kernels = w.reshape(kh * kw, group_in, groups, out // groups).transpose(2, 0, 1, 3)
        result = np.swapaxes(grouped @ kernels.reshape(groups, kh * kw * group_in, -1), 0, 1)
    return np.asarray(result.reshape(n, oh, ow, out)).astype(np.int64)


def matmul(a: Array, b: Array, bound: int) -> Array:
    """a @ b for integers, int64 out; ``bound`` bounds every partial sum's magnitude."""
    dtype = exact_dtype(bound)
    return np.asarray(a.astype(dtype) @ b.astype(dtype)).astype(np.int64)


def conv2d_transpose(
    x: Array,
    weights: Array,
    *,
    strides: tuple[int, int],
    padding: Padding2D,
    output_size: tuple[int, int],
    x_magnitude: int,
) -> Array:
    """Scatter form of the transposed convolution (see ops.ConvTranspose2D): int64 (N, *output_size, Cout)."""
    n, h, w, _ = x.shape
    kh, kw, _, out = weights.shape
    # Several input positions meet in one output element: at most KH*KW*Cin terms of one output channel.
    bound = partial_sum_bound(weights, x_magnitude, (0, 1, 2))
    (top, _), (left, _) = padding
    full_h = max((h - 1) * strides[0] + kh, top + output_size[0])
    full_w = max((w - 1) * strides[1] + kw, left + output_size[1])
    full = np.zeros((n, full_h, full_w, out), dtype=np.int64)
    for u in range(kh):
        for v in range(kw):
            part = matmul(x, weights[u, v], bound)
            full[:, u : u + h * strides[0] : strides[0], v : v + w * strides[1] : strides[1]] += part
    return full[:, top : top + output_size[0], left : left + output_size[1]]


def _finish(acc: Array, bias: IntArray | None, product_shift: int) -> Array:
    if product_shift:
        acc = acc << product_shift
    return acc if bias is None else acc + bias.values


def _conv2d(op: o.Conv2D, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    x = inputs[0] - op.input_zero_point if op.input_zero_point else inputs[0]
    acc = conv2d(
        x,
        op.weights.values,
        strides=op.strides,
        dilation=op.dilation,
        padding=op.padding,
        groups=op.groups,
        x_magnitude=magnitude(tensors[0], op.input_zero_point),
    )
    return _finish(acc, op.bias, op.product_shift)


def _conv_transpose(op: o.ConvTranspose2D, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    acc = conv2d_transpose(
        inputs[0] - op.input_zero_point,
        op.weights.values,
        strides=op.strides,
        padding=op.padding,
        output_size=op.output_size,
        x_magnitude=magnitude(tensors[0], op.input_zero_point),
    )
    return _finish(acc, op.bias, op.product_shift)


def _dense(op: o.Dense, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    x = inputs[0] - op.input_zero_point if op.input_zero_point else inputs[0]
    weights = op.weights.values
    as_kernel = weights.reshape(1, 1, *weights.shape)
    flat = x.reshape(1, 1, -1, x.shape[-1])  # every leading position is one column of a 1x1 convolution
    acc = conv2d(
        flat,
        as_kernel,
        strides=(1, 1),
        dilation=(1, 1),
        padding=o.NO_PADDING,
        groups=1,
        x_magnitude=magnitude(tensors[0], op.input_zero_point),
    )
    return _finish(acc.reshape(*x.shape[:-1], -1), op.bias, op.product_shift)


def _matmul(op: o.MatMul, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    za, zb = op.zero_points
    bound = magnitude(tensors[0], za) * magnitude(tensors[1], zb) * tensors[0].shape[-1]
    return matmul(inputs[0] - za, inputs[1] - zb, max(bound, magnitude(tensors[0], za), magnitude(tensors[1], zb)))


KERNELS = dict(
    (
        o.entry(o.Conv2D, _conv2d),
        o.entry(o.ConvTranspose2D, _conv_transpose),
        o.entry(o.Dense, _dense),
        o.entry(o.MatMul, _matmul),
    )
)
