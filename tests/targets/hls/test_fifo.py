"""FIFO depths of the HLS design: the emitted processes run as threads on streams that block at exactly those depths."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from graphs import corner_codes, random_graph, small_cnn
from net import Net, conv, requantize

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntFormat
from qsim.simulate import Simulator
from qsim.targets.files import files
from qsim.targets.hls.fifo import DEFAULT_DEPTH, fork_depths, meeting_points, needs
from qsim.targets.hls.run import ap_types, compiler

BLOCKING_STREAM = """
#ifndef BLOCKING_STREAM_H
#define BLOCKING_STREAM_H
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <mutex>
#include <string>
namespace hls {
// A FIFO of ``depth`` elements: write blocks when it is full, read when it is empty; PATIENCE seconds of either is a
// deadlock.
template <class T>
class stream {
    std::deque<T> data;
    std::mutex mutex;
    std::condition_variable changed;
    std::string name;
    size_t depth;
    template <class F>
    void wait(std::unique_lock<std::mutex> &lock, F ready, const char *what) {
        if (!changed.wait_for(lock, std::chrono::seconds(PATIENCE), ready)) {
            std::cout << "deadlock: " << name << " " << what << std::endl;
            std::_Exit(9);
        }
    }
  public:
    stream(const std::string &n, size_t d = 1u << 30) : name(n), depth(d) {}
    bool empty() { return data.empty(); }
    T read() {
        std::unique_lock<std::mutex> lock(mutex);
        wait(lock, [&] { return !data.empty(); }, "stays empty");
        T x = data.front();
        data.pop_front();
        changed.notify_all();
        return x;
    }
    void write(const T &x) {
        std::unique_lock<std::mutex> lock(mutex);
        wait(lock, [&] { return data.size() < depth; }, "stays full");
        data.push_back(x);
        changed.notify_all();
    }
};
}
#endif
"""


def threaded(
    graph: Graph, folder: Path, depths: dict[str, int] | None = None, patience: int = 60
) -> subprocess.CompletedProcess[str]:
    """Build and run the emitted design with one thread per process; ``depths`` overrides FIFOs by name."""
    codes = corner_codes(graph, 3)
    expected = Simulator(graph).run_codes(codes if len(codes) > 1 else next(iter(codes.values())))
    results = expected if isinstance(expected, dict) else {graph.outputs[0].tensor: expected}
    vectors = {**codes, **{k: np.broadcast_to(v, (3, *v.shape[1:])) for k, v in results.items()}}
    made = files(graph, "hls", {"vectors": vectors})
    (top,) = [name for name in made if name.endswith("_top.cpp")]
    text = made[top]

    def declare(match: re.Match[str]) -> str:
        depth = (depths or {}).get(match[2], int(match[3]))
        return f'{match[1]} {match[2]}("{match[2]}", {depth});'

    text = re.sub(r'(hls::stream<\S+>) (\w+)\("\w+"\);\n#pragma HLS STREAM variable=\w+ depth=(\d+)', declare, text)
    head, region = text.split("#pragma HLS DATAFLOW")
    region = re.sub(r"^    QSIM_TRACE.*\n", "", region, flags=re.M)
    region = re.sub(
        r"^    (qsim::\w+<[^;]*;|\w+\([^;]*;)", r"    threads.emplace_back([&] { \1 });", region, flags=re.M
    )
    region = (
        "    std::vector<std::thread> threads;\n" + region.rstrip()[:-1] + "    for (auto &t : threads) t.join();\n}\n"
    )
    made[top] = "#include <thread>\n#include <vector>\n" + head + region
    assert region.count("emplace_back") >= len(graph.ops)
    made["lib/hls_stream.h"] = BLOCKING_STREAM
    for name, content in made.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    source = [str(folder / top), str(folder / "tb" / "testbench.cpp")]
    flags = [
        "-std=c++14",
        "-O0",
        "-w",
        "-pthread",
        f"-DPATIENCE={patience}",
        f"-I{folder / 'lib'}",
        f"-I{folder / 'src'}",
        f"-I{ap_types()}",
    ]
    subprocess.run([compiler(), *flags, *source, "-o", str(folder / "run")], check=True)
    return subprocess.run([str(folder / "run"), str(folder / "vectors")], capture_output=True, text=True, check=False)


def residual_network() -> Graph:
    """Nested branches, a join of three, a branch that is read twice, and two joins that share a source."""
    rng = np.random.default_rng(11)
    net = Net("residual_network")
    x = net.input((6, 7, 2), IntFormat(4, True))
    a = requantize(net, conv(net, x, rng, 4, strides=(1, 1)))
    b = requantize(net, conv(net, a, rng, 4, kernel=(5, 3), padding=((2, 2), (1, 1))), 5)
    c = requantize(net, conv(net, b, rng, 4), 5)
    inner = requantize(net, net.add(o.Add, b, c, shifts=(0, 0), signs=(1, 1), zero_points=(0, 0)), 1)
    outer = net.add(o.Add, a, inner, a, shifts=(0, 1, 0), signs=(1, 1, -1), zero_points=(0, 0, 0))
    d = requantize(net, outer, 1)
    wide = net.add(o.Concat, d, requantize(net, conv(net, d, rng, 3), 4), d, axis=2)
    tall = net.add(o.Concat, wide, wide, axis=0)
    pooled = net.add(o.MaxPool2D, tall, pool=(3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
    total = net.add(o.Reduce, pooled, kind="max", axes=(0, 1), keepdims=True)
    scaled = net.add(o.Mul, pooled, total, zero_points=(1, 0))
    return net.build(scaled)


def two_outputs() -> Graph:
    """Branches that never meet again, one of them an output that is read again."""
    rng = np.random.default_rng(12)
    net = Net("two_outputs")
    x = net.input((4, 4, 2), IntFormat(4, True))
    a = requantize(net, conv(net, x, rng, 3))
    b = net.add(o.SumPool2D, a, pool=(2, 2), strides=(2, 2), padding=o.NO_PADDING)
    c = net.add(o.Add, a, conv(net, a, rng, 3), shifts=(1, 0), signs=(1, 1), zero_points=(0, 0))
    return net.build(a, b, c)


@pytest.mark.parametrize("make", [residual_network, two_outputs, small_cnn, lambda: random_graph(2)])
def test_the_design_runs_at_its_depths(make: Callable[[], Graph], tmp_path: Path) -> None:
    done = threaded(make(), tmp_path)
    assert (done.returncode, done.stdout) == (0, "3 samples, 0 codes differ\n"), done.stderr


def test_a_shallower_residual_branch_deadlocks(tmp_path: Path) -> None:
    graph = small_cnn()
    depths = fork_depths(graph)
    # 3x3, padding 1: the convolution's first output needs a row and two pixels of the 8x8x4 tensor
    assert depths == {("conv2d3", 0): DEFAULT_DEPTH, ("add5", 0): (8 + 2) * 4}
    done = threaded(graph, tmp_path, {"requantize2_s1": 37}, patience=2)  # fork and join each hold one more
    assert done.returncode == 9, done.stdout
    assert done.stdout.startswith("deadlock: ")  # of whichever stream gives up first: all of them wait for each other


def test_meeting_points_of_nested_branches() -> None:
    graph = residual_network()
    add_inner, add_outer = (op.output for op in graph.ops if isinstance(op, o.Add))
    meets = meeting_points(graph)
    inner = graph.producers[add_inner]
    assert meets[inner.inputs[0]] == add_inner
    assert meets[graph.producers[add_outer].inputs[0]] == add_outer
    assert meeting_points(two_outputs())["requantize2"] is None


def test_needs_grow_and_end_within_the_frame() -> None:
    for graph in (small_cnn(), residual_network(), *(random_graph(seed) for seed in range(10))):
        for op in graph.ops:
            for name, need in zip(op.inputs, needs(graph, op), strict=True):
                assert need.shape == (graph[op.output].size + 1,)
                assert need[0] == 0
                assert (np.diff(need) >= 0).all()
                assert need[-1] <= graph[name].size
