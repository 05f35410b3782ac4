"""Random single-operator models whose operator only moves codes, and the draws that all such models share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tflite_make import Maker

Make = Callable[[np.random.Generator], bytes]


class Random:
    """Draws of shapes and quantizations. always_bias: LiteRT refuses (or crashes on) convolutions without one."""

    always_bias = False

    def __init__(self, rng: np.random.Generator, kind: str = "INT8") -> None:
        self.rng, self.kind, self.maker = rng, kind, Maker()

    def scale(self) -> float:
        return float(np.float32(np.exp(self.rng.uniform(np.log(0.002), np.log(0.6)))))

    def zero(self) -> int:
        if self.kind == "INT16":
            return 0
        return int(self.rng.choice([-128, 127, 0, int(self.rng.integers(-128, 128))]))

    def near(self, scale: float, low: float = 0.4, high: float = 2.5) -> float:
        return float(np.float32(scale * self.rng.uniform(low, high)))

    def pick(self, *values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def image(self, least: int = 1) -> tuple[int, int, int, int]:
        h, w, c = (int(self.rng.integers(least, 9)), int(self.rng.integers(least, 9)), int(self.rng.integers(1, 6)))
        return 1, h, w, c

    def any_shape(self) -> tuple[int, ...]:
        return self.pick(self.image(), (1, int(self.rng.integers(1, 20))), (1, 3, int(self.rng.integers(1, 7))))

    def x(self, shape: tuple[int, ...], scale: float | None = None, zero: int | None = None, name: str = "x") -> int:
        self.x_scale, self.x_zero = scale or self.scale(), self.zero() if zero is None else zero
        return self.maker.input(name, shape, self.kind, self.x_scale, self.x_zero)

    def y(self, shape: tuple[int, ...], scale: float | None = None, zero: int | None = None, name: str = "y") -> int:
        zero = self.zero() if zero is None else zero
        index = self.maker.tensor(name, shape, self.kind, scale or self.scale(), zero)
        self.maker.output(index)
        return index

    def same(self, shape: tuple[int, ...], name: str = "y") -> int:
        return self.y(shape, self.x_scale, self.x_zero, name)

    def const(self, name: str, values: Any, kind: str = "INT32") -> int:
        array = np.asarray(values)
        return self.maker.tensor(name, array.shape, kind, data=array)

    def activation(self) -> int:
        return int(self.pick(0, 0, 1, 2, 3))

    def done(self) -> bytes:
        return self.maker.bytes()


def concatenation(kind: str = "INT8") -> Make:
    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng, kind)
        shape = r.image()
        axis = int(rng.integers(1, 4))
        count = int(rng.integers(2, 5))
        inputs, total = [], 0
        r.x_scale, r.x_zero = r.scale(), r.zero()
        for i in range(count):
            n = int(rng.integers(1, 4))
            total += n
            part = tuple(n if k == axis else s for k, s in enumerate(shape))
            inputs.append(r.maker.input(f"x{i}", part, kind, r.x_scale, r.x_zero))
        y = r.same(tuple(total if k == axis else s for k, s in enumerate(shape)))
        stored = axis - 4 if r.pick(True, False) else axis
        r.maker.operator("CONCATENATION", inputs, [y], "ConcatenationOptions", 2, axis=stored)
        return r.done()

    return make


# Longer than 60 lines: one branch an operator, in the order of TFLite's schema.
def moved(name: str, kind: str = "INT8") -> Make:
    """The operators that only move codes: draws the arguments, works the shape out with numpy."""

    # Longer than 60 lines: one branch an operator, in the order of TFLite's schema.
    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng, kind)
        shape = r.image(2)
        _, h, w, c = shape
        if name == "RESHAPE":
            x, target = r.x(shape), r.pick((1, h * w * c), (1, h * w, c), (1, w, h, c))
            r.maker.operator(
                name, [x, r.const("shape", np.array(target))], [r.same(target)], "ReshapeOptions", newShape=list(target)
            )
        elif name == "SQUEEZE":
            x = r.x((1, h, 1, c))
            r.maker.operator(name, [x], [r.same((1, h, c))], "SqueezeOptions", squeezeDims=[2])
        elif name == "EXPAND_DIMS":
            x, axis = r.x((1, h, c)), int(rng.integers(1, 4))
            y = r.same(tuple(np.insert([1, h, c], axis, 1)))
            r.maker.operator(name, [x, r.const("axis", np.array(axis))], [y], "ExpandDimsOptions")
        elif name == "TRANSPOSE":
            perm = r.pick([0, 2, 1, 3], [0, 3, 1, 2], [0, 3, 2, 1], [1, 2, 0, 3])
            y = r.same(tuple(shape[p] for p in perm)) if r.x(shape) >= 0 else 0
            r.maker.operator(name, [0, r.const("perm", np.array(perm))], [y], "TransposeOptions", 2)
        elif name in ("PAD", "PADV2", "MIRROR_PAD"):
            limit = 2 if name == "MIRROR_PAD" else 4
            pads = np.array([[0, 0], *rng.integers(0, limit, (2, 2)), rng.integers(0, min(limit, c), 2)])
            x = r.x(shape)
            out = tuple(n + int(a) + int(b) for n, (a, b) in zip(shape, pads, strict=True))
            inputs = [x, r.const("pads", pads)]
            if name == "PADV2":
                fill = rng.integers(-128, 128, (1,))
                inputs.append(r.maker.tensor("fill", (1,), kind, r.x_scale, r.x_zero, fill))
            options = {"PAD": "PadOptions", "PADV2": "PadV2Options", "MIRROR_PAD": "MirrorPadOptions"}[name]
            fields = {"mode": int(r.pick(0, 1))} if name == "MIRROR_PAD" else {}
            r.maker.operator(name, inputs, [r.same(out)], options, 2, **fields)
        elif name == "SLICE":
            begin = [0, *(int(rng.integers(n)) for n in shape[1:])]
            size = [1, *(int(rng.integers(1, n - b + 1)) for n, b in zip(shape[1:], begin[1:], strict=True))]
            stored = [
                s if r.pick(True, True, False) or b + s != n else -1 for s, b, n in zip(size, begin, shape, strict=True)
            ]
            x = r.x(shape)
            inputs = [x, r.const("begin", np.array(begin)), r.const("size", np.array(stored))]
            r.maker.operator(name, inputs, [r.same(tuple(size))], "SliceOptions", 2)
        elif name == "STRIDED_SLICE":
            _strided_slice(r, shape)
        elif name in ("SPLIT", "SPLIT_V"):
            _split(r, name, shape)
        elif name == "PACK":
            count, axis = int(rng.integers(2, 4)), int(rng.integers(1, 4))
            r.x_scale, r.x_zero = r.scale(), r.zero()
            inputs = [r.maker.input(f"x{i}", (1, h, c), kind, r.x_scale, r.x_zero) for i in range(count)]
            y = r.same(tuple(np.insert([1, h, c], axis, count)))
            r.maker.operator(name, inputs, [y], "PackOptions", 2, valuesCount=count, axis=axis)
        elif name == "UNPACK":
            axis = int(rng.integers(1, 4))
            x = r.x(shape)
            rest = tuple(np.delete(shape, axis))
            outs = [r.same(rest, f"y{i}") for i in range(shape[axis])]
            r.maker.operator(name, [x], outs, "UnpackOptions", 2, num=shape[axis], axis=axis)
        elif name == "GATHER":
            axis = int(rng.integers(1, 4))
            picks = rng.integers(0, shape[axis], int(rng.integers(1, 6)))
            x = r.x(shape)
            y = r.same(tuple(len(picks) if i == axis else n for i, n in enumerate(shape)))
            r.maker.operator(name, [x, r.const("indices", picks)], [y], "GatherOptions", 2, axis=axis)
        elif name == "RESIZE_NEAREST_NEIGHBOR":
            size = [int(rng.integers(1, 14)), int(rng.integers(1, 14))]
            x = r.x(shape)
            align, half = r.pick((False, False), (True, False), (False, True))
            y = r.same((1, *size, c))
            fields = {"alignCorners": align, "halfPixelCenters": half}
            r.maker.operator(
                name, [x, r.const("size", np.array(size))], [y], "ResizeNearestNeighborOptions", 2, **fields
            )
        elif name == "SPACE_TO_DEPTH":
            b = int(r.pick(2, 3))
            x = r.x((1, h * b, w * b, c))
            r.maker.operator(name, [x], [r.same((1, h, w, c * b * b))], "SpaceToDepthOptions", 2, blockSize=b)
        else:
            b = int(r.pick(2, 3))
            x = r.x((1, h, w, c * b * b))
            r.maker.operator(name, [x], [r.same((1, h * b, w * b, c))], "DepthToSpaceOptions", 1, blockSize=b)
        return r.done()

    return make


def _strided_slice(r: Random, shape: tuple[int, ...]) -> None:
    rng = r.rng
    begin, end, strides, taken = [0], [1], [1], [slice(0, 1)]
    begin_mask, end_mask, shrink = 0, 0, 0
    for axis in range(1, 4):
        n = shape[axis]
        stride = int(r.pick(1, 1, 2, -1))
        b = int(rng.integers(n))
        e = int(rng.integers(b + 1, n + 1)) if stride > 0 else b - int(rng.integers(1, b + 2))
        e = -n - 1 if e < 0 else e
        part = slice(b, e, stride)
        if r.pick(True, False, False, False) and stride == 1:
            shrink |= 1 << axis
            part = slice(b, b + 1)
        elif r.pick(True, False, False):
            end_mask |= 1 << axis
            part = slice(b, None, stride)
        elif r.pick(True, False, False):
            begin_mask |= 1 << axis
            part = slice(None, e, stride)
        if not len(range(n)[part]):
            begin_mask &= ~(1 << axis)
            part = slice(b, e, stride)
        begin.append(b)
        end.append(e)
        strides.append(stride)
        taken.append(part)
    index = np.zeros(shape)[tuple(taken)]
    out = tuple(n for i, n in enumerate(index.shape) if not shrink >> i & 1)
    x = r.x(shape)
    inputs = [x] + [r.const(k, np.array(v)) for k, v in (("begin", begin), ("end", end), ("strides", strides))]
    fields = {"beginMask": begin_mask, "endMask": end_mask, "shrinkAxisMask": shrink}
    r.maker.operator("STRIDED_SLICE", inputs, [r.same(out)], "StridedSliceOptions", 2, **fields)


def _split(r: Random, name: str, shape: tuple[int, ...]) -> None:
    axis, count = int(r.rng.integers(1, 4)), int(r.rng.integers(2, 4))
    sizes = [int(shape[axis])] * count if name == "SPLIT" else [int(n) for n in r.rng.integers(1, 4, count)]
    whole = tuple(sum(sizes) if i == axis else n for i, n in enumerate(shape))
    x = r.x(whole)
    outs = [r.same(tuple(s if i == axis else n for i, n in enumerate(shape)), f"y{k}") for k, s in enumerate(sizes)]
    at = r.const("axis", np.array(axis))
    if name == "SPLIT":
        r.maker.operator(name, [at, x], outs, "SplitOptions", 2, numSplits=count)
    else:
        inputs = [x, r.const("sizes", np.array(sizes)), r.const("dim", np.array(axis))]
        r.maker.operator(name, inputs, outs, "SplitVOptions", 2, numSplits=count)


MOVES = (
    *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "PAD", "PADV2", "MIRROR_PAD", "SLICE", "STRIDED_SLICE"),
    *("SPLIT", "SPLIT_V", "PACK", "UNPACK", "GATHER", "RESIZE_NEAREST_NEIGHBOR", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE"),
)
