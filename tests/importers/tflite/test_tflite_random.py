"""Random int8 models made by TensorFlow's own converter: every tensor against TFLM and LiteRT's kernels, the outputs
against XNNPACK."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tflite_make import differences, litert, random_codes, simulate, tflm_all

from qsim.errors import UnsupportedError
from qsim.importers.tflite import load_tflite
from qsim.importers.tflite.load import read_source
from qsim.simulate import Simulator

tf = pytest.importorskip("tensorflow", reason="the converter comes with TensorFlow")

DEFAULT, MANY = 24, 300


class Network:
    """A random network as a function of one input tensor; weights are drawn while it is built."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape = (1, *(int(n) for n in self.rng.integers(5, 13, 2)), int(self.rng.integers(1, 5)))
        self.layers = [self.draw(i) for i in range(int(self.rng.integers(2, 5)))]
        self.head = self.pick("dense", "dense", "logistic", "mean", "softmax")
        self.kernels: dict[str, np.ndarray] = {}

    def pick(self, *values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def draw(self, index: int) -> dict[str, Any]:
        kind = self.pick(
            "conv", "conv", "depthwise", "residual", "residual", "max", "average", "pad", "concat", "mul", "sub"
        )
        return {
            "kind": kind if index or kind != "residual" else "conv",
            "kernel": int(self.rng.integers(1, 4)),
            "channels": int(self.rng.integers(1, 9)),
            "stride": int(self.pick(1, 1, 2)),
            "padding": self.pick("SAME", "VALID"),
            "activation": self.pick("linear", "relu", "relu", "relu6", "leaky", "hard_swish"),
            "gain": float(self.rng.uniform(0.3, 3)),
        }

    def weights(self, name: str, shape: tuple[int, ...]) -> Any:
        """Drawn once, so that every trace of the function sees the same numbers."""
        if name not in self.kernels:
            fan = int(np.prod(shape[:-1])) if len(shape) > 1 else 1
            spread = self.rng.uniform(0.3, 2, shape[-1:])
            self.kernels[name] = (self.rng.normal(0, 1, shape) * spread / np.sqrt(fan)).astype(np.float32)
        return tf.constant(self.kernels[name])

    def activation(self, x: Any, name: str) -> Any:
        return {
            "linear": lambda: x,
            "relu": lambda: tf.nn.relu(x),
            "relu6": lambda: tf.nn.relu6(x),
            "leaky": lambda: tf.nn.leaky_relu(x, 0.2),
            "hard_swish": lambda: x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0),
        }[name]()

    def __call__(self, x: Any) -> Any:
        for i, layer in enumerate(self.layers):
            x = self.layer(x, i, layer)
        return self.finish(x)

    def conv(self, x: Any, name: str, layer: dict[str, Any], channels: int, padding: str, stride: int) -> Any:
        k = layer["kernel"]
        w = self.weights(name, (k, k, x.shape[3], channels))
        return tf.nn.conv2d(x, w, stride, padding) + self.weights(f"{name}b", (channels,))

    def layer(self, x: Any, i: int, layer: dict[str, Any]) -> Any:
        kind, k, name = layer["kind"], layer["kernel"], f"l{i}"
        padding = layer["padding"] if min(x.shape[1:3]) > k else "SAME"
        stride = layer["stride"] if min(x.shape[1:3]) > 3 else 1
        if kind == "conv":
            x = self.conv(x, name, layer, layer["channels"], padding, stride)
        elif kind == "depthwise":
            w = self.weights(name, (k, k, x.shape[3], 1 + layer["channels"] % 2))
            x = tf.nn.depthwise_conv2d(x, w, (1, stride, stride, 1), padding)
            x += self.weights(f"{name}b", (x.shape[3],))
        elif kind == "residual":
            x += self.conv(x, name, layer, x.shape[3], "SAME", 1) * layer["gain"]
        elif kind == "max":
            return tf.nn.max_pool2d(x, k, stride, padding)
        elif kind == "average":
            return tf.nn.avg_pool2d(x, k, stride, padding)
        elif kind == "pad":
            return tf.pad(x, [[0, 0], [1, 0], [0, 2], [0, 0]])
        elif kind == "concat":
            x = tf.concat([x, self.conv(x, name, layer, layer["channels"], "SAME", 1)], axis=3)
        elif kind == "mul":
            x *= tf.sigmoid(self.conv(x, name, layer, x.shape[3], "SAME", 1))
        else:
            x -= self.conv(x, name, layer, x.shape[3], "SAME", 1) * layer["gain"]
        return self.activation(x, layer["activation"])

    def finish(self, x: Any) -> Any:
        if self.head == "mean":
            return tf.reduce_mean(x, axis=[1, 2])
        if self.head != "dense":
            x = tf.reduce_mean(x, axis=[1, 2], keepdims=True)
        flat = tf.reshape(x, (1, -1))
        y = tf.matmul(flat, self.weights("head", (flat.shape[1], 5))) + self.weights("headb", (5,))
        return {"dense": lambda: y, "logistic": lambda: tf.sigmoid(y), "softmax": lambda: tf.nn.softmax(y)}[self.head]()


