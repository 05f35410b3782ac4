"""Codes out of a waveform (VCD, FST) of a running design: the words of its streams, as the graph's tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qsim.debug.waves.waveform import Beat, StreamSignals, Waveform, unpack
from qsim.errors import QsimError, UsageError
from qsim.ir import Graph, Tensor
from qsim.numerics import Array

HOW = "write --port TENSOR=PREFIX, or TENSOR=PREFIX,lanes=4,slot=8,layout=CHW"


@dataclass(frozen=True, kw_only=True)
class WavePort:
    """Where a tensor appears: signals <prefix>_tdata, _tvalid and, where they exist, _tready, or, as inside the designs
    that qsim emits, <prefix>_data, _valid and _ready (conv1__data of tensor conv1). lanes: elements a beat,
    lane 0 in the low bits; slot: bits an element takes (default: the format's width, for one lane rounded up to
    bytes); layout: element order, HWC or CHW."""

    tensor: str
    prefix: str
    lanes: int = 1
    slot: int | None = None
    layout: str = "HWC"


def parse_port(text: str) -> WavePort:
    """Read TENSOR=PREFIX[,lanes=N][,slot=N][,layout=HWC|CHW]. Raises UsageError."""
    tensor, mark, rest = text.partition("=")
    prefix, *settings = rest.split(",")
    if not (mark and tensor and prefix):
        raise UsageError(f"cannot read the port {text!r}: {HOW}")
    port = WavePort(tensor=tensor, prefix=prefix)
    numbers: dict[str, int] = {}
    layout = port.layout
    for setting in settings:
        key, _, value = setting.partition("=")
        if key in ("lanes", "slot") and value.isascii() and value.isdigit() and int(value):
            numbers[key] = int(value)
        elif key == "layout" and value in ("HWC", "CHW"):
            layout = value
        else:
            raise UsageError(f"cannot read {setting!r} of port {text!r}: {HOW}")
    return WavePort(
        tensor=tensor, prefix=prefix, lanes=numbers.get("lanes", 1), slot=numbers.get("slot"), layout=layout
    )


def read_waveform(
    graph: Graph, path: str | Path, ports: Sequence[WavePort], clock: str, reset_n: str | None = None
) -> dict[str, Array]:
    """Tensor name -> codes (frames, *shape), as many whole frames as every port shows.

    A frame that the waveform begins but does not end is left out. Raises UsageError for signals or tensors that do not
    exist and for ports without one whole frame, QsimError for words that hold X or Z.
    """
    if not ports:
        raise UsageError(f"a waveform shows signals, not tensors: {HOW}")
    waveform = Waveform(path)
    read: dict[str, Array] = {}
    for port in ports:
        if port.tensor not in graph.tensors:
            raise UsageError(f"the model has no tensor {port.tensor!r}: choose from {', '.join(graph.tensors)}")
        read[port.tensor] = _codes(
            port, graph[port.tensor], waveform.beats(clock, _signals(waveform, port), reset_n=reset_n)
        )
    frames = min(len(codes) for codes in read.values())
    return {name: codes[:frames] for name, codes in read.items()}


def _signals(waveform: Waveform, port: WavePort) -> StreamSignals:
    def exists(name: str) -> bool:
        return any(full == name or full.endswith(f".{name}") for full in waveform.names)

    axis = exists(f"{port.prefix}_tdata") or not exists(f"{port.prefix}_data")
    prefix = f"{port.prefix}_t" if axis else f"{port.prefix}_"
    ready = f"{prefix}ready"
    return StreamSignals(data=f"{prefix}data", valid=f"{prefix}valid", ready=ready if exists(ready) else None)


def _codes(port: WavePort, tensor: Tensor, beats: Sequence[Beat]) -> Array:
    if tensor.size % port.lanes:
        raise UsageError(
            f"port {port.prefix!r}: {port.lanes} lanes do not divide the {tensor.size} elements of {port.tensor!r}"
        )
    per_frame = tensor.size // port.lanes
    frames = len(beats) // per_frame
    if not frames:
        raise UsageError(
            f"port {port.prefix!r}: the waveform shows {len(beats)} beats, a frame of {port.tensor!r} has {per_frame}"
        )
    width = tensor.format.width
    slot = port.slot or (-(-width // 8) * 8 if port.lanes == 1 else width)
    flat: list[int] = []
    for number, beat in enumerate(beats[: frames * per_frame]):
        if beat.word is None:
            raise QsimError(f"port {port.prefix!r}: beat {number} at time {beat.time} holds X or Z")
        flat += unpack(beat.word, port.lanes, slot, min(width, slot), tensor.format.signed)
    codes = np.array(flat, dtype=np.int64)
    if port.layout == "CHW" and len(tensor.shape) > 1:
        return np.moveaxis(codes.reshape(frames, tensor.shape[-1], *tensor.shape[:-1]), 1, -1)
    return codes.reshape(frames, *tensor.shape)
