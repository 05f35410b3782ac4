"""``qsim cosim`` on designs without handshake or clock, with arrays, with a signal a lane, with VHDL's names."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from qsim.debug.cosim.cosim import CosimResult, cosim
from qsim.errors import UsageError
from qsim.ir import Quantization, to_json
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat
from qsim.proof.builder import GraphBuilder

GATES = """module gates(input [15:0] x, output [21:0] y);
  wire signed [7:0] a = x[7:0], b = x[15:8];
  wire signed [10:0] y0 = a + 3 * b, y1 = -2 * a + 4 * b;
  assign y = {y1, y0};
endmodule
"""
PIPELINE = """module pipeline(input clk, input [15:0] x, output reg [21:0] y);
  wire [21:0] now;
  gates g(.x(x), .y(now));
  reg [21:0] stage;
  always @(posedge clk) begin stage <= now; y <= stage; end
endmodule
"""
ARRAYS = """module arrays(input clk, input rst_n, input in_valid, output in_ready, input signed [9:0] X [1:0],
              output reg out_valid, output reg signed [10:0] Y [0:1]);
  assign in_ready = 1;
  always @(posedge clk) begin
    out_valid <= in_valid & rst_n;
    Y[0] <= X[0] + 3 * X[1];
    Y[1] <= -2 * X[0] + 4 * X[1];
  end
endmodule
"""
LANES = """module lanes(input CLK, input signed [7:0] X_0, input signed [7:0] X_1, output reg signed [10:0] Y_0,
             output reg signed [10:0] Y_1);
  always @(posedge CLK) begin Y_0 <= X_0 + 3 * X_1; Y_1 <= -2 * X_0 + 4 * X_1; end
endmodule
"""
NONE = "valid: null, ready: null, last: null"


def design(folder: Path, top: str, text: str, ports: str, keys: str = "clock: clk\nreset: null") -> Path:
    builder = GraphBuilder("two", "qkeras")
    x = builder.input("x", (2,), IntFormat(8, True), Quantization.of(Fraction(1)))
    dense = o.Dense(inputs=(x,), output="d", layer="d", weights=IntArray([[1, -2], [3, 4]]), bias=None)
    y = builder.add(dense, quantization=Quantization.of(Fraction(1)))
    folder.mkdir(exist_ok=True)
    (folder / "model.json").write_text(to_json(builder.build([y])))
    (folder / f"{top}.sv").write_text(text)
    (folder / "cosim.yaml").write_text(f"top: {top}\nsources: [{top}.sv]\nmodel: model.json\n{keys}\nports:\n{ports}")
    return folder


def packed(extra: str = NONE) -> str:
    return (
        f"  - {{name: i, direction: in, tensor: x, signals: {{data: x, {extra}}}, lanes: 2}}\n"
        f"  - {{name: o, direction: out, tensor: d, signals: {{data: y, {extra}}}, lanes: 2, slot: 11}}\n"
    )


def equal(result: CosimResult) -> None:
    assert result.ok, str(result)
    assert [(t.tensor, t.differing) for t in result.diff.tensors] == [("d", 0)]


def test_gates_alone(tmp_path: Path) -> None:
    equal(cosim(design(tmp_path, "gates", GATES, packed(), "clock: null\nreset: null\nframes: 40")))


@pytest.mark.slow
def test_wrong_gates(tmp_path: Path) -> None:
    wrong = cosim(design(tmp_path, "gates", GATES.replace("-2 * a", "2 * a"), packed(), "clock: null\nreset: null"))
    assert not wrong.ok
    assert wrong.diff.first.where[0] == "only in channel 1 of 2"


def test_a_fixed_latency_is_found(tmp_path: Path) -> None:
    found = cosim(design(tmp_path, "pipeline", GATES + PIPELINE, packed()), frames=40)
    equal(found)
    assert found.diff.samples == 40
    assert "40 of 40 words stand 2 cycles behind the input's: its latency is 2" in str(found)


@pytest.mark.slow
@pytest.mark.parametrize("latency", [1, 2, 3])
def test_a_fixed_latency_is_checked(tmp_path: Path, latency: int) -> None:
    keys = f"clock: clk\nreset: null\nlatency: {latency}"
    result = cosim(design(tmp_path, "pipeline", GATES + PIPELINE, packed(), keys), frames=40)
    assert result.ok == (latency == 2), str(result)
    assert result.notes == ()


@pytest.mark.slow
def test_a_wrong_pipeline(tmp_path: Path) -> None:
    faulty = (GATES + PIPELINE).replace("-2 * a", "-2 * a + 1")
    wrong = cosim(design(tmp_path, "pipeline", faulty, packed()), frames=40)
    assert not wrong.ok
    assert "with no latency all of them do" in str(wrong)
    assert wrong.diff.first.where[0] == "only in channel 1 of 2"


ARRAY_PORTS = (
    "  - {name: i, direction: in, tensor: x, lanes: 2,\n"
    "     signals: {data: x, valid: in_valid, ready: IN_READY, last: null}}\n"
    "  - {name: o, direction: out, tensor: d, lanes: 2, slot: 11,\n"
    "     signals: {data: y, valid: out_valid, ready: null, last: null}}\n"
)


def test_unpacked_arrays_in_any_case(tmp_path: Path) -> None:
    equal(cosim(design(tmp_path, "arrays", ARRAYS, ARRAY_PORTS, "clock: CLK\nreset: RST_N")))


@pytest.mark.slow
def test_wrong_arrays(tmp_path: Path) -> None:
    turned = ARRAYS.replace("Y[1] <= -2", "Y[1] <= 2")
    wrong = cosim(design(tmp_path, "arrays", turned, ARRAY_PORTS, "clock: clk\nreset: rst_n"))
    assert not wrong.ok
    assert wrong.waveform is not None


@pytest.mark.parametrize("swapped", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_signal_a_lane(tmp_path: Path, swapped: bool) -> None:
    outputs = "[y_1, y_0]" if swapped else "[y_0, y_1]"
    ports = (
        f"  - {{name: i, direction: in, tensor: x, signals: {{data: [x_0, x_1], {NONE}}}, lanes: 2}}\n"
        f"  - {{name: o, direction: out, tensor: d, signals: {{data: {outputs}, {NONE}}}, lanes: 2, slot: 11}}\n"
    )
    result = cosim(design(tmp_path, "lanes", LANES, ports, "clock: clk\nreset: null\nlatency: 1"))
    if swapped:
        assert result.diff.first.explanations[0].name.startswith("channels"), str(result)
    else:
        equal(result)


def test_descriptions_that_time_cannot_tell(tmp_path: Path) -> None:
    def refused(match: str, ports: str, keys: str) -> None:
        with pytest.raises(UsageError, match=match):
            cosim(design(tmp_path, "pipeline", GATES + PIPELINE, ports, keys))

    refused("without a clock there is no handshake", packed("last: null"), "clock: null\nreset: null")
    one = packed().replace("lanes: 2}\n", "lanes: 1}\n", 1)
    refused("has no valid: its words are told by time", one, "clock: clk\nreset: null")
    refused("3 data signals for 2 lanes", packed().replace("data: x,", "data: [a, b, c],"), "clock: clk\nreset: null")
    refused("latency", packed(), "clock: clk\nreset: null\nlatency: -1")
