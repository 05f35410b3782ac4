"""The importers' tests' helpers on the import path: engines, models built with Keras and tfmot."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("importers", "importers/tflite")]
