"""Counts over data sets: against numpy on the same outputs, from every kind of file, by any number of workers, one of
them killed; stopped and gone on; in memory that does not grow."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from net import Net, weights

import qsim
from qsim.demo.flow import MODEL, Record
from qsim.errors import QsimError, UsageError
from qsim.evaluation import schedulers, work
from qsim.evaluation.counts import Evaluation
from qsim.evaluation.evaluate import evaluate_all
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import Array
from qsim.simulate import Simulator


@pytest.fixture(scope="module")
def digits() -> Graph:
    return qsim.load(MODEL)


def many(samples: int) -> tuple[Array, Array]:
    """Test images with seeded noise, and their labels, a tenth of them wrong."""
    record, rng = Record(), np.random.default_rng(7)
    index = rng.integers(0, len(record.images), samples)
    noise = rng.integers(-6, 7, (samples, 8, 8, 1)).astype(np.float32) / 16
    labels = record.labels[index].astype(np.int64)
    wrong = rng.random(samples) < 0.1
    labels[wrong] = rng.integers(0, 10, int(wrong.sum()))
    return (record.images[index] + noise).astype(np.float32), labels


def expected(graph: Graph, x: Array, labels: Array, k: int) -> tuple[Array, int]:
    """Confusion and top-k hits by plain loops over the logits' codes."""
    codes = Simulator(graph, engine="numpy")
    logits = codes.run_codes(codes.quantize(x))
    confusion = np.zeros((10, 10), dtype=np.int64)
    hits = 0
    for row, label in zip(logits.tolist(), labels.tolist()):
        order = sorted(range(10), key=lambda c: (-row[c], c))
        confusion[label, order[0]] += 1
        hits += label in order[:k]
    return confusion, hits


def test_counts_are_those_of_plain_loops(digits: Graph) -> None:
    x, labels = many(700)
    confusion, hits = expected(digits, x, labels, 3)
    seen: list[tuple[int, int]] = []
    found = qsim.evaluate(digits, x, labels, top=(3,), progress=lambda done, total: seen.append((done, total)))
    assert np.array_equal(found.confusion, confusion)
    assert found.counts.top[3] == hits
    assert found.accuracy == np.trace(confusion) / 700
    assert (found.samples, found.counts.changed, found.counts.moved) == (700, 0, 0)
    assert seen == [(256, 700), (512, 700), (700, 700)]
    for row in found.per_class():
        assert (row.samples, row.predicted) == (confusion[row.label].sum(), confusion[:, row.label].sum())
        assert row.correct == confusion[row.label, row.label]
    made = found.to_json()
    assert sum(n for _, _, n in made["confusion"]) == 700
    one_hot = np.eye(10, dtype=np.uint8)[labels]
    assert qsim.evaluate(digits, x, one_hot, top=(3,)) == found
    codes = Simulator(digits).quantize(x)
    assert qsim.evaluate(digits, codes, labels, top=(3,), codes=True) == found
    first = qsim.evaluate(digits, x, labels, samples=300)
    assert np.array_equal(first.confusion, expected(digits, x[:300], labels[:300], 1)[0])


def test_equal_codes_go_to_the_lower_class() -> None:
    net = Net("ties")
    graph = net.build(net.input((3,)))
    x = np.array([[1, 5, 5], [4, 4, 4], [0, 2, 7]])
    found = qsim.evaluate(graph, x, np.array([2, 1, 2]), codes=True, top=(1, 2))
    assert sorted(found.counts.pairs.items()) == [(1 * 3 + 0, 1), (2 * 3 + 1, 1), (2 * 3 + 2, 1)]
    assert found.counts.top == {1: 1, 2: 3}


