"""Damage for readers of foreign files: seeded flips, cuts and insertions of bytes, and changes of a text's tokens."""

from __future__ import annotations

import random
import re
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from qsim.errors import QsimError

NUMBERS = (
    "0",
    "-1",
    "1",
    "4294967296",
    "18446744073709551617",
    "1e999",
    "-1e999999999",
    "NaN",
    "1/0",
    "null",
    "[]",
    '""',
)
TOKEN = re.compile(rb"[A-Za-z_]+|[0-9.+\-eE/]+|\S")


def flips(data: bytes, rng: random.Random) -> bytes:
    """One to eight bytes changed, a piece cut out, doubled, or the end lost."""
    changed = bytearray(data)
    kind = rng.randrange(6)
    if kind <= 2:
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(changed))
            changed[at] ^= 1 << rng.randrange(8) if kind else rng.randrange(1, 256)
    elif kind == 3:
        at = rng.randrange(len(changed))
        del changed[at : at + rng.randint(1, 40)]
    elif kind == 4:
        at = rng.randrange(len(changed))
        changed[at:at] = changed[at : at + rng.randint(1, 40)]
    else:
        del changed[rng.randrange(len(changed)) :]
    return bytes(changed)


def tokens(data: bytes, rng: random.Random) -> bytes:
    """One token of a text replaced by an extreme number, by another token of the text, left out or doubled."""
    spans = [m.span() for m in TOKEN.finditer(data)]
    start, end = rng.choice(spans)
    other = data[slice(*rng.choice(spans))]
    replacement = rng.choice([rng.choice(NUMBERS).encode(), other, b"", data[start:end] * 2])
    return data[:start] + replacement + data[end:]


@contextmanager
def limits(seconds: float, growth: int) -> Iterator[None]:
    """Fail where the block takes longer, or lets the process' peak of memory grow by more bytes."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    took, grown = time.monotonic() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert took < seconds, f"{took:.1f} s"
    assert grown < growth, f"{grown:,} bytes"


def campaign(
    path: Path,
    data: bytes,
    read: Callable[[Path], object],
    count: int,
    *,
    text: bool,
    seed: int = 0,
    seconds: float = 20,
) -> tuple[int, int]:
    """Read ``count`` damaged forms of ``data`` at ``path``: (how many were read, how many refused).

    Each refusal is one line that names the file; each reading takes little time and memory. Any other exception fails.
    """
    rng = random.Random(seed)
    accepted = refused = 0
    for number in range(count):
        damaged = (tokens if text and number % 2 else flips)(data, rng)
        path.write_bytes(damaged)
        with limits(seconds, 1 << 30):
            try:
                read(path)
                accepted += 1
            except QsimError as error:
                refused += 1
                message = str(error)
                assert "\n" not in message, message
                assert path.name in message, message
                assert len(message) < 1500, message
            except BaseException as error:
                raise AssertionError(f"damage {number}: {type(error).__name__}: {error}") from error
    return accepted, refused
