"""The commands of the debugger: diff, vectors, cosim, estimate, explain; and what run and inspect show of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from qsim.cli import debug_view, health, view
from qsim.cli.options import input_options, model_options
from qsim.compare.arrays import read_arrays
from qsim.compare.stimulus import sample_codes
from qsim.debug.cosim.cosim import cosim
from qsim.debug.diff.diff import Diff, diff
from qsim.debug.diff.executors import EXECUTORS
from qsim.debug.diff.profiles import compare_profiles
from qsim.debug.diff.sources import dumped_inputs, emitted_target, live_keras
from qsim.debug.pages.diff_report import write_page
from qsim.debug.vectors import write_vectors
from qsim.debug.waves.source import parse_port, read_waveform
from qsim.debug.words.describe import describe, summary, variables_of
from qsim.debug.words.wrapper import wrapper_variables
from qsim.errors import QsimError, UnsupportedError, UsageError
from qsim.estimate import (
    analyze_accumulator,
    analyze_accumulator_from_sample,
    as_source,
    estimate,
    proven_input_ranges,
    qkeras_accumulator,
)
from qsim.importers import ModelSource, load
from qsim.ir import Graph
from qsim.numerics import Array
from qsim.simulate import Simulator
from qsim.targets.c.design import plan as plan_c
from qsim.targets.registry import TARGETS, require_tools

ENGINES = ("tflm", "litert")
WAVEFORMS = (".vcd", ".fst", ".ghw")
MODEL_FILES = (".keras", ".h5", ".hdf5", ".tflite", ".onnx", ".json")

terms_option = click.option(
    "--terms", type=click.IntRange(0), default=32, show_default=True, help="Products of a sum to print."
)


def prepared_codes(graph: Graph, input_file: str | None, codes: bool, samples: int, seed: int) -> dict[str, Array]:
    """The input codes of a command: a file's, or drawn ones."""
    if codes and not input_file:
        raise UsageError("--codes says what --input holds: give --input too, or leave --codes out")
    if not input_file:
        return sample_codes(graph, samples, seed)
    arrays, simulator = read_arrays(input_file), Simulator(graph)
    inputs = simulator.check_codes(arrays) if codes else simulator.quantize(arrays)
    if not codes:
        health.clipping(graph, arrays)
    if not len(next(iter(inputs.values()))):
        raise UsageError(f"{input_file} holds no sample")
    return inputs


@click.command("diff")
@model_options
@click.option(
    "--against",
    metavar="X",
    help="c, hls, rtl; a folder that compile wrote; a folder of .npy or an .npz of dumped tensors; keras; tflm or "
    "litert; onnxruntime or qonnx; another model file; a waveform (.vcd, .fst).",
)
@click.option("--profiles", metavar="A,B,...", help="Compare numeric profiles of MODEL instead, layer by layer.")
@input_options
@click.option("--port", "ports", multiple=True, metavar="TENSOR=PREFIX", help="Of a waveform: where a tensor appears.")
@click.option("--clock", metavar="SIGNAL", help="Of a waveform.")
@click.option("--reset-n", metavar="SIGNAL", help="Of a waveform: beats count only while it is 1.")
@click.option(
    "--real/--integer", "reals", default=None, help="Dumped numbers are real values, or codes; default: seen."
)
@click.option("--report", metavar="FILE", help="Write the findings as one offline HTML page.")
@terms_option
def diff_command(
    source: ModelSource,
    against: str | None,
    profiles: str | None,
    input_file: str | None,
    codes: bool,
    samples: int,
    seed: int,
    ports: tuple[str, ...],
    clock: str | None,
    reset_n: str | None,
    reals: bool | None,
    report: str | None,
    terms: int,
) -> int:
    """Compare the simulator of MODEL with anything that has numbers; name the first layer that differs, take its first
    differing element apart, and say which known cause explains every difference. Exit code 1 if codes differ."""
    if (against is None) == (profiles is None):
        raise UsageError("give either --against X or --profiles A,B")
    page = _page(report)
    if profiles is not None:
        if page or source.profile or source.rescale or source.weights_format or ports or clock or reset_n:
            raise UsageError(
                "--profiles compares on its own: leave --profile, --rescale, --weights-format, --report, --port and "
                "--clock out"
            )
        return _profiles(source, profiles, input_file, codes, samples, seed)
    assert against is not None
    graph = load(source)
    waveform = Path(against).suffix.lower() in WAVEFORMS
    if (ports or clock or reset_n) and not waveform:
        raise UsageError(f"--port, --clock and --reset-n describe a waveform ({', '.join(WAVEFORMS)}), not {against!r}")
    with view.steps() as progress:
        if waveform:
            result = _waveform(graph, against, ports, clock, reset_n, input_file, codes)
        else:
            other = _other_side(against, source)
            if input_file is None and isinstance(other, Path) and emitted_target(other) is None:
                inputs = dumped_inputs(graph, other, reals=reals)
            else:
                inputs = prepared_codes(graph, input_file, codes, samples, seed)
            progress(f"{against}: running {len(next(iter(inputs.values())))} samples")
            result = diff(graph, inputs, other, codes=True, reals=reals)
    debug_view.show_diff(result, terms)
    if page:
        write_page(page, result)
        view.paragraph(f"\nReport: {page}")
    return 0 if result.ok else 1


