"""Numbers that somebody else's run left, as codes of the graph's tensors.

Names are matched exactly, then as identifiers (emitted C, HLS and RTL names). A layer's output is the tensor of its
name; ``conv.acc`` is an accumulator inside, which no framework shows. Floats become codes by the tensor's own scale;
what lies off the grid is kept and judged. Channels-first arrays are turned where only that order fits the shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qsim.compare.arrays import read_npy, read_npz
from qsim.errors import UsageError
from qsim.ir import Graph, Tensor
from qsim.numerics import Array
from qsim.targets.text import identifier, identifiers

FLOAT32_UNITS = 64
"""A float that lies off the grid by up to this many float32 roundings of the tensor's largest value is float32's own
rounding, not another code."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """One tensor's observed codes (N, *shape) and how they were read.

    off_grid: largest distance of a given float from its code's value, in codes (0 for integers).
    notes: what was done to the array (turned from NCHW, read as floats, ...). float32: real values in single precision
    (or less), so that the other side computed them with float32's rounding.
    """

    tensor: str
    codes: Array
    off_grid: float = 0.0
    notes: tuple[str, ...] = ()
    float32: bool = False


def read_dump(path: str | Path) -> dict[str, Array]:
    """A folder of ``.npy`` files, or one ``.npz``: name -> array. Raises UsageError for anything else."""
    source = Path(path)
    if source.is_dir():
        files = sorted(source.rglob("*.npy"))
        if not files:
            raise UsageError(f"{source} holds no .npy files")
        return {str(f.relative_to(source).with_suffix("")): read_npy(f) for f in files}
    if source.suffix == ".npz" and source.is_file():
        return read_npz(source)
    raise UsageError(f"{source} is neither a folder of .npy files nor an .npz file")


def match_names(graph: Graph, names: list[str]) -> dict[str, str]:
    """Given name -> tensor name, for every name that means a tensor of the graph. Later aliases of a tensor that is
    already matched by a better rule are dropped."""
    by_identifier = {ident.lower(): name for name, ident in identifiers(graph).items()}
    matched: dict[str, str] = {}
    taken: dict[str, None] = {}
    rules = (
        lambda n: n if n in graph.tensors else None,
        lambda n: by_identifier.get(identifier(n).lower()),
    )
    for rule in rules:
        for name in names:
            tensor = rule(name)
            if name not in matched and tensor is not None and tensor not in taken:
                matched[name] = tensor
                taken[tensor] = None
    return matched


def observe(graph: Graph, dump: Mapping[str, Array], samples: int, *, reals: bool | None = None) -> dict[str, Observed]:
    """The dump's arrays as codes, by tensor name, in graph order.

    reals: whether numbers are real values (default: float arrays are, unless all their values are integers that do
    not fit the tensor's real range). Raises UsageError where nothing matches or a shape cannot be brought to the
    tensor's.
    """
    names = match_names(graph, list(dump))
    if not names:
        raise UsageError(
            f"none of the names in the dump ({', '.join(list(dump)[:8])}) is a layer or tensor of the model "
            f"({', '.join(list(graph.tensors)[:8])}, ...)"
        )
    arrays = {tensor: np.asarray(dump[name]) for name, tensor in names.items()}
    # Where rows, columns and channels are equal in number the shape does not tell the order: the other tensors do.
    turned = any(_only_channels_first(graph[tensor].shape, a.shape, samples) for tensor, a in arrays.items())
    found = {
        tensor: read_array(graph[tensor], a, samples, reals=reals, channels_first=turned)
        for tensor, a in arrays.items()
    }
    return {name: found[name] for name in graph.tensors if name in found}


def _only_channels_first(shape: tuple[int, ...], given: tuple[int, ...], samples: int) -> bool:
    first = (shape[-1], *shape[:-1])
    return len(shape) > 1 and first != shape and given in ((samples, *first), first)


def read_array(
    tensor: Tensor, array: Array, samples: int, *, reals: bool | None = None, channels_first: bool = False
) -> Observed:
    """One array as codes of ``tensor``; see ``observe``. channels_first settles the order where shapes do not."""
    arranged, notes = _arrange(tensor, array, samples, channels_first)
    if arranged.dtype.kind in "iub":
        return Observed(tensor=tensor.name, codes=arranged.astype(np.int64, copy=False), notes=notes)
    if not np.isfinite(arranged).all():
        raise UsageError(f"the dump of tensor {tensor.name!r} holds NaN or infinity")
    values = arranged.astype(np.float64)
    q = tensor.quantization
    if reals is None:
        low, high = (q.real(np.array([c])) for c in tensor.range)
        whole = bool((values == np.rint(values)).all())
        reals = not (whole and float(np.abs(values).max(initial=0)) > 1.5 * float(max(abs(low).max(), abs(high).max())))
    if not reals:
        codes = np.rint(values)
        return Observed(tensor=tensor.name, codes=codes.astype(np.int64), notes=(*notes, "floats read as codes"))
    scale = np.array([float(s) for s in q.scale])
    offset = np.array([float(s) for s in q.offset])
    exact = (values - (offset if len(offset) > 1 else offset[0])) / (scale if len(scale) > 1 else scale[0])
    codes = np.rint(exact)
    off_grid = float(np.abs(exact - codes).max(initial=0.0))
    return Observed(
        tensor=tensor.name,
        codes=codes.astype(np.int64) + q.zero_point,
        off_grid=off_grid,
        notes=(*notes, "real values read by the tensor's scale"),
        float32=arranged.dtype.itemsize <= 4,
    )


def _arrange(tensor: Tensor, array: Array, samples: int, prefer_channels_first: bool) -> tuple[Array, tuple[str, ...]]:
    shape = tensor.shape
    if array.shape == shape and samples == 1:
        array = array[None]
    channels_first = (samples, shape[-1], *shape[:-1])
    ambiguous = len(shape) > 2 and array.shape == channels_first
    if array.shape == (samples, *shape) and not (prefer_channels_first and ambiguous):
        return array, ()
    if len(shape) > 1 and (array.shape == channels_first or (samples == 1 and array.shape == channels_first[1:])):
        turned = np.moveaxis(array.reshape(channels_first), 1, -1)
        return turned, ("turned from channels first (NCHW)",)
    if array.size == samples * tensor.size:
        return array.reshape(samples, *shape), (f"reshaped from {array.shape}",)
    raise UsageError(
        f"the dump of tensor {tensor.name!r} has shape {array.shape}, not ({samples}, {', '.join(map(str, shape))})"
    )


def float32_limit(tensor: Tensor) -> float:
    """How far, in codes, float32 rounding alone can put a real value of this tensor off its grid."""
    return FLOAT32_UNITS * 2.0**-24 * max(1, *(abs(v) for v in tensor.range))
