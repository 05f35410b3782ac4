"""The named numeric profiles: which engine's arithmetic a ``.tflite`` file is given.

The file itself does not say how a rescale rounds; each engine does it its own way. Sources: the engines' kernels, and
runs of the engines on the same files (tests/importers/test_tflite_*.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from qsim.errors import UsageError
from qsim.numerics import Scheme


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One engine.

    conv: CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV. dense: FULLY_CONNECTED.
    elementwise: everything else that rescales.
    micro: the engine is TensorFlow Lite Micro (its registrations and checks apply).
    integer_softmax: SOFTMAX runs in integers; else it runs in floats and stays outside the graph.
    """

    name: str
    conv: Scheme
    dense: Scheme
    elementwise: Scheme
    micro: bool = False
    integer_softmax: bool = True


PROFILES: dict[str, Profile] = {
    p.name: p
    for p in (
        Profile(
            name="tflm",
            conv=Scheme.TFLITE_DOUBLE,
            dense=Scheme.TFLITE_DOUBLE,
            elementwise=Scheme.TFLITE_DOUBLE,
            micro=True,
        ),
        Profile(
            name="litert-ref",
            conv=Scheme.TFLITE_DOUBLE,
            dense=Scheme.TFLITE_SINGLE,
            elementwise=Scheme.TFLITE_DOUBLE,
        ),
        Profile(
            name="litert-opt",
            conv=Scheme.TFLITE_UPWARD,
            dense=Scheme.TFLITE_UPWARD,
            elementwise=Scheme.TFLITE_DOUBLE,
            integer_softmax=False,
        ),
        Profile(
            name="litert-xnnpack",
            conv=Scheme.FLOAT32,
            dense=Scheme.FLOAT32,
            elementwise=Scheme.FLOAT32,
            integer_softmax=False,
        ),
    )
}


def get_profile(name: str | None) -> Profile:
    """The profile called ``name``; TensorFlow Lite Micro by default. Raises UsageError for unknown names."""
    if name is None:
        return PROFILES["tflm"]
    if name not in PROFILES:
        raise UsageError(f"unknown numeric profile {name!r} for a .tflite model; there are {', '.join(PROFILES)}")
    return PROFILES[name]
