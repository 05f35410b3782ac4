"""Applies each fault of ``tests/mutant_list.py`` to a copy of the checkout, runs its tests there, and demands that they
fail. Prints a line a fault, and the share that was noticed; exit code 1 where one was not.

    python benchmarks/mutants.py [--only TEXT] [--from N]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("qsim", "templates", "tests", "hw_tests", "pyproject.toml")
SECONDS = 900
"""A fault may make a test run without end: that too is noticed."""

sys.path.insert(0, str(ROOT / "tests"))

from mutant_list import MUTANTS, Mutant  # noqa: E402


def tested(top: Path, arguments: tuple[str, ...]) -> int:
    """pytest's exit code in the copy: 0 passed, 1 failed; 124 where it took too long."""
    environment = os.environ | {"PYTHONPATH": str(top)}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    try:
        done = subprocess.run(command, cwd=top, env=environment, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return 124
    return done.returncode


def noticed(top: Path, mutant: Mutant) -> bool:
    """Whether the tests fail with the fault. The copy is left as it was."""
    path = top / mutant.path
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.path}: {mutant.old!r} does not stand there exactly once")
    try:
        write(path, text.replace(mutant.old, mutant.new))
        return tested(top, mutant.tests) in (1, 2, 124)  # 2: the fault stops the import of what is tested
    finally:
        write(path, text)


def write(path: Path, text: str) -> None:
    """Write a source; what Python compiled of it goes, which it would take for current within the same second."""
    path.write_text(text, encoding="utf-8")
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="faults in whose path or text this stands")
    parser.add_argument("--from", type=int, default=1, dest="start", help="number of the first fault")
    given = parser.parse_args()
    chosen = [m for m in MUTANTS if given.only in m.path or given.only in m.old][given.start - 1 :]
    survived = []
    with tempfile.TemporaryDirectory(prefix="qsim-mutants-") as scratch:
        top = Path(scratch)
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, top / name)
        sound: set[tuple[str, ...]] = set()
        for number, mutant in enumerate(chosen, given.start):
            if mutant.tests not in sound and tested(top, mutant.tests):
                raise SystemExit(f"these tests fail, or are none, without any fault: {' '.join(mutant.tests)}")
            sound.add(mutant.tests)
            start = time.monotonic()
            seen = noticed(top, mutant)
            survived += [] if seen else [mutant]
            word = "noticed" if seen else "SURVIVED"
            print(f"{number:3d} {word:8s} {time.monotonic() - start:5.0f} s  {mutant.path}: {mutant.new!r}", flush=True)
    print(f"{len(chosen) - len(survived)} of {len(chosen)} faults noticed")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
