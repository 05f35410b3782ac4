"""Blueoil's quantizers in TensorFlow against a float64 oracle of their formulas, and their numpy twins against both."""

# Longer than 400 lines: each quantizer through every way in which Keras keeps it.

from __future__ import annotations

import inspect
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from qsim.errors import UnsupportedError, UsageError
from qsim.quantizers import blueoil_numpy as twins
from qsim.quantizers.parse import parse

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
qkeras = pytest.importorskip("qkeras")

from qsim.quantizers import blueoil  # noqa: E402

WEIGHT_QUANTIZERS = {
    "binary_mean_scaling_quantizer": {},
    "binary_channel_wise_mean_scaling_quantizer": {},
    "twn_weight_quantizer": {"threshold": 0.75},
    "ttq_weight_quantizer": {"threshold": 0.5},
}
POSITIVE, NEGATIVE = 1.25, 0.375


def oracle(name: str, x: np.ndarray, **kwargs) -> np.ndarray:
    """The formulas of SEMANTICS.md, element by element, in float64."""
    n = x.size
    if name == "binary_mean_scaling_quantizer":
        s = sum(abs(float(v)) for v in x.flat) / n
        return np.array([s if v >= 0 else -s for v in x.flat]).reshape(x.shape)
    if name == "binary_channel_wise_mean_scaling_quantizer":
        y = np.empty(x.shape)
        for c in range(x.shape[-1]):
            y[..., c] = oracle("binary_mean_scaling_quantizer", x[..., c])
        return y
    if name == "twn_weight_quantizer":
        t = kwargs["threshold"] * (sum(abs(float(v)) for v in x.flat) / n)
        kept = [abs(float(v)) for v in x.flat if abs(v) > t]
        s = sum(kept) / len(kept) if kept else 0.0
        return np.array([s if v > t else -s if v < -t else 0.0 for v in x.flat]).reshape(x.shape)
    if name == "ttq_weight_quantizer":
        t = kwargs["threshold"] * max(abs(float(v)) for v in x.flat)
        return np.array([POSITIVE if v > t else -NEGATIVE if v < -t else 0.0 for v in x.flat]).reshape(x.shape)
    top, levels = Fraction(kwargs["max_value"]), 2 ** kwargs["bit"] - 1
    clipped = [min(max(Fraction(float(v)), Fraction(0)), top) for v in x.flat]
    codes = [(v * levels / top + Fraction(1, 2)).__floor__() for v in clipped]
    return np.array([float(c * top / levels) for c in codes]).reshape(x.shape)


