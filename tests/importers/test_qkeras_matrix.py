"""The layer x quantizer table in docs/qkeras.md: it is what its results say, and they are what running cells gives."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from qkeras_matrix_table import PAGE, RESULTS, as_json, render, summary

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = 4


def stored():
    return json.loads((ROOT / RESULTS).read_text(encoding="utf-8"))


def test_the_page_is_what_the_results_render_to():
    results = stored()
    assert (ROOT / RESULTS).read_text(encoding="utf-8") == as_json(results)
    assert (ROOT / PAGE).read_text(encoding="utf-8") == render(results), "run: make matrix"
    assert summary(results) in (ROOT / PAGE).read_text(encoding="utf-8")


def test_every_cell_is_equal_or_refused_with_a_reason():
    for key, result in stored().items():
        if "refused" in result:
            assert len(result["refused"]) > 40, key
            continue
        assert result["codes"] > 0, key
        assert result["differ"] == 0, key
        assert result["targets"] == {"c": 0, "hls": 0, "rtl": 0}, key


def test_exactly_the_expected_cells_are_refused():
    pytest.importorskip("qkeras")
    from qkeras_cells import expected_refusal

    for key, result in stored().items():
        words = expected_refusal(key)
        assert (words is None) == ("refused" not in result), key
        assert words is None or words in result["refused"], key


def test_the_results_hold_every_cell_and_no_other():
    pytest.importorskip("qkeras")
    from qkeras_cells import all_cells

    assert list(stored()) == [cell.key for cell in all_cells()], "cells have changed; run: make matrix"


def test_a_changed_result_changes_the_page():
    results = stored()
    key = next(k for k, r in results.items() if "refused" not in r)
    results[key] = {**results[key], "targets": {"c": 0, "hls": 3, "rtl": 0}}
    assert "= 3 =" in render(results)
    assert render(results) != render(stored())


def test_a_sample_of_cells_run_anew():
    pytest.importorskip("qkeras")
    from qkeras_matrix import all_cells, run_bundle

    results = stored()
    short = [cell for cell in all_cells() if not cell.wide and "refused" not in results[cell.key]]
    chosen = random.Random(7).sample(short, SAMPLE)
    assert {k: r.plain() for k, r in run_bundle(chosen).items()} == {c.key: results[c.key] for c in chosen}


def test_refusals_run_anew():
    pytest.importorskip("qkeras")
    from qkeras_matrix import all_cells, prepare

    results = stored()
    refused = [cell for cell in all_cells() if "refused" in results[cell.key]]
    for cell in random.Random(8).sample(refused, SAMPLE):
        result, prepared = prepare(cell)
        assert prepared is None, cell.key
        assert result.plain() == results[cell.key]


@pytest.mark.slow
def test_every_cell_run_anew():
    pytest.importorskip("qkeras")
    from qkeras_matrix import all_cells, bundles, run_bundle

    results = {}
    for bundle in bundles(all_cells()):
        results |= {key: result.plain() for key, result in run_bundle(bundle).items()}
    assert results == stored()
