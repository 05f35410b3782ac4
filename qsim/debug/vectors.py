"""Golden vectors: every layer's inputs, raw accumulators and outputs as files that need neither Python nor qsim."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qsim.compare.stimulus import sample_codes
from qsim.errors import UsageError
from qsim.ir import Graph, Tensor, tensor_text
from qsim.numerics import Array
from qsim.simulate import Simulator
from qsim.simulate.engine import Arrays
from qsim.targets.files import write_files
from qsim.targets.text import environment, header_lines, identifier, identifiers, one_line
from qsim.version import __version__

PACKING = (
    "One code an element, row-major with the channel changing fastest, sample after sample. .npy: integers of shape "
    "(samples, *shape). .mem: $readmemh, one code a line, two's complement in the least number of hex digits. .dat: "
    "one decimal code a line. .h: one C array. AXI4-Stream test bench: one element a beat in the low bits of TDATA, "
    "TDATA rounded up to whole bytes, TLAST on the last element of a sample."
)


@dataclass(frozen=True, kw_only=True)
class LayerView:
    """One source layer at its borders: what goes in, its accumulator if it has one, and what comes out."""

    layer: str
    ident: str
    inputs: tuple[str, ...]
    accumulators: tuple[str, ...]
    output: str


def layer_views(graph: Graph, layers: Sequence[str] | None = None) -> tuple[LayerView, ...]:
    """The borders of each source layer, in graph order. Raises UsageError for a layer that the graph does not have."""
    known = graph.layers()
    for name in layers or ():
        if name not in known:
            raise UsageError(f"the model has no layer {name!r}: choose from {', '.join(known)}")
    views = []
    for layer in known:
        if layers and layer not in layers:
            continue
        ops = [op for op in graph.ops if op.layer == layer]
        made = [op.output for op in ops]
        read = dict.fromkeys(name for op in ops for name in op.inputs if name not in made)
        views.append(
            LayerView(
                layer=layer,
                ident=identifier(layer),
                inputs=tuple(read),
                accumulators=tuple(name for name in made[:-1]),
                output=made[-1],
            )
        )
    return tuple(views)


def write_vectors(
    graph: Graph,
    out_dir: str | Path,
    x: Arrays | None = None,
    *,
    codes: bool = False,
    samples: int = 16,
    seed: int = 0,
    layers: Sequence[str] | None = None,
) -> list[Path]:
    """Write golden vectors into ``out_dir`` and return the files' paths.

    x: real-valued inputs, codes if ``codes``; without it ``samples`` inputs are drawn with ``seed``, corners first.
    layers: source layers to write; default all. All files or none are written.
    """
    simulator = Simulator(graph)
    if x is None:
        inputs = sample_codes(graph, samples, seed)
    else:
        inputs = simulator.check_codes(x) if codes else simulator.quantize(x)
    trace = simulator.trace_codes(inputs)
    made = vector_files(graph, trace, None if x is not None else seed, layers)
    return write_files(made, out_dir, "vectors", graph)


def vector_files(
    graph: Graph, trace: Mapping[str, Array], seed: int | None, layers: Sequence[str] | None = None
) -> dict[str, str | bytes]:
    """The files behind ``write_vectors``: relative name -> content."""
    views = layer_views(graph, layers)
    used = dict.fromkeys(
        [i.tensor for i in graph.inputs]
        + [n for v in views for n in (*v.inputs, *v.accumulators, v.output)]
        + [o.tensor for o in graph.outputs]
    )
    names = identifiers(graph)
    samples = len(next(iter(trace.values())))
    files: dict[str, str | bytes] = {}
    described = []
    for name in used:
        tensor, base = graph[name], f"tensors/{names[name]}"
        data = np.ascontiguousarray(trace[name].astype(storage_dtype(tensor)))
        files[f"{base}.npy"] = npy_bytes(data)
        flat = trace[name].reshape(-1)
        files[f"{base}.mem"] = mem_text(flat, tensor.format.width)
        files[f"{base}.dat"] = "".join(f"{v}\n" for v in flat.tolist())
        files[f"{base}.h"] = c_header(names[name], tensor, flat, samples)
        described.append(_describe(graph, name, base, data))
    manifest = {
        "qsim": __version__,
        "model": graph.name,
        "profile": graph.profile,
        "graph_sha256": graph.hash,
        "samples": samples,
        "seed": seed,
        "packing": PACKING,
        "layers": [
            {"layer": v.layer, "inputs": list(v.inputs), "accumulators": list(v.accumulators), "output": v.output}
            for v in views
        ],
        "tensors": described,
    }
    files["manifest.json"] = json.dumps(manifest, indent=1) + "\n"
    files |= _benches(graph, views, names, samples)
    return files


def storage_dtype(tensor: Tensor) -> np.dtype[np.generic]:
    """The least numpy integer type that holds the tensor's format."""
    width = next(w for w in (8, 16, 32, 64) if w >= tensor.format.width)
    return np.dtype(f"<{'i' if tensor.format.signed else 'u'}{width // 8}")