def _page(report: str | None) -> Path | None:
    """Where the report goes; refused before any work is done."""
    if report is None:
        return None
    page = Path(report)
    if page.suffix.lower() not in (".html", ".htm") or not page.parent.is_dir() or page.is_dir():
        raise UsageError(f"--report {report}: an .html file in an existing folder is needed")
    return page


def _other_side(against: str, source: ModelSource) -> Any:
    """What ``diff`` shall run, by the text that names it."""
    if against in TARGETS:
        require_tools((against,))
        return against
    if against in ENGINES:
        if source.suffix != ".tflite":
            raise UsageError(f"--against {against} runs .tflite files; {Path(source.model).name} is none")
        return against, source.model
    if against in EXECUTORS:
        if source.suffix != ".onnx":
            raise UsageError(f"--against {against} runs .onnx files; {source.name} is none")
        return against, source
    if against == "keras":
        if source.suffix == ".tflite":
            raise UsageError("--against keras runs Keras models; for a .tflite file take tflm or litert")
        return live_keras(source.model, None if source.weights is None else Path(source.weights))
    path = Path(against)
    if path.is_dir():
        return _build_or_dump(path)
    if path.suffix.lower() == ".npz":
        return path
    if path.suffix.lower() in MODEL_FILES:
        if not path.is_file():
            raise UsageError(f"there is no file {against}")
        plain = path.suffix.lower() == ".tflite"
        return load(against, input_format=None if plain else source.input_format)
    raise UsageError(
        f"--against {against!r} is none of {', '.join((*TARGETS, 'keras', *ENGINES, *EXECUTORS))}, a folder, an .npz "
        "file, a model file or a waveform"
    )


def _build_or_dump(folder: Path) -> Path:
    """The folder, or the one target's folder in it: what ``qsim compile -o`` wrote holds a folder for each target."""
    if emitted_target(folder) is not None:
        return folder
    targets = [folder / target for target in TARGETS if emitted_target(folder / target) == target]
    if len(targets) > 1:
        raise UsageError(f"{folder} holds several targets: name one of {', '.join(map(str, targets))}")
    return targets[0] if targets else folder


def _waveform(
    graph: Graph,
    against: str,
    ports: Sequence[str],
    clock: str | None,
    reset_n: str | None,
    input_file: str | None,
    codes: bool,
) -> Diff:
    """The comparison with a waveform: its own input stream is what the simulator is run on, unless --input is given."""
    if clock is None:
        raise UsageError("a waveform needs --clock SIGNAL and at least one --port TENSOR=PREFIX")
    seen = read_waveform(graph, against, [parse_port(text) for text in ports], clock, reset_n)
    frames = len(next(iter(seen.values())))
    names = [entry.tensor for entry in graph.inputs]
    if input_file:
        given = prepared_codes(graph, input_file, codes, 1, 0)
        frames = min(frames, *(len(a) for a in given.values()))
        inputs = {name: a[:frames] for name, a in given.items()}
    elif all(name in seen for name in names):
        inputs = {name: seen[name] for name in names}
    else:
        raise UsageError(
            f"the simulator needs what the design was given: map the input too (--port {names[0]}=PREFIX), or --input"
        )
    outputs = {name: a[:frames] for name, a in seen.items() if name not in names or input_file}
    if not outputs:
        raise UsageError("only inputs are mapped: add a --port of a tensor that the design computes")
    result = diff(graph, inputs, outputs, codes=True, reals=False)
    return dataclasses.replace(result, against=f"waveform {Path(against).name!r}")


def _profiles(
    source: ModelSource,
    profiles: str,
    input_file: str | None,
    codes: bool,
    samples: int,
    seed: int,
) -> int:
    names = [name.strip() for name in profiles.split(",") if name.strip()]
    if len(dict.fromkeys(names)) < 2:
        raise UsageError("--profiles needs at least two names: --profiles tflm,litert-ref")
    graphs = [load(source.but(profile=name)) for name in names]
    rows = compare_profiles(graphs, prepared_codes(graphs[0], input_file, codes, samples, seed))
    debug_view.show_profiles(names, rows)
    changed = any(change is None or change.along for row in rows for change in row.changes)
    return 1 if changed else 0


