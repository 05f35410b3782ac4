"""Running a plan: native segments over blocks of samples, numpy between them where an operation has no kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from qsim.errors import QsimError
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import Array
from qsim.reference.kernels import KERNELS as REFERENCE
from qsim.simulate.native.library import load
from qsim.simulate.native.lower.base import KINDS
from qsim.simulate.native.plan import TYPES, Step, steps
from qsim.simulate.native.structures import BufferC, Keep, StepC
from qsim.simulate.plan import Row

_CACHE_BYTES = 192 << 10
"""Of a block's tensors: they stay in the second cache of a core, beside weights."""
_MOST_BLOCK = 256
_CHUNK_BYTES = 64 << 20
_ALIGNMENT = 64


@dataclass(frozen=True, kw_only=True)
class _Segment:
    """Steps that run as one call. external: tensors that it reads from, or writes for, the outside, in C's order."""

    steps: int
    count: int
    buffers: int
    external: tuple[str, ...]
    arena: int
    scratch: int
    block: int


class NativeEngine:
    """A graph's plan for one set of tensors to keep. threads: samples are shared among so many.

    options: of the C compiler, beside its own. Raises ToolMissingError where the kernels cannot be compiled.
    """

    def __init__(self, graph: Graph, kept: Sequence[str], threads: int = 1, options: tuple[str, ...] = ()) -> None:
        self.graph = graph
        self._threads = threads
        self._library = load(options)
        self._keep = Keep()
        self._kept = tuple(dict.fromkeys(kept))
        self._steps, self._types, self._views = steps(
            graph, frozenset(self._kept), self._keep, dot=bool(self._library.qn_has_dot())
        )
        self._roots = {name: self._root(name) for name in (*self._types, *self._views)}
        self._program = self._segments()
        self._chunk = self._samples_at_once()

    def _root(self, name: str) -> str:
        while name in self._views:
            name = self._views[name]
        return name

    def rows(self) -> list[Row]:
        """The plan as lines: see ``Simulator.plan``."""
        found = [
            Row(
                tensor=step.group.output,
                operations=step.group.names(),
                kernel=KINDS[step.call.kind] if step.call else "numpy",
                reason=step.reason,
            )
            for step in self._steps
        ]
        return found + [Row(tensor=name, operations=("Reshape",), kernel="view") for name in self._views]

    # --- the program

    def _segments(self) -> list[_Segment | Step]:
        """Runs of native steps, as segments; numpy's steps between them."""
        reads: dict[str, int] = {}
        for number, step in enumerate(self._steps):
            for name in step.group.sources:
                reads[self._roots[name]] = number
        kept = {self._roots[name] for name in self._kept}
        program: list[_Segment | Step] = []
        first = 0
        for number, step in enumerate(self._steps):
            if step.call is None:
                if first < number:
                    program.append(self._segment(first, number, reads, kept))
                program.append(step)
                first = number + 1
        if first < len(self._steps):
            program.append(self._segment(first, len(self._steps), reads, kept))
        return program

    def _segment(self, first: int, end: int, reads: dict[str, int], kept: set[str]) -> _Segment:
        numbers: dict[str, int] = {}
        buffers: list[BufferC] = []
        external: list[str] = []
        arena = _Arena()
        born = {self._roots[step.group.output] for step in self._steps[first:end]}
        scratch, rows = 0, []

        def place(name: str, at: int) -> int:
            root = self._roots[name]
            if root not in numbers:
                numbers[root] = len(buffers)
                size = self.graph[root].size * np.dtype(TYPES[self._types[root]]).itemsize
                if root in born and root not in kept and reads.get(root, -1) < end:
                    offset = arena.take(size, reads.get(root, at))
                    buffers.append(BufferC(bytes=size, offset=offset, external=-1))
                else:
                    constant = isinstance(self.graph.producers.get(root), o.Constant)
                    buffers.append(BufferC(bytes=size, offset=-1, external=len(external), constant=int(constant)))
                    external.append(root)
            return numbers[root]

        for at in range(first, end):
            step = self._steps[at]
            assert step.call is not None
            arena.release(at)
            inputs = [place(name, at) for name in step.group.sources]
            out = place(step.group.output, at)
            rows.append(
                StepC(
                    kind=step.call.kind,
                    inputs=len(inputs),
                    in_=self._keep.array(inputs, np.int32),
                    out=out,
                    params=step.call.params,
                )
            )
            scratch = max(scratch, step.call.scratch)
        stored = arena.size + sum(b.bytes for b in buffers if b.external >= 0 and not b.constant)
        return _Segment(
            steps=self._keep.structures(rows),
            count=len(rows),
            buffers=self._keep.structures(buffers),
            external=tuple(external),
            arena=arena.size,
            scratch=scratch,
            block=max(1, min(_MOST_BLOCK, _CACHE_BYTES // max(1, stored))),
        )

    # --- running

    def run(self, codes: dict[str, Array], batch: int) -> dict[str, Array]:
        """Codes (batch, *shape) of the inputs to those of the kept tensors, in their narrow element types."""
        if batch <= self._chunk:
            return self._run_chunk(codes, batch)
        found = {
            name: np.empty((batch, *self.graph[name].shape), dtype=TYPES[self._types[self._roots[name]]])
            for name in self._kept
        }
        for first in range(0, batch, self._chunk):
            end = min(batch, first + self._chunk)
            part = self._run_chunk({name: array[first:end] for name, array in codes.items()}, end - first)
            for name, array in part.items():
                found[name][first:end] = array
        return found

    def _run_chunk(self, codes: dict[str, Array], batch: int) -> dict[str, Array]:
        values = {name: np.ascontiguousarray(array, dtype=TYPES[self._types[name]]) for name, array in codes.items()}
        for part in self._program:
            if isinstance(part, Step):
                self._numpy(part, values, batch)
            else:
                self._native(part, values, batch)
        found = {}
        for name in self._kept:
            array, shape = values[self._roots[name]], self.graph[name].shape
            found[name] = np.broadcast_to(array.reshape(len(array), *shape), (batch, *shape))
        return found

    def _samples_at_once(self) -> int:
        """Samples of a chunk: what lies between segments and in numpy's hands stays small, whatever the batch."""
        size = 1
        for part in self._program:
            if isinstance(part, Step):
                size += sum(8 * 4 * self.graph[n].size for op in part.group.ops for n in (*op.inputs, op.output))
            else:
                size += sum(8 * self.graph[name].size for name in part.external)
        return max(1, _CHUNK_BYTES // size)

    def _value(self, name: str, values: dict[str, Array]) -> Array:
        array = values[self._roots[name]]
        return array.reshape(len(array), *self.graph[name].shape)

    def _numpy(self, step: Step, values: dict[str, Array], batch: int) -> None:
        for op in step.group.ops:
            inputs = [self._value(name, values).astype(np.int64) for name in op.inputs]
            tensors = [self.graph[name] for name in op.inputs]
            made = REFERENCE[type(op)](op, inputs, tensors, self.graph[op.output])
            if len(made) != batch and not isinstance(op, o.Constant):
                made = np.broadcast_to(made, (batch, *made.shape[1:]))
            values[op.output] = np.ascontiguousarray(made, dtype=TYPES[self._types[op.output]])

    def _native(self, part: _Segment, values: dict[str, Array], batch: int) -> None:
        for name in part.external:
            if name not in values:
                values[name] = np.empty((batch, *self.graph[name].shape), dtype=TYPES[self._types[name]])
        pieces = self._pieces(batch, part.block, self._threads)
        if len(pieces) == 1:
            self._call(part, values, pieces[0])
        else:
            with ThreadPoolExecutor(len(pieces)) as pool:
                list(pool.map(lambda piece: self._call(part, values, piece), pieces))

    @staticmethod
    def _pieces(batch: int, block: int, threads: int) -> list[tuple[int, int]]:
        """The batch cut into at most ``threads`` runs of whole blocks."""
        blocks = -(-batch // block)
        size = -(-blocks // max(1, min(threads, blocks))) * block
        return [(first, min(batch, first + size)) for first in range(0, batch, size)]

    def _call(self, part: _Segment, values: dict[str, Array], piece: tuple[int, int]) -> None:
        first, end = piece
        addresses = (ctypes.c_void_p * max(1, len(part.external)))()
        for number, name in enumerate(part.external):
            array = values[name]
            constant = isinstance(self.graph.producers.get(name), o.Constant)
            addresses[number] = array.ctypes.data + (0 if constant else first * array.strides[0])
        failed = self._library.qn_run(
            *(part.steps, part.count, part.buffers, addresses, part.arena, part.scratch, end - first, part.block)
        )
        if failed:
            size = part.arena * part.block + part.scratch
            raise QsimError(f"the native engine needs {size} bytes, which are not there")


class _Arena:
    """Offsets for tensors that live from one step to another: the first free place that is large enough."""

    def __init__(self) -> None:
        self.size = 0
        self._taken: list[tuple[int, int, int]] = []  # (offset, size, last step that reads it)

    def take(self, size: int, last: int) -> int:
        """An offset for ``size`` bytes until step ``last``."""
        size = -(-size // _ALIGNMENT) * _ALIGNMENT
        at = 0
        for offset, taken, _ in sorted(self._taken):
            if offset - at >= size:
                break
            at = max(at, offset + taken)
        self._taken.append((at, size, last))
        self.size = max(self.size, at + size)
        return at

    def release(self, step: int) -> None:
        """Forget what no step from ``step`` on reads."""
        self._taken = [entry for entry in self._taken if entry[2] >= step]


__all__ = ["NativeEngine"]
