"""Train the bundled digits CNN: what ``qsim demo`` ships, from data to file.

    python examples/train_digits.py                  (needs the extra: pip install 'qsim-hw[train]')

Data: scikit-learn's handwritten digits (1,797 images of 8x8 pixels, values 0..16; it comes with the package). 500 of
them, chosen with a fixed seed and in equal shares per digit, are never trained on: they are the test set of qsim.

Network: every layer quantized, 2,482 parameters, 83 thousand multiplications per image. The residual ``Add`` joins an
unsigned and a signed branch of different ranges, and the average pooling has a 3x3 window, so that 1/9 is no power of
two and its quantized inverse matters.

Writes ``digits.keras`` and ``digits_test.npz`` into ``qsim/demo`` (or ``--out``). The npz holds

    images        (500, 8, 8, 1) float32   pixel / 16
    labels        (500,) uint8
    predictions   (500,) uint8             what Keras itself answered
    accuracy      () float64               Keras' accuracy on these images
    layers        names of the recorded layers, in order
    codes/<layer> (100, ...) int16         Keras' output of that layer for the first 100 images, in units of 2**-frac
    frac/<layer>  () int64                 the least frac for which every recorded value is an integer

so that whoever has no TensorFlow can still hold the integers against Keras, layer by layer.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import qkeras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 20
TEST_IMAGES = 500
RECORDED_IMAGES = 100
BATCH = 32


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(train images, train labels, test images, test labels); images (N, 8, 8, 1) float32 in [0, 1]."""
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[..., None]
    train_x, test_x, train_y, test_y = train_test_split(
        images, digits.target, test_size=TEST_IMAGES, random_state=SEED, stratify=digits.target
    )
    return train_x, train_y, test_x, test_y


def network() -> keras.Model:
    """The quantized CNN, ending in a softmax (which stays outside the hardware)."""

    def conv(filters: int, name: str, padding: str) -> Any:
        return qkeras.QConv2D(
            filters,
            (3, 3),
            padding=padding,
            kernel_quantizer="quantized_bits(4,0,1,alpha=1)",
            bias_quantizer="quantized_bits(8,1,1,alpha=1)",
            name=name,
        )

    image = keras.Input((8, 8, 1), name="image")
    pixels = qkeras.QActivation("quantized_relu(4,0)", name="pixels")(image)
    x = conv(8, "conv1", "same")(pixels)
    x = qkeras.QActivation("quantized_relu(4,1)", name="relu1")(x)
    branch = conv(8, "conv2", "same")(x)
    branch = qkeras.QActivation("quantized_bits(5,1,0,alpha=1)", name="branch")(branch)
    x = keras.layers.Add(name="residual")([x, branch])
    x = qkeras.QActivation("quantized_relu(4,1)", name="relu2")(x)
    x = conv(16, "conv3", "valid")(x)
    x = qkeras.QActivation("quantized_relu(4,1)", name="relu3")(x)
    x = qkeras.QAveragePooling2D(
        (3, 3),
        average_quantizer="quantized_bits(8,0,1,alpha=1)",
        activation="quantized_relu(5,1)",
        name="pool",
    )(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = qkeras.QDense(
        10,
        kernel_quantizer="quantized_bits(5,0,1,alpha=1)",
        bias_quantizer="quantized_bits(8,1,1,alpha=1)",
        name="logits",
    )(x)
    probabilities = keras.layers.Activation("softmax", name="softmax")(x)
    return keras.Model(image, probabilities, name="digits")


def shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every image moved by -1, 0 or +1 pixels in each direction (zeros come in), most often by none."""
    moved = np.zeros_like(images)
    steps = rng.choice([-1, 0, 0, 1], size=(len(images), 2))
    for n, (dy, dx) in enumerate(steps):
        padded = np.pad(images[n], ((1, 1), (1, 1), (0, 0)))
        moved[n] = padded[1 + dy : 9 + dy, 1 + dx : 9 + dx]
    return moved


def train(model: keras.Model, x: np.ndarray, y: np.ndarray, epochs: int) -> None:
    """Adam with a cosine schedule on shifted images; straight-through gradients are the quantizers' own."""
    rng = np.random.default_rng(SEED)
    steps = -(-len(x) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(4e-3, epochs * steps, alpha=0.01)
    model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    for epoch in range(epochs):
        history = model.fit(shifted(x, rng), y, batch_size=BATCH, epochs=1, verbose=0)
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1:3d}/{epochs}: training accuracy {history.history['accuracy'][0]:.4f}", flush=True)


def least_frac(values: np.ndarray) -> int:
    """The least frac for which values * 2**frac are all integers; Keras' values here are exact binary fractions."""
    for frac in range(24):
        scaled = values.astype(np.float64) * 2.0**frac
        if np.array_equal(scaled, np.rint(scaled)):
            return frac
    raise ValueError("the layer's values are not on a power-of-two grid: float32 rounded somewhere")


def record(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of digits_test.npz (see the module's docstring)."""
    names = [layer.name for layer in model.layers if layer.name not in ("image", "softmax")]
    taps = keras.Model(model.input, [model.get_layer(name).output for name in names])
    outputs = taps.predict(images[:RECORDED_IMAGES], verbose=0)
    predictions = np.argmax(model.predict(images, verbose=0), axis=-1)
    arrays: dict[str, np.ndarray] = {
        "images": images,
        "labels": labels.astype(np.uint8),
        "predictions": predictions.astype(np.uint8),
        "accuracy": np.float64(np.mean(predictions == labels)),
        "layers": np.array(names),
    }
    for name, values in zip(names, outputs, strict=True):
        frac = least_frac(values)
        codes = np.rint(values.astype(np.float64) * 2.0**frac)
        if np.abs(codes).max() > np.iinfo(np.int16).max:
            raise ValueError(f"layer {name!r}: codes do not fit 16 bits")
        arrays[f"codes/{name}"] = codes.astype(np.int16)
        arrays[f"frac/{name}"] = np.int64(frac)
    return arrays


def main() -> int:
    parser = argparse.ArgumentParser(description="Train the digits CNN that `qsim demo` ships.")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "qsim" / "demo")
    parser.add_argument("--epochs", type=int, default=150)
    options = parser.parse_args()

    keras.utils.set_random_seed(SEED)
    train_x, train_y, test_x, test_y = data()
    model = network()
    train(model, train_x, train_y, options.epochs)

    clean = network()  # without the optimizer's state, which would be stored otherwise
    clean.set_weights(model.get_weights())
    arrays = record(clean, test_x, test_y)
    print(f"test accuracy of the quantized network: {arrays['accuracy']:.4f} ({clean.count_params()} parameters)")
    if arrays["accuracy"] < 0.96:
        print("below 96 %: nothing is written", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    clean.save(options.out / "digits.keras")
    np.savez_compressed(options.out / "digits_test.npz", **arrays)
    print(f"wrote digits.keras and digits_test.npz to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
