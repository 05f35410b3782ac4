"""A graph planned as a streaming design: network, schedule, names and ports. Files, run and figures share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from qsim.ir import Graph
from qsim.targets.rtl.lower.tables import build
from qsim.targets.rtl.network import kernels as s
from qsim.targets.rtl.network.folding import choose
from qsim.targets.rtl.network.schedule import Schedule, schedule_network
from qsim.targets.text import identifier, identifiers


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of the emitted SystemVerilog."""

    folding: int | Mapping[str, int] | None = field(
        default=None,
        metadata={
            "help": "Multipliers of the whole design, or products per cycle by layer name (the others as if nothing "
            "were asked for)."
        },
    )


@dataclass(frozen=True, kw_only=True)
class Port:
    """An AXI4-Stream port of the top: ``prefix``_tdata and so on. tdata: its bits. size: beats of a frame.

    kernel: the Source or Sink that it belongs to.
    """

    prefix: str
    tensor: str
    input: bool
    tdata: int
    width: int
    signed: bool
    size: int
    kernel: s.Kernel


@dataclass(frozen=True, kw_only=True)
class Design:
    """Everything about the emitted design that its users look up.

    names: stream -> identifier (of its signals and its trace file). ports: inputs first, in the graph's order.
    """

    graph: Graph
    module: str
    network: s.Network
    names: Mapping[s.Stream, str]
    ports: tuple[Port, ...]

    @cached_property
    def schedule(self) -> Schedule:
        """Its cycles and FIFOs: the search for their depths takes longer than all else of the plan, and refuses
        nothing, so it waits until it is asked for."""
        return schedule_network(self.network)

    @property
    def warm(self) -> int:
        """Cycles after a reset in which constants, and what is computed from them alone, fill their FIFOs: the
        schedule is that of a design that has been idle for so long."""
        constant = any(isinstance(k, s.ConstantSource) for k in self.network.kernels)
        return 4 * self.schedule.latency + 1000 if constant else 64

    def name(self, tensor: str) -> str:
        """The identifier of the stream that carries ``tensor``."""
        return self.names[self.network.tensors[tensor]]

    def port(self, kernel: s.Kernel) -> Port:
        """The port of a Source or Sink."""
        return next(port for port in self.ports if port.kernel is kernel)


def plan(graph: Graph, options: Options | None = None) -> Design:
    """The streaming design of ``graph``. Raises UsageError for a folding of layers that the graph does not have and
    UnsupportedError for what the target cannot express."""
    network = build(graph, choose(graph, (options or Options()).folding))
    return Design(
        graph=graph,
        module=f"{identifier(graph.name)}_top",
        network=network,
        names=_names(graph, network),
        ports=(*_inputs(graph, network), *_outputs(graph, network)),
    )


def _names(graph: Graph, network: s.Network) -> dict[s.Stream, str]:
    """Stream -> identifier. Identifiers of tensors are free of double underscores; so those of other streams, which
    have one, differ from all of them."""
    tensors = identifiers(graph)
    return {
        stream: f"{tensors[stream.tensor]}__{identifier(stream.part)}" if stream.part else tensors[stream.tensor]
        for stream in network.streams
    }


def _inputs(graph: Graph, network: s.Network) -> list[Port]:
    sources = [k for k in network.kernels if isinstance(k, s.Source)]
    prefixes = _prefixes(graph, "s_axis", [k.output.tensor for k in sources])
    return [_port(k, k.output.tensor, k.output, prefix) for k, prefix in zip(sources, prefixes)]


def _outputs(graph: Graph, network: s.Network) -> list[Port]:
    sinks = [k for k in network.kernels if isinstance(k, s.Sink)]
    prefixes = _prefixes(graph, "m_axis", [k.tensor for k in sinks])
    return [_port(k, k.tensor, k.inputs[0], prefix) for k, prefix in zip(sinks, prefixes)]


def _prefixes(graph: Graph, prefix: str, tensors: list[str]) -> list[str]:
    """A prefix a port: of several, with the tensor's identifier; an output that is given twice counts its copies."""
    if len(tensors) == 1:
        return [prefix]
    names = identifiers(graph)
    return [
        f"{prefix}_{names[tensor]}" + (f"_copy{index}" if tensor in tensors[:index] else "")
        for index, tensor in enumerate(tensors)
    ]


def _port(kernel: s.Kernel, tensor: str, stream: s.Stream, prefix: str) -> Port:
    return Port(
        prefix=prefix,
        tensor=tensor,
        input=isinstance(kernel, s.Source),
        tdata=-(-stream.format.width // 8) * 8,
        width=stream.format.width,
        signed=stream.format.signed,
        size=stream.size,
        kernel=kernel,
    )
