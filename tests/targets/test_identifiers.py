"""Names as identifiers: valid everywhere, unique, and short enough to be file names."""

from __future__ import annotations

import re

import pytest
from c_graphs import odd_names
from net import Net, requantize

from qsim.targets.files import files
from qsim.targets.registry import TARGETS
from qsim.targets.text import LONGEST, cell, identifier, identifiers, one_line

PART = "functional_1/batch_normalization_1/FusedBatchNormV3;"


def test_words() -> None:
    assert identifier("conv1.acc") == "conv1_acc"
    assert identifier("a/b;c__d_") == "a_b_c_d"
    assert identifier("3d") == "t_3d"
    assert identifier("wire") == "t_wire"
    assert identifier("::") == "t"
    assert identifier("x" * LONGEST) == "x" * LONGEST


def test_long_names_are_cut_and_stay_apart() -> None:
    one, two = identifier(PART * 9 + "one"), identifier(PART * 9 + "two")
    assert one != two
    assert one == identifier(PART * 9 + "one")
    for name in (one, two):
        assert len(name) <= LONGEST
        assert re.fullmatch(r"functional_1_batch_[A-Za-z0-9_]*_[0-9a-f]{8}", name)
        assert "__" not in name


def test_files_of_long_names_can_be_written() -> None:
    net = Net(PART * 6)
    x = net.input((3,), name=PART * 7)
    requantize(net, x, name=PART * 8)
    requantize(net, PART * 8, name=PART * 8 + "more")
    graph = net.build(PART * 8 + "more")
    assert len(set(identifiers(graph).values())) == 3
    for target in TARGETS:
        assert max(len(part) for name in files(graph, target) for part in name.split("/")) < 180


@pytest.mark.parametrize(
    ("name", "comment"),
    [
        ("*/", "* /"),
        ("/*", "/ *"),
        ("*/*", "* / *"),
        ("/*/", "/ * /"),
        ("*\\", "* /"),
        ("??/", "?? /"),
        ("层层/", "?? /"),
        ("a\0b\n\r\u2028c", "a?b???c"),
        ("end\\", "end/"),
    ],
)
def test_a_comment_stays_a_comment(name: str, comment: str) -> None:
    assert one_line(name) == comment == one_line(comment)


def test_a_cell_stays_a_cell() -> None:
    assert cell("a|b\n") == r"a\|b?"


@pytest.mark.parametrize("target", list(TARGETS))
def test_tables_of_odd_names_keep_their_columns(target: str) -> None:
    made = files(odd_names(), target)["README.md"]
    assert isinstance(made, str)
    rows = [re.findall(r"(?<!\\)\|", line) if line.startswith("|") else [] for line in made.splitlines()]
    starts = [i for i, row in enumerate(rows) if row and not rows[i - 1]]
    assert len(starts) >= 2
    for start in starts:
        end = next(i for i in range(start, len(rows) + 1) if i == len(rows) or not rows[i])
        assert {len(row) for row in rows[start:end]} == {len(rows[start])}, made.splitlines()[start]
    assert sum("$(rm)" in line for line, row in zip(made.splitlines(), rows) if row) >= 1
