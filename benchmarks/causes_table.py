"""Runs the catalogue of injected faults (tests/fault_catalogue.py) and writes docs/causes.md.        or: make causes

QSIM_MODELS=FOLDER python benchmarks/causes_table.py. The folder holds the two networks that are no part of the project.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))


def main() -> int:
    import fault_catalogue

    missing = [f.model for f in fault_catalogue.FAULTS if not fault_catalogue.available(f.model)]
    if missing:
        print(
            f"the network {missing[0]} is not here: set QSIM_MODELS to the folder of the real models", file=sys.stderr
        )
        return 2
    (ROOT / "docs" / "causes.md").write_text(fault_catalogue.table(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
