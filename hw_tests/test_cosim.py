"""``qsim cosim`` on a module that qsim did not make, by its YAML alone: right, and with faults put into it."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qsim
from qsim.debug.cosim.config import Port
from qsim.debug.cosim.cosim import CosimResult, cosim
from qsim.debug.cosim.ports import View, Word
from qsim.debug.waves.waveform import StreamSignals, Waveform, unpack
from qsim.errors import QsimError, UsageError
from qsim.ir.serialize import from_json, to_json

FOREIGN = Path(__file__).parent / "foreign" / "edge_pair"
FILES = FOREIGN.parent / "plane_means"
TIES = "if (rest > (1 << (SHIFT - 1)) || (rest == (1 << (SHIFT - 1)) && q[0]))"


def changed(folder: Path, *changes: tuple[str, str], source: Path = FOREIGN, file: str | None = None) -> Path:
    """A copy of a module's folder with texts replaced in one of its files."""
    shutil.copytree(source, folder / "rtl")
    path = folder / "rtl" / (file or f"{source.name}.v")
    text = path.read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)
    return folder / "rtl"


@pytest.mark.parametrize("folder", [FOREIGN, FILES], ids=lambda f: f.name)
def test_models_are_those_that_their_scripts_make(folder: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_model", folder / "make_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (folder / "model.json").read_text()
    assert text == to_json(module.graph())
    assert qsim.load(folder / "model.json") == from_json(text)
    with pytest.raises(UsageError, match="a qsim graph holds its weights"):
        qsim.load(folder / "model.json", input_format="uint8")


def test_right_module(tmp_path: Path) -> None:
    result = cosim(FOREIGN, tmp_path)
    assert result.ok, str(result)
    assert [(t.tensor, t.total, t.differing) for t in result.diff.tensors] == [("sums", 1920, 0), ("edges", 1920, 0)]
    assert result.waveform is None
    assert "all codes are equal" in str(result)
    assert list(tmp_path.iterdir()) == []


def first(result: CosimResult) -> Any:
    assert not result.ok
    assert result.diff.first is not None
    assert result.problems == ()
    return result.diff.first


def check_waveform(result: CosimResult) -> None:
    """The cut holds the beat with the first differing element, in its middle, as the module computed it."""
    found = first(result)
    assert result.waveform is not None
    wave = Waveform(result.waveform)
    beats = wave.beats("edge_pair.clk", StreamSignals(data="edge_pair.res", valid="res_vld", ready="res_rdy"))
    assert 0 < len(beats) < 12 * 80
    words = [unpack(b.word, 2, 8, 8, True) for b in beats if b.word is not None]
    lanes = [found.actual if found.index[-1] == lane else None for lane in range(2)]
    assert any(all(want in (None, got) for want, got in zip(lanes, word)) for word in words)
    assert "edge_pair.sums" in wave.names  # signals inside as well
    edges = [t for t, v in wave.changes("edge_pair.clk") if str(v) == "1"]
    assert 100 < len(edges) <= 402
    assert str(result.waveform) in str(result)


def test_half_up_in_place_of_half_even(tmp_path: Path) -> None:
    result = cosim(changed(tmp_path, (TIES, "if (rest >= (1 << (SHIFT - 1)))")), tmp_path / "out")
    found = first(result)
    assert (found.tensor, found.layer, found.actual - found.expected) == ("edges", "filters", 1)
    assert result.diff.tensors[0].differing == 0  # the sums inside are right
    best = found.explanations[0]
    assert (best.complete, best.op) == (True, "Requantize")
    assert "AP_RND (half up) in place of AP_RND_CONV" in best.text
    check_waveform(result)


def test_shift_off_by_one(tmp_path: Path) -> None:
    result = cosim(changed(tmp_path, ("parameter SHIFT = 5;", "parameter SHIFT = 6;")))
    found = first(result)
    assert found.tensor == "edges"
    best = found.explanations[0]
    assert (best.complete, best.op) == (True, "Requantize")
    assert "shift" in best.text
    assert result.waveform == tmp_path / "rtl" / "edge_pair_mismatch.vcd"  # beside the YAML unless told otherwise


def test_vector_files(tmp_path: Path) -> None:
    result = cosim(FILES, tmp_path)
    assert result.ok, str(result)
    assert [(t.tensor, t.total) for t in result.diff.tensors] == [("means", 48)]


@pytest.mark.slow
def test_vector_files_of_a_faulty_module(tmp_path: Path) -> None:
    half_up = "= (with_this + 8) >>> 4;"
    result = cosim(changed(tmp_path / "a", ("= with_this >>> 4;", half_up), source=FILES))
    assert first(result).explanations[0].complete
    assert "AP_RND (half up) in place of AP_TRN" in first(result).explanations[0].text
    assert result.waveform is None
    one_less = ('("means.hex", mean)', '("means.hex", mean, 0, PICTURES*PLANES-2)')
    short = cosim(changed(tmp_path / "b", one_less, source=FILES))
    assert not short.ok
    assert short.problems == ("port 'means': 47 beats came, 48 were expected",)


def test_wrong_descriptions(tmp_path: Path) -> None:
    def refused(text: str, old: str, new: str) -> None:
        folder = changed(tmp_path / str(len(list(tmp_path.iterdir()))), (old, new), file="cosim.yaml")
        with pytest.raises(QsimError, match=text) as caught:
            cosim(folder)
        assert "\n" not in str(caught.value)

    refused("has no tensor 'sum'", "tensor: sums", "tensor: sum")
    refused("no_file.v does not exist", "[edge_pair.v]", "[no_file.v]")
    refused("unknown key 'clok'", "clock: clk", "clok: clk")
    refused("does not build or run", "top: edge_pair", "top: edge_pear")
    refused("port 'pixels': the design has no signal 'px_valid'", "valid: px_vld", "valid: px_valid")


def test_misplaced_last() -> None:
    view = View(qsim.load(FOREIGN / "model.json"), Port(name="res", tensor="edges", direction="out", lanes=2))
    right = [Word(10 * i, 0, i % 80 == 79) for i in range(160)]
    assert view.wrong_ends(right) == []
    assert view.wrong_ends([w._replace(last=None) for w in right]) == []
    early = [*right[:90], right[90]._replace(last=True), *right[91:]]
    assert view.wrong_ends(early) == ["port 'res': last is set at beat 10 of 80 of sample 1"]
    missing = [w._replace(last=False) for w in right]
    assert view.wrong_ends(missing) == ["port 'res': last is not set at beat 79 of 80 of sample 0"]


def test_codes_survive_packing() -> None:
    from qsim.debug.waves.waveform import pack

    rng = np.random.default_rng(0)
    for lanes, slot, width in ((1, 8, 5), (3, 7, 7), (2, 20, 17), (4, 64, 64)):
        codes = rng.integers(-(1 << (width - 1)), (1 << (width - 1)) - 1, lanes, endpoint=True).tolist()
        assert unpack(pack(codes, slot), lanes, slot, width, True) == codes
