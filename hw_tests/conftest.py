"""hw_tests/ on the import path, for harness.py; the tests need cocotb and Verilator, and say so if they are absent."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="session")
def tools() -> None:
    """The tests run or fail: a missing simulator is an error with the way to install it, not a pass."""
    from qsim.targets.rtl.verilator import environment

    environment()
