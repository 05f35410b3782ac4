"""Operations on symbolic tensors, and the layers lowered with their help: exact against Keras' own run, the same from
every kind of file, refused where they touch the batch. The table of docs/qkeras.md runs them in every target."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("qkeras")

import operation_cells  # noqa: E402
import qkeras  # noqa: E402
from layer_cells import dense, fill, recurrent  # noqa: E402
from operation_cells import IMAGE, ROW, model  # noqa: E402
from qkeras_matrix import compared, float64_outputs, inputs, live_outputs  # noqa: E402

from qsim import load  # noqa: E402
from qsim.errors import UnsupportedError  # noqa: E402
from qsim.simulate import Simulator  # noqa: E402

ops = keras.ops
ROUNDED = ("x * constant", "leaky_relu")
"""Cases whose products take more than float32's 24 bits: Keras' own operations in float64 are what they are held to."""
CASES = operation_cells.OPERATIONS | operation_cells.LAYERS


@pytest.mark.parametrize("case", CASES)
def test_equal_to_keras_and_the_same_from_files(case, tmp_path):
    keras.utils.clear_session()
    made = fill(CASES[case]())
    given = inputs(made)
    graph = load(made)
    simulator = Simulator(graph)
    trace = simulator.trace_codes(simulator.quantize({i.tensor: x for i, x in zip(graph.inputs, given, strict=True)}))
    total, differ, why = compared(graph, live_outputs(made, given), trace)
    if case in ROUNDED:
        assert differ, "float32 does not round here: compare with Keras' own run"
        total, differ, why = compared(graph, float64_outputs(made, given), trace)
    assert total
    assert not differ, why
    for suffix in (".keras", ".h5"):
        made.save(tmp_path / f"model{suffix}")
        assert load(tmp_path / f"model{suffix}").hash == graph.hash, suffix


@pytest.mark.parametrize(
    "seeds", [range(10), *(pytest.param(range(n, n + 90), marks=pytest.mark.slow) for n in range(10, 640, 90))]
)
def test_random_operations(seeds):
    """Keras' own codes or, where the graph notes that float32 rounds, those of its operations in float64."""
    exact = 0
    for seed in seeds:
        keras.utils.clear_session()
        made = fill(operation_cells.random_operations(seed))
        given = inputs(made)
        graph = load(made)
        simulator = Simulator(graph)
        trace = simulator.trace_codes(simulator.quantize({graph.inputs[0].tensor: given[0]}))
        _, differ, why = compared(graph, live_outputs(made, given), trace)
        exact += not differ
        if differ:
            assert any("float32" in note for note in graph.notes), (seed, why)
            _, differ, why = compared(graph, float64_outputs(made, given), trace)
            assert not differ, (seed, why)
    assert exact >= 0.8 * len(seeds)