def test_class_numbers_positions_and_single_values() -> None:
    net = Net("numbers")
    x = net.input((2, 4))
    graph = net.build(net.add(o.ArgMax, x, axis=1), x)
    codes = np.array([[[0, 3, 1, 1], [5, 0, 0, 0]], [[1, 2, 3, 4], [0, 0, 9, 0]]])
    labels = np.array([[1, 0], [2, 2]])
    number, scores = graph.outputs[0].tensor, graph.outputs[1].tensor
    for output in (number, scores):
        found = qsim.evaluate(graph, codes, labels, codes=True, output=output)
        assert sorted(found.counts.pairs.items()) == [(0, 1), (5, 1), (10, 1), (11, 1)]
    with pytest.raises(UsageError, match="2 outputs"):
        qsim.evaluate(graph, codes, labels, codes=True)
    with pytest.raises(UsageError, match="no output 'y'"):
        qsim.evaluate(graph, codes, labels, codes=True, output="y")
    with pytest.raises(UsageError, match=r"\(2,\) of 4 classes"):
        qsim.evaluate(graph, codes, labels[:, 0], codes=True, output=scores)
    single = Net("single")
    graph = single.build(single.input((1,)))
    found = qsim.evaluate(graph, np.array([[7], [8], [-3], [9]]), np.array([0, 1, 1, 1]), codes=True)  # 8 codes: 0.5
    assert found.confusion.tolist() == [[1, 0], [1, 2]]
    with pytest.raises(UsageError, match="top 2"):
        qsim.evaluate(graph, np.array([[7]]), np.array([0]), codes=True, top=(2,))


