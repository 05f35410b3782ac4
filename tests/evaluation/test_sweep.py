"""A sweep's points are what evaluating and planning each alone gives; Pareto fronts against plain loops; grids."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from archives import changed

import qsim
from qsim.debug.pages.sweep_report import page
from qsim.demo.flow import MODEL, Record
from qsim.errors import UsageError
from qsim.evaluation.counts import Counts, Evaluation
from qsim.evaluation.grid import parse_axis, points
from qsim.evaluation.sweep import Point, Sweep, pareto, sweep
from qsim.importers import ModelSource, load
from qsim.ir import Graph
from qsim.targets.registry import planned


def plain_model(folder: Path) -> Path:
    """The digits model without its input quantizer: the input's format may be chosen."""

    def apply(entry: dict[str, object]) -> None:
        config = entry["config"]
        assert isinstance(config, dict)
        if config["name"] == "pixels":
            entry.update(class_name="Dropout", registered_name=None, module="keras.layers")
            entry["config"] = {"name": "pixels", "trainable": True, "dtype": "float32", "rate": 0.1}

    return changed(MODEL, folder / "plain.keras", layer=apply)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sweep]:
    path, record = plain_model(tmp_path_factory.mktemp("sweep")), Record()
    axes = [parse_axis("input-format=ufixed<4,0>,ufixed<2,0>,ufixed<64,0>"), parse_axis("rtl.folding=8,64")]
    return path, sweep(ModelSource(model=path), axes, record.images, record.labels)


def logits(graph: Graph, x: np.ndarray) -> np.ndarray:
    """The real values of the last codes, before the softmax."""
    simulator = qsim.Simulator(graph, engine="numpy")
    made = simulator.run_codes(simulator.quantize(x))
    return graph[graph.outputs[0].tensor].quantization.real(made)


def test_points_are_what_each_alone_gives(swept: tuple[Path, Sweep]) -> None:
    path, found = swept
    record = Record()
    assert [tuple(p.choices.values()) for p in found.points] == [
        (fmt, folding) for fmt in ("ufixed<4,0>", "ufixed<2,0>", "ufixed<64,0>") for folding in ("8", "64")
    ]
    first = logits(load(path, input_format="ufixed<4,0>"), record.images)
    for point in found.points[:4]:
        graph = load(path, input_format=point.choices["input-format"])
        alone = qsim.evaluate(graph, record.images, record.labels)
        outputs = logits(graph, record.images)
        assert point.evaluation is not None
        assert np.array_equal(point.evaluation.confusion, alone.confusion)
        assert point.merit == alone.accuracy
        assert point.evaluation.counts.changed == int((outputs != first).sum())
        assert point.evaluation.counts.moved == int((outputs.argmax(1) != first.argmax(1)).sum())
        design = planned(graph, "rtl", {"folding": int(point.choices["rtl.folding"])})
        costs = {f"rtl: {f.name}" + (f" ({f.unit})" if f.unit else ""): f.value for f in design.figures()}
        assert {name: value for name, value in point.costs.items() if name.startswith("rtl")} == costs
        assert {f.value for f in planned(graph, "c").figures()} <= set(point.costs.values())
    assert found.points[2].evaluation is not None
    assert found.points[2].evaluation.counts.changed > 0
    assert found.points[0].costs["rtl: multipliers"] < found.points[1].costs["rtl: multipliers"]
    for point in found.points[4:]:
        assert (point.merit, point.best, list(point.refused)) == (None, False, ["import"])
        assert "signed 64 bits" in point.refused["import"]