REFUSED = {
    "division by a tensor": (lambda: model(lambda x: 1.0 / x, ROW), "divides by a tensor"),
    "division by zero": (lambda: model(lambda x: x / 0.0, ROW), "divides by zero"),
    "float64 constants": (lambda: model(lambda x: x * np.array([0.1, 0.2, 0.3]), ROW), "float64"),
    "larger constant": (lambda: model(lambda x: x * np.ones((2, 5, 3), "float32"), (1, 5, 3)), "larger than its input"),
    "no constant at all": (lambda: model(lambda x: x + np.array(np.inf, "float32"), ROW), "not finite"),
    "a constant beyond float32": (lambda: model(lambda x: x * 1e39, ROW), "not finite in float32"),
    "other dimensions": (lambda: model(lambda x, y: x + y, IMAGE, (2,)), "same number of dimensions"),
    "mean of everything": (lambda: model(lambda x: ops.reshape(ops.mean(x), (1, 1)), ROW), "over all axes"),
    "sum over the batch": (lambda: model(lambda x: ops.sum(x, axis=0), ROW), "batch's dimension"),
    "reshape of the batch": (lambda: model(lambda x: ops.reshape(x, (-1, 5)), ROW), "batch's dimension"),
    "transpose of the batch": (lambda: model(lambda x: ops.transpose(x, (1, 0, 2)), ROW), "batch's dimension"),
    "bounds by element": (
        lambda: model(lambda x: ops.maximum(x, np.array([0, 1, 2], "float32")), ROW), "differ by element",
    ),
    "an operation without a rule": (lambda: model(ops.exp, ROW), "the operation Exp is not supported"),
    "padding with ones": (
        lambda: model(lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0)), constant_values=1), ROW), "other than zeros",
    ),
    "a wrapped layer without a rule": (
        lambda: operation_cells.wrapped(keras.layers.LayerNormalization(), *ROW), "each sample's own variance",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    make, reason = REFUSED[case]
    keras.utils.clear_session()
    with pytest.raises(UnsupportedError, match=reason) as caught:
        load(fill(make()))
    assert caught.value.layer


REAL_VALUED = {
    "another function": lambda: model(lambda x: ops.relu(ops.tanh(x)), ROW),
    "weights": lambda: model(lambda x: dense("last")(ops.sigmoid(x)), ROW),
    "an addition": lambda: model(lambda x: x + ops.silu(x), ROW),
    "a pool": lambda: model(lambda x: ops.max_pool(ops.tanh(x), 2), ROW),
    "softmax": lambda: model(lambda x: ops.softmax(x), ROW),
    "a recurrent layer's tanh": lambda: model(recurrent(qkeras.QSimpleRNN, activation="tanh"), ROW),
    "an LSTM's gates": lambda: model(recurrent(qkeras.QLSTM, recurrent_activation="sigmoid"), ROW),
    "an LSTM's candidate": lambda: model(recurrent(qkeras.QLSTM, activation="tanh"), ROW),
    "a GRU's gates": lambda: model(recurrent(qkeras.QGRU, recurrent_activation="sigmoid"), ROW),
}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("case", REAL_VALUED)
def test_real_values_that_no_quantizer_follows_are_refused(case, last):
    """In the middle of a model and, where the layer ends it, too: a recurrent layer computes on with its functions."""
    keras.utils.clear_session()
    made = REAL_VALUED[case]()
    if last:
        made = keras.Model(made.inputs, made.layers[-1].input)
        if case == "softmax":
            assert load(fill(made)).outputs[0].boundary == "softmax"
            return
    reason = "divides exponentials" if case == "softmax" else "is real-valued, and no quantizer follows it"
    with pytest.raises(UnsupportedError, match=reason):
        load(fill(made))


def test_a_function_that_cannot_end_a_model():
    made = model(lambda x: ops.silu(x), ROW)
    with pytest.raises(UnsupportedError, match="silu is real-valued and ends the model"):
        load(fill(keras.Model(made.inputs, made.layers[-1].input)))


def test_doubtful_codes_are_noted():
    """A sigmoid at zero is one half: a tie for steps of 1."""
    for function, step, doubtful in ((ops.tanh, "6,0", False), (ops.sigmoid, "1,0", False), (ops.sigmoid, "1,1", True)):
        made = model(lambda x, f=function, s=step: qkeras.QActivation(f"quantized_relu({s})")(f(x)), ROW)
        notes = [note for note in load(fill(made)).notes if "near a tie" in note]
        assert bool(notes) == doubtful, notes


LEGACY = {
    "x + y": lambda tf, x, y: x + y,
    "tf.add": lambda tf, x, y: tf.add(x, 1.5),
    "x - y": lambda tf, x, y: x - y,
    "2 - x": lambda tf, x, y: 2 - x,
    "2.5 - x": lambda tf, x, y: 2.5 - x,
    "x * y": lambda tf, x, y: x * y,
    "x * 0.5": lambda tf, x, y: x * 0.5,
    "x / 4": lambda tf, x, y: x / 4,
    "maximum": lambda tf, x, y: tf.maximum(x, y),
    "minimum": lambda tf, x, y: tf.minimum(0.5, x),
    "clip": lambda tf, x, y: tf.clip_by_value(x, -1, 1),
    "-x": lambda tf, x, y: -x,
    "abs": lambda tf, x, y: tf.abs(x),
    "square": lambda tf, x, y: tf.square(x),
    "relu": lambda tf, x, y: tf.nn.relu(x),
    "relu6": lambda tf, x, y: tf.nn.relu6(4 * x),
    "leaky_relu": lambda tf, x, y: tf.nn.leaky_relu(x, 0.25),
    "concat": lambda tf, x, y: tf.concat([x, y], axis=-1),
    "stack": lambda tf, x, y: tf.stack([x, y], axis=1),
    "split": lambda tf, x, y: tf.split(x, [1, 3], axis=1)[1],
    "split in halves": lambda tf, x, y: tf.split(x, 2, axis=2)[0],
    "reshape": lambda tf, x, y: tf.reshape(x, (-1, 8, 6)),
    "transpose": lambda tf, x, y: tf.transpose(x, (0, 2, 3, 1)),
    "expand_dims, squeeze": lambda tf, x, y: tf.squeeze(tf.expand_dims(x, 1) + 1, 1),
    "pad": lambda tf, x, y: tf.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0))),
    "repeat": lambda tf, x, y: tf.repeat(x, 2, axis=1),
    "reverse": lambda tf, x, y: tf.reverse(x, [1]),
    "sum": lambda tf, x, y: tf.reduce_sum(x, 1),
    "mean": lambda tf, x, y: tf.reduce_mean(x, axis=(1, 2), keepdims=True),
    "max": lambda tf, x, y: tf.reduce_max(x, axis=-1),
    "min": lambda tf, x, y: tf.reduce_min(x, axis=[2]),
    "x[:, 1:, ::2]": lambda tf, x, y: x[:, 1:, ::2],
    "x[:, -1, ..., 0]": lambda tf, x, y: x[:, -1, ..., 0],
}


@pytest.mark.parametrize("case", LEGACY)
def test_keras_2_files(case, tmp_path):
    """TFOpLambda and SlicingOpLambda, as tf.keras saves TensorFlow's functions on symbolic tensors."""
    tf, legacy = pytest.importorskip("tensorflow"), pytest.importorskip("tf_keras")
    legacy.backend.clear_session()
    x, y = (legacy.Input(IMAGE, name=name) for name in "xy")
    made = legacy.Model([x, y], [LEGACY[case](tf, x, y), y])
    made.save(tmp_path / "model.h5", save_format="h5")
    graph = load(tmp_path / "model.h5", input_format="fixed<6,3>")
    codes = [np.random.default_rng(i).integers(-32, 32, (50, *IMAGE)) for i in range(2)]
    trace = Simulator(graph).trace_codes({i.tensor: c for i, c in zip(graph.inputs, codes, strict=True)})
    expected = made.predict([c.astype(np.float32) / 8 for c in codes], verbose=0)[0]
    total, differ, why = compared(graph, ({}, [expected, codes[1] / 8]), trace)
    assert total > codes[1].size
    assert not differ, why


def test_a_keras_2_function_without_a_rule_is_refused_by_its_name(tmp_path):
    tf, legacy = pytest.importorskip("tensorflow"), pytest.importorskip("tf_keras")
    x = legacy.Input(ROW)
    legacy.Model(x, tf.math.exp(x)).save(tmp_path / "model.h5", save_format="h5")
    with pytest.raises(UnsupportedError, match=r"the operation math\.exp is not supported"):
        load(tmp_path / "model.h5", input_format="fixed<6,3>")
