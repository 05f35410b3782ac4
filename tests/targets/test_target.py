"""A target is one record: a new one works everywhere without anything else being touched; options are its fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from graphs import corner_codes, small_cnn

import qsim
from qsim.cli import app as cli
from qsim.debug.doctor import examine
from qsim.debug.pages.figures import figures as cost
from qsim.debug.pages.report import Content, html
from qsim.demo.flow import MODEL
from qsim.errors import ToolMissingError, UnsupportedError, UsageError
from qsim.importers import ModelSource
from qsim.ir import Graph, from_json, to_json
from qsim.numerics import Array, IntArray
from qsim.simulate import Simulator
from qsim.targets.files import files
from qsim.targets.options import parse_options
from qsim.targets.record import options_of
from qsim.targets.registry import TARGETS, planned, require_tools
from qsim.targets.target import Figure, Run, StoredWeights, Target


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of the target below, one of each kind."""

    width: int = field(default=4, metadata={"help": "A whole number."})
    clock: float = field(default=1.5, metadata={"help": "A number."})
    traced: bool = field(default=False, metadata={"help": "A truth value."})
    style: Literal["plain", "wide"] = field(default="plain", metadata={"help": "A choice."})
    label: str | None = field(default=None, metadata={"help": "A text."})
    folding: int | Mapping[str, int] | None = field(default=None, metadata={"help": "One, or one per layer."})


@dataclass(frozen=True, kw_only=True)
class Settings:
    wrong: str = field(default="", metadata={"help": "The tensor whose codes come out wrong."})
    checked: bool = field(default=False, metadata={"help": "Whether the target checks itself."})


@dataclass(frozen=True)
class Design:
    graph: Graph
    options: Options


PLANS: list[Design] = []


def plan(graph: Graph, options: Options) -> Design:
    PLANS.append(Design(graph, options))
    return PLANS[-1]


def emitted(design: Design) -> Mapping[str, str | bytes]:
    return {"graph.json": to_json(design.graph), "label.bin": bytes([design.options.width])}


def run(design: Design, folder: Path, codes: Mapping[str, Array], settings: Settings) -> Run[bool]:
    """The emitted file decides, not the plan's graph."""
    graph = from_json((folder / "graph.json").read_text(encoding="utf-8"))
    tensors = Simulator(graph).trace_codes(codes)
    if settings.wrong:
        tensors[settings.wrong] = tensors[settings.wrong] + 1
    return Run(tensors=tensors, measured=settings.checked)


def figures(design: Design, run: Run[bool]) -> tuple[Figure, ...]:
    return Figure(name="width", value=1000 * design.options.width, unit="lanes"), Figure(
        name="checked", value=str(run.measured)
    )


def weights(design: Design) -> Mapping[str, StoredWeights]:
    return {}


def no_tool() -> None:
    raise ToolMissingError("the toy needs a string")


TOY = Target(
    name="toy",
    title="Toy",
    options=Options,
    settings=Settings,
    thorough=Settings(checked=True),
    tools=(),
    plan=plan,
    files=emitted,
    run=run,
    predicted=lambda design: figures(design, Run(tensors={}, measured=False))[:1],
    figures=figures,
    weights=weights,
)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    before = dict(TARGETS)
    TARGETS["toy"] = TOY
    PLANS.clear()
    yield
    TARGETS.clear()
    TARGETS.update(before)  # in their order


def test_a_new_target_is_emitted_verified_and_reported(tmp_path: Path) -> None:
    graph = small_cnn()
    codes = corner_codes(graph, 5)
    qsim.emit(graph, "toy", tmp_path / "out", {"width": 7})
    assert (tmp_path / "out" / "label.bin").read_bytes() == b"\7"
    report = qsim.verify(graph, codes, ("c", "toy"), codes=True, options={"toy": {"width": 7}})
    assert report.ok, str(report)
    assert [r.title for r in report.results] == ["C", "Toy"]
    assert report.results[1].figures == (
        Figure(name="width", value=7000, unit="lanes"),
        Figure(name="checked", value="False"),
    )
    page = html(Content(graph=graph, verification=report, figures=cost(graph, report)))
    assert "Toy" in page
    assert "7,000 lanes" in page
    wrong = graph.outputs[0].tensor
    report = qsim.verify(graph, codes, ("toy",), codes=True, settings={"toy": {"wrong": wrong}})
    assert [(m.target, m.tensor, m.count) for m in report.mismatches] == [("toy", wrong, 5 * graph[wrong].size)]


