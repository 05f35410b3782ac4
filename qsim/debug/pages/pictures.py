"""Small pictures of large tensors, for pages: histograms as SVG paths, difference maps as PNG data URIs."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from qsim.ir import Tensor
from qsim.numerics import Array

BINS = 64
"""Most bins of a histogram."""
HEIGHT = 60
"""Height of a histogram in SVG units; its width is 2 units a bin position of 0 to 100 percent, see ``Histogram``."""
WIDTH = 240
SIDE = 48
"""Most rows and columns of a difference map; larger maps are reduced, the greatest share of each block staying."""
MAPS = 48
"""Most feature maps that are drawn; those with most differences come first."""

ABOVE, BELOW = (214, 63, 48), (43, 108, 196)
"""Colours of elements where the other side is greater, and lower."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts of codes over the whole format, drawn as areas of WIDTH by HEIGHT; heights are logarithmic.

    expected, actual: SVG path data of the simulator's and the other side's codes. zero: x of the code that means 0.
    per_bin: codes that share a bin.
    """

    expected: str
    actual: str
    zero: float
    per_bin: int


def histogram(tensor: Tensor, expected: Array, actual: Array) -> Histogram:
    """The histogram of both sides' codes, (N, *shape) each, against the tensor's format limits. Codes that the other
    side has outside the format fall into the outermost bins."""
    low, span = tensor.format.low, tensor.format.high - tensor.format.low + 1
    per_bin = -(-span // BINS)
    bins = -(-span // per_bin)
    counts = [_counts(codes, low, per_bin, bins) for codes in (expected, actual)]
    most = max(1, *(int(c.max()) for c in counts))
    paths = [_area(c, most) for c in counts]
    zero = WIDTH * (min(max(tensor.quantization.zero_point, low), tensor.format.high) - low + 0.5) / span
    return Histogram(expected=paths[0], actual=paths[1], zero=round(zero, 1), per_bin=per_bin)


def _counts(codes: Array, low: int, per_bin: int, bins: int) -> Array:
    places = np.clip((codes.reshape(-1) - low) // per_bin, 0, bins - 1)
    return np.bincount(places, minlength=bins)


def _area(counts: Array, most: int) -> str:
    """A stepped area from the bottom line; empty bins stay on it."""
    scale = HEIGHT / math.log1p(most)
    width = WIDTH / len(counts)
    parts = [f"M0 {HEIGHT}"]
    level = 0.0
    for place, count in enumerate(counts.tolist()):
        height = round(math.log1p(count) * scale, 1)
        if height != level:
            parts.append(f"H{place * width:.1f}V{HEIGHT - height:.1f}")
            level = height
    parts.append(f"H{WIDTH}V{HEIGHT}Z")
    return "".join(parts)


@dataclass(frozen=True, kw_only=True)
class Map:
    """One picture of differences. title: which part of the tensor. uri: the PNG. width, height: its pixels.
    differing of total codes; largest: greatest difference, signed."""

    title: str
    uri: str
    width: int
    height: int
    differing: int
    total: int
    largest: int


def difference_maps(expected: Array, actual: Array) -> tuple[list[Map], int]:
    """(maps, how many feature maps with differences are not drawn) of one tensor, (N, *shape) each.

    Images (H, W, C) give one map per channel, over all samples: a pixel is as opaque as the share of samples in which
    it differs. Vectors (C) and sequences (T, C) give one map, samples or steps downwards.
    """
    delta = actual - expected
    if delta.ndim <= 2:
        return [_map("samples downwards, elements across", delta.reshape(len(delta), 1, -1).swapaxes(0, 1))], 0
    if delta.ndim == 3:
        return [_map("positions downwards, channels across", delta)], 0
    images = delta.reshape(len(delta), delta.shape[1], -1, delta.shape[-1])
    counts = (images != 0).sum(axis=(0, 1, 2))
    order = np.argsort(-counts, kind="stable")
    chosen = [int(c) for c in order[:MAPS] if counts[c]]
    return [_map(f"channel {c}", images[..., c]) for c in chosen], int((counts > 0).sum()) - len(chosen)


def _map(title: str, delta: Array) -> Map:
    """delta: (N, rows, columns)."""
    share = (delta != 0).mean(axis=0)
    mean = delta.mean(axis=0)
    share, sign = _reduce(share, mean)
    pixels = np.zeros((*share.shape, 4), dtype=np.uint8)
    pixels[..., :3] = np.where((sign >= 0)[..., None], ABOVE, BELOW)
    pixels[..., 3] = np.where(share > 0, np.rint(55 + 200 * share), 0)
    extreme = int(delta.reshape(-1)[np.abs(delta).argmax()])
    return Map(
        title=title,
        uri="data:image/png;base64," + base64.b64encode(png(pixels)).decode(),
        width=share.shape[1],
        height=share.shape[0],
        differing=int((delta != 0).sum()),
        total=delta.size,
        largest=extreme,
    )


def _reduce(share: Array, mean: Array) -> tuple[Array, Array]:
    """Both to at most SIDE rows and 4 * SIDE columns: of each block the greatest share and the summed difference."""
    limits = (SIDE, 4 * SIDE if share.shape[0] * 2 < share.shape[1] else SIDE)
    for axis, limit in enumerate(limits):
        block = -(-share.shape[axis] // limit)
        if block > 1:
            starts = np.arange(0, share.shape[axis], block)
            share = np.maximum.reduceat(share, starts, axis=axis)
            mean = np.add.reduceat(mean, starts, axis=axis)
    return share, mean


def png(pixels: Array) -> bytes:
    """A PNG of (rows, columns, 4) bytes, RGBA. The same pixels give the same bytes."""
    rows, columns, _ = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels, dtype=np.uint8))
    header = struct.pack(">IIBBBBB", columns, rows, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")


__all__ = ["HEIGHT", "WIDTH", "Histogram", "Map", "difference_maps", "histogram", "png"]
