"""Every quantizer with every argument, as the graph computes it, over all codes of its input, against qkeras-v3: 2**9
of them in the default run, 2**16 on two grids in the slow one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import qsim
from qsim.numerics import parse_format

tf = pytest.importorskip("tensorflow")
qkeras = pytest.importorskip("qkeras")
keras = pytest.importorskip("keras")

FORMATS = (
    "fixed<9,3>",
    pytest.param("fixed<16,4>", marks=pytest.mark.slow),
    pytest.param("fixed<16,9>", marks=pytest.mark.slow),
)
"""Steps of 2**-6 within +-4, of 2**-12 within +-8, of 2**-7 within +-256."""


def _bits():
    for bits, integer, symmetric, keep in itertools.product((1, 2, 4, 9), (0, 2), (0, 1), (True, False)):
        yield qkeras.quantized_bits(bits, integer, symmetric, keep_negative=keep)
    for alpha in (1, 0.5, 2.0, 0.75):
        yield qkeras.quantized_bits(5, 1, alpha=alpha)
        yield qkeras.quantized_linear(5, 1, alpha=alpha)
    for bits, integer, symmetric, keep in itertools.product((1, 3, 8), (0, 2), (0, 1), (True, False)):
        yield qkeras.quantized_linear(bits, integer, symmetric, keep_negative=keep)
    yield qkeras.quantized_bits(16, 4)
    yield qkeras.quantized_bits(4, 1, use_stochastic_rounding=True)


def _relu():
    for bits, integer, sigmoid, slope in itertools.product((2, 5), (0, 2), (0, 1), (0.0, 0.25, 1.0)):
        yield qkeras.quantized_relu(bits, integer, use_sigmoid=sigmoid, negative_slope=slope)
    for bound in (None, 0.5, 1.5, 6.0, 0.3):
        yield qkeras.quantized_relu(5, 2, is_quantized_clip=False, relu_upper_bound=bound)
        yield qkeras.quantized_relu(5, 2, negative_slope=0.5, is_quantized_clip=False, relu_upper_bound=bound)
    yield qkeras.quantized_relu(1, 0)
    yield qkeras.quantized_relu(12, 3, use_stochastic_rounding=True)


def _functions():
    for bits, symmetric in itertools.product((2, 5, 8), (False, True)):
        yield qkeras.quantized_tanh(bits, symmetric=symmetric)
        yield qkeras.quantized_sigmoid(bits, symmetric=symmetric)
        yield qkeras.quantized_tanh(bits, symmetric=symmetric, use_real_tanh=True)
        yield qkeras.quantized_sigmoid(bits, symmetric=symmetric, use_real_sigmoid=True)
        yield qkeras.quantized_ulaw(bits, 1, int(symmetric))
    yield qkeras.quantized_ulaw(4, 0, 0, 15.0)
    for bits, integer, shift, bound in ((3, 1, 3, 6), (8, 3, 3, 6), (6, 2, 2, 4)):
        yield qkeras.quantized_hswish(bits, integer, relu_shift=shift, relu_upper_bound=bound)


def _powers():
    for bits, top, quadratic in itertools.product((3, 4), (None, 1, 4), (False, True)):
        yield qkeras.quantized_po2(bits, top, quadratic_approximation=quadratic)
        for slope in (0, 0.25):
            yield qkeras.quantized_relu_po2(bits, top, slope, quadratic_approximation=quadratic)
    yield qkeras.quantized_po2(4, log2_rounding="floor")
    yield qkeras.quantized_relu_po2(4, log2_rounding="floor")


def _signs():
    for zero_one, alpha in itertools.product((False, True), (None, 1, 0.5, 0.75)):
        yield qkeras.binary(use_01=zero_one, alpha=alpha)
    for threshold, alpha in itertools.product((None, 0.25, 1.0, 0.0), (None, 1.0, 0.5, 0.75)):
        yield qkeras.ternary(alpha=alpha, threshold=threshold)
    yield qkeras.stochastic_binary(alpha=1.0)
    yield qkeras.stochastic_ternary(alpha=1.0, threshold=0.4)


FAMILIES = {"bits": _bits, "relu": _relu, "functions": _functions, "powers": _powers, "signs": _signs}
STRINGS = ("smooth_sigmoid", "hard_sigmoid", "binary_sigmoid", "smooth_tanh", "hard_tanh", "binary_tanh")


def all_codes(fmt: str) -> tuple[np.ndarray, np.ndarray]:
    """Every code of the format and its real value."""
    fixed = parse_format(fmt)
    codes = np.arange(fixed.integers.low, fixed.integers.high + 1)
    return codes, codes * float(fixed.scale)


def graph_of(chosen, fmt: str):
    """The graph of a model whose outputs are one QActivation for each of ``chosen``, with inputs of that format."""
    x = keras.Input((1,), name="x")
    outputs = [qkeras.QActivation(one, name=f"y{i}")(x) for i, one in enumerate(chosen)]
    return qsim.load(keras.Model(x, outputs), input_format=fmt)


def traced(graph, codes):
    """The codes of every output, in order, with its tensor."""
    trace = qsim.Simulator(graph).trace_codes(codes[:, None])
    return [(trace[out.tensor][:, 0], graph[out.tensor]) for out in graph.outputs]


def undecided(chosen, x: np.ndarray) -> np.ndarray:
    """Where float32 decides a tie: TensorFlow's tanh, sigmoid and logarithm are an ulp or two off the true value."""
    name, none = type(chosen).__name__, np.zeros(x.shape, dtype=bool)
    if getattr(chosen, "use_real_tanh", False):
        scaled = np.tanh(x) * 2.0 ** (chosen.bits - 1)
    elif getattr(chosen, "use_real_sigmoid", False) and name == "quantized_sigmoid":
        scaled = 2.0**chosen.bits / (1 + np.exp(-x))
    elif name in ("quantized_po2", "quantized_relu_po2"):
        with np.errstate(divide="ignore"):
            size = np.log2(np.abs(x)) / (2 if chosen.quadratic_approximation else 1)
            sizes = [size, np.log2(np.abs(x) * (getattr(chosen, "negative_slope", 0) or 1))]
        sizes[1] = sizes[1] / (2 if chosen.quadratic_approximation else 1)
        edge = 0.0 if chosen.log2_rounding == "floor" else 0.5
        return np.any([np.isfinite(s) & (np.abs((s - edge) - np.rint(s - edge)) < 1e-6) for s in sizes], axis=0)
    else:
        return none
    return np.abs(scaled - np.floor(scaled) - 0.5) < 2.0**chosen.bits * 3e-7


