"""Faults of one line that the default tests must notice: where, what stands there, what stands there instead, and the
narrow tests that shall fail. ``benchmarks/mutants.py`` (``make mutants``) applies each to a copy and runs its tests."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """path: from the top of the checkout. old: stands in it exactly once. tests: pytest's arguments."""

    path: str
    old: str
    new: str
    tests: tuple[str, ...]


SHIFTS = ("tests/numerics/test_numerics.py", "-k", "shift_rounded")
DIVISIONS = ("tests/numerics/test_numerics.py", "-k", "divide_rounded")
OVERFLOWS = ("tests/numerics/test_numerics.py", "-k", "overflow")
SCHEMES = ("tests/numerics/test_numerics.py", "-k", "rescale or srdhm or documented or quantize_multiplier")
FORMATS = ("tests/numerics/test_numerics.py", "-k", "format or fits or periodic")
RANGES = ("tests/proof/test_ranges.py", "tests/proof/test_intervals.py")
KINDS = ("tests/proof/test_range_kinds.py",)
STEPS = ("tests/proof/test_steps.py",)
EXACT = ("tests/proof/test_exact.py",)
WEIGHTS = ("tests/proof/test_weights.py",)
KERNELS = ("tests/reference/test_kernels.py", "-k", "not random")
IR = ("tests/ir/test_graph.py",)
NATIVE = ("tests/simulate/test_native.py", "-k", "every_operation")
DEPTHS = ("tests/targets/rtl/test_schedule.py", "-k", "depths_are_the_least or interval_is")
MEMORY = ("tests/targets/c/test_memory.py",)
FIFO = ("tests/targets/hls/test_fifo.py", "-k", "needs_grow or meeting_points")
ARRAYS = ("tests/compare/test_arrays.py",)
FILES = ("tests/targets/test_files.py", "-k", "not standard")
PROCESS = ("tests/test_process.py", "-k", "limit or variable or waits or lost")
IDENTIFIERS = ("tests/targets/test_identifiers.py",)


def c(graph: str) -> tuple[str, ...]:
    """The emitted C of one graph against simulator and oracle."""
    return (f"tests/targets/c/test_run.py::test_every_tensor_equals_simulator_and_oracle[{graph}]",)


def hls(graph: str) -> tuple[str, ...]:
    """The emitted HLS C++ of one graph against simulator and oracle."""
    return (f"tests/targets/hls/test_run.py::test_every_tensor_equals_simulator_and_oracle[{graph}]",)


def rtl(graph: str) -> tuple[str, ...]:
    """The emitted RTL of one graph: codes, cycles, gaps."""
    return (f"tests/targets/rtl/test_schedule.py::test_every_op[{graph}]",)


ROUNDING, OVERFLOW, RESCALE = "qsim/numerics/rounding.py", "qsim/numerics/overflow.py", "qsim/numerics/rescale.py"
COMBINE, LINEAR = "qsim/proof/ranges/combine.py", "qsim/proof/ranges/linear.py"
REFERENCE = "qsim/reference/"
C_LIB, HLS_LIB, RTL_LIB = "templates/c/lib/", "templates/hls/lib/", "templates/rtl/lib/"

