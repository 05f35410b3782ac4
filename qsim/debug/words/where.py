"""Where codes differ, in words: one sample, one channel, borders, one sign, one offset. Only what holds for all."""

from __future__ import annotations

import numpy as np

from qsim.ir import Tensor
from qsim.numerics import Array


def where(tensor: Tensor, expected: Array, observed: Array) -> tuple[str, ...]:
    """Clauses that hold for every differing code and not for every code, the plainest first; codes are (N, *shape)."""
    different = expected != observed
    if not different.any():
        return ()
    found = [_samples(different), *_axes(different), _sign(tensor, expected, different), _limits(expected, different)]
    found += [_offset(expected, observed, different)]
    return tuple(text for text in found if text)


def _places(different: Array, axis: int) -> list[int]:
    other = np.moveaxis(different, axis, 0)
    return [int(i) for i in np.flatnonzero(other.reshape(len(other), -1).any(axis=1))]


def _listed(one: str, places: list[int], size: int) -> str:
    if len(places) == size or len(places) > 3:
        return ""
    names = " and ".join(map(str, places))
    return f"only in {one}{'s' * (len(places) > 1)} {names} of {size}"


def _samples(different: Array) -> str:
    return _listed("sample", _places(different, 0), len(different)) if len(different) > 1 else ""


def _axes(different: Array) -> list[str]:
    names = {4: ("row", "column", "channel"), 3: ("position", "channel"), 2: ("channel",)}.get(different.ndim, ())
    border = _border(different) if different.ndim == 4 else ""
    found = [border]
    for axis, name in enumerate(names, 1):
        if name in ("row", "column") and border:
            continue
        found.append(_listed(name, _places(different, axis), different.shape[axis]))
    return found


def _border(different: Array) -> str:
    """Only in the outermost rows and columns, on which side."""
    inner = different[:, 1:-1, 1:-1]
    if not inner.size or inner.any():
        return ""
    sides = {
        "top": different[:, 0].any(),
        "bottom": different[:, -1].any(),
        "left": different[:, :, 0].any(),
        "right": different[:, :, -1].any(),
    }
    core = {
        "top": different[:, 0, 1:-1].any(),
        "bottom": different[:, -1, 1:-1].any(),
        "left": different[:, 1:-1, 0].any(),
        "right": different[:, 1:-1, -1].any(),
    }
    hit = [name for name, any_there in core.items() if any_there] or [name for name, there in sides.items() if there]
    return f"only at the border ({', '.join(hit)})"


def _sign(tensor: Tensor, expected: Array, different: Array) -> str:
    zero = tensor.quantization.zero_point
    negative = expected < zero
    if negative.all() or not negative.any():
        return ""
    if not (different & ~negative).any():
        return "only where the simulator's value is negative"
    if not (different & (expected <= zero)).any():
        return "only where the simulator's value is positive"
    return ""


def _limits(expected: Array, different: Array) -> str:
    """Only where the simulator's codes stand at an end of what it gives on these samples."""
    for end, name in ((int(expected.max()), "greatest"), (int(expected.min()), "least")):
        at = expected == end
        if not at.all() and not (different & ~at).any():
            return f"only where the simulator has its {name} code, {end}"
    return ""


def _offset(expected: Array, observed: Array, different: Array) -> str:
    deltas = np.unique((observed - expected)[different])
    if len(deltas) == 1:
        return f"always by {int(deltas[0]):+d}"
    constant = np.unique(observed[different])
    return f"the other side always has {int(constant[0])}" if len(constant) == 1 and different.sum() > 1 else ""
