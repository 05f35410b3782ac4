"""A program of its own that builds or runs a design by cocotb's runner, so that it can be ended with all it started.

Its argument is a JSON file: {"build": {...}} or {"test": {...}}, the arguments of the runner's methods.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> int:
    from cocotb_tools.runner import get_runner

    calls = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    runner = get_runner("verilator")
    try:
        if "build" in calls:
            runner.build(**calls["build"])
        if "test" in calls:
            runner.test(**calls["test"])
    except (SystemExit, Exception) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
