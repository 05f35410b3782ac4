"""Real models in all three targets: every tensor equal to the simulator's, and changed files reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from qsim.compare.stimulus import sample_codes
from qsim.compare.verify import verify
from qsim.importers import load
from qsim.targets.registry import TARGETS

MODELS = {"jet tagger": ("qkeras/qkeras-v3_3layer.keras", "fixed<16,6>")}


@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize("name", list(MODELS))
def test_real_models_are_equal_in_every_tensor(name: str, target: str, models: Path) -> None:
    file, input_format = MODELS[name]
    graph = load(models / file, input_format=input_format)
    report = verify(graph, sample_codes(graph, 60, seed=11), (target,), codes=True)
    assert report.ok, str(report)
    assert list(report.results[0].tensors) == list(graph.tensors)
    assert report.results[0].samples == 60