def test_a_build_decides_and_not_the_plan(tmp_path: Path) -> None:
    """Files that emit wrote before are run as they are: of a graph with one other weight they differ."""
    graph = small_cnn()
    qsim.emit(graph, "toy", tmp_path)
    text = (tmp_path / "graph.json").read_text()
    op = next(op for op in graph.ops if "Conv2D" in type(op).__name__)
    changed = op.weights.values.copy()
    changed.flat[0] += 1 if changed.flat[0] < 0 else -1
    other = from_json(to_json(graph))
    ops = [replace(op, weights=IntArray(changed)) if x.output == op.output else x for x in other.ops]
    (tmp_path / "graph.json").write_text(to_json(replace(other, ops=tuple(ops))))
    assert (tmp_path / "graph.json").read_text() != text
    report = qsim.verify(graph, corner_codes(graph, 5), ("toy",), codes=True, directories={"toy": tmp_path})
    assert op.output in {m.tensor for m in report.mismatches}


def test_the_command_line_knows_it_and_checks_thoroughly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """compile plans each target once, for the files, the run and the figures."""
    for name in ("hls", "rtl"):
        del TARGETS[name]
    arguments = ["compile", str(MODEL), "-o", str(tmp_path / "out"), "--option", "toy.width=9", "--verify"]
    assert cli.main([*arguments, "--samples", "3"]) == 0
    assert [design.options.width for design in PLANS] == [9]
    printed = capsys.readouterr().out
    assert "9,000 lanes" in printed
    assert "True" in printed
    assert (tmp_path / "out" / "toy" / "label.bin").read_bytes() == b"\t"
    assert {f.subject for f in examine(ModelSource(model=MODEL))} >= {"C", "Toy"}


def test_verify_plans_once() -> None:
    graph = small_cnn()
    qsim.verify(graph, corner_codes(graph, 2), ("toy",), codes=True)
    assert len(PLANS) == 1


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "toy", replace(TOY, tools=(no_tool,)))
    with pytest.raises(ToolMissingError, match="The toy needs a string"):
        require_tools(["toy"])


def test_an_option_without_help_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Silent:
        speed: int = 1

    with pytest.raises(TypeError, match=r"toy: Silent\.speed has no help"):
        replace(TOY, options=Silent)


@pytest.mark.parametrize("target", [*TARGETS])
def test_every_option_has_a_default_and_help(target: str) -> None:
    for record in (TARGETS[target].options, TARGETS[target].settings):
        record()
        assert all(option.help.endswith(".") and option.words for option in options_of(record).values())


@pytest.mark.parametrize("target", [*TARGETS])
def test_unknown_options_and_settings_name_those_that_exist(target: str) -> None:
    known = ", ".join(options_of(TARGETS[target].options))
    with pytest.raises(UsageError, match=f"target {target} has no option 'speed'; it has {known}"):
        files(small_cnn(), target, {"speed": 3})
    known = ", ".join(options_of(TARGETS[target].settings))
    with pytest.raises(UsageError, match=f"{target} has no setting 'speed'; it has {known}"):
        planned(small_cnn(), target).run(Path("nowhere"), {}, {"speed": 3})
    with pytest.raises(UsageError, match="unknown target 'vhdl': choose from c, hls, rtl, toy"):
        files(small_cnn(), "vhdl")


