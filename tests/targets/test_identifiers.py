"""Names as identifiers: valid everywhere, unique, and short enough to be file names."""

from __future__ import annotations

import re

from graphs import Net, requantize

from qsim.targets.files import files
from qsim.targets.registry import TARGETS
from qsim.targets.text import LONGEST, identifier, identifiers

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