def oracle_gradient(name: str, x: np.ndarray, dy: np.ndarray, **kwargs) -> tuple[np.ndarray, ...]:
    if name == "linear_mid_tread_half_quantizer":
        return (np.where((x > 0) & (x < kwargs["max_value"]), dy, 0.0),)
    if name == "ttq_weight_quantizer":
        t = kwargs["threshold"] * np.abs(x).max()
        dx = np.where(x > t, dy * POSITIVE, np.where(x < -t, dy * NEGATIVE, dy))
        return dx, dy[x > t].sum(), dy[x < -t].sum()
    return (dy,)


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """Multiples of 1/8, whose sums and means over 64 elements are exact in any order; and plain random ones."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(-16, 17, size=(4, 4, 2, 2)) / 8
    # mean|x| = 1 and max|x| = 2: elements at 0.75, TWN's threshold below, and at 1, TTQ's, and beside them.
    hit = np.array([0.75, -0.75, 1.0, -1.0, 0.25, -0.25, 2.0, -2.0] * 8).reshape(4, 4, 2, 2)
    hit.flat[8:12] = [0.625, -0.625, 0.875, -0.875]
    hit.flat[12:16] = [1.125, -1.125, 1.375, -1.375]
    return {
        "random": rng.normal(size=(3, 3, 4, 5)),
        "coarse": coarse,
        "zeros": np.zeros((2, 2, 2, 3)),
        "zero channel": np.concatenate([coarse, np.zeros((4, 4, 2, 1))], axis=-1),
        "positive constant": np.full((3, 3, 1, 2), 0.625),
        "negative constant": np.full((6, 5), -0.5),
        "threshold hit": hit,
        "negative zero": np.array([[-0.0, 0.0, 1.0], [-1.0, -0.0, 0.5]]),
        "vector": rng.normal(size=17),
    }


def made(name: str, dtype, **kwargs):
    q = getattr(blueoil, name)(**kwargs, dtype=dtype)
    if name == "ttq_weight_quantizer":
        q.positive.assign(POSITIVE)
        q.negative.assign(NEGATIVE)
    return q


def evaluate(q, x: np.ndarray, dy: np.ndarray, graph: bool):
    """Values and gradients for x and, with TTQ, its factors."""
    v = tf.Variable(x)
    extra = [f.value for f in (q.positive, q.negative)] if hasattr(q, "positive") else []

    def run():
        with tf.GradientTape() as tape:
            y = q(v)
            loss = tf.reduce_sum(y * dy)
        return y, tape.gradient(loss, [v, *extra])

    y, gradients = (tf.function(run) if graph else run)()
    return y.numpy(), [g.numpy() for g in gradients]


def test_threshold_tensor_hits_its_thresholds() -> None:
    hit = tensors()["threshold hit"]
    mean = np.abs(hit).mean()
    assert (np.abs(hit) == 0.75 * mean).sum() >= 2
    assert (np.abs(hit) == 0.5 * np.abs(hit).max()).sum() >= 2


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("name", WEIGHT_QUANTIZERS)
def test_weight_quantizers_equal_the_oracle(name: str, graph: bool) -> None:
    """float64: exact where sums are exact in any order, else to the last few bits; signs and zeros always exact."""
    kwargs = WEIGHT_QUANTIZERS[name]
    for label, x in tensors().items():
        dy = np.random.default_rng(1).integers(-8, 9, size=x.shape) / 4
        y, gradients = evaluate(made(name, tf.float64, **kwargs), x, dy, graph)
        expected = oracle(name, x, **kwargs)
        assert np.array_equal(np.sign(y), np.sign(expected)), label
        if label in ("random", "vector"):
            np.testing.assert_allclose(y, expected, rtol=1e-15, err_msg=label)
        else:
            assert np.array_equal(y, expected), label
        wanted = oracle_gradient(name, x, dy, **kwargs)
        assert len(gradients) == len(wanted)
        assert all(np.array_equal(g, e) for g, e in zip(gradients, wanted)), label


@pytest.mark.parametrize("name", WEIGHT_QUANTIZERS)
def test_float32_is_the_oracle_rounded_once(name: str) -> None:
    """The default dtype: signs, zeros and regions of the float32 weights, the scale rounded once."""
    kwargs = WEIGHT_QUANTIZERS[name]
    for label, x in tensors(5).items():
        w = x.astype(np.float32)
        dy = np.random.default_rng(1).integers(-8, 9, size=x.shape).astype(np.float32)
        y, gradients = evaluate(made(name, tf.float32, **kwargs), w, dy, True)
        wide = w.astype(np.float64)
        assert y.dtype == np.float32
        assert np.array_equal(y, oracle(name, wide, **kwargs).astype(np.float32)), label
        wanted = oracle_gradient(name, wide, dy.astype(np.float64), **kwargs)
        # Small integers times fractions of few bits: exact in float32, in whatever order they are added.
        assert all(np.array_equal(g, e) for g, e in zip(gradients, wanted, strict=True)), label


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize(("bit", "max_value"), [(1, 1.0), (2, 2.0), (2, 3.0), (3, 0.7), (4, 6.0), (8, 1.0), (5, 10.0)])
def test_linear_mid_tread_equals_the_oracle(bit: int, max_value: float, graph: bool) -> None:
    """Every half step, its neighbours on both sides, the ends and random values, as float32."""
    levels = 2**bit - 1
    top = float(np.float32(max_value))
    ties = (np.arange(-2, 2 * levels + 3) / 2 * top / levels).astype(np.float32)
    beside = [np.nextafter(ties, np.float32(-9)), np.nextafter(ties, np.float32(99))]
    random = np.random.default_rng(0).normal(size=200) * top
    x = np.concatenate([ties, *beside, [-5, -0.0, 0.0, top, 50], random]).astype(np.float32)
    x = x[(x == 0) | (np.abs(x) >= np.finfo(np.float32).tiny)]  # TensorFlow takes denormal numbers for zero
    q = blueoil.linear_mid_tread_half_quantizer(bit=bit, max_value=max_value)
    dy = np.random.default_rng(1).integers(-8, 9, size=x.shape).astype(np.float32)
    y, gradients = evaluate(q, x, dy, graph)
    expected = oracle("linear_mid_tread_half_quantizer", x, bit=bit, max_value=top)
    assert y.dtype == np.float32
    assert np.array_equal(y, expected.astype(np.float32))
    wanted = oracle_gradient("linear_mid_tread_half_quantizer", x, dy, max_value=top)
    assert np.array_equal(gradients[0], wanted[0])
    rule = twins.LinearMidTreadHalf(bit=bit, max_value=max_value).rule()
    codes = [rule.code(Fraction(float(v))) for v in x]
    assert np.array_equal(np.array([float(c * rule.scale[0]) for c in codes], dtype=np.float32), y)


def test_ties_go_up() -> None:
    q = blueoil.linear_mid_tread_half_quantizer(bit=2, max_value=3.0)
    assert q(np.array([0.5, 1.5, 2.5, -0.5, 0.499999])).numpy().tolist() == [1.0, 2.0, 3.0, 0.0, 0.0]


@pytest.mark.parametrize("name", WEIGHT_QUANTIZERS)
def test_numpy_twins_equal_tensorflow(name: str) -> None:
    """Codes exactly; float32 scales exactly: both round one float64 result once."""
    kwargs = WEIGHT_QUANTIZERS[name]
    for seed in range(20):
        for label, x in tensors(seed).items():
            w = x.astype(np.float32)
            q = made(name, tf.float32, **kwargs)
            twin = {t.name: t for t in twins.BLUEOIL}[name].bind(parse({"class_name": name, "config": q.get_config()}))
            if isinstance(twin, twins.TrainedTernary):
                parts = twin.with_factors(POSITIVE, NEGATIVE).parts(w)
            else:
                parts = (twin.weights(w),)
            assert all(p.codes.dtype == np.int64 and np.abs(p.codes).max() <= 1 for p in parts)
            value = sum(p.codes * p.scale.astype(np.float64) for p in parts)
            assert np.array_equal(value, q(w).numpy()), (label, seed)


def test_signatures_are_blueoils() -> None:
    expected = {
        "binary_mean_scaling_quantizer": {"backward": None, "dtype": tf.float32},
        "binary_channel_wise_mean_scaling_quantizer": {"backward": None, "dtype": tf.float32},
        "linear_mid_tread_half_quantizer": {"bit": None, "max_value": None, "backward": None, "dtype": tf.float32},
        "twn_weight_quantizer": {"threshold": 0.7, "dtype": tf.float32},
        "ttq_weight_quantizer": {"threshold": 0.05, "dtype": tf.float32},
    }
    for name, arguments in expected.items():
        found = inspect.signature(getattr(blueoil, name)).parameters.values()
        assert {p.name: p.default for p in found if p.kind is not p.VAR_KEYWORD} == arguments


@keras.saving.register_keras_serializable(package="qsim_tests")
def halved(op, gradient):
    """As Blueoil's users write it: op.inputs[0] is what was quantized; one gradient per input."""
    return gradient * 0.5 * tf.cast(op.inputs[0] > 0, gradient.dtype), None, None