def convert(seed: int) -> bytes:
    """The int8 model of the seed's network, calibrated on normal noise; ends int8 or float32 by seed."""
    network = Network(seed)
    function = tf.function(network, input_signature=[tf.TensorSpec(network.shape, tf.float32, name="image")])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    rng = np.random.default_rng([seed, 1])
    samples = rng.normal(0, 1, (8, *network.shape)).astype(np.float32)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([s] for s in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if seed % 4:
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def compare(seed: int, unrun: list[int]) -> set[str]:
    """All engines against the simulator on one model; returns the operators it has. A model that XNNPACK itself refuses
    to run goes into ``unrun``."""
    data = convert(seed)
    model = read_source(data)
    try:
        graph = load_tflite(data)
    except UnsupportedError as error:
        # A layer that is zero on all calibration samples gets a scale near zero; the engines overflow or abort there.
        if "beyond int32" in str(error) or "far below its input scales" in str(error):
            return set()
        raise
    if seed % 4:
        codes = random_codes(graph, 24, seed)
        traced = simulate(graph, codes)
    else:
        shape = model.tensors[model.inputs[0]].shape[1:]
        codes = [np.random.default_rng([seed, 2]).normal(0, 1.3, (24, *shape)).astype(np.float32)]
        traced = Simulator(graph).trace(codes[0])
    assert not differences(graph, data, traced, tflm_all(data, codes)), seed
    for profile in ("litert-ref", "litert-opt", "litert-xnnpack"):
        other = load_tflite(data, profile=profile)
        traced = simulate(other, codes) if seed % 4 else Simulator(other).trace(codes[0])
        try:
            reference = litert(data, codes, profile, keep=profile != "litert-xnnpack")
        except RuntimeError:
            if profile != "litert-xnnpack":
                raise
            unrun.append(seed)
            continue
        if model.tensors[model.outputs[0]].type == "FLOAT32" and profile == "litert-xnnpack":
            # Only outputs are to be had from XNNPACK; float ones are held against the real values of the codes.
            name = other.outputs[0].tensor
            real = other[name].quantization.real(traced[name]).astype(np.float32)
            assert np.array_equal(real.reshape(24, -1), reference[model.outputs[0]].reshape(24, -1)), seed
        else:
            assert not differences(other, data, traced, reference), (seed, profile)
    return {op.name for op in model.operators}


def test_random_models() -> None:
    seen: set[str] = set()
    unrun: list[int] = []
    for seed in range(DEFAULT):
        seen |= compare(seed, unrun)
    assert len(unrun) <= 3
    wanted = {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MUL", "FULLY_CONNECTED", "SOFTMAX", "LOGISTIC", "MEAN"}
    assert wanted <= seen


@pytest.mark.slow
@pytest.mark.parametrize("block", range(12))
def test_three_hundred_random_models(block: int) -> None:
    unrun: list[int] = []
    found = [compare(seed, unrun) for seed in range(1000 + block, 1000 + MANY, 12)]
    assert sum(not operators for operators in found) <= 2
    assert len(unrun) <= 3
