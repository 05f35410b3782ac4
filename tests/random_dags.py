"""Seeded random graphs with branches, whose C is compared with the simulator."""

from __future__ import annotations

from typing import Any

import numpy as np
from net import Net, plain, requantize, weights

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Rounding, scalar


def random_dag(seed: int) -> Graph:
    """Twenty ops on tensors drawn from all that exist so far: branches, chains before and behind merges, views, codes
    read late, several outputs. Rows are 3 to 150 elements, so that some fill blocks and some do not."""
    rng = np.random.default_rng(seed)
    net = Net(f"dag{seed}")
    width = int(rng.choice([3, 64, 65, 100, 150]))
    pool = [
        net.input((2, width), IntFormat(int(rng.integers(2, 10)), True)),
        net.input((2, width), IntFormat(int(rng.integers(1, 9)), False), name="y"),
        net.add(o.Constant, values=IntArray(rng.integers(-20, 20, (2, width)))),
    ]
    for _ in range(20):
        y = _dag_op(net, pool[int(rng.integers(len(pool)))], pool, width, rng)
        low, high = net.range(y)
        if max(-low, high) > 1 << 24:
            y = requantize(net, y, shift=max(-low, high).bit_length() - 20, low=-(1 << 21), high=1 << 21)
        pool.append(y)
    chosen = [name for name in pool[3:] if rng.random() < 0.15]
    return net.build(*chosen, pool[-1])


def _dag_op(net: Net, x: str, pool: list[str], width: int, rng: np.random.Generator) -> str:
    low, high = net.range(x)
    mode = list(Rounding)[int(rng.integers(7))]
    channels = width if rng.random() < 0.5 else 1

    def others(count: int) -> list[str]:
        return [pool[int(k)] for k in rng.integers(0, len(pool), count)]

    match int(rng.integers(12)):
        case 0 | 1 | 2:
            m, a = rng.integers(-5, 9, channels), rng.integers(-9, 9, channels)
            r = plain(m, a, rng.integers(-2, 6, channels), mode)
            return requantize(net, x, rescale=r, low=-200, high=int(rng.choice([200, 70000])))
        case 3:
            steps = np.sort(rng.integers(low, high + 2, (channels, 6)), axis=1)
            base, step = rng.integers(-5, 5, channels), rng.integers(-2, 3, channels)
            return net.add(o.Threshold, x, thresholds=IntArray(steps), base=IntArray(base), step=IntArray(step))
        case 4:
            if high - low > 600:
                return requantize(net, x, shift=(high - low).bit_length() - 7, low=-64, high=63)
            table = rng.integers(-99, 99, (channels, high - low + 1))
            return net.add(o.Lookup, x, table=IntArray(table), table_low=low)
        case 5:
            return net.add(
                o.Divide,
                x,
                numerator=scalar(int(rng.integers(-3, 4))),
                addend=IntArray(rng.integers(-9, 9, channels)),
                divisor=IntArray(rng.integers(1, 12, channels)),
                rounding=mode,
                low=-3000,
                high=3000,
            )
        case 6 | 7:
            names = [x, *others(int(rng.integers(1, 3)))]
            shifts, signs = rng.integers(0, 3, len(names)), rng.choice([-1, 1], len(names))
            zeros = tuple(int(z) for z in rng.integers(-3, 3, len(names)))
            aligned: dict[str, Any] = {"shifts": tuple(int(s) for s in shifts), "signs": tuple(int(s) for s in signs)}
            return net.add(o.Add, *names, **aligned, zero_points=zeros)
        case 8:
            names = [x, *others(int(rng.integers(1, 3)))]
            return net.add(o.Extremum, *names, kind="max", shifts=tuple(int(s) for s in rng.integers(0, 3, len(names))))
        case 9:
            (other,) = others(1)
            if max(-low, high) * max(map(abs, net.range(other))) > 1 << 40:
                return net.add(o.Slice, x, begin=(1, 0), strides=(-1, 1), shape=(2, width))
            return net.add(o.Mul, x, other, zero_points=(1, 0))
        case 10:
            return net.add(o.Dense, x, weights=weights(rng, (width, width)), bias=None)
        case _:
            flat = net.add(o.Reshape, x, shape=(2 * width,))
            if rng.random() < 0.5:
                flat = net.add(o.Gather, flat, index=IntArray(rng.permutation(2 * width)))
            return net.add(o.Reshape, flat, shape=(2, width))
