"""The numeric profiles of ONNX files: whose arithmetic an import reproduces."""

from __future__ import annotations

from dataclasses import dataclass

from qsim.errors import UsageError
from qsim.importers.onnx.model import MICROSOFT, QONNX, OnnxModel


@dataclass(frozen=True, kw_only=True)
class Profile:
    """name: as users give it. text: what it reproduces, for people. fused: whether operators between quantizers are
    ONNX Runtime's integer kernels, with its float32 multipliers."""

    name: str
    text: str
    fused: bool = False


PROFILES = {
    p.name: p
    for p in (
        Profile(name="qonnx", text="QONNX's text: real arithmetic between quantizers, each with its own rounding"),
        Profile(name="onnx", text="the standard's text: real arithmetic between quantizers, half to even"),
        Profile(name="ort", text="ONNX Runtime's integer kernels: float32 multipliers, half to even", fused=True),
    )
}


def profile_of(name: str | None, model: OnnxModel) -> Profile:
    """The named profile, or the file's own: ``qonnx`` where it has QONNX's quantizers, ``ort`` where it has ONNX
    Runtime's integer operators, else ``onnx``. Raises UsageError for any other name."""
    if name is None:
        if any(node.domain == QONNX for node in model.nodes):
            return PROFILES["qonnx"]
        integer = any(node.domain == MICROSOFT or node.kind.startswith("QLinear") for node in model.nodes)
        return PROFILES["ort" if integer else "onnx"]
    if name not in PROFILES:
        raise UsageError(f"profile {name!r} is not one of an ONNX model's: {', '.join(PROFILES)}.")
    return PROFILES[name]
