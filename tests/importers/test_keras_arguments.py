"""No argument is passed over in silence: a changed one gives Keras' own values, or a refusal that names it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import qkeras
from keras_arguments import (
    all_layers,
    all_operations,
    all_quantizers,
    layer_walk,
    operation_walk,
    outcome,
    quantizer_walk,
    samples,
)

import qsim
from qsim.errors import UnsupportedError
from qsim.importers.keras.lower.graph import LAYERS
from qsim.importers.keras.lower.rearrangements import _marks
from qsim.importers.keras.lower.record import IDLE, Record
from qsim.importers.keras.lower.shape import IDENTITIES
from qsim.importers.keras.model import LayerNode
from qsim.ir.ops import Transpose
from qsim.quantizers import quantizer

OFTEN = ("Softmax", "SpatialDropout2D", "ReLU", "Concatenate", "MaxPooling2D")


def test_a_few_layers() -> None:
    tally = layer_walk([name for name in all_layers() if name in OFTEN])
    print(tally)
    assert not tally.silent
    assert tally.equal > 20
    assert tally.refused > 10


def test_every_operation() -> None:
    tally = operation_walk(all_operations())
    print(tally)
    assert not tally.silent
    assert tally.keys > 30
    assert tally.equal > 50


@pytest.mark.slow
def test_every_layer() -> None:
    tally = layer_walk(all_layers())
    print(tally)
    assert not tally.silent
    assert tally.keys > 500
    assert tally.equal > 500


@pytest.mark.slow
def test_every_quantizer() -> None:
    tally = quantizer_walk(all_quantizers())
    print(tally)
    assert not tally.silent
    assert tally.keys > 50
    assert tally.equal > 100


@pytest.mark.parametrize("text", ["quantized_bits(4,0,2)", "quantized_bits(4,keep_negative=2)", "binary(2)"])
def test_a_switch_that_is_neither_on_nor_off_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedError, match="neither on nor off"):
        quantizer(text)


def node(**config: Any) -> LayerNode:
    return LayerNode(name="n", layer="n", class_name="ReLU", config=config, inputs=(), weights={})


def test_every_key_is_read_idle_fixed_or_refused() -> None:
    record = Record(lower=LAYERS["ReLU"].lower, reads=("threshold",), only={"groups": (1,)})
    record.check(node(threshold=0.5, groups=1, name="x", kernel_regularizer="l2", unknown=None))
    with pytest.raises(UnsupportedError, match=r"layer 'n': its argument slope=0.5 is not one that qsim reads"):
        record.check(node(slope=0.5))
    with pytest.raises(UnsupportedError, match=r"layer 'n': its groups is 2. Use groups=1"):
        record.check(node(groups=2))
    with pytest.raises(UnsupportedError, match="called with scale beside its tensors"):
        record.check(node(call={"args": [{"tensor": 0}], "kwargs": {"scale": 2}}))
    for record in LAYERS.values():
        assert not set(record.reads) & {*IDLE, *record.only}


@pytest.mark.parametrize("identity", IDENTITIES)
def test_layers_that_do_nothing_stay_channels_first(identity: str) -> None:
    """Each transpose is a store of a whole frame in hardware."""
    arguments = {"rate": 0.1} if "ropout" in identity else {"stddev": 0.1} if "Noise" in identity else {}
    if identity == "SpatialDropout2D":
        arguments["data_format"] = "channels_first"
    if identity == "SpatialDropout1D":
        pytest.skip("takes no images")

    def conv(name: str) -> Any:
        return qkeras.QConv2D(
            3, 2, data_format="channels_first", kernel_quantizer=qkeras.quantized_bits(4, 0, 1, alpha=1), name=name
        )

    layer = getattr(keras.layers, identity)(**arguments)
    model = keras.Sequential([keras.Input((2, 6, 5)), conv("first"), layer, conv("second")])
    graph = qsim.load(model, input_format="fixed<6,1>")
    assert sum(isinstance(op, Transpose) for op in graph.ops) == 2


def test_sizes_of_a_split() -> None:
    def marks(**config: Any) -> list[int]:
        return _marks(node(**config), 5)

    assert marks(sizes=[-1, 2]) == [3]
    assert marks(sizes=[1, -1, 1]) == [1, 4]
    assert marks(indices_or_sections=5) == [1, 2, 3, 4]
    for wrong in ({"sizes": [-1, -1]}, {"sizes": [2, 2]}, {"sizes": [-1, 7]}, {"indices_or_sections": 2}):
        with pytest.raises(UnsupportedError):
            marks(**wrong)


def test_an_input_that_is_an_output_stays_as_it_came() -> None:
    given = keras.Input((3,))
    quantized = qkeras.QActivation(qkeras.quantized_bits(4, 1, 1, alpha=1))(given)
    model = keras.Model(given, [given, quantized])
    with pytest.raises(UnsupportedError, match="real-valued"):
        qsim.load(model)
    x = samples((3,))
    ours = qsim.Simulator(qsim.load(model, input_format="fixed<6,3>")).run(x)
    for mine, keras_own in zip(ours.values(), model(x)):
        assert np.array_equal(mine, np.asarray(keras_own))


def test_the_walk_sees_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    given = keras.Input((4,))
    quantized = qkeras.QActivation(qkeras.quantized_bits(5, 1, 1, alpha=1))(given)
    model = keras.Model(given, keras.ops.max(keras.layers.Reshape((2, 2))(quantized), axis=1, initial=1.5))
    assert outcome(model, [samples((4,))]) == "equal"
    plain = qsim.load(keras.Model(given, keras.ops.max(keras.layers.Reshape((2, 2))(quantized), axis=1)))
    monkeypatch.setattr(qsim, "load", lambda model: plain)
    assert outcome(model, [samples((4,))]).startswith("silent")