def npy_bytes(data: Array) -> bytes:
    """The bytes of a .npy file (format 1.0, C order)."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, data, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def mem_text(codes: Array, width: int) -> str:
    """``$readmemh`` text: one code a line, two's complement."""
    digits, mask = -(-width // 4), (1 << width) - 1
    return "".join(f"{v & mask:0{digits}x}\n" for v in codes.tolist())


def c_type(tensor: Tensor) -> str:
    """The C type of the tensor's elements in headers."""
    return f"{'int' if tensor.format.signed else 'uint'}{storage_dtype(tensor).itemsize * 8}_t"


def c_header(ident: str, tensor: Tensor, codes: Array, samples: int) -> str:
    """A C header with the codes of all samples as one const array."""
    lines = [", ".join(map(str, codes[i : i + 16].tolist())) for i in range(0, len(codes), 16)]
    return (
        environment()
        .get_template("vectors/tensor.h.j2")
        .render(
            ident=ident,
            guard=f"QSIM_VECTOR_{ident.upper()}_H",
            text=one_line(tensor_text(tensor)),
            samples=samples,
            size=tensor.size,
            type=c_type(tensor),
            lines=lines,
        )
    )


def _describe(graph: Graph, name: str, base: str, data: Array) -> dict[str, object]:
    tensor, q = graph[name], graph[name].quantization
    return {
        "tensor": name,
        "files": base,
        "shape": list(tensor.shape),
        "format": str(tensor.format),
        "dtype": str(data.dtype),
        "range": list(tensor.range),
        "scale": [str(s) for s in q.scale],
        "offset": [str(s) for s in q.offset],
        "zero_point": q.zero_point,
        "sha256": hashlib.sha256(data.tobytes()).hexdigest(),
    }


def _benches(
    graph: Graph, views: Sequence[LayerView], names: Mapping[str, str], samples: int
) -> dict[str, str | bytes]:
    """The self-checking test benches and the README."""

    def port(name: str) -> dict[str, object]:
        tensor = graph[name]
        return {
            "ident": names[name],
            "tensor": one_line(tensor_text(tensor)),
            "size": tensor.size,
            "width": tensor.format.width,
            "signed": int(tensor.format.signed),
            "bytes": -(-tensor.format.width // 8),
            "type": c_type(tensor),
        }

    whole = LayerView(
        layer=graph.name,
        ident=f"model_{identifier(graph.name)}",
        inputs=tuple(i.tensor for i in graph.inputs),
        accumulators=(),
        output=graph.outputs[0].tensor,
    )
    benches = [
        {
            "ident": v.ident,
            "layer": one_line(v.layer),
            "inputs": [port(n) for n in v.inputs],
            "output": port(v.output),
        }
        for v in (whole, *views)
        if v.inputs
    ]
    env, header = environment(), header_lines(graph, "vectors")
    files: dict[str, str | bytes] = {
        "tb/qsim_stream_source.sv": env.get_template("vectors/qsim_stream_source.sv.j2").render(header=header),
        "tb/qsim_stream_check.sv": env.get_template("vectors/qsim_stream_check.sv.j2").render(header=header),
        "tb/check.c": env.get_template("vectors/check.c.j2").render(header=header, benches=benches, samples=samples),
        "README.md": env.get_template("vectors/README.md.j2").render(
            header=header, benches=benches, samples=samples, packing=PACKING, model=one_line(graph.name)
        ),
    }
    for bench in benches:
        text = env.get_template("vectors/tb.sv.j2").render(header=header, bench=bench, samples=samples)
        files[f"tb/tb_{bench['ident']}.sv"] = text
    return files
