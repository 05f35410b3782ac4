"""What happens to right codes on their way: streams late or early, stuck bits, swapped channels, lanes, samples, bytes.

A transport takes all samples of a tensor's codes, (N, *shape) in the order of the stream, and gives what arrives. The
data decide which of a large family is tried (the two channels that differ, the samples that do), so that few are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qsim.ir import Tensor
from qsim.numerics import Array, IntFormat, Overflow, overflow

LANES = (2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True)
class Transport:
    """name, text, weight: as of an Alternative. codes: what arrives, (N, *shape)."""

    name: str
    text: str
    weight: int
    codes: Array


def transports(tensor: Tensor, sent: Array, seen: Array) -> Iterator[Transport]:
    """Every transport that could make ``seen`` out of ``sent``."""
    different = sent != seen
    for family in (_stuck, _shifted, _channels, _geometry, _samples, _words, _lanes, _offsets):
        for found in family(tensor, sent, seen, different):
            if found.codes.shape == sent.shape and not np.array_equal(found.codes, sent):
                yield found


def moved(sent: Array) -> Iterator[Transport]:
    """The transports that need no look at what arrived: for a stream that only a later op reads."""
    yield from _delays(sent)
    if sent.ndim > 2:
        yield _reversed(sent, 33)
    if sent.ndim == 4:
        yield from _turned(sent, 40)


def _stuck(tensor: Tensor, sent: Array, seen: Array, different: Array) -> Iterator[Transport]:
    value = int(seen.flat[0])
    if sent.size > 1 and bool((seen == value).all()):
        text = "no data at all: every code is 0" if not value else f"the output stuck: every code is {value}"
        yield Transport(name="stuck value", text=text, weight=9, codes=np.full_like(sent, value))
    width, mask = tensor.format.width, (1 << tensor.format.width) - 1
    bits, arrived = sent & mask, seen & mask
    for bit in range(width if width < 63 else 0):
        for level in (0, 1):
            if bool(((arrived >> bit & 1) == level).all()):
                forced = bits | (1 << bit) if level else bits & ~(1 << bit)
                text = f"bit {bit} of every code stuck at {level}"
                yield Transport(name="stuck bit", text=text, weight=30, codes=_signed(forced, tensor.format))
    if sent.ndim < 2:
        return
    for channel in _few(different, -1, 1):
        column = seen[..., channel]
        if column.size > 1 and bool((column == column.flat[0]).all()):
            codes = sent.copy()
            codes[..., channel] = column.flat[0]
            text = f"channel {channel} stuck: every code of it is {int(column.flat[0])}"
            yield Transport(name="stuck channel", text=text, weight=29, codes=codes)


def _signed(bits: Array, fmt: IntFormat) -> Array:
    return overflow(bits, fmt, Overflow.WRAP)


def _delays(sent: Array) -> Iterator[Transport]:
    """The stream of all samples late or early by one element, pixel or row; what comes first or last is 0, held, or
    wraps around in its frame."""
    frame = sent[0].size
    units = {"element": 1}
    if sent.ndim > 2:
        units["pixel"] = sent.shape[-1]
    if sent.ndim == 4:
        units["row"] = sent.shape[-1] * sent.shape[-2]
    for unit, beats in units.items():
        if beats >= frame:
            continue
        article = "an" if unit == "element" else "a"
        for late in (True, False):
            text = f"the stream {'late' if late else 'early'} by {article} {unit}"
            for codes in _shifts(sent, beats, late):
                yield Transport(name="stream late" if late else "stream early", text=text, weight=31, codes=codes)


def _shifts(sent: Array, beats: int, late: bool) -> Iterator[Array]:
    flat = sent.reshape(-1)
    frames = sent.reshape(len(sent), -1)
    for whole in (flat[None], frames):  # across frames, and each frame by itself
        for fill in ("zero", "held", "wrapped"):
            moved_by = np.roll(whole, beats if late else -beats, axis=1)
            edge = slice(0, beats) if late else slice(whole.shape[1] - beats, None)
            if fill == "zero":
                moved_by[:, edge] = 0
            elif fill == "held":
                moved_by[:, edge] = whole[:, :1] if late else whole[:, -1:]
            yield moved_by.reshape(sent.shape)


def _shifted(tensor: Tensor, sent: Array, seen: Array, different: Array) -> Iterator[Transport]:
    yield from _delays(sent)
    flat, arrived = sent.reshape(-1), seen.reshape(-1)
    frame = sent[0].size
    if len(sent) < 2 or frame < 3:
        return
    probe = arrived[: 2 * frame]
    for beats in range(2, frame):
        for late in (True, False):
            source = np.roll(flat, beats if late else -beats)
            inner = slice(beats, len(probe)) if late else slice(0, len(probe) - beats)
            if np.array_equal(source[inner], probe[inner]):
                ends = np.where(source == arrived, source, arrived)
                edge = slice(beats, None) if late else slice(0, len(flat) - beats)
                codes = ends.copy()
                codes[edge] = source[edge]
                text = f"frames that begin {beats} elements too {'late' if late else 'early'} (a misplaced TLAST)"
                yield Transport(name="frame boundary", text=text, weight=32, codes=codes.reshape(sent.shape))
                return


def _few(different: Array, axis: int, most: int) -> list[int]:
    """The places along ``axis`` at which anything differs, where they are at most ``most``."""
    moved_axis = np.moveaxis(different, axis, 0)
    places = np.flatnonzero(moved_axis.reshape(len(moved_axis), -1).any(axis=1))
    return [int(p) for p in places] if 0 < len(places) <= most else []


def _reversed(sent: Array, weight: int) -> Transport:
    text = "the channels in reverse order"
    return Transport(name="channels reversed", text=text, weight=weight, codes=sent[..., ::-1])


def _channels(tensor: Tensor, sent: Array, seen: Array, different: Array) -> Iterator[Transport]:
    channels = sent.shape[-1]
    if sent.ndim < 2 or channels < 2:
        return
    pair = _few(different, -1, 2)
    if len(pair) == 2:
        codes = sent.copy()
        codes[..., pair] = sent[..., pair[::-1]]
        text = f"channels {pair[0]} and {pair[1]} swapped"
        yield Transport(name="channels swapped", text=text, weight=27, codes=codes)
    if channels > 2:
        yield _reversed(sent, 27)
    for step in (1, -1):
        text = f"each channel in place of the one {'after' if step > 0 else 'before'} it"
        yield Transport(name="channels rotated", text=text, weight=28, codes=np.roll(sent, step, -1))


def _turned(sent: Array, weight: int) -> Iterator[Transport]:
    for axis, what in ((1, "rows"), (2, "columns")):
        if sent.shape[axis] < 2:
            continue
        for step in (1, -1):
            text = f"the {what} rolled by {step:+d}"
            yield Transport(name=f"{what} rolled", text=text, weight=weight, codes=np.roll(sent, step, axis))
        turned = "the picture upside down" if what == "rows" else "the picture mirrored"
        yield Transport(name=f"{what} reversed", text=turned, weight=weight, codes=np.flip(sent, axis))


def _geometry(tensor: Tensor, sent: Array, seen: Array, different: Array) -> Iterator[Transport]:
    if sent.ndim == 4:
        yield from _turned(sent, 28)
    for axis, what in ((1, "rows"), (2, "columns")):
        pair = _few(different, axis, 2) if sent.ndim == 4 else []
        if len(pair) == 2:
            codes = sent.copy()
            index: list[slice | list[int]] = [slice(None)] * 4
            index[axis] = pair
            other = list(index)
            other[axis] = pair[::-1]
            codes[tuple(index)] = sent[tuple(other)]
            text = f"{what} {pair[0]} and {pair[1]} swapped"
            yield Transport(name=f"{what} swapped", text=text, weight=29, codes=codes)


def _samples(tensor: Tensor, sent: Array, seen: Array, different: Array) -> Iterator[Transport]:
    if len(sent) < 2:
        return
    few = _few(different, 0, 2)
    if len(few) == 2:
        codes = sent.copy()
        codes[few] = sent[few[::-1]]
        text = f"samples {few[0]} and {few[1]} swapped"
        yield Transport(name="samples swapped", text=text, weight=26, codes=codes)
    for sample in few[:1] if len(few) == 1 else []:
        for other in (sample - 1, sample + 1):
            if 0 <= other < len(sent):
                codes = sent.copy()
                codes[sample] = sent[other]
                which = "before (a stale frame)" if other < sample else "after"
                text = f"sample {sample} showing the frame {which}"
                yield Transport(name="stale frame", text=text, weight=26, codes=codes)
    for late, name in ((True, "stale frames"), (False, "frames early")):
        codes = np.roll(sent, 1 if late else -1, 0)
        for first in (codes[0 if late else -1], np.zeros_like(sent[0]), sent[0 if late else -1]):
            whole = codes.copy()
            whole[0 if late else -1] = first
            text = f"every sample showing the frame {'before (late by a frame)' if late else 'after'}"
            yield Transport(name=name, text=text, weight=26, codes=whole)


def _words(tensor: Tensor, sent: Array, seen: Array, different: Array) -> Iterator[Transport]:
    """The code's bits read otherwise: sign, byte order, bit order."""
    width = tensor.format.width
    if width >= 63:
        return
    for bits in dict.fromkeys((width, 8, 16, 32)):
        if bits < width:
            continue
        for signed, text in ((False, "signed codes read as unsigned"), (True, "unsigned codes read as signed")):
            if signed != tensor.format.signed:
                codes = overflow(sent, IntFormat(bits, signed), Overflow.WRAP)
                yield Transport(name="signedness", text=f"{text} ({bits} bits)", weight=25, codes=codes)
    for size in (2, 4):
        if 8 * (size - 1) < width <= 8 * size or (size == 2 and width <= 8):
            raw = sent.astype(f"<i{size}").byteswap()
            for fmt in (IntFormat(8 * size, True), IntFormat(8 * size, False)):
                codes = overflow(raw.astype(np.int64), fmt, Overflow.WRAP)
                text = f"the bytes of each {8 * size}-bit word in the other order (endianness)"
                yield Transport(name="endianness", text=text, weight=27, codes=codes)
    if width > 1:
        turned = np.zeros_like(sent)
        for bit in range(width):
            turned |= (sent >> bit & 1) << (width - 1 - bit)
        text = "the bits of each code in reverse order"
        yield Transport(name="bits reversed", text=text, weight=29, codes=_signed(turned, tensor.format))


