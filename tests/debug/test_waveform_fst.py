"""The same stream read from a VCD and from an FST file, and a window cut out of each."""

from __future__ import annotations

from pathlib import Path

import pytest
from readers import campaign, limits

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
    with pytest.raises(UsageError, match=r"bad.fst is not a waveform \(VCD, FST or GHW\) that can be read"):
        Waveform(bad)
    with pytest.raises(UsageError, match="is not a file"):
        Waveform(tmp_path / "absent.vcd")


def test_a_signal_of_four_gigabits(tmp_path: Path) -> None:
    path = tmp_path / "wave.vcd"
    write_vcd(path)
    text = path.read_text()
    assert " 8 " in text
    path.write_text(text.replace(" 8 ", " 4294967295 ", 1))
    with limits(60, 1 << 28), pytest.raises(UsageError, match=r"wave.vcd.*signal 'top.s_tdata'.*bits, more than"):
        Waveform(path).changes("s_tdata")


def test_nothing_is_left_of_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "wave.vcd"
    write_vcd(path)
    wave = Waveform(path)
    process = wave._process
    assert process.poll() is None
    del wave
    assert process.poll() is not None


def read(path: Path) -> None:
    wave = Waveform(path)
    for name in wave.names:
        wave.changes(name)


@pytest.mark.parametrize(
    ("kind", "count"),
    [("vcd", 25), ("fst", 12), *(pytest.param(k, 3000, marks=pytest.mark.slow) for k in ("vcd", "fst"))],
)
def test_damaged_waveforms(kind: str, count: int, tmp_path: Path) -> None:
    path = tmp_path / f"wave.{kind}"
    {"vcd": write_vcd, "fst": write_fst}[kind](path)
    accepted, refused = campaign(path, path.read_bytes(), read, count, text=kind == "vcd", seconds=60)
    assert refused > 0
    assert accepted > 0
