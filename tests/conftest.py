"""Shared fixtures: the folder of real models, and tests/ on the import path for graphs.py and oracle.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

# Convolutions with channels first, and dilated transposed ones, run on a processor in oneDNN's kernels alone, which
# TensorFlow turns on by itself only where it finds instructions for neural networks.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of real models (QSIM_MODELS, or ../shared/models beside the checkout); skips where it is absent."""
    folder = Path(os.environ.get("QSIM_MODELS", Path(__file__).parents[2] / "shared" / "models"))
    if not folder.is_dir():
        pytest.skip("the real models are not here: set QSIM_MODELS to their folder")
    return folder