def test_models_are_compared_with_the_first() -> None:
    rng = np.random.default_rng(3)
    graphs = {}
    for name, seed in (("a", 1), ("b", 2)):
        net = Net(name)
        made = net.add(o.Dense, net.input((6,)), weights=weights(np.random.default_rng(seed), (6, 4)), bias=None)
        graphs[name] = net.build(made)
    codes, labels = rng.integers(-8, 8, (300, 6)), rng.integers(0, 4, 300)
    first, second = evaluate_all(graphs, codes, labels, codes=True)
    a, b = (Simulator(graph).run_codes(codes) for graph in graphs.values())
    assert (first.counts.changed, first.counts.moved) == (0, 0)
    assert second.counts.outputs == 1200
    assert second.counts.changed == int((a != b).sum()) > 0
    assert second.counts.moved == int((a.argmax(1) != b.argmax(1)).sum()) > 0


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array([0, 10]), "label 10 is no class"),
        (np.array([0, -1]), "label -1 is no class"),
        (np.array([0.5, 1]), "whole numbers"),
        (np.array([0, 1, 2]), "numbers of samples differ: .* has 2, labels has 3"),
        (np.ones((2, 10), dtype=int), "single 1"),
        (np.zeros((2, 3), dtype=int), "one class of 10 classes"),
        (np.array(["a", "b"]), "rows of numbers"),
    ],
)
def test_labels_that_are_none_are_refused(digits: Graph, labels: Array, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        qsim.evaluate(digits, Record().images[:2], labels)


def test_a_worker_process_that_is_killed_loses_nothing(digits: Graph) -> None:
    x, labels = many(4000)
    alone = qsim.evaluate(digits, x, labels, top=(2,))
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        if not killed and done > total // 4:
            killed.append(next(p.pid for p in multiprocessing.active_children() if p.pid is not None))
            os.kill(killed[0], signal.SIGKILL)

    assert qsim.evaluate(digits, x, labels, top=(2,), jobs=2, progress=kill) == alone
    assert killed


def test_work_that_kills_its_worker_ends(digits: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedulers, "_start", os.abort)
    with pytest.raises(QsimError, match="3 times in a row"):
        qsim.evaluate(digits, *many(300), jobs=2)


def test_an_error_of_a_worker_is_its_own(digits: Graph) -> None:
    x, labels = many(600)
    x[500, 3, 3, 0] = np.nan
    with pytest.raises(UsageError, match="NaN or infinity"):
        qsim.evaluate(digits, x, labels, jobs=2)


def dask_counts(graph: Graph, samples: int) -> tuple[Evaluation, Evaluation]:
    """This process' counts, and those of a cluster of two processes, one killed midway."""
    distributed = pytest.importorskip("distributed")
    x, labels = many(samples)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        killed: list[int] = []

        def kill(done: int, total: int) -> None:
            if not killed and done > total // 4:
                killed.append(cluster.workers[0].pid)
                os.kill(killed[0], signal.SIGKILL)

        found = qsim.evaluate(graph, x, labels, scheduler=cluster.scheduler_address, progress=kill)
        assert killed
    return qsim.evaluate(graph, x, labels), found


def test_a_dask_worker_that_is_killed_loses_nothing(digits: Graph) -> None:
    alone, found = dask_counts(digits, 4000)
    assert found == alone


@pytest.mark.slow
def test_fifty_thousand_images_and_a_killed_worker(digits: Graph) -> None:
    alone, found = dask_counts(digits, 50_000)
    assert found == alone
    x, labels = many(50_000)
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        if not killed and done > total // 2:
            killed.append(next(p.pid for p in multiprocessing.active_children() if p.pid is not None))
            os.kill(killed[0], signal.SIGKILL)

    assert qsim.evaluate(digits, x, labels, jobs=2, progress=kill) == alone
    assert killed
    assert qsim.evaluate(digits, x, labels, scheduler="local", jobs=2) == alone


def test_addresses_and_jobs_are_checked(digits: Graph) -> None:
    x, labels = many(10)
    with pytest.raises(UsageError, match="tcp://"):
        qsim.evaluate(digits, x, labels, scheduler="elsewhere")
    with pytest.raises(UsageError, match="jobs"):
        qsim.evaluate(digits, x, labels, jobs=0)


def test_another_version_refuses_the_work(digits: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    job = work.Job(models=(digits,), answers=(work.answers_of(digits, None, 0.5),), top=(), codes=False, engine="auto")
    monkeypatch.setattr(work, "__version__", "0.0.0")
    packed = job.packed
    monkeypatch.undo()
    with pytest.raises(QsimError, match=r"came from 0\.0\.0"):
        work.count_packed(packed, work.Block(number=0, inputs={}, labels=None))


def test_a_stopped_evaluation_goes_on(digits: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = many(2000)
    alone = qsim.evaluate(digits, x, labels, top=(5,))
    path = tmp_path / "record"

    def stop(done: int, total: int) -> None:
        if done > 1000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        qsim.evaluate(digits, x, labels, top=(5,), record=path, progress=stop)
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 1 + 4
    path.write_text("".join(lines[:-1]) + lines[-1][:20])  # killed while it wrote
    counted: list[int] = []
    real = work.count

    def count(job: work.Job, block: work.Block) -> object:
        counted.append(block.number)
        return real(job, block)

    monkeypatch.setattr(schedulers, "count", count)
    assert qsim.evaluate(digits, x, labels, top=(5,), record=path) == alone
    assert counted == [3, 4, 5, 6, 7]
    assert qsim.evaluate(digits, x, labels, top=(5,), record=path) == alone
    assert counted == [3, 4, 5, 6, 7]


def test_a_record_of_something_else_is_refused(digits: Graph, tmp_path: Path) -> None:
    x, labels = many(300)
    path = tmp_path / "record"
    qsim.evaluate(digits, x, labels, record=path)
    changed = x.copy()
    changed[299, 0, 0, 0] += 1
    others: list[tuple[Callable[[], object], str]] = [
        (lambda: qsim.evaluate(digits, changed, labels, record=path), "other data"),
        (lambda: qsim.evaluate(digits, x, 9 - labels, record=path), "other labels"),
        (lambda: qsim.evaluate(digits, x, labels, top=(2,), record=path), "other settings"),
        (lambda: evaluate_all({"other": digits}, x, labels, record=path), "other models"),
    ]
    for call, said in others:
        with pytest.raises(UsageError, match=said):
            call()
    text = path.read_text()
    path.write_text(text.replace('"samples"', '"sample"', 1))
    with pytest.raises(UsageError, match="damaged"):
        qsim.evaluate(digits, x, labels, record=path)
    path.write_text("nonsense\n")
    with pytest.raises(UsageError, match="it is none"):
        qsim.evaluate(digits, x, labels, record=path)


PEAK = """
import resource, sys
from pathlib import Path
from qsim.evaluation.evaluate import evaluate
evaluate(sys.argv[1], sys.argv[2], sys.argv[3], samples=int(sys.argv[4]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_memory_does_not_grow_with_the_samples(tmp_path: Path, ending: str) -> None:
    samples = 100_000
    x, labels = tmp_path / f"x.{ending}", tmp_path / "y.npy"
    rng = np.random.default_rng(0)
    images = rng.random((samples, 8, 8, 1), dtype=np.float64)
    np.save(x, images) if ending == "npy" else np.savez_compressed(x, images)
    np.save(labels, rng.integers(0, 10, samples))
    peaks = []
    for count in (1_000, samples):
        command = [sys.executable, "-c", PEAK, str(MODEL), str(x), str(labels), str(count)]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] < 1.1 * peaks[0]
