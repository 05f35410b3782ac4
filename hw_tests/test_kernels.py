"""Every RTL kernel alone against a plain-Python oracle: frames back to back, idle gaps, backpressure, resets."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from harness import memory, run_kernel

FRAMES = 3


def codes(rng: random.Random, count: int, low: int, high: int) -> list[int]:
    """Random codes with both limits among them."""
    found = [rng.randint(low, high) for _ in range(count)]
    found[0], found[-1] = low, high
    return found


def rounded(value: Fraction, mode: str) -> int:
    """Each mode by its definition."""
    down, up = math.floor(value), math.ceil(value)
    middle = value - down == Fraction(1, 2)
    nearest = down if value - down < Fraction(1, 2) else up
    return {
        "TRN": down,
        "TRN_ZERO": down if value >= 0 else up,
        "RND": up if middle else nearest,
        "RND_ZERO": (down if value >= 0 else up) if middle else nearest,
        "RND_MIN_INF": down if middle else nearest,
        "RND_INF": (up if value >= 0 else down) if middle else nearest,
        "RND_CONV": (down if down % 2 == 0 else up) if middle else nearest,
    }[mode]


@pytest.mark.parametrize("depth", [1, 2, 5, 65, 70])
def test_fifo(depth: int, tmp_path: Path) -> None:
    data = codes(random.Random(1), 300, 0, 255)
    run_kernel("qsim_fifo", {"WIDTH": 8, "DEPTH": depth}, [(8, data)], data, tmp_path)


def convolve(x: dict, w: dict, bias: list[int], shape: dict) -> list[int]:
    """One frame by the definition: x[r, c, k], w[u, v, k, o]; positions outside count nothing."""
    out = []
    for i in range(shape["OH"]):
        for j in range(shape["OW"]):
            for o in range(len(bias)):
                group = o // (len(bias) // shape["GROUPS"])
                total = bias[o]
                for u in range(shape["KH"]):
                    for v in range(shape["KW"]):
                        r = i * shape["SH"] + u * shape["DH"] - shape["TOP"]
                        c = j * shape["SW"] + v * shape["DW"] - shape["LEFT"]
                        if 0 <= r < shape["H"] and 0 <= c < shape["W"]:
                            for k in range(shape["CG"]):
                                value = x[r, c, group * shape["CG"] + k] - shape["ZERO"]
                                total += (w[u, v, k, o] * value) << shape["SHIFT"]
                out.append(total)
    return out


CONVOLUTIONS = {
    "word 2, lanes 3, padded, dilated": {
        "H": 5, "W": 4, "CG": 4, "GROUPS": 1, "OUT": 6, "OH": 3, "OW": 4, "KH": 3, "KW": 2, "SH": 2, "SW": 1, "DH": 2,
        "DW": 1, "TOP": 2, "LEFT": 1, "WORD": 2, "LANES": 3, "SHARED": 1, "ZERO": -5, "SHIFT": 2, "DEPTH": 64,
    },
    "groups, stride over the kernel": {
        "H": 7, "W": 5, "CG": 2, "GROUPS": 2, "OUT": 4, "OH": 3, "OW": 2, "KH": 1, "KW": 2, "SH": 3, "SW": 3, "DH": 1,
        "DW": 1, "TOP": 0, "LEFT": 0, "WORD": 1, "LANES": 1, "SHARED": 1, "ZERO": 0, "SHIFT": 0, "DEPTH": 32,
    },
    "depthwise, two channels side by side": {
        "H": 3, "W": 3, "CG": 1, "GROUPS": 4, "OUT": 8, "OH": 3, "OW": 3, "KH": 3, "KW": 3, "SH": 1, "SW": 1, "DH": 1,
        "DW": 1, "TOP": 1, "LEFT": 1, "WORD": 2, "LANES": 4, "SHARED": 0, "ZERO": 3, "SHIFT": 0, "DEPTH": 64,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """Values that weights take, the code that stands for each, and the parameters of qsim_mac; x: the inputs about
    their zero point."""

    values: list[int]
    codes: list[int]
    bits: int
    x: list[int]
    parameters: dict[str, object]


KINDS = {
    "MULTIPLY": Weights(list(range(-4, 4)), [4, 5, 6, 7, 0, 1, 2, 3], 3, list(range(-20, 20)), {}),
    "ADD, two bits": Weights([-5, 0, 5], [3, 0, 1], 2, list(range(-20, 20)), {"X_WIDTH": 6, "SCALE": 5}),
    "ADD, one bit": Weights([-1, 1], [0, 1], 1, list(range(-20, 20)), {"X_WIDTH": 6}),
    "SHIFT": Weights([0, 1, -1, 2, -8, 8], [0, 1, 9, 2, 12, 4], 4, list(range(-20, 20)),
                     {"X_WIDTH": 6, "EXPONENT": 3, "ZEROS": 1}),
    "SHIFT without zero": Weights([3, -6, 24], [0, 5, 3], 3, [-3, 0, 2], {"X_WIDTH": 3, "EXPONENT": 3, "SCALE": 3}),
    "PLANES": Weights([-1, 1], [0, 1], 1, [-4, -3, 0, 1, 2, 3], {"X_WIDTH": 3}),
    "PLANES, unsigned": Weights([-6, 6], [0, 1], 1, [0, 1, 2, 3], {"X_WIDTH": 2, "X_SIGNED": 0, "SCALE": 6}),
    "XNOR": Weights([-2, 2], [0, 1], 1, [-3, 3], {"X_WIDTH": 1, "X_SIGNED": 0, "SCALE": 6}),
}  # fmt: skip

DEFAULT = [(name, "MULTIPLY") for name in CONVOLUTIONS] + [(next(iter(CONVOLUTIONS)), "XNOR")]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=() if (name, kind) in DEFAULT else pytest.mark.slow)
        for name in CONVOLUTIONS
        for kind in KINDS
    ],
)
def test_mac(name: str, kind: str, tmp_path: Path) -> None:
    s, weights = CONVOLUTIONS[name], KINDS[kind]
    if kind.startswith("PLANES") and not s["SHARED"]:
        pytest.skip("bit planes are for lanes that share their inputs")
    rng = random.Random(name + kind)
    channels, out = s["CG"] * s["GROUPS"], s["OUT"]
    positions = [
        (u, v, k, o) for u in range(s["KH"]) for v in range(s["KW"]) for k in range(s["CG"]) for o in range(out)
    ]
    corners = [*weights.values, *(rng.choice(weights.values) for _ in positions)]
    w = dict(zip(positions, corners))
    code = {at: weights.codes[weights.values.index(value)] for at, value in w.items()}
    bias = codes(rng, out, -100, 100)
    size = s["H"] * s["W"] * channels
    x_values = [max(-32, min(31, value + s["ZERO"])) for value in weights.x]
    frames = [[*x_values[:size], *(rng.choice(x_values) for _ in range(size - len(x_values)))] for _ in range(FRAMES)]
    for frame in frames:
        rng.shuffle(frame)
    expected = []
    for frame in frames:
        x = {
            (r, c, k): frame[(r * s["W"] + c) * channels + k]
            for r in range(s["H"])
            for c in range(s["W"])
            for k in range(channels)
        }
        expected += convolve(x, w, bias, s)
    # The order of the walk: group, tile, kernel row, kernel column, channel word; within a word lanes, then elements.
    words = []
    if s["SHARED"]:
        groups, tiles = s["GROUPS"], out // s["GROUPS"] // s["LANES"]
        for g in range(groups):
            for t in range(tiles):
                for u in range(s["KH"]):
                    for v in range(s["KW"]):
                        for cw in range(s["CG"] // s["WORD"]):
                            word = 0
                            for lane in range(s["LANES"]):
                                for e in range(s["WORD"]):
                                    o = (g * tiles + t) * s["LANES"] + lane
                                    at = weights.bits * (lane * s["WORD"] + e)
                                    word |= code[u, v, cw * s["WORD"] + e, o] << at
                            words.append(word)
    else:
        groups, tiles = s["GROUPS"] // s["WORD"], 1
        for g in range(groups):
            for u in range(s["KH"]):
                for v in range(s["KW"]):
                    lanes = range(s["LANES"])
                    words.append(sum(code[u, v, 0, g * s["LANES"] + n] << (weights.bits * n) for n in lanes))
    biases = [sum((bias[i + n] & 0xFFFF) << (16 * n) for n in range(s["LANES"])) for i in range(0, out, s["LANES"])]
    width = weights.bits * s["LANES"] * (s["WORD"] if s["SHARED"] else 1)
    names = ("H", "W", "OH", "OW", "KH", "KW", "SH", "SW", "DH", "DW", "TOP", "LEFT", "WORD", "LANES", "SHARED", "ZERO")
    parameters = {n: s[n] for n in (*names, "SHIFT", "DEPTH")} | weights.parameters | {
        "WIDTH": 6, "C": channels, "GROUPS": groups, "TILES": tiles, "CREDITS": 2, "W_WIDTH": weights.bits,
        "OUT_WIDTH": 16, "KIND": f'"{kind.split(",")[0].split(" ")[0]}"', "HIGH": s["ZERO"] + weights.x[-1],
        "WEIGHTS": memory(tmp_path, "weights.mem", width, words),
        "BIAS": memory(tmp_path, "bias.mem", 16 * s["LANES"], biases),
    }  # fmt: skip
    run_kernel("qsim_mac", parameters, [(6, [c for f in frames for c in f])], expected, tmp_path)


@pytest.mark.parametrize("maximum", [0, 1])
def test_pool(maximum: int, tmp_path: Path) -> None:
    rng = random.Random(7)
    h, w, ch, oh, ow = 5, 4, 3, 3, 2
    frames = [codes(rng, h * w * ch, -16, 15) for _ in range(FRAMES)]
    expected = []
    for frame in frames:
        for i in range(oh):
            for j in range(ow):
                for k in range(ch):
                    rows = [r for r in range(i * 2 - 1, i * 2 + 2) if 0 <= r < h]
                    columns = [c for c in range(j * 2 - 1, j * 2 + 1) if 0 <= c < w]
                    window = [frame[(r * w + c) * ch + k] for r in rows for c in columns]
                    expected.append(max(window) if maximum else sum(window))
    parameters = {
        "MAXIMUM": maximum, "WIDTH": 5, "H": h, "W": w, "C": ch, "OH": oh, "OW": ow, "KH": 3, "KW": 2, "SH": 2, "SW": 2,
        "TOP": 1, "LEFT": 1, "DEPTH": 64, "CREDITS": 3, "OUT_WIDTH": 5 if maximum else 8,
    }  # fmt: skip
    run_kernel("qsim_pool", parameters, [(5, [c for f in frames for c in f])], expected, tmp_path)


@pytest.mark.parametrize("mode", ["TRN", "TRN_ZERO", "RND", "RND_ZERO", "RND_MIN_INF", "RND_INF", "RND_CONV"])
def test_requantize_every_code(mode: str, tmp_path: Path) -> None:
    """All 256 codes through two channels: multiplier 3 and shift 3, and a left shift by one."""
    x = [code for value in range(-128, 128) for code in (value, value)]
    expected = []
    for value in range(-128, 128):
        first = rounded(Fraction(value * 3 + 1, 8), mode) + 2
        second = (value - 5) * 2 + 2
        expected += [min(max(first, -40), 45), min(max(second, -40), 45)]
    table = [3 | 1 << 4 | 3 << 9, 1 | (-10 & 31) << 4 | (-1 & 127) << 9]
    # Channel 1 is (x * 1 - 5) * 2; its addend is -5.
    table[1] = 1 | (-5 & 31) << 4 | (-1 & 127) << 9
    parameters = {
        "WIDTH": 8, "MODE": f'"{mode}"', "M_WIDTH": 4, "A_WIDTH": 5, "S_WIDTH": 7, "P_WIDTH": 12, "R_WIDTH": 14,
        "X_WIDTH": 9, "V_WIDTH": 16, "Y_ZERO": 2, "LOW": -40, "HIGH": 45, "OUT_WIDTH": 7, "PERIOD": 2,
        "TABLE": memory(tmp_path, "table.mem", 16, table),
    }  # fmt: skip
    run_kernel("qsim_requantize", parameters, [(8, x)], expected, tmp_path, rounds=((0.0, 0.0), (0.2, 0.3)))


def high_product(a: int, b: int) -> int:
    """gemmlowp's SaturatingRoundingDoublingHighMul by its text: a nudge by sign, a quotient that truncates."""
    product = a * b
    nudged = product + ((1 << 30) if product >= 0 else 1 - (1 << 30))
    quotient = abs(nudged) >> 31
    return min(quotient if nudged >= 0 else -quotient, (1 << 31) - 1)


