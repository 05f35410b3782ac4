"""The kept faults still apply: each one's text stands exactly once where it is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutant_list import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("mutant", MUTANTS, ids=range(len(MUTANTS)))
def test_a_fault_applies(mutant: Mutant) -> None:
    assert (ROOT / mutant.path).read_text(encoding="utf-8").count(mutant.old) == 1
    assert mutant.new != mutant.old
    assert (ROOT / mutant.tests[0].split("::")[0]).is_file()


def test_there_are_enough_and_each_once() -> None:
    assert len({(m.path, m.old, m.new) for m in MUTANTS}) == len(MUTANTS) >= 60
    assert {m.path.split("/")[0] for m in MUTANTS} == {"qsim", "templates"}
