"""The process that opens a waveform file for ``waveform``: run by path, imports nothing of qsim.

python child.py FILE BYTES. It may take BYTES of memory; what goes wrong in the reader's Rust (a panic, an allocation
that fails) ends this process and no other. First it writes the variables, then, for each number of a variable on
standard input, its changes; each answer is its length in 8 bytes and a marshalled (state, value).
"""

from __future__ import annotations

import contextlib
import marshal
import sys
from typing import Any


def _reply(state: str, value: Any) -> None:
    data = marshal.dumps((state, value))
    sys.stdout.buffer.write(len(data).to_bytes(8, "little") + data)
    sys.stdout.buffer.flush()


def _value(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else str(value)


def main() -> int:
    with contextlib.suppress(ImportError, ValueError, OSError):  # no such limits on this system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import pywellen

    try:
        file = pywellen.Waveform(sys.argv[1])
        found = list(file.all_vars())
        _reply("ok", ([(str(v.full_name), int(v.bitwidth or 1)) for v in found], str(file.timescale or "1ns")))
        for line in sys.stdin.buffer:
            changes = found[int(line)].tv
            _reply("ok", [(int(time), _value(value)) for time, value in changes])
    except BaseException as error:  # a panic of Rust is no Exception
        _reply("error", f"{error}"[:500])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