@pytest.mark.parametrize(("width", "left"), [(32, 1), (20, 0)])
def test_requantize_doubling_high_product(width: int, left: int, tmp_path: Path) -> None:
    """Both ends, ties about zero, the one product that saturates; channels that shift left, right and not at all."""
    rng, least = random.Random(width), -(1 << (width - 1))
    edges = [least, least + 1, -3, -2, -1, 0, 1, 2, 3, -least - 1, 1 << (width - 2), -(1 << (width - 2))]
    x = [v for v in [*edges, *(rng.randint(least, -least - 1) for _ in range(150))] for _ in range(4)]
    channels = [(-(1 << 31), 0), (1 << 30, 1), (1518500250, 9), (2147483647, -2 if left else 3)]
    table = [m & 0xFFFFFFFF | (s & 63) << 33 for m, s in channels]
    expected = []
    for value, (m, s) in zip(x, channels * (len(x) // 4)):
        shifted = (value << max(-s, 0)) + (1 << 31) & 0xFFFFFFFF
        high = high_product(shifted - (1 << 31), m)
        expected.append(min(max(rounded(Fraction(high, 1 << max(s, 0)), "RND_INF"), -(1 << 30)), 1 << 30))
    parameters = {
        "WIDTH": width, "SCHEME": '"SRDHM"', "MODE": '"RND_INF"', "M_WIDTH": 32, "A_WIDTH": 1, "S_WIDTH": 6,
        "P_WIDTH": 33, "R_WIDTH": 34, "X_WIDTH": width + 1, "V_WIDTH": 36, "LOW": -(1 << 30), "HIGH": 1 << 30,
        "OUT_WIDTH": 32, "PERIOD": 4, "LEFT": left, "TABLE": memory(tmp_path, "table.mem", 39, table),
    }  # fmt: skip
    run_kernel("qsim_requantize", parameters, [(width, x)], expected, tmp_path, rounds=((0.0, 0.0), (0.2, 0.3)))


def test_divide_every_code(tmp_path: Path) -> None:
    """Rounding half to even of (3x - 4) / 12 over all codes of nine bits, ties and negatives among them."""
    x = list(range(-256, 256))
    expected = [min(max(rounded(Fraction(v * 3 - 4, 12), "RND_CONV") + 1, -50), 60) for v in x]
    shift, divisor = 10 + 4, 12
    reciprocal = -(-(1 << shift) // divisor)
    word = (3 & 7) | (-4 & 15) << 3 | divisor << 7 | reciprocal << 12
    parameters = {
        "WIDTH": 9, "MODE": '"RND_CONV"', "N_WIDTH": 3, "A_WIDTH": 4, "D_WIDTH": 5, "M_WIDTH": 12, "P_WIDTH": 12,
        "V_WIDTH": 14, "SHIFT": shift, "Y_ZERO": 1, "LOW": -50, "HIGH": 60, "OUT_WIDTH": 7, "PERIOD": 1,
        "TABLE": memory(tmp_path, "table.mem", 24, [word]),
    }  # fmt: skip
    run_kernel("qsim_divide", parameters, [(9, x)], expected, tmp_path, rounds=((0.0, 0.0), (0.2, 0.3)))


def test_threshold(tmp_path: Path) -> None:
    """Two channels, five thresholds each (equal ones among them), falling steps in the second."""
    rng = random.Random(3)
    limits = [sorted(rng.randint(-30, 30) for _ in range(5)), [-7, -7, 0, 12, 31]]
    base, step = [-3, 6], [1, -2]
    x = [code for v in range(-32, 32) for code in (v, v)]
    expected = [base[i % 2] + step[i % 2] * sum(v >= t for t in limits[i % 2]) for i, v in enumerate(x)]
    for level in range(3):
        unit = 1 << (3 - level)
        words = []
        for row in limits:
            full = [*row, 32, 32, 32]
            words += [full[p * unit + unit // 2 - 1] for p in range(1 << level)]
        memory(tmp_path, f"level{level:02d}.mem", 8, words)
    parameters = {
        "WIDTH": 6, "OUT_WIDTH": 5, "LEVELS": 3, "PERIOD": 2, "MEMORIES": f'"{tmp_path / "level"}"',
        "CODES": memory(tmp_path, "codes.mem", 10, [(b & 31) | (d & 31) << 5 for b, d in zip(base, step)]),
    }  # fmt: skip
    run_kernel("qsim_threshold", parameters, [(6, x)], expected, tmp_path)


def test_lookup(tmp_path: Path) -> None:
    rng = random.Random(4)
    tables = [codes(rng, 16, -8, 7) for _ in range(3)]
    x = codes(rng, 90, -5, 10)
    expected = [tables[i % 3][v + 5] for i, v in enumerate(x)]
    parameters = {
        "WIDTH": 5, "OUT_WIDTH": 4, "ENTRY": 4, "TABLE_LOW": -5, "PERIOD": 3,
        "TABLE": memory(tmp_path, "table.mem", 4, [v for t in tables for v in t]),
    }  # fmt: skip
    run_kernel("qsim_lookup", parameters, [(5, x)], expected, tmp_path)


def test_reduce_and_argmax(tmp_path: Path) -> None:
    rng = random.Random(5)
    reduced, inner, outer = 4, 3, 5
    x = codes(rng, outer * reduced * inner, -3, 3)
    columns = [[x[(a * reduced + r) * inner + b] for r in range(reduced)] for a in range(outer) for b in range(inner)]
    common = {"WIDTH": 3, "REDUCED": reduced, "INNER": inner}
    for kind, function, width in (("SUM", sum, 5), ("MIN", min, 3), ("MAX", max, 3)):
        parameters = common | {"KIND": f'"{kind}"', "OUT_WIDTH": width}
        run_kernel("qsim_reduce", parameters, [(3, x)], [function(c) for c in columns], tmp_path / kind)
    expected = [column.index(max(column)) for column in columns]
    run_kernel("qsim_argmax", common | {"OUT_WIDTH": 2}, [(3, x)], expected, tmp_path / "argmax")


def test_concat(tmp_path: Path) -> None:
    rng = random.Random(6)
    streams = [codes(rng, 4 * n, -16, 15) for n in (2, 1, 3)]
    expected = [code for f in range(4) for stream, n in zip(streams, (2, 1, 3)) for code in stream[f * n : (f + 1) * n]]
    parameters = {"COUNT": 3, "WIDTH": 5, "OUT_WIDTH": 5, "LENGTHS": "96'h000000030000000100000002"}
    run_kernel("qsim_concat", parameters, [(5, s) for s in streams], expected, tmp_path)


def test_pad_and_crop(tmp_path: Path) -> None:
    """A 2 x 3 box, every second column, inside 4 x 7: filled around and between, and cut out."""
    rng = random.Random(8)
    box = [(r, c) for r in (1, 2) for c in (1, 3, 5)]
    geometry = {
        "RANK": 2,
        "BOUNDS": "64'h0000000400000007",
        "BEFORE": "64'h0000000100000001",
        "SIZES": "64'h0000000200000003",
        "STEPS": "64'h0000000100000002",
    }
    small = codes(rng, FRAMES * len(box), -8, 7)
    padded = []
    for f in range(FRAMES):
        values = dict(zip(box, small[f * len(box) :]))
        padded += [values.get((r, c), -9) for r in range(4) for c in range(7)]
    pad = geometry | {"WIDTH": 4, "OUT_WIDTH": 5, "VALUE": "5'h17"}
    run_kernel("qsim_pad", pad, [(4, small)], padded, tmp_path / "pad")
    large = codes(rng, FRAMES * 28, -16, 15)
    cut = [large[f * 28 + r * 7 + c] for f in range(FRAMES) for r, c in box]
    run_kernel("qsim_crop", geometry | {"WIDTH": 5}, [(5, large)], cut, tmp_path / "crop")


def test_permute_and_repeat(tmp_path: Path) -> None:
    rng = random.Random(9)
    index = [5, 0, 0, 3, 2, 4, 1, 5]
    x = codes(rng, 4 * 6, 0, 31)
    expected = [x[f * 6 + i] for f in range(4) for i in index]
    permute = {"WIDTH": 5, "SIZE": 6, "OUT_SIZE": 8, "INDEX": memory(tmp_path, "index.mem", 3, index)}
    run_kernel("qsim_permute", permute, [(5, x)], expected, tmp_path / "permute")
    repeated = [code for f in range(8) for _ in range(4) for code in x[f * 3 : f * 3 + 3]]
    run_kernel("qsim_repeat", {"WIDTH": 5, "TIMES": 4, "INNER": 3}, [(5, x)], repeated, tmp_path / "repeat")


def test_matmul(tmp_path: Path) -> None:
    rng = random.Random(10)
    n, rows, inner, columns = 2, 2, 3, 4
    a = codes(rng, FRAMES * n * rows * inner, -8, 7)
    b = codes(rng, FRAMES * n * inner * columns, 0, 15)
    expected = [
        sum((a[(m * rows + i) * inner + j] - 2) * (b[(m * inner + j) * columns + k] + 1) for j in range(inner))
        for m in range(FRAMES * n)
        for i in range(rows)
        for k in range(columns)
    ]
    parameters = {
        "A_WIDTH": 4, "A_ZERO": 2, "B_WIDTH": 4, "B_SIGNED": 0, "B_ZERO": -1, "OUT_WIDTH": 10, "BATCHES": n,
        "ROWS": rows, "INNER": inner, "COLUMNS": columns,
    }  # fmt: skip
    run_kernel("qsim_matmul", parameters, [(4, a), (4, b)], expected, tmp_path)


def test_the_bench_notices_a_wrong_result(tmp_path: Path) -> None:
    data = codes(random.Random(2), 40, 0, 255)
    wrong = [*data[:25], data[25] ^ 1, *data[26:]]
    with pytest.raises(AssertionError, match="beat 25"):
        run_kernel("qsim_fifo", {"WIDTH": 8, "DEPTH": 2}, [(8, data)], wrong, tmp_path)