def plain(op, gradient):
    return gradient * 3.0


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("binary_mean_scaling_quantizer", {}),
        ("binary_channel_wise_mean_scaling_quantizer", {}),
        ("linear_mid_tread_half_quantizer", {"bit": 2, "max_value": 2.0}),
    ],
)
def test_custom_backward(name: str, kwargs: dict) -> None:
    x = np.array([[-1.0, 0.5], [3.0, 1.0]], dtype=np.float32)
    dy = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    q = getattr(blueoil, name)(**kwargs, backward=halved)
    _, (gradient,) = evaluate(q, x, dy, True)
    assert gradient.tolist() == [[0.0, 1.0], [1.5, 2.0]]
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(q))
    assert again.backward is halved
    assert again.get_config() == q.get_config()
    unregistered = getattr(blueoil, name)(**kwargs, backward=plain)
    assert evaluate(unregistered, x, dy, False)[1][0].tolist() == (3 * dy).tolist()
    with pytest.raises(UsageError, match="backward 'plain' is not registered"):
        keras.saving.serialize_keras_object(unregistered)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: blueoil.linear_mid_tread_half_quantizer(), "bit must be"),
        (lambda: blueoil.linear_mid_tread_half_quantizer(2), "max_value must be"),
        (lambda: blueoil.linear_mid_tread_half_quantizer(2, -1.0), "max_value must be"),
        (lambda: blueoil.linear_mid_tread_half_quantizer(2.5, 1.0), "bit must be"),
        (lambda: blueoil.twn_weight_quantizer(-0.1), "threshold must be"),
        (lambda: blueoil.ttq_weight_quantizer(float("nan")), "threshold must be"),
        (lambda: blueoil.binary_mean_scaling_quantizer(backward=3), "backward must be"),
        (lambda: blueoil.binary_mean_scaling_quantizer(dtype=tf.int32), "floating type"),
        (lambda: blueoil.twn_weight_quantizer()(tf.zeros([2], tf.float64)), "pass dtype=tf.float64"),
        (lambda: blueoil.twn_weight_quantizer()(keras.Input((3,))), "symbolic"),
        (lambda: blueoil.QuantizedKernel(keras.layers.Flatten(), blueoil.twn_weight_quantizer())(np.ones((1, 2))),
         "no variable 'kernel'"),
    ],
)  # fmt: skip
def test_wrong_use_is_refused(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_twins_refuse_what_depends_on_the_batch() -> None:
    for twin in twins.BLUEOIL:
        if twin is not twins.LinearMidTreadHalf:
            with pytest.raises(UnsupportedError, match="activation"):
                twin().rule()
    with pytest.raises(UnsupportedError, match="no values for its two factors"):
        twins.TrainedTernary().weights(np.ones(3))


def network(kind: str, name: str, kwargs: dict):
    """Two layers with the quantizer on each kernel, 2-bit activations between."""

    def layer(units: int, q, **more):
        if kind == "qkeras":
            return qkeras.QDense(units, kernel_quantizer=q, **more)
        return blueoil.QuantizedKernel(keras.layers.Dense(units, **more), q)

    def q():
        return getattr(blueoil, name)(**kwargs)

    activation = blueoil.linear_mid_tread_half_quantizer(2, 2.0)
    return keras.Sequential([keras.Input((12,)), layer(16, q(), activation=activation), layer(3, q())])


TRAINED = {**{n: {} for n in WEIGHT_QUANTIZERS}, "linear_mid_tread_half_quantizer": {"bit": 2, "max_value": 1.0}}


@pytest.mark.parametrize("kind", ["qkeras", "plain"])
@pytest.mark.parametrize("name", TRAINED)
def test_training_reduces_the_loss_and_saving_keeps_everything(kind: str, name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(7)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(256, 12)).astype(np.float32)
    labels = np.argmax(x @ rng.normal(size=(12, 3)), axis=1)
    model = network(kind, name, TRAINED[name])
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = model.evaluate(x, labels, verbose=0)
    model.fit(x, labels, epochs=12, batch_size=64, verbose=0)
    assert model.evaluate(x, labels, verbose=0) < 0.9 * before
    factors = [v for v in model.trainable_variables if v.shape == ()]
    assert len(factors) == (4 if name == "ttq_weight_quantizer" else 0)
    assert all(float(v.value) != 1.0 for v in factors)
    expected = model(x).numpy()
    for suffix in (".keras", ".h5"):
        path = tmp_path / f"model{suffix}"
        model.save(path)
        loaded = keras.models.load_model(path, compile=False)
        assert np.array_equal(loaded(x).numpy(), expected)
        loaded.save(path)  # a loaded QKeras layer holds its quantizer under another attribute
        assert np.array_equal(keras.models.load_model(path, compile=False)(x).numpy(), expected)


def backward_network(backward):
    """One layer, its kernel and its activation with a gradient of the user's."""
    q = blueoil.binary_channel_wise_mean_scaling_quantizer(backward=backward)
    activation = blueoil.linear_mid_tread_half_quantizer(2, 2.0, backward)
    return keras.Sequential([keras.Input((6,)), qkeras.QDense(4, kernel_quantizer=q, activation=activation)])


def kernel_gradient(model, x: np.ndarray) -> np.ndarray:
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x))
    return tape.gradient(loss, model.trainable_variables[0].value).numpy()