GOOD = [
    ("width", "12", 12),
    ("width", "-3", -3),
    ("clock", "2", 2.0),
    ("clock", "2.5", 2.5),
    ("traced", "true", True),
    ("traced", "false", False),
    ("traced", "1", True),
    ("traced", "0", False),
    ("style", "wide", "wide"),
    ("label", "12", "12"),
    ("label", "a=b", "a=b"),
    ("folding", "8", 8),
]


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_texts_have_the_types_of_the_options(name: str, text: str, value: object) -> None:
    found = parse_options([f"toy.{name}={text}"])
    assert found == {"toy": {name: value}}
    assert type(found["toy"][name]) is type(value)
    planned(small_cnn(), "toy", found["toy"])
    assert getattr(PLANS[0].options, name) == value


def test_layers_have_values_of_their_own() -> None:
    texts = ["toy.folding.conv2=8", "toy.folding.block.conv=3", "c.dpi=1"]
    assert parse_options(texts) == {"toy": {"folding": {"conv2": 8, "block.conv": 3}}, "c": {"dpi": True}}


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["toy.width=wide"], ["width", "'wide'", "a whole number"]),
        (["toy.width=1.5"], ["width", "'1.5'", "a whole number"]),
        (["toy.clock=x"], ["clock", "'x'", "a number"]),
        (["toy.traced=yes"], ["traced", "'yes'", "true or false (1 or 0)"]),
        (["toy.traced=True"], ["traced", "'True'", "true or false (1 or 0)"]),
        (["toy.style=tall"], ["style", "'tall'", "one of plain, wide"]),
        (["toy.folding=all"], ["folding", "'all'", "a whole number or a mapping from names to whole numbers"]),
        (["toy.folding.conv2=x"], ["folding", "'x'", "a whole number"]),
        (["toy.width.conv2=3"], ["width", "no values per layer"]),
        (["toy.speed=3"], ["'speed'", "width, clock, traced, style, label, folding"]),
        (["vhdl.speed=3"], ["'vhdl'", "c, hls, rtl, toy"]),
        (["toy.width=3", "toy.width=3"], ["toy.width", "twice"]),
        (["toy.folding.a=3", "toy.folding.a=3"], ["toy.folding.a", "twice"]),
        (["toy.folding=3", "toy.folding.a=3"], ["whole design", "'a'"]),
        (["width=3"], ["TARGET.NAME=VALUE"]),
        (["hls.vectors=x.npy"], ["vectors", "arrays"]),
    ],
)
def test_wrong_texts_are_refused(texts: list[str], words: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        parse_options(texts)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", True),
        ("width", 1.0),
        ("width", "3"),
        ("width", None),
        ("clock", True),
        ("clock", "1"),
        ("traced", 2),
        ("traced", 1.0),
        ("traced", "yes"),
        ("style", 1),
        ("label", 1),
        ("folding", 1.5),
        ("folding", {"conv": 1.5}),
        ("folding", {"conv": True}),
        ("folding", [1]),
    ],
)
def test_values_of_other_types_are_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"option {name} of target toy is .*; it must be "):
        planned(small_cnn(), "toy", {name: value})
    assert not PLANS


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("width", np.int32(5), 5),
        ("clock", 3, 3.0),
        ("clock", np.float32(0.5), 0.5),
        ("traced", 1, True),
        ("traced", "0", False),
        ("label", None, None),
        ("folding", {"conv": np.int64(3)}, {"conv": 3}),
    ],
)
def test_values_are_kept_in_the_options_type(name: str, value: object, kept: object) -> None:
    planned(small_cnn(), "toy", {name: value})
    found = getattr(PLANS[0].options, name)
    assert found == kept
    assert type(found) is type(kept)


def test_what_a_target_refuses_is_raised_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(graph: Graph, options: Options) -> Design:
        raise UnsupportedError("too wide")

    monkeypatch.setitem(TARGETS, "toy", replace(TOY, plan=refused))
    with pytest.raises(UnsupportedError, match="too wide"):
        qsim.emit(small_cnn(), "toy", tmp_path / "out")
    assert not (tmp_path / "out").exists()