def spelled(chosen) -> str:
    config = {k: v for k, v in chosen.get_config().items() if v not in (None, False, 0, 0.0)}
    return f"{type(chosen).__name__} {config}"


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_code_of_the_input(family: str, fmt: str) -> None:
    codes, x = all_codes(fmt)
    assert len(codes) <= 1 << 16
    # QKeras' own exponents can be the wrong way round: it then gives one value.
    family_members = [q for q in FAMILIES[family]() if getattr(q, "_max_exp", 0) >= getattr(q, "_min_exp", 0)]
    for chosen, (ours, tensor) in zip(family_members, traced(graph_of(family_members, fmt), codes), strict=True):
        real = np.asarray(chosen(tf.constant(x.astype(np.float32))), dtype=np.float64)
        theirs = real / float(tensor.quantization.scale[0])
        decided = ~undecided(chosen, x)
        assert decided.mean() > 0.9, spelled(chosen)
        # A level of the mu-law is a float32 number of unit 2**-24, and TensorFlow's logarithm is an ulp or two off.
        off = 3 if isinstance(chosen, qkeras.quantized_ulaw) else 0
        wrong = decided & (np.abs(np.rint(theirs) - ours) > off)
        assert not wrong.any(), (
            f"{spelled(chosen)} on {fmt}: {int(wrong.sum())} codes differ, first x={x[wrong][0]}: "
            f"{theirs[wrong][0]}, ours {ours[wrong][0]}"
        )
        # The straight-through sum x + (q - x) leaves an ulp of x.
        assert np.abs(theirs - np.rint(theirs))[decided].max() < 0.02 or off


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_code_of_the_functions(fmt: str) -> None:
    """They do not quantize: the output's grid holds every value."""
    codes, x = all_codes(fmt)
    for name, (ours, tensor) in zip(STRINGS, traced(graph_of(STRINGS, fmt), codes), strict=True):
        keras_own = qkeras.get_quantizer(name)(tf.constant(x, dtype="float32"))
        assert np.array_equal(tensor.quantization.real(ours), np.asarray(keras_own, dtype=float)), name


def test_ties_of_the_real_functions() -> None:
    """What the comparison with TensorFlow leaves out is right by the true value."""
    codes, x = all_codes("fixed<12,4>")
    chosen = [qkeras.quantized_tanh(bits, use_real_tanh=True) for bits in (2, 5, 8)]
    chosen += [qkeras.quantized_sigmoid(bits, use_real_sigmoid=True) for bits in (2, 5, 8)]
    for one, (ours, tensor) in zip(chosen, traced(graph_of(chosen, "fixed<12,4>"), codes), strict=True):
        true = np.tanh(x) if isinstance(one, qkeras.quantized_tanh) else 1 / (1 + np.exp(-x))
        rounded = np.rint(true / float(tensor.quantization.scale[0]))
        assert np.array_equal(np.clip(rounded, *tensor.range), ours)
