"""Operators in unusual shapes against every engine, every code."""

from __future__ import annotations

import numpy as np
import pytest
from tflite_make import differences, litert, random_codes, simulate, tflm
from tflite_moves import Random
from tflite_shapes import SHAPES

from qsim.errors import UnsupportedError
from qsim.importers.tflite import load_tflite
from qsim.importers.tflite.load import read_source


def compare(name: str, profile: str, seeds: int) -> None:
    compared, refused = 0, []
    for seed in range(seeds):
        Random.always_bias = profile != "tflm"
        data = SHAPES[name](np.random.default_rng([seed, *name.encode()]))
        try:
            graph = load_tflite(data, profile=profile)
        except UnsupportedError as error:
            refused.append(str(error))
            continue
        codes = random_codes(graph, 8, seed)
        try:
            if profile == "tflm":
                reference = dict(zip(read_source(data).outputs, tflm(data, codes), strict=True))
            else:
                reference = litert(data, codes, profile, keep=False)
        except RuntimeError:
            continue  # the engine does not run the model
        assert not differences(graph, data, simulate(graph, codes), reference), (name, seed)
        compared += 1
    assert compared > seeds // 3
    assert all("has a window of" in reason for reason in refused), refused


@pytest.mark.parametrize("name", list(SHAPES))
def test_shapes_against_tflm(name: str) -> None:
    compare(name, "tflm", 15)


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["tflm", "litert-ref", "litert-opt", "litert-xnnpack"])
@pytest.mark.parametrize("name", list(SHAPES))
def test_many_shapes_against_every_engine(name: str, profile: str) -> None:
    compare(name, profile, 150)