@click.command()
@model_options
@click.option("-o", "--out", required=True, metavar="DIR", help="Output folder.")
@input_options
@click.option("--layer", "layers", multiple=True, metavar="NAME", help="May be given several times; default: all.")
def vectors(
    source: ModelSource,
    out: str,
    input_file: str | None,
    codes: bool,
    samples: int,
    seed: int,
    layers: tuple[str, ...],
) -> int:
    """Write every layer's input, raw accumulator and output as .npy, $readmemh, C header and .dat, with a manifest and
    self-checking SystemVerilog and C test benches."""
    graph = load(source)
    if input_file:
        inputs = prepared_codes(graph, input_file, codes, samples, seed)
        written = write_vectors(graph, out, inputs, codes=True, layers=layers or None)
    else:
        prepared_codes(graph, None, codes, samples, seed)
        written = write_vectors(graph, out, samples=samples, seed=seed, layers=layers or None)
    size = sum(path.stat().st_size for path in written)
    names = [path.relative_to(out).as_posix() for path in written]
    kinds = [(kind, sum(name.endswith(kind) for name in names)) for kind in (".npy", ".mem", ".dat", ".h", ".sv", ".c")]
    view.table(f"Golden vectors in {out}", ("files", "number"), kinds, right=(1,))
    view.paragraph(
        f"\n{len(names)} files, {size:,} bytes; README.md says how to use them, manifest.json what is where."
    )
    return 0


@click.command("cosim")
@click.argument("description", metavar="DIR|YAML")
@click.option("-o", "--out", metavar="DIR", help="For the waveform around a mismatch; default: the YAML's folder.")
@click.option("--frames", type=click.IntRange(1), metavar="N", help="Samples; default: the YAML's.")
@click.option("--report", metavar="FILE", help="Write the findings as one offline HTML page.")
@terms_option
def cosim_command(description: str, out: str | None, frames: int | None, report: str | None, terms: int) -> int:
    """Drive the RTL that a cosim.yaml describes and compare every port with the simulator."""
    page = _page(report)
    if not Path(description).exists():
        raise UsageError(f"there is no {description}: give a cosim.yaml or its folder")
    with view.steps() as progress:
        progress("building and running the design in Verilator")
        result = cosim(description, out, frames=frames)
    debug_view.show_diff(result.diff, terms)
    for note in result.notes:
        view.paragraph(f"Found: {note}.")
    for problem in result.problems:
        view.paragraph(f"Problem: {problem}")
    if result.waveform:
        view.paragraph(f"Waveform around the first bad beat: {result.waveform}")
    if page:
        write_page(page, result.diff, result.problems)
        view.paragraph(f"\nReport: {page}")
    return 0 if result.ok else 1


@click.command("estimate")
@model_options
@input_options
def estimate_command(
    source: ModelSource,
    input_file: str | None,
    codes: bool,
    samples: int,
    seed: int,
) -> int:
    """What each layer of MODEL costs: operations by kind, weights and bits, sparsity, accumulator bits proven, sampled
    and as qkeras figures them, memory of the emitted C, energy."""
    described = as_source(source)
    graph = described.graph
    inputs = prepared_codes(graph, input_file, codes, samples, seed)
    reals = Simulator(graph).reals(inputs)
    limits = proven_input_ranges(described)
    try:
        memory: Any = plan_c(graph).footprint
    except UnsupportedError as error:
        memory = f"the C target does not take this model: {error}"
    debug_view.show_estimate(
        estimate(described),
        analyze_accumulator(described, limits),
        analyze_accumulator_from_sample(described, reals if len(reals) > 1 else next(iter(reals.values())), "sampled"),
        qkeras_accumulator(described, limits),
        memory,
    )
    return 0


@click.command()
@model_options
@click.argument("layer", required=False)
@input_options
@terms_option
def explain(
    source: ModelSource,
    layer: str | None,
    input_file: str | None,
    codes: bool,
    samples: int,
    seed: int,
    terms: int,
) -> int:
    """Explain MODEL, or one LAYER of it, for someone who has never seen affine quantization: the formula in real
    numbers and in integers with the layer's own numbers, and one element worked out from input codes to output code."""
    try:
        graph = load(source)
    except QsimError:
        added = wrapper_variables(
            source.model, source.weights
        )  # what can be said of a wrapped model whose graph is not to be had
        if added:
            view.paragraph(summary(added))
            debug_view.show_description(variables_of("Wrapped layers of the source model", added), terms)
        raise
    inputs = prepared_codes(graph, input_file, codes, samples, seed)
    layers = [layer] if layer else None
    for found in describe(graph, inputs, layers, source=source.model, weights=source.weights):
        debug_view.show_description(found, terms)
    return 0
