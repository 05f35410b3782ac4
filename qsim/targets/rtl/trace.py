"""Reading the traces that a design built with QSIM_TRACE writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qsim.errors import QsimError
from qsim.numerics import Array
from qsim.targets.rtl.design import Design
from qsim.targets.rtl.network.kernels import Stream


def read_sections(path: Path) -> list[Array]:
    """The codes of one stream, split at resets; uint64 codes beyond 63 bits are refused by the format itself."""
    if not path.exists():
        raise QsimError(f"the RTL simulation wrote no trace {path.name}")
    sections = path.read_text(encoding="utf-8").split("reset\n")
    return [np.array(text.split(), dtype=object).astype(np.int64) for text in sections]


def read_traces(design: Design, folder: Path, frames: int, section: int = -1) -> dict[str, Array]:
    """Tensor -> (frames, *shape) of every tensor, from the traces' ``section``. Raises QsimError for missing beats."""
    cache: dict[Stream, Array] = {}
    found: dict[str, Array] = {}
    for tensor, stream in design.network.tensors.items():
        if stream not in cache:
            cache[stream] = read_sections(folder / f"{design.names[stream]}.trace")[section]
        codes, shape = cache[stream], design.graph[tensor].shape
        size = stream.size
        if len(codes) < frames * size:
            raise QsimError(f"the trace of tensor {tensor!r} has {len(codes)} beats, not {frames * size}")
        found[tensor] = codes[: frames * size].reshape(frames, *shape)
    return found
