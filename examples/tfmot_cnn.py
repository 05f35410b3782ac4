"""A small detector trained quantization-aware with tfmot, then run in integers: from data to a model file for qsim.

    python examples/tfmot_cnn.py                     (needs the extras: pip install 'qsim-hw[tfmot,train]')

Data: scikit-learn's handwritten digits (it comes with the package), every pixel enlarged to 7x7, so that the images are
56x56x1. The detector answers one question: does the digit have a closed loop (0, 6, 8, 9)?

Network: convolutions of 30, 16 and 16 filters, each with ReLU and maximum pooling; global average; Dense 8, ReLU;
Dense 1, sigmoid: 7,101 parameters. It is trained with real numbers, wrapped by ``tfmot.quantization.keras
.quantize_model`` (7,131 parameters; ``qsim explain`` says what the 30 are) and trained on.

Writes into ``--out``: ``detector.keras``, the wrapped model; ``images.npy`` and ``labels.npy``, 200 test images that
were never trained on. Prints the accuracy of the model with real numbers, of the wrapped model in Keras, and of the
integers that qsim emits, and how many images get another answer.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import qsim

SEED, TEST_IMAGES, SIZE = 5, 200, 7
LOOPS = (0, 6, 8, 9)


def data() -> tuple[Any, Any, Any, Any]:
    """(train images, train labels, test images, test labels); images (N, 56, 56, 1) float32 in 0..1, labels 0, 1."""
    digits = load_digits()
    images = np.kron(digits.images / 16, np.ones((SIZE, SIZE)))[..., None].astype(np.float32)
    labels = np.isin(digits.target, LOOPS).astype(np.float32)
    train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=TEST_IMAGES, random_state=SEED)
    return train_x, train_y, test_x, test_y


def network() -> Any:
    layers = keras.layers
    stack = [layers.Input((8 * SIZE, 8 * SIZE, 1))]
    for filters in (30, 16, 16):
        stack += [layers.Conv2D(filters, 3), layers.ReLU(), layers.MaxPooling2D()]
    stack += [layers.GlobalAveragePooling2D(), layers.Dense(8), layers.ReLU(), layers.Dense(1, activation="sigmoid")]
    return keras.Sequential(stack, name="detector")


def trained(model: Any, x: Any, y: Any, epochs: int, rate: float) -> Any:
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=2)
    return model


def main() -> int:
    parser = argparse.ArgumentParser(description="Train a detector with tfmot and compare it with its integers.")
    parser.add_argument("--out", type=Path, default=Path("detector"))
    parser.add_argument("--epochs", type=int, default=12, help="with real numbers; a third of it once wrapped")
    parser.add_argument("--images", type=int, default=None, help="train on that many images only")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    keras.utils.set_random_seed(SEED)
    train_x, train_y, test_x, test_y = data()
    train_x, train_y = train_x[: arguments.images], train_y[: arguments.images]
    model = trained(network(), train_x, train_y, arguments.epochs, 3e-3)
    wrapped = tfmot.quantization.keras.quantize_model(model)
    wrapped = trained(wrapped, train_x, train_y, max(1, arguments.epochs // 3), 5e-4)
    wrapped.save(arguments.out / "detector.keras")
    np.save(arguments.out / "images.npy", test_x)
    np.save(arguments.out / "labels.npy", test_y)

    graph = qsim.load(arguments.out / "detector.keras")
    answers = {
        "real numbers": model.predict(test_x, verbose=0),
        "wrapped, in Keras": wrapped.predict(test_x, verbose=0),
        "integers": qsim.Simulator(graph).run(test_x),
    }
    for name, found in answers.items():
        print(
            f"{name:18} {100 * np.mean((found.reshape(-1) > 0.5) == test_y):.1f} % of {len(test_y)} test images right"
        )
    apart = (answers["wrapped, in Keras"] > 0.5) != (answers["integers"] > 0.5)
    print(f"Keras and the integers answer differently for {int(apart.sum())} images.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