def test_tables_and_page_hold_every_point(swept: tuple[Path, Sweep]) -> None:
    _, found = swept
    rows = list(csv.DictReader(io.StringIO(found.csv())))
    assert len(rows) == 6
    for row, point in zip(rows, found.points):
        assert row["input-format"] == point.choices["input-format"]
        assert (row["accuracy"], row["pareto"]) == (
            "" if point.merit is None else repr(point.merit),
            str(int(point.best)),
        )
        assert {name: int(row[name]) for name in point.costs} == point.costs
    assert "signed 64 bits" in rows[4]["refused"]
    text = page(found)
    assert page(found) == text
    assert text.count("<figure>") == len(found.columns) == 6
    assert text.count("<circle") == 6 * 4
    assert text.count('<tr class="best">') == sum(p.best for p in found.points) > 0
    assert "ufixed&lt;2,0&gt;" in text
    assert found.to_json()["points"][3]["costs"] == found.points[3].costs


def test_without_labels_outputs_are_compared(tmp_path: Path) -> None:
    path, record = plain_model(tmp_path), Record()
    axes = [parse_axis("input-format=ufixed<4,0>,ufixed<2,0>")]
    found = sweep(ModelSource(model=path), axes, record.images, targets=("c",), samples=100)
    assert (found.merit, found.points[0].merit) == ("equal outputs", 1.0)
    counts = found.points[1].evaluation
    assert counts is not None
    assert found.points[1].merit == 1 - counts.counts.changed / 1000 < 1


def random_points(seed: int) -> list[Point]:
    """Points with few values, so that many are equal; some without a cost or without an evaluation."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(20):
        right = int(rng.integers(0, 4))
        counts = Counts(samples=4, pairs=Counter({0: right, 1: 4 - right}))
        evaluation = Evaluation(name="", hash="", classes=2, counts=counts) if rng.random() < 0.9 else None
        costs = {name: int(rng.integers(0, 4)) for name in ("a", "b") if rng.random() < 0.95}
        made.append(Point(choices={}, evaluation=evaluation, costs=costs))
    return made


@pytest.mark.parametrize("seed", range(8))
def test_the_front_is_that_of_plain_loops(seed: int) -> None:
    found = pareto(random_points(seed))
    whole = [p for p in found if p.merit is not None and len(p.costs) == 2]
    for point in found:
        beaten = False
        for other in whole:
            if point in whole:
                assert point.merit is not None
                assert other.merit is not None
                pairs = [(other.merit, point.merit), *((-other.costs[n], -point.costs[n]) for n in ("a", "b"))]
                beaten |= all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)
        assert point.best == (point in whole and not beaten)
    assert any(p.best for p in found)


def test_axes_are_read() -> None:
    axis = parse_axis("input-format=fixed<8,1>, fixed<6,1>")
    assert (axis.values, axis.target) == (("fixed<8,1>", "fixed<6,1>"), "")
    assert parse_axis("rtl.folding.conv=1,2").target == "rtl"
    grid = list(points([parse_axis("rescale=exact,multiplier:8"), parse_axis("profile=a,b")]))
    assert [tuple(p.values()) for p in grid] == [
        ("exact", "a"), ("exact", "b"), ("multiplier:8", "a"), ("multiplier:8", "b")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["rescale"], "write NAME=VALUE"),
        (["rescale=exact,"], "write NAME=VALUE"),
        (["model=a"], "nothing is called 'model'"),
        (["rtl.nothing=1"], "nothing"),
        (["rtl.folding=x"], "folding"),
        (["rescale=exact,exact"], "twice"),
        (["profile=a", "profile=b"], "varied twice"),
        (["profile=" + ",".join(map(str, range(100))), "rescale=" + ",".join(map(str, range(100)))], "10,000"),
    ],
)
def test_grids_that_make_no_sense_are_refused(texts: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        list(points([parse_axis(text) for text in texts]))


def test_a_varied_target_is_planned() -> None:
    with pytest.raises(UsageError, match=r"rtl\.folding is varied"):
        sweep(ModelSource(model=MODEL), [parse_axis("rtl.folding=1")], Record().images, targets=("c",))
    with pytest.raises(UsageError, match="profile"):
        sweep(ModelSource(model=MODEL), [parse_axis("profile=qkeras,nosuch")], Record().images, targets=("c",))
