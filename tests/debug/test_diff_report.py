"""The page of a comparison: offline, well formed, honest, and small for large networks."""

from __future__ import annotations

import base64
import html.parser
import re
import struct
import time
import zlib
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
import pytest
from faults import changed, faulty, rounding, shifted
from graphs import corner_codes, small_cnn

from qsim.debug.diff.diff import Diff, compare_observed, diff
from qsim.debug.diff.observations import Observed
from qsim.debug.pages.diff_report import page
from qsim.debug.pages.pictures import HEIGHT, WIDTH, difference_maps, histogram, png
from qsim.ir import Quantization, Tensor
from qsim.ir import ops as o
from qsim.numerics import IntFormat, Overflow, Rounding
from qsim.numerics.rescale import shift_only
from qsim.proof.builder import GraphBuilder
from qsim.simulate import Simulator

VOID = ("meta", "img")


class Balance(html.parser.HTMLParser):
    """Fails on a tag that is not closed in order; collects ids, references and images without text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [str(given["id"])] if "id" in given else []
        self.references += [str(given[k]) for k in ("href", "src") if k in given]
        self.references += [f"#{given['aria-labelledby']}"] if "aria-labelledby" in given else []
        if tag == "img" and not given.get("alt"):
            self.silent.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parse(text: str) -> Balance:
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


def found(layer: str | None = "requantize4") -> Diff:
    graph = small_cnn()
    codes = corner_codes(graph, 30)
    dump = faulty(graph, codes, layer or "", shifted(1))
    return diff(graph, codes, dump, codes=True)


def test_page_is_well_formed_and_needs_no_network() -> None:
    text = page(found())
    parsed = parse(text)
    assert len(set(parsed.ids)) == len(parsed.ids)
    for reference in parsed.references:
        assert reference.startswith("data:image/png;base64,") or (reference[0] == "#" and reference[1:] in parsed.ids)
    assert not parsed.silent
    assert "//" not in re.sub(r"<!DOCTYPE.*?>|data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    assert "<script" not in text
    assert page(found()) == text


def test_page_tells_the_finding() -> None:
    result = found()
    text = page(result)
    assert "Not equal" in text
    assert "every one is explained by a shift 1 bit too far right" in text
    first = result.first
    assert f"sample {first.index[0]}, element ({', '.join(map(str, first.index[1:]))})" in text
    for row in result.tensors:
        assert f">{row.tensor}<" in text
        assert f">{row.differing:,}<" in text
    boxes = re.findall(r'<g class="(\w+)"><rect[^>]*/>\s*<text[^>]*>([^<]*)<', text)
    states = {name: state for state, name in boxes}
    assert states["requantize4"] == "first"
    assert states["conv2d3"] == "equal"
    assert states["add5"] == "differs"
    for term in first.steps[0].terms:
        assert f">{term.running}<" in text


def test_an_equal_run_has_no_finding() -> None:
    graph = small_cnn()
    codes = corner_codes(graph, 5)
    shown = {"conv2d1": Simulator(graph).trace_codes(codes)["conv2d1"]}
    text = page(diff(graph, codes, shown, codes=True), problems=())
    parse(text)
    assert "Equal: 0 of" in text
    for part in ('id="finding"', 'id="maps"', 'id="element"'):
        assert part not in text
    assert "tensors were not compared" in text
    assert "3 beats" in page(diff(graph, codes, shown, codes=True), problems=["port x: 3 beats came"])
    assert "Not equal" in page(diff(graph, codes, shown, codes=True), problems=["port x: 3 beats came"])


def test_an_unknown_cause_is_said() -> None:
    graph = small_cnn()
    codes = corner_codes(graph, 8)
    dump = {n: a.copy() for n, a in Simulator(graph).trace_codes(codes).items()}
    rng = np.random.default_rng(0)
    dump["requantize9"] = rng.integers(0, 8, dump["requantize9"].shape)
    text = page(diff(graph, codes, dump, codes=True))
    assert "None of the known causes explains even half of them" in text
    assert "explains every code" not in text


def pixels(uri: str) -> np.ndarray:
    """A PNG of our own kind read back, (rows, columns, 4)."""
    data = base64.b64decode(uri.split(",", 1)[1])
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, found = 8, {}
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + body),)
        found[kind] = body
        at += 12 + length
    columns, rows, depth, colour = struct.unpack(">IIBB", found[b"IHDR"][:10])
    assert (depth, colour) == (8, 6)
    lines = np.frombuffer(zlib.decompress(found[b"IDAT"]), dtype=np.uint8).reshape(rows, 1 + 4 * columns)
    return lines[:, 1:].reshape(rows, columns, 4)


def test_difference_maps_show_where_and_which_way() -> None:
    expected = np.zeros((4, 6, 5, 3), dtype=np.int64)
    actual = expected.copy()
    actual[:, 2, 3, 1] = 2
    actual[0, 5, 0, 1] = -7
    actual[:3, 0, 0, 2] = -1
    maps, hidden = difference_maps(expected, actual)
    assert hidden == 0
    assert [m.title for m in maps] == ["channel 1", "channel 2"]
    assert (maps[0].differing, maps[0].total, maps[0].largest) == (5, 120, -7)
    image = pixels(maps[0].uri)
    assert image.shape == (6, 5, 4)
    assert np.argwhere(image[..., 3] > 0).tolist() == [[2, 3], [5, 0]]
    assert image[2, 3, 3] == 255 > image[5, 0, 3]
    assert image[2, 3, 0] > image[2, 3, 2]
    assert image[5, 0, 0] < image[5, 0, 2]


@pytest.mark.parametrize("shape", [(7,), (9, 4), (300,), (3, 100, 200, 2), (129, 65, 8)])
def test_difference_maps_of_any_shape_keep_single_differences(shape: tuple[int, ...]) -> None:
    expected = np.zeros((5, *shape), dtype=np.int64)
    actual = expected.copy()
    actual.reshape(-1)[-1] = 1
    maps, _ = difference_maps(expected, actual)
    assert len(maps) == 1
    image = pixels(maps[0].uri)
    assert max(image.shape[:2]) <= 192
    assert (image[..., 3] > 0).sum() == 1


def heights(path: str) -> list[float]:
    return [HEIGHT - float(v) for v in re.findall(r"V([\d.]+)", path)]


def test_histograms_span_the_format() -> None:
    tensor = Tensor(
        name="t", shape=(4,), format=IntFormat(4, True), quantization=Quantization.of(Fraction(1)), range=(-8, 7)
    )
    expected = np.array([[-8, -8, 7, 7]])
    drawn = histogram(tensor, expected, np.array([[0, 0, 0, 0]]))
    assert drawn.per_bin == 1
    assert drawn.expected.startswith(f"M0 {HEIGHT}H0.0V")
    assert drawn.expected.endswith(f"H{WIDTH}V{HEIGHT}Z")
    assert max(heights(drawn.actual)) == HEIGHT
    assert 0 < max(heights(drawn.expected)) < HEIGHT
    wide = Tensor(
        name="t", shape=(4,), format=IntFormat(31, True), quantization=Quantization.of(Fraction(1)), range=(-8, 7)
    )
    assert len(histogram(wide, expected, expected).expected) < 200


def test_the_same_picture_gives_the_same_bytes() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    assert png(image) == png(image)


def deep(layers: int, shape: tuple[int, ...]):
    """A chain of clips, each narrower than the one before."""
    builder = GraphBuilder("deep", "qkeras")
    quantization = Quantization.of(Fraction(1))
    name = builder.input("x", shape, IntFormat(8, True), quantization)
    for i in range(layers):
        name = builder.add(
            o.Requantize(
                inputs=(name,),
                output=f"layer{i:02}",
                layer=f"layer{i:02}",
                rescale=shift_only(0, Rounding.RND),
                overflow=Overflow.SAT,
                low=-128 + i,
                high=127 - i,
            ),
            quantization=quantization,
        )
    return builder.build([name])


def observed(trace: dict[str, np.ndarray], names: Iterable[str]) -> dict[str, Observed]:
    return {name: Observed(tensor=name, codes=trace[name]) for name in names}


@pytest.mark.parametrize("side", [16, pytest.param(64, marks=pytest.mark.slow)])
def test_sixty_layers_of_up_to_a_million_elements_stay_small(side: int) -> None:
    shape = (side, side, 256)
    graph = deep(60, shape)
    codes = {"x": np.random.default_rng(0).integers(-128, 128, (1, *shape))}
    trace = Simulator(graph).trace_codes(codes)
    assert trace["layer30"].size == side * side << 8
    broken = dict(trace)
    for i in range(40, 60):
        broken[f"layer{i:02}"] = trace[f"layer{i:02}"] + (trace["x"] > 100)
    start = time.monotonic()
    result = compare_observed(graph, codes, observed(broken, graph.tensors), "a faulty run")
    text = page(result)
    assert time.monotonic() - start < 60
    assert result.first.layer == "layer40"
    parse(text)
    assert len(text) < 2_000_000
    assert text.count("<figure") >= 61


def test_a_page_of_every_fault_kind_parses() -> None:
    graph = small_cnn()
    codes = corner_codes(graph, 12)
    for layer, kernel in (("dense13", changed(bias=None)), ("requantize11", rounding(Rounding.TRN))):
        result = diff(graph, codes, faulty(graph, codes, layer, kernel), codes=True)
        assert not result.ok
        parse(page(result))
