"""The description of foreign RTL that ``qsim cosim`` reads: cosim.yaml."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qsim.errors import ToolMissingError, UsageError, reading
from qsim.importers import ModelSource
from qsim.version import install

PROTOCOLS = ("stream", "file")
LAYOUTS = ("HWC", "CHW")
MOST_BYTES = 1 << 18
"""Of a cosim.yaml."""

_DEPTH, _EVENTS, _MOST_LANES = 12, 5_000, 1 << 16
Signal = str | tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class Port:
    """One place where a graph tensor appears.

    name: of the port; with ``protocol: stream`` its signals are <name>_tdata, _tvalid, _tready, _tlast unless
    ``signals`` names others (data, valid, ready, last; null for one that does not exist). data may be an unpacked array
    (a lane an element, the lowest index first) or a list of signals, one a lane. Names of VHDL are found in any case,
    ``x(3)`` is an element. A port without valid and ready has a word in every cycle. With ``protocol: file`` the
    design reads (direction in) or writes (out) ``file`` itself, one $readmemh word a beat.
    direction: in (driven), out (checked, ready driven) or probe (only watched; signals may be hierarchical).
    tensor: of the graph. lanes: elements a beat, lane 0 in the low bits. slot: bits an element takes in the word
    (default: the width of the tensor's format, rounded up to bytes where lanes is 1). layout: element order.
    """

    name: str
    tensor: str
    direction: str
    protocol: str = "stream"
    signals: Mapping[str, Signal] = field(default_factory=dict)
    lanes: int = 1
    slot: int | None = None
    layout: str = "HWC"
    file: str | None = None

    def signal(self, role: str) -> Signal:
        """The name of the data, valid, ready or last signal; None where it does not exist."""
        return self.signals.get(role, f"{self.name}_t{role}")

    @property
    def timed(self) -> bool:
        """Whether the words have no handshake: which are a sample's is told by when they come."""
        return self.protocol == "stream" and self.signal("valid") is None and self.signal("ready") is None


@dataclass(frozen=True, kw_only=True)
class CosimConfig:
    """A whole cosim.yaml.

    top: module. sources: its files, in order, relative to the YAML. model: the model's file (with weights,
    input_format, profile, rescale as ``qsim.load`` takes them). clock, reset, reset_active: signals ("low" or "high");
    clock null: a design of gates alone. latency: of outputs without valid and ready, cycles from the clock edge that
    takes an input word to the one before which its output word stands; null: found from the data.
    done: a signal that ends the run of a design whose outputs are files. frames: samples; seed, idle, backpressure:
    of the stimulus (shares of cycles); timeout: cycles a frame may take.
    """

    folder: Path
    top: str
    sources: tuple[str, ...]
    model: str
    ports: tuple[Port, ...]
    weights: str | None = None
    input_format: str | None = None
    profile: str | None = None
    rescale: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    includes: tuple[str, ...] = ()
    clock: str | None = "aclk"
    latency: int | None = None
    reset: str | None = "aresetn"
    reset_active: str = "low"
    done: str | None = None
    frames: int = 8
    seed: int = 1
    idle: float = 0.3
    backpressure: float = 0.3
    timeout: int = 100_000

    @property
    def source(self) -> ModelSource:
        """The model and what its import needs."""
        return ModelSource(
            model=self.folder / self.model,
            weights=self.folder / self.weights if self.weights else None,
            input_format=self.input_format,
            profile=self.profile,
            rescale=self.rescale,
        )


def read_config(path: str | Path) -> CosimConfig:
    """Read a cosim.yaml, or the one in a folder. Raises UsageError with the key that is wrong."""
    try:
        import yaml
    except ImportError as error:
        raise ToolMissingError(f"qsim cosim reads YAML: {install('cosim')}") from error
    source = Path(path)
    source = source / "cosim.yaml" if source.is_dir() else source
    with reading(source, "a cosim.yaml", error=UsageError, most=MOST_BYTES) as place:
        text = source.read_text(encoding="utf-8")
        events = yaml.parse(text, Loader=yaml.SafeLoader)
        depth = 0
        for number, event in enumerate(events):
            place.at = f"line {event.start_mark.line + 1}"
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("an alias (*name): write the value out")
            if depth > _DEPTH or number > _EVENTS:
                raise ValueError("it is nested too deeply, or too long, for a description of ports")
        place.at = ""
        data = yaml.safe_load(text)
    if not isinstance(data, dict):
        raise UsageError(f"{source} is not a mapping of keys")
    fields = dict(data)
    ports = fields.pop("ports", None)
    if not isinstance(ports, list) or not ports:
        raise UsageError(f"{source}: ports: a list with at least one port is needed")
    read = tuple(_port(entry, source) for entry in ports)
    for key in ("sources", "includes"):
        if key in fields:
            fields[key] = tuple(fields[key]) if isinstance(fields[key], list) else fields[key]
    config = _make(CosimConfig, {"folder": source.parent, "ports": read, **fields}, source, "")
    _check(config, source)
    return config


def _port(entry: Any, source: Path) -> Port:
    if not isinstance(entry, dict):
        raise UsageError(f"{source}: ports: {entry!r} is not a mapping")
    fields = dict(entry)
    if isinstance(fields.get("signals"), dict):
        fields["signals"] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields["signals"].items()}
    port = _make(Port, fields, source, "port ")
    _signals(port, source)
    for value, allowed, key in (
        (port.direction, ("in", "out", "probe"), "direction"),
        (port.protocol, PROTOCOLS, "protocol"),
        (port.layout, LAYOUTS, "layout"),
    ):
        if value not in allowed:
            raise UsageError(f"{source}: port {port.name!r}: {key} is one of {', '.join(allowed)}, not {value!r}")
    if port.protocol == "file" and not port.file:
        raise UsageError(f"{source}: port {port.name!r}: protocol file needs the key file")
    if port.lanes < 1 or (port.slot is not None and port.slot < 1):
        raise UsageError(f"{source}: port {port.name!r}: lanes and slot are positive")
    return port


