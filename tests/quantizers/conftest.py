"""This folder and tests/importers on the import path, for the helper modules that stand beside the tests."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parent.parent / "importers"):
    sys.path.insert(0, str(folder))
