"""No option is passed over in silence: a changed field gives the engines' own codes, or a refusal that names it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tflite_make import Maker, fb, litert, simulate, tflm
from tflite_ops import build
from tflite_options import changed, fields_of, operators, walk

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.tflite import load_tflite, reader
from qsim.importers.tflite.lower.record import Record
from qsim.importers.tflite.operators import OPERATORS
from qsim.importers.tflite.schema import option_fields, slot_count

OFTEN = ("SOFTMAX", "LEAKY_RELU", "CONCATENATION", "RESHAPE", "SQUEEZE", "PACK", "MIRROR_PAD")


def test_a_few_operators() -> None:
    tally = walk(list(OFTEN), profiles=("tflm", "litert-ref"))
    print(tally)
    assert not tally.silent
    assert tally.equal > 20
    assert tally.refused > 40


@pytest.mark.slow
def test_every_operator() -> None:
    tally = walk(operators())
    print(tally)
    assert not tally.silent
    assert len(tally.fields) > 60
    assert tally.equal > 500


def test_every_field_of_the_schema_is_read_idle_or_taken_at_its_default() -> None:
    """The fields come from the generated accessors; the tables of the object API have no other ones, but for newer."""
    for name in operators():
        record = OPERATORS[name]
        known = [f.name for f in option_fields(record.options)]
        assert set(record.reads) | set(record.idle) <= set(known)
        assert [f.slot for f in option_fields(record.options)] == list(range(slot_count(record.options)))
        assert len(fields_of(name)) >= len(known)


def test_a_field_that_nothing_reads_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    data = build("SOFTMAX", 0)
    made = changed(data, "SOFTMAX", "beta", 1.5)
    assert made is not None
    blind = {**OPERATORS, "SOFTMAX": dataclasses.replace(OPERATORS["SOFTMAX"], reads=())}
    monkeypatch.setattr(reader, "OPERATORS", blind)
    with pytest.raises(UnsupportedError, match=r"Beta = 1\.5, which qsim does not read") as caught:
        load_tflite(made[1])
    assert "Beta = 0.0" in str(caught.value)


def test_a_record_cannot_name_a_field_that_the_schema_lacks() -> None:
    with pytest.raises(TypeError, match="SoftmaxOptions has no field Alpha"):
        Record(lower=OPERATORS["SOFTMAX"].lower, options="SoftmaxOptions", reads=("Alpha",))


def test_a_field_newer_than_the_schema_is_refused() -> None:
    model = fb.ModelT.InitFromObj(fb.Model.GetRootAsModel(build("FULLY_CONNECTED", 0), 0))
    options = model.subgraphs[0].operators[0].builtinOptions
    if not hasattr(options, "quantSpec"):
        pytest.skip("this schema has no newer field")
    made = changed(build("FULLY_CONNECTED", 0), "FULLY_CONNECTED", "quantSpec", [1, 2])
    assert made is not None
    with pytest.raises(UnsupportedError, match="newer than the schema"):
        load_tflite(made[1])


@pytest.mark.parametrize("op", ["ADD", "SUB"])
def test_16_bit_scales_that_are_powers_of_two(op: str) -> None:
    """LiteRT shifts them where the file allows it (as it does by default): other codes, refused. TFLM does not."""
    rng = np.random.default_rng(0)
    for allowed in (True, False):
        maker = Maker()
        scales = (2.0**-12, 2.0**-10, 2.0**-10)
        inputs = [maker.input(name, (1, 3000), "INT16", s) for name, s in zip("ab", scales, strict=False)]
        y = maker.tensor("y", (1, 3000), "INT16", scales[2])
        maker.operator(op, inputs, [y], op.title() + "Options", 2, potScaleInt16=allowed)
        maker.output(y)
        data = maker.bytes()
        codes = [rng.integers(-32768, 32768, (1, 3000)).astype(np.int16) for _ in inputs]
        own = [c[None] for c in codes]
        found = simulate(load_tflite(data), codes)["y"].reshape(-1)
        assert np.array_equal(found, tflm(data, own)[0].reshape(-1))
        engine = litert(data, own, keep=False)[y].reshape(-1)
        if allowed:
            assert (engine != found).any()
            with pytest.raises(UnsupportedError, match="powers of two"):
                load_tflite(data, profile="litert-ref")
        else:
            assert np.array_equal(simulate(load_tflite(data, profile="litert-ref"), codes)["y"].reshape(-1), engine)


def test_a_depth_multiplier_that_does_not_fit_is_refused() -> None:
    made = changed(build("DEPTHWISE_CONV_2D", 0), "DEPTHWISE_CONV_2D", "depthMultiplier", 7)
    assert made is not None
    with pytest.raises(ModelError, match="depth multiplier 7"):
        load_tflite(made[1])


def test_a_dropped_axis_with_a_negative_stride_is_refused() -> None:
    """Every engine leaves its output unwritten there."""
    made = changed(build("STRIDED_SLICE", 0), "STRIDED_SLICE", "shrinkAxisMask", 4)
    assert made is not None
    with pytest.raises(UnsupportedError, match="steps backwards"):
        load_tflite(made[1])
