"""The page docs/qkeras.md from docs/qkeras.json: pure text, without Keras."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

RESULTS, PAGE = "docs/qkeras.json", "docs/qkeras.md"
TARGETS = ("c", "hls", "rtl")
Results = Mapping[str, Mapping[str, Any]]

FORWARD = ("QDense", "QConv1D", "QConv2D", "QDepthwiseConv2D", "QSeparableConv1D", "QSeparableConv2D",
           "QMobileNetSeparableConv2D", "QConv2DTranspose")  # fmt: skip
FOLDED = ("QDenseBatchnorm", "QConv2DBatchnorm", "QDepthwiseConv2DBatchnorm")
RECURRENT = ("QSimpleRNN", "QLSTM", "QGRU")

HEAD = """# QKeras: layers and quantizers

This page is generated: `make matrix` runs every cell and writes it. Do not edit it.

Every cell is a small model with that layer and that quantizer, with random weights that hit ties, zeros and limits, on
100 inputs that hold zero, both limits and ties. Its five marks are, in order:

1. **import** through `qsim.load`;
2. **simulator**: the codes of every layer and output against `qkeras-v3`'s own run. `=` all are equal; `≡` all are
   equal to the same layers in float64, from which Keras' own float32 run differs by its rounding (sums of more than 24
   bits, scales that are no binary fractions, its tanh and sigmoid); below each table stands how many codes that is.
   Accumulators of more than 53 bits, which no float64 holds, are compared by what the layers behind make of them;
3. **C**, 4. **HLS C++**, 5. **RTL** (Verilator, with idle gaps and backpressure): every tensor against the simulator.

`=` is zero differing codes; a number is how many differ, `!` an error. `[n]` is a refusal, with its words below.
"""

INTROS = {
    "weights": "Quantizers as the kernel's. Of separable layers it is the pointwise kernel's, of QBatchNormalization "
    "beta's and the mean's, of QScaleShift the weight's.",
    "weights, further arguments": "Further arguments of the same quantizers, where the axes of their scales differ.",
    "biases": "Quantizers as the bias's.",
    "activations": "Quantizers as the layer's activation (of QLSTM and QGRU the candidate's and the state's).",
    "layers": "Layers that take no quantizer, arguments that are none of a quantizer's, and models in files.",
    "operations on tensors": "What Keras 3 saves for `x + y`, `x[:, 1:]` and the functions of `keras.ops`.",
    "recurrent and octave layers": "Recurrent layers are unrolled over their time steps.",
}


def as_json(results: Results) -> str:
    """The results as the file holds them: one cell a line."""
    lines = [f"{json.dumps(key)}: {json.dumps(result, sort_keys=True)}" for key, result in results.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def summary(results: Results) -> str:
    """The figures in one sentence."""
    refused = [r for r in results.values() if r.get("refused")]
    run = [r for r in results.values() if not r.get("refused")]
    equal = [r for r in run if not r["differ"] and not any(r["targets"].values())]
    codes = sum(r["codes"] for r in run)
    own = sum(r["reference"] == "Keras" for r in run)
    return (
        f"{len(results)} cells: {len(equal)} equal in all five steps, {len(run) - len(equal)} not, {len(refused)} "
        f"refused. {codes} codes compared with the reference, in {own} cells Keras' own run, in {len(run) - own} the "
        "evaluation in float64."
    )


def marks(result: Mapping[str, Any]) -> str:
    """The five marks of a cell that was imported."""

    def mark(verdict: int | str | None) -> str:
        return "?" if verdict is None else "!" if isinstance(verdict, str) else str(verdict) if verdict else "="

    second = str(result["differ"]) if result["differ"] else "=" if result["reference"] == "Keras" else "≡"
    targets = result.get("targets", {})
    return " ".join(["=", second, *(mark(targets.get(target)) for target in TARGETS)])


def reason(text: str) -> str:
    """A refusal's words without the cell's own layer name."""
    return re.sub(r"^layer '[^']*': ", "", text)


def render(results: Results) -> str:
    """The page."""
    families: dict[str, dict[str, dict[str, Mapping[str, Any]]]] = {}
    for key, result in results.items():
        family, row, column = key.split(" | ")
        families.setdefault(family, {}).setdefault(row, {})[column] = result
    parts = [HEAD, summary(results)]
    for family, rows in families.items():
        parts += [f"## {family.capitalize()}", INTROS[family], _table(rows)]
    return "\n\n".join(parts).replace("\n\n\n", "\n\n") + "\n"


def _table(rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    notes: dict[str, int] = {}
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    rounded = 0
    total = 0
    for name, row in rows.items():
        entries = []
        for column in columns:
            result = row.get(column)
            if result is None:
                entries.append("")
            elif result.get("refused"):
                number = notes.setdefault(reason(result["refused"]), len(notes) + 1)
                entries.append(f"[{number}]")
            else:
                entries.append(marks(result))
                rounded += result.get("keras", 0)
                total += result["codes"]
        lines.append(f"| {name} | " + " | ".join(entries) + " |")
    text = "\n".join(lines)
    if rounded:
        text += f"\n\nKeras' own float32 run differs in {rounded} of {total} codes, all in cells marked `≡`."
    if notes:
        text += "\n\nRefused:\n\n" + "\n".join(f"{number}. {words}" for words, number in notes.items())
    return text