def _lanes(tensor: Tensor, sent: Array, seen: Array, different: Array) -> Iterator[Transport]:
    """Words of several elements whose lanes are exchanged."""
    for lanes in LANES:
        if sent[0].size % lanes or sent[0].size == lanes:
            continue
        words, wrong = sent.reshape(-1, lanes), different.reshape(-1, lanes)
        text = f"the {lanes} lanes of each word in reverse order"
        yield Transport(name="lanes reversed", text=text, weight=35, codes=words[:, ::-1].reshape(sent.shape))
        pair = _few(wrong, 1, 2)
        if len(pair) == 2:
            codes = words.copy()
            codes[:, pair] = words[:, pair[::-1]]
            text = f"lanes {pair[0]} and {pair[1]} of {lanes} swapped in each word"
            yield Transport(name="lanes swapped", text=text, weight=34, codes=codes.reshape(sent.shape))


def _offsets(tensor: Tensor, sent: Array, seen: Array, different: Array) -> Iterator[Transport]:
    """One constant added: to all codes, or to one channel's; clipped to the format or not."""
    delta = seen - sent
    channel = _few(different, -1, 1) if sent.ndim > 1 and sent.shape[-1] > 1 else []
    values, counts = np.unique(delta[different], return_counts=True)
    if not len(values):
        return
    step = int(values[counts.argmax()])
    where = f"channel {channel[0]}" if channel else "every code"
    mask = np.zeros(sent.shape, dtype=bool)
    mask[..., channel[0] if channel else slice(None)] = True
    plain = np.where(mask, sent + step, sent)
    low, high = int(min(sent.min(), tensor.range[0])), int(max(sent.max(), tensor.range[1]))
    for codes in (plain, np.clip(plain, low, high), np.clip(plain, tensor.format.low, tensor.format.high)):
        text = f"a constant {step:+d} added to {where}"
        yield Transport(name="constant offset", text=text, weight=63, codes=codes)