MUTANTS = (
    # --- numerics
    Mutant(ROUNDING, "negative: above | (tie & negative),", "negative: above | tie,", SHIFTS),
    Mutant(ROUNDING, "above | (tie & ~negative)", "above | (tie & negative)", SHIFTS),
    Mutant(ROUNDING, "(floor % 2 == 1)", "(floor % 2 == 0)", SHIFTS),
    Mutant(ROUNDING, "twice_remainder > divisor, twice", "twice_remainder >= divisor, twice", SHIFTS),
    Mutant(ROUNDING, "(s > 61).any()", "(s > 63).any()", SHIFTS),
    Mutant(
        ROUNDING,
        "up = _round_up(floor, twice_remainder, d,",
        "up = _round_up(floor, twice_remainder, d + 1,",
        DIVISIONS,
    ),
    Mutant(OVERFLOW, "(-fmt.high if fmt.signed else 0, fmt.high) if", "(fmt.low, fmt.high) if", OVERFLOWS),
    Mutant(OVERFLOW, "(x < fmt.low) | (x > fmt.high)", "(x < fmt.low) | (x >= fmt.high)", OVERFLOWS),
    Mutant(OVERFLOW, "lowest_dropped != kept_sign", "lowest_dropped == kept_sign", OVERFLOWS),
    Mutant(RESCALE, "product += 1 << 30", "product += 1 << 29", SCHEMES),
    Mutant(RESCALE, "x * r.multiplier.values, 31 + r.shift", "x * r.multiplier.values, 30 + r.shift", SCHEMES),
    Mutant(RESCALE, "if exponent < -31:", "if exponent < -30:", SCHEMES),
    Mutant(RESCALE, "mode is Rounding.RND_INF:", "mode is not Rounding.RND_INF:", SCHEMES),
    Mutant("qsim/numerics/bounds.py", "INT64_SAFE = (1 << 62) - 1", "INT64_SAFE = (1 << 62)", FORMATS),
    Mutant("qsim/numerics/formats.py", "max((-low - 1).bit_length()", "max((-low).bit_length()", FORMATS),
    Mutant("qsim/numerics/formats.py", "width - int(match[3])", "width + int(match[3])", FORMATS),
    Mutant("qsim/numerics/intarray.py", "rest == rest[:1]", "rest >= rest[:1]", FORMATS),
    Mutant(
        "qsim/numerics/nearest.py", "Rounding.RND_INF: lambda k: k > 0", "Rounding.RND_INF: lambda k: k >= 0", EXACT
    ),
    # --- proofs
    Mutant(COMBINE, "0, np.minimum(low * low, high * high))", "0, low * low)", RANGES),
    Mutant(COMBINE, "np.where((low <= 0) & (high >= 0), 0, np", "np.where((low <= 0) | (high >= 0), 0, np", RANGES),
    Mutant(COMBINE, "np.maximum(low * low, high * high))", "high * high)", RANGES),
    Mutant(COMBINE, "i.high if s > 0 else i.low", "i.high", RANGES),
    Mutant(LINEAR, "positive_low + negative_high + offset", "positive_low + negative_low + offset", RANGES),
    Mutant(LINEAR, "picked, op.input_zero_point)", "picked, 0)", KINDS),
    Mutant(LINEAR, "* op.dilation[axis] - op.padding[axis][0]", "* op.dilation[axis] - op.padding[axis][1]", KINDS),
    Mutant(LINEAR, "<< op.product_shift\n    bias", "<< 0\n    bias", RANGES),
    Mutant("qsim/proof/ranges/rescale.py", "for d in (-1, 0)]", "for d in (0, 0)]", RANGES),
    Mutant("qsim/proof/ranges/rescale.py", "np.clip(before.high, op.low, op.high), 0)", "before.high, 0)", RANGES),
    Mutant(
        "qsim/proof/steps.py", "results += (value // d, -(-value // d))", "results += (value // d, value // d)", STEPS
    ),
    Mutant("qsim/proof/steps.py", "low = sum(min(0, term[0])", "low = sum(max(0, term[0])", STEPS),
    Mutant("qsim/proof/steps.py", "max(0, -r.shift.low), max(0, -r.shift.high)", "0, max(0, -r.shift.high)", STEPS),
    Mutant("qsim/proof/exact.py", "product + ~self.up", "product", EXACT),
    Mutant("qsim/proof/exact.py", "x - 1 for x in at]", "x for x in at]", EXACT),
    Mutant("qsim/proof/exact.py", "min(max(0, least), most), shift", "most, shift", EXACT),
    Mutant("qsim/proof/weights.py", "if max(-low, high) <= 1:", "if max(low, high) <= 1:", WEIGHTS),
    Mutant("qsim/proof/weights.py", "pair[0] + pair[1] != 2 * op", "pair[0] + pair[1] != op", WEIGHTS),
    # --- the reference kernels and the graph
    Mutant(REFERENCE + "combine.py", "sign * ((x - zero) << shift)", "((x - zero) << shift)", KERNELS),
    Mutant(
        REFERENCE + "rescale.py",
        "np.where(x < 0, rescale(x, op.negative), y)",
        "np.where(x <= 1, rescale(x, op.negative), y)",
        KERNELS,
    ),
    Mutant(
        REFERENCE + "rescale.py",
        'np.searchsorted(table[0], x.reshape(-1), side="right")',
        'np.searchsorted(table[0], x.reshape(-1), side="left")',
        KERNELS,
    ),
    Mutant(
        REFERENCE + "linear.py",
        "for u in range(kh):\n        for v in range(kw):\n            part",
        "for u in range(kh):\n        for v in range(kw - 1, kw):\n            part",
        KERNELS,
    ),
    Mutant(REFERENCE + "pool.py", "np.iinfo(np.int64).min)", "0)", KERNELS),
    Mutant(
        REFERENCE + "windows.py",
        "(kernel[0] - 1) * dilation[0] - 1) // strides[0] + 1",
        "(kernel[0] - 1) * dilation[0] - 1) // strides[1] + 1",
        KERNELS,
    ),
    Mutant(REFERENCE + "move.py", "b + s * np.arange(n)", "b + np.arange(n)", KERNELS),
    Mutant("qsim/ir/graph.py", "low > high or not out.format.holds(low, high)", "low > high", IR),
    # --- the simulator's compiled kernels
    Mutant(
        "qsim/simulate/native/csrc/round.h",
        "default: up = (T)(twice > power) | ((T)(twice == power) & (floor & 1))",
        "default: up = (T)(twice >= power)",
        NATIVE,
    ),
    Mutant("qsim/simulate/native/csrc/round.h", "return dropped != sign ?", "return dropped == sign ?", NATIVE),
    # --- emitted C
    Mutant(C_LIB + "qsim_round.h", "- 1 + ((value >> shift) & 1)", "- 1 + (value & 1)", c("rounding_modes")),
    Mutant(C_LIB + "qsim_round.h", "- (value < 0)) >> shift", "- (value > 0)) >> shift", c("rounding_modes")),
    Mutant(C_LIB + "qsim_overflow.h", "dropped != (kept < 0)", "dropped == (kept < 0)", c("overflow_modes")),
    Mutant(C_LIB + "qsim_tflite.h", ": 1 - (INT64_C(1) << 30);", ": -(INT64_C(1) << 30);", c("schemes")),
    Mutant(C_LIB + "qsim_tflite.h", "(31 + rescale->shift[c], 63)", "(31 + rescale->shift[c], 61)", c("schemes")),
    Mutant("qsim/simulate/native/chains.py", "(low >= -30 and high <= 31)", "(low >= -30 and high <= 40)", NATIVE),
    Mutant(
        C_LIB + "qsim_divide_round.h",
        "quotient + (rest >= divisor - rest)",
        "quotient + (rest > divisor - rest)",
        c("rounding_modes"),
    ),
    Mutant(
        C_LIB + "qsim_threshold.h", "(QSIM_T)x >= (QSIM_T)thresholds", "(QSIM_T)x > (QSIM_T)thresholds", c("lookups")
    ),
    Mutant(
        C_LIB + "qsim_combine.h",
        "p->b_factor * ((QSIM_T)QSIM_B_AT(i) - p->b_zero_point)",
        "p->b_factor * ((QSIM_T)QSIM_B_AT(i) - p->a_zero_point)",
        c("broadcasting"),
    ),
    Mutant(C_LIB + "qsim_fixed_point.h", "bit < 7; ++bit", "bit < 3; ++bit", c("softmaxes")),
    Mutant(
        "qsim/targets/c/lower/rescale.py",
        "np.minimum(s, t.bits - 1), U8)",
        "np.minimum(s, t.bits - 2), U8)",
        c("rounding_modes"),
    ),
    Mutant("qsim/targets/c/memory.py", "self.first <= other.last and", "self.first < other.last and", MEMORY),
    # --- emitted HLS C++
    Mutant(
        HLS_LIB + "qsim_round.h",
        "return guard && (sticky || odd);",
        "return guard && (sticky || !odd);",
        hls("roundings"),
    ),
    Mutant(HLS_LIB + "qsim_rescale.h", "(product < 0 ? ap_int<65>(1 - half) : half)", "half", hls("tflite_schemes")),
    Mutant(HLS_LIB + "qsim_pool.h", "(v == 0 || c == 0);", "(v == 0);", hls("pools")),
    Mutant(
        "qsim/targets/hls/fifo.py",
        "behind = int((supply[1:] - taken).max())",
        "behind = int((supply[1:] - taken).max()) - 1",
        ("tests/targets/hls/test_fifo.py", "-k", "depths"),
    ),
    # --- emitted RTL
    Mutant(
        RTL_LIB + "qsim_fifo.sv",
        "assign in_ready  = count_q != CNT'(DEPTH);",
        "assign in_ready  = count_q != CNT'(DEPTH - 1);",
        rtl("merges"),
    ),
    Mutant(
        RTL_LIB + "qsim_overflow.sv",
        "value[OUT_WIDTH] != value[OUT_WIDTH-1]) ?",
        "value[OUT_WIDTH] == value[OUT_WIDTH-1]) ?",
        rtl("roundings"),
    ),
    Mutant(RTL_LIB + "qsim_threshold.sv", "x[l] >= rom[address]", "x[l] > rom[address]", rtl("tables")),
    Mutant(
        "qsim/targets/rtl/network/schedule.py",
        "high, enough = middle, trial",
        "high, enough = middle - 1, trial",
        DEPTHS,
    ),
    Mutant(
        "qsim/targets/rtl/emit.py",
        "depth=d.schedule.depths[link])",
        "depth=d.schedule.depths[link] - 1)",
        ("tests/targets/rtl/test_emit.py", "-k", "depth"),
    ),
    # --- what compares, writes and runs
    Mutant(
        "qsim/compare/report.py",
        "counts[name] = int(np.count_nonzero(different))",
        "counts[name] = int(np.count_nonzero(different[1:]))",
        ("tests/compare/test_report.py",),
    ),
    Mutant(
        "qsim/compare/arrays.py",
        "member.file_size > member.compress_size * _DEFLATE + 4096",
        "member.file_size < 0",
        ARRAYS,
    ),
    Mutant("qsim/targets/files.py", "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB", FILES),
    Mutant("qsim/targets/files.py", "if name not in stays:", "if True:", FILES),
    Mutant("qsim/process.py", "start_new_session=True", "start_new_session=False", PROCESS),
    Mutant("qsim/targets/text.py", '.replace("/*", "/ *")', "", IDENTIFIERS),
    Mutant("qsim/targets/text.py", "name[0].isdigit() or name in _KEYWORDS", "name[0].isdigit()", IDENTIFIERS),
)