def test_a_backward_is_found_again_in_a_file(tmp_path: Path) -> None:
    """By its registered name, or among custom_objects; without it loading says what is missing."""

    @keras.saving.register_keras_serializable(package="qsim_tests")
    def tripled(op, gradient):
        return 3 * gradient

    keras.utils.set_random_seed(3)
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    model = backward_network(tripled)
    plain_model = backward_network(None)
    plain_model.set_weights(model.get_weights())
    expected = kernel_gradient(model, x)
    # Straight through everywhere, three times for the activation and three times for the kernel.
    assert np.allclose(expected, 9 * np.repeat(x.sum(axis=0)[:, None], 4, axis=1), rtol=1e-6)
    assert not np.allclose(kernel_gradient(plain_model, x), expected)
    path = tmp_path / "model.keras"
    model.save(path)
    assert np.array_equal(kernel_gradient(keras.models.load_model(path, compile=False), x), expected)
    objects = keras.saving.get_custom_objects()
    name = keras.saving.get_registered_name(tripled)
    del objects[name]
    given = keras.models.load_model(path, compile=False, custom_objects={name: tripled})
    assert np.array_equal(kernel_gradient(given, x), expected)
    with pytest.raises((UsageError, TypeError), match="which is not registered here"):
        keras.models.load_model(path, compile=False)


