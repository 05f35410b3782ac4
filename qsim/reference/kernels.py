"""Reference kernels: one function an op, int64 arrays (N, *shape) in and out, following the op's docstring.

``proof`` evaluates the elementwise ones on interval ends, so each is written for any batch.
"""

from __future__ import annotations

from qsim.ir import ops as o
from qsim.reference import combine, linear, move, pool, rescale, softmax
from qsim.reference.base import Kernel

KERNELS: dict[type[o.Op], Kernel] = {
    op: kernel for family in (linear, combine, rescale, pool, move, softmax) for op, kernel in family.KERNELS.items()
}
o.check_registry(KERNELS, "reference.kernels")

__all__ = ["KERNELS"]
