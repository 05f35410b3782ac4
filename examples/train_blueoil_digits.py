"""Train the second bundled example, a network of 1-bit weights and 2-bit activations (pip install 'qsim-hw[train]').

    python examples/train_blueoil_digits.py
    qsim demo --model blueoil                  runs the bundled model in every target, without TensorFlow

Data: scikit-learn's handwritten digits, 500 of them held back for tests (see ``train_digits.py``).

Network: the shape of Blueoil's classification networks, for 8x8 images. Blocks of a 3x3 convolution with one bit per
weight (``binary_mean_scaling_quantizer``), batch normalization and a 2-bit activation
(``linear_mid_tread_half_quantizer(bit=2, max_value=2.0)``), pooling between them, then a 1x1 convolution to the ten
classes and the average over the image. Layers are plain Keras ones in ``QuantizedKernel``. In hardware each block is a
sum of additions and subtractions and three thresholds per channel, into which scale and normalization have gone.

Writes ``blueoil_digits.keras`` and ``blueoil_digits_test.npz`` (images, labels, predictions and accuracy of Keras) into
``qsim/demo`` or ``--out``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

SEED = 20
TEST_IMAGES = 500
BATCH = 32
DEMO = Path(__file__).resolve().parent.parent / "qsim" / "demo"


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(train images, train labels, test images, test labels); images (N, 8, 8, 1) float32 in [0, 1]."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[..., None]
    train_x, test_x, train_y, test_y = train_test_split(
        images, digits.target, test_size=TEST_IMAGES, random_state=SEED, stratify=digits.target
    )
    return train_x, train_y, test_x, test_y


def network() -> Any:
    """The Keras model; its outputs are logits."""
    import keras

    from qsim.quantizers import blueoil

    def block(x: Any, filters: int, name: str) -> Any:
        convolution = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name)
        x = blueoil.QuantizedKernel(convolution, blueoil.binary_mean_scaling_quantizer())(x)
        x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
        quantizer = blueoil.linear_mid_tread_half_quantizer(bit=2, max_value=2.0)
        return keras.layers.Activation(quantizer, name=f"{name}_act")(x)

    image = keras.Input((8, 8, 1), name="image")
    pixels = blueoil.linear_mid_tread_half_quantizer(bit=4, max_value=1.0)
    x = keras.layers.Activation(pixels, name="pixels")(image)
    x = block(x, 16, "conv1")
    x = block(x, 32, "conv2")
    x = keras.layers.MaxPooling2D(2, name="pool2")(x)
    x = block(x, 32, "conv3")
    x = block(x, 32, "conv4")
    x = keras.layers.MaxPooling2D(2, name="pool4")(x)
    x = block(x, 64, "conv5")
    last = keras.layers.Conv2D(10, 1, name="conv6")
    x = blueoil.QuantizedKernel(last, blueoil.binary_mean_scaling_quantizer())(x)
    x = keras.layers.GlobalAveragePooling2D(name="logits")(x)
    return keras.Model(image, x, name="blueoil_digits")


def shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every image moved by -1, 0 or +1 pixels in each direction (zeros come in), most often by none."""
    moved = np.zeros_like(images)
    steps = rng.choice([-1, 0, 0, 1], size=(len(images), 2))
    for n, (dy, dx) in enumerate(steps):
        padded = np.pad(images[n], ((1, 1), (1, 1), (0, 0)))
        moved[n] = padded[1 + dy : 9 + dy, 1 + dx : 9 + dx]
    return moved


def train(out: Path, epochs: int) -> int:
    """Train and write; 1 where the quantized network stays below 96 %."""
    import keras

    keras.utils.set_random_seed(SEED)
    train_x, train_y, test_x, test_y = data()
    model = network()
    rng = np.random.default_rng(SEED)
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-len(train_x) // BATCH), alpha=0.01)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss, metrics=["accuracy"])
    for epoch in range(epochs):
        history = model.fit(shifted(train_x, rng), train_y, batch_size=BATCH, epochs=1, verbose=0)
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1:3d}/{epochs}: training accuracy {history.history['accuracy'][0]:.4f}", flush=True)
    clean = network()  # without the optimizer's state, which would be stored otherwise
    clean.set_weights(model.get_weights())
    predictions = np.argmax(clean.predict(test_x, verbose=0), axis=-1)
    accuracy = float(np.mean(predictions == test_y))
    print(f"test accuracy of the quantized network: {accuracy:.4f} ({clean.count_params()} parameters)")
    if accuracy < 0.96:
        print("below 96 %: nothing is written", file=sys.stderr)
        return 1
    out.mkdir(parents=True, exist_ok=True)
    clean.save(out / "blueoil_digits.keras")
    np.savez_compressed(
        out / "blueoil_digits_test.npz",
        images=test_x,
        labels=test_y.astype(np.uint8),
        predictions=predictions.astype(np.uint8),
        accuracy=np.float64(accuracy),
    )
    print(f"wrote blueoil_digits.keras and blueoil_digits_test.npz to {out}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DEMO, help="the folder of model and test images")
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    return train(options.out, options.epochs)


if __name__ == "__main__":
    sys.exit(main())
