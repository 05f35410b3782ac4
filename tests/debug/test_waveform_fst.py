"""The same stream read from a VCD and from an FST file, and a window cut out of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from qsim.debug.waves.waveform import StreamSignals, Waveform
from qsim.errors import UsageError

WORDS = [3, 200, 7, 7, 0, 255, 18, 91]
READY = [1, 0, 1, 1, 0, 1, 1, 1]
SIGNALS = {"clk": 1, "s_tdata": 8, "s_tvalid": 1, "s_tready": 1}


def changes() -> list[tuple[int, str, str]]:
    """(time, signal, bits): a clock of 10 with data changing at its rising edge, as registers do."""
    found = []
    for i, (word, ready) in enumerate(zip(WORDS, READY, strict=True)):
        found += [(10 * i, "clk", "1"), (10 * i, "s_tdata", f"{word:08b}"), (10 * i, "s_tvalid", "1")]
        found += [(10 * i, "s_tready", str(ready)), (10 * i + 5, "clk", "0")]
    return [*found, (10 * len(WORDS), "clk", "1")]


def write_vcd(path: Path) -> None:
    from vcd import VCDWriter

    with path.open("w") as file, VCDWriter(file, timescale="1 ns", date="") as writer:
        variables = {name: writer.register_var("top", name, "wire", size=size) for name, size in SIGNALS.items()}
        for time, name, bits in changes():
            writer.change(variables[name], time, int(bits, 2))


def write_fst(path: Path) -> None:
    pylibfst = pytest.importorskip("pylibfst")
    lib, ffi = pylibfst.lib, pylibfst.ffi
    writer = lib.fstWriterCreate(str(path).encode(), 1)
    lib.fstWriterSetTimescale(writer, -9)
    lib.fstWriterSetScope(writer, lib.FST_ST_VCD_MODULE, b"top", ffi.NULL)
    kind = (lib.FST_VT_VCD_WIRE, lib.FST_VD_IMPLICIT)
    variables = {name: lib.fstWriterCreateVar(writer, *kind, size, name.encode(), 0) for name, size in SIGNALS.items()}
    lib.fstWriterSetUpscope(writer)
    now = -1
    for time, name, bits in changes():
        if time != now:
            lib.fstWriterEmitTimeChange(writer, time)
            now = time
        lib.fstWriterEmitValueChange(writer, variables[name], bits.encode())
    lib.fstWriterClose(writer)


@pytest.mark.parametrize("kind", ["vcd", "fst"])
def test_beats_and_cut(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"wave.{kind}"
    {"vcd": write_vcd, "fst": write_fst}[kind](path)
    wave = Waveform(path)
    stream = StreamSignals(data="s_tdata", valid="s_tvalid", ready="s_tready")
    beats = wave.beats("top.clk", stream)
    assert [b.word for b in beats] == [w for w, r in zip(WORDS, READY, strict=True) if r]
    assert [b.time for b in beats] == [10 * (i + 1) for i, r in enumerate(READY) if r]
    cut = Waveform(wave.cut(tmp_path / "cut.vcd", 22, 62))
    kept = [b.word for b in cut.beats("top.clk", stream)]
    assert kept == [b.word for b in beats if 22 < b.time <= 62]


def test_other_files_are_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.fst"
    bad.write_bytes(b"no waveform")
    with pytest.raises(UsageError, match="not a readable waveform"):
        Waveform(bad)
    with pytest.raises(UsageError, match="is not a file"):
        Waveform(tmp_path / "absent.vcd")