@pytest.mark.slow
def test_a_fresh_process_loads_the_file(tmp_path: Path) -> None:
    """With this package imported Keras needs no custom_objects; outputs are the same."""
    x = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)
    model = network("plain", "ttq_weight_quantizer", {})
    model.layers[0].quantizer.positive.assign(0.75)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", model(x).numpy())
    script = (
        "import sys, keras, numpy as np, qsim.quantizers.blueoil\n"
        "x, y = np.load('x.npy'), np.load('y.npy')\n"
        "model = keras.models.load_model('model.keras', compile=False)\n"
        "sys.exit(not np.array_equal(model(x).numpy(), y))\n"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path).returncode == 0


def test_one_ttq_quantizer_serves_one_layer() -> None:
    shared = blueoil.ttq_weight_quantizer()
    model = keras.Sequential([keras.Input((4,)), *(qkeras.QDense(3, kernel_quantizer=shared) for _ in range(2))])
    with pytest.raises(UsageError, match="Make a quantizer for each layer"):
        model(np.ones((1, 4), dtype=np.float32))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.weights.h5"
    network("qkeras", "twn_weight_quantizer", {}).save_weights(path)
    # Keras collects what could not be loaded into a ValueError of its own.
    with pytest.raises(ValueError, match="no factors for the ttq_weight_quantizer"):
        network("qkeras", "ttq_weight_quantizer", {}).load_weights(path)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: keras.layers.Conv2D(3, 3, padding="same", activation="relu"),
        lambda: keras.layers.DepthwiseConv2D(3),
        lambda: keras.layers.Conv2DTranspose(2, 2, strides=2),
    ],
)
def test_quantized_kernel_uses_quantized_and_keeps_float_weights(layer) -> None:
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype(np.float32)
    q = blueoil.binary_mean_scaling_quantizer()
    wrapped = blueoil.QuantizedKernel(layer(), q)
    y = wrapped(x).numpy()
    reference = layer()
    reference.build(x.shape)
    kernel = wrapped.layer.kernel.numpy()
    reference.set_weights([q(kernel).numpy(), *wrapped.layer.get_weights()[1:]])
    assert np.array_equal(y, reference(x).numpy())
    assert len(np.unique(np.abs(kernel))) > 2
    assert tuple(wrapped.compute_output_shape(x.shape)) == y.shape