def _signals(port: Port, source: Path) -> None:
    for role, name in port.signals.items():
        if role not in ("data", "valid", "ready", "last"):
            raise UsageError(f"{source}: port {port.name!r}: unknown signal role {role!r} (data, valid, ready, last)")
        names = name if isinstance(name, tuple) and role == "data" else (name,)
        named = bool(names) and all(isinstance(n, str) and n for n in names)
        if not named and not (name is None and role != "data"):
            raise UsageError(f"{source}: port {port.name!r}: signal {role} cannot be {name!r}")
        if len(names) > 1 and len(names) != port.lanes:
            raise UsageError(f"{source}: port {port.name!r}: {len(names)} data signals for {port.lanes} lanes")


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (int, float),
    "tuple[str, ...]": (tuple,),
    "tuple[Port, ...]": (tuple,),
    "Mapping[str, Any]": (dict,),
    "Mapping[str, Signal]": (dict,),
    "Path": (Path,),
}


def _make(kind: Any, fields: Mapping[str, Any], source: Path, what: str) -> Any:
    known = {f.name: f for f in dataclasses.fields(kind)}
    for key, value in fields.items():
        if key not in known:
            raise UsageError(
                f"{source}: unknown {what}key {key!r}: choose from {', '.join(k for k in known if k != 'folder')}"
            )
        if not isinstance(value, _TYPES[str(known[key].type)]) or isinstance(value, bool):
            raise UsageError(f"{source}: {what}key {key!r} cannot be {value!r}")
    missing = [
        f.name
        for f in known.values()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and f.name not in fields
    ]
    if missing:
        raise UsageError(f"{source}: {what}key{'s' * (len(missing) > 1)} {', '.join(missing)} missing")
    return kind(**fields)


def _check(config: CosimConfig, source: Path) -> None:
    if not any(p.direction == "in" for p in config.ports) or all(p.direction == "in" for p in config.ports):
        raise UsageError(f"{source}: ports: at least one input and one output or probe are needed")
    if config.reset_active not in ("low", "high"):
        raise UsageError(f"{source}: reset_active is low or high, not {config.reset_active!r}")
    if not 1 <= config.frames <= 1 << 20 or not 0 <= config.idle < 1 or not 0 <= config.backpressure < 1:
        raise UsageError(f"{source}: frames is 1 to {1 << 20}, idle and backpressure lie in [0, 1)")
    if not 1 <= config.timeout <= 1 << 31 or (config.latency is not None and not 0 <= config.latency <= 1 << 20):
        raise UsageError(f"{source}: timeout and latency are numbers of cycles, not {config.timeout}, {config.latency}")
    for port in config.ports:
        if config.clock is None and (not port.timed or port.signal("last") is not None):
            raise UsageError(
                f"{source}: port {port.name!r}: without a clock there is no handshake: valid, ready and last are null"
            )
        if port.lanes > _MOST_LANES or (port.slot or 1) > _MOST_LANES:
            raise UsageError(f"{source}: port {port.name!r}: lanes and slot are at most {_MOST_LANES}")
    for name in (*config.sources, *config.includes):
        if not isinstance(name, str) or not (config.folder / name).exists():
            raise UsageError(f"{source}: {name} does not exist")
    names = [p.name for p in config.ports]
    if len(set(names)) < len(names):
        raise UsageError(f"{source}: two ports have the same name")
