"""Ports of a foreign design, each with its tensor: codes to the words on its wires, and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from qsim.debug.cosim.config import Port
from qsim.debug.waves.waveform import pack, unpack
from qsim.errors import UsageError
from qsim.ir import Graph
from qsim.numerics import Array


class Word(NamedTuple):
    """One accepted word: when, in ns; its value, -1 with X or Z in it; whether it ended a packet, if that is known."""

    time: int
    value: int
    last: bool | None


Records = dict[str, list[Word]]


class View:
    """A port with its tensor: codes to words and back."""

    def __init__(self, graph: Graph, port: Port) -> None:
        if port.tensor not in graph.tensors:
            raise UsageError(
                f"port {port.name!r}: the model has no tensor {port.tensor!r}: choose from {', '.join(graph.tensors)}"
            )
        self.port, self.tensor = port, graph[port.tensor]
        width = self.tensor.format.width
        self.slot = port.slot or (-(-width // 8) * 8 if port.lanes == 1 else width)
        if self.slot < width and port.direction == "in":
            raise UsageError(f"port {port.name!r}: slots of {self.slot} bits do not hold {self.tensor.format}")
        if self.tensor.size % port.lanes:
            raise UsageError(
                f"port {port.name!r}: {port.lanes} lanes do not divide the {self.tensor.size} elements of a sample"
            )
        self.beats = self.tensor.size // port.lanes
        self.bits = self.slot * (port.lanes - 1) + min(width, self.slot)

    def words(self, codes: Array) -> list[list[int]]:
        """(N, *shape) codes to words, a list a sample."""
        ordered = np.moveaxis(codes, -1, 1) if self.port.layout == "CHW" and codes.ndim > 2 else codes
        flat = ordered.reshape(len(codes), self.beats, self.port.lanes)
        return [[pack(beat, self.slot) for beat in sample] for sample in flat.tolist()]

    def wrong_ends(self, words: list[Word]) -> list[str]:
        """What is wrong with the last signal, if the port has one: it ends each sample and nothing else."""
        for beat, word in enumerate(words):
            if word.last is not None and word.last != (beat % self.beats == self.beats - 1):
                where = f"beat {beat % self.beats} of {self.beats} of sample {beat // self.beats}"
                return [f"port {self.port.name!r}: last is {'set' if word.last else 'not set'} at {where}"]
        return []

    def codes(self, words: list[int], frames: int, expected: Array, problems: list[str]) -> Array:
        """Words to (N, *shape) codes; what is missing stands as a code that no run gives, so that it is found."""
        name, wanted = self.port.name, self.beats * frames
        if len(words) != wanted:
            problems.append(f"port {name!r}: {len(words)} beats came, {wanted} were expected")
        if any(w < 0 for w in words):
            problems.append(
                f"port {name!r}: the word of beat {next(i for i, w in enumerate(words) if w < 0)} holds X or Z"
            )
        fmt = self.tensor.format
        absent = (expected.max(initial=0) + 1) if len(words) < wanted or any(w < 0 for w in words) else 0
        flat: list[int] = []
        for word in (words + [-1] * wanted)[:wanted]:
            if word < 0:
                flat += [int(absent)] * self.port.lanes
            else:
                flat += unpack(word, self.port.lanes, self.slot, min(fmt.width, self.slot), fmt.signed)
        shape = self.tensor.shape
        if self.port.layout == "CHW" and len(shape) > 1:
            turned = np.array(flat, dtype=np.int64).reshape(frames, shape[-1], *shape[:-1])
            return np.moveaxis(turned, 1, -1)
        return np.array(flat, dtype=np.int64).reshape(frames, *shape)

    def place(self, index: tuple[int, ...]) -> int:
        """The position of an element (sample, *index) among all that come through the port."""
        sample, *place = index
        shape = self.tensor.shape
        if self.port.layout == "CHW" and len(shape) > 1:
            place, shape = [place[-1], *place[:-1]], (shape[-1], *shape[:-1])
        return sample * self.tensor.size + int(np.ravel_multi_index(tuple(place), shape))

    @property
    def settings(self) -> dict[str, Any]:
        """What the bench reads of the port, as JSON."""
        port = self.port
        return {
            "name": port.name,
            "direction": port.direction,
            "protocol": port.protocol,
            "signals": {role: port.signal(role) for role in ("data", "valid", "ready", "last")},
            "lanes": port.lanes,
            "slot": self.slot,
            "signed": self.tensor.format.signed,
            "width": min(self.tensor.format.width, self.slot),
            "bits": self.bits,
            "beats": self.beats,
        }
