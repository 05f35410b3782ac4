"""report.html: offline, complete, escaped, and honest about differences; and the layout of its network drawing."""

from __future__ import annotations

import html.parser
import re
from dataclasses import replace

import numpy as np
import pytest
from graphs import corner_codes, small_cnn

from qsim.compare.report import Report, TargetResult, compare
from qsim.debug.pages.layout import BOX_HEIGHT, BOX_WIDTH, place, ranks
from qsim.debug.pages.report import Accuracy, Content, Figure, observe
from qsim.debug.pages.report import html as page
from qsim.evaluation.counts import confusion_matrix
from qsim.ir import Graph
from qsim.simulate import Simulator


def verified(graph: Graph, change: str | None = None) -> Report:
    """A report of comparing the simulator with itself, with one code of tensor ``change`` altered."""
    expected = Simulator(graph).trace_codes(corner_codes(graph, 5))
    actual = {name: codes.copy() for name, codes in expected.items()}
    if change:
        actual[change][2].reshape(-1)[3] += 1
    counts, mismatches = compare(graph, "rtl", expected, actual)
    result = TargetResult(target="rtl", samples=5, tensors=counts, mismatches=mismatches, seconds=1.0)
    return Report(graph=graph, results=(result,))


def content(graph: Graph, change: str | None = None) -> Content:
    labels = np.array([0, 1, 2, 2, 1])
    return Content(
        graph=graph,
        verification=verified(graph, change),
        accuracy=[Accuracy(source="Keras", correct=4, total=5, note="recorded")],
        figures=[Figure(group="C", name="arena", value="1,024 bytes")],
        observed=observe(Simulator(graph).trace_codes(corner_codes(graph, 5))),
        confusion=confusion_matrix(labels, np.array([0, 1, 2, 1, 1])),
    )


class Balance(html.parser.HTMLParser):
    """Fails on a tag that is not closed in order; collects ids and references."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "src"):
                self.references.append(str(value))
            if name == "aria-labelledby":
                self.references.append(f"#{value}")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parse(text: str) -> Balance:
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


def test_page_is_well_formed_and_needs_no_network() -> None:
    text = page(content(small_cnn()))
    parsed = parse(text)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert all(r.startswith("#") and r[1:] in parsed.ids for r in parsed.references)
    assert "//" not in re.sub(r"<!DOCTYPE.*?>", "", text)
    assert "<script" not in text
    assert "@import" not in text


def test_page_shows_every_layer_and_tensor() -> None:
    graph = small_cnn()
    text = page(content(graph))
    for name in (*graph.tensors, *graph.layers()):
        assert f">{name}<" in text
    assert graph.hash in text
    assert "80.00 %" in text
    assert "1,024 bytes" in text
    assert "Bit-exact: 0 of" in text


def test_the_same_content_gives_the_same_page() -> None:
    assert page(content(small_cnn())) == page(content(small_cnn()))


def test_a_difference_is_shown() -> None:
    graph = small_cnn()
    name = list(graph.tensors)[4]
    text = page(content(graph, change=name))
    assert "Not equal: 1 of" in text
    assert "Bit-exact" not in text
    assert f"tensor &#39;{name}&#39;: 1 of" in text


def test_names_are_escaped() -> None:
    graph = replace(small_cnn(), name="<b>&", notes=("a < b",))
    text = page(Content(graph=graph))
    parse(text)
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;" in text
    assert "a &lt; b" in text


def test_parts_without_content_are_left_out() -> None:
    text = page(Content(graph=small_cnn()))
    parse(text)
    for part in ('id="accuracy"', 'id="verification"', 'id="cost"', 'id="confusion"', "seen over"):
        assert part not in text


def test_confusion_matrix_counts() -> None:
    matrix = confusion_matrix(np.array([0, 2, 2, 1]), np.array([0, 2, 1, 1]))
    assert matrix.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_ranks_are_longest_distances() -> None:
    nodes = ["a", "b", "c", "d"]
    assert ranks(nodes, [("a", "b"), ("b", "c"), ("a", "d"), ("c", "d")]) == {"a": 0, "b": 1, "c": 2, "d": 3}


@pytest.mark.parametrize(
    ("nodes", "edges"),
    [
        ("ab", ["ab"]),
        ("abcd", ["ab", "bc", "cd", "bd"]),
        ("abcdef", ["ab", "ac", "ad", "be", "ce", "de", "ef", "af"]),
        ("abcdefg", ["ac", "bc", "cd", "de", "ef", "cf", "df", "fg", "ag"]),
    ],
)
def test_boxes_do_not_overlap_and_lines_avoid_them(nodes: str, edges: list[str]) -> None:
    drawing = place(list(nodes), [(e[0], e[1]) for e in edges])
    assert [b.name for b in drawing.boxes] == list(nodes)
    assert len(drawing.paths) == len(edges)
    for i, a in enumerate(drawing.boxes):
        assert a.x >= 0
        assert a.x + BOX_WIDTH <= drawing.width
        assert a.y + BOX_HEIGHT <= drawing.height
        for b in drawing.boxes[i + 1 :]:
            assert a.y != b.y or abs(a.x - b.x) >= BOX_WIDTH
    for path in drawing.paths:
        for x, y in re.findall(r"([\d.]+) ([\d.]+)L", path):
            inside = [b for b in drawing.boxes if b.x < float(x) < b.x + BOX_WIDTH and b.y == float(y)]
            assert not inside
