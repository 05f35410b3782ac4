"""cosim.yaml as a foreign file: damage, bombs and wrong types are one sentence, in little time and memory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from readers import campaign, limits

from qsim.debug.cosim.config import read_config
from qsim.errors import UsageError

pytest.importorskip("yaml")
FOREIGN = Path(__file__).parents[2] / "hw_tests" / "foreign" / "edge_pair"


def copied(folder: Path) -> Path:
    (folder / "edge_pair.v").write_text("")
    (folder / "cosim.yaml").write_bytes((FOREIGN / "cosim.yaml").read_bytes())
    return folder / "cosim.yaml"


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (bomb(), r"at line 2.*an alias"),
        ("[" * 3000, "nested too deeply|line 1"),
        ("top: [" + "x, " * 8000 + "]", "too long"),
        ("a: &a [*a]\n", "an alias"),
        ("- 1\n- 2\n", "not a mapping"),
        ("\x00", "not a cosim.yaml that can be read"),
        ("top: !!python/object/apply:os.system ['true']\n", "not a cosim.yaml that can be read"),
    ],
)
def test_bombs_and_nonsense(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "cosim.yaml").write_text(text)
    with limits(10, 1 << 27), pytest.raises(UsageError, match=match) as caught:
        read_config(tmp_path)
    assert "cosim.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("frames: 12", "frames: 99999999999", "frames is 1 to"),
        ("frames: 12", "frames: 12\nlatency: -3", "timeout and latency"),
        ("frames: 12", "frames: 12\ntimeout: 0", "timeout and latency"),
        ("lanes: 2", "lanes: 99999999", "at most"),
        ("data: px", "data: []", "signal data cannot be"),
        ("data: px", "data: null", "signal data cannot be"),
        ("valid: px_vld", "valid: [a, b]", "signal valid cannot be"),
        ("[edge_pair.v]", "[3]", "does not exist"),
    ],
)
def test_values_that_make_no_sense(tmp_path: Path, old: str, new: str, match: str) -> None:
    path = copied(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=match):
        read_config(path)


@pytest.mark.parametrize("count", [200, pytest.param(3000, marks=pytest.mark.slow)])
def test_damaged_descriptions(tmp_path: Path, count: int) -> None:
    path = copied(tmp_path)
    data = re.sub(rb" +#.*", b"", path.read_bytes())
    accepted, refused = campaign(path, data, read_config, count, text=True)
    assert refused > count // 4
    assert accepted > 0
