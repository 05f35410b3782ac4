"""The documents name files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md")), *sorted((ROOT / "docs").rglob("*.md"))]
BASES = (ROOT, ROOT / "qsim")
"""Where the paths of the documents begin."""

CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)")


def alternatives(path: str) -> list[str]:
    """``a/{b,c}/d`` -> ``a/b/d``, ``a/c/d``."""
    found = re.search(r"\{([^{}]*)\}", path)
    if found is None:
        return [path]
    return [x for o in found[1].split(",") for x in alternatives(path[: found.start()] + o + path[found.end() :])]


def paths_of(text: str) -> list[str]:
    """What a document names between backticks that is a path below the checkout or the package; <word> is any name."""
    known = {entry.name for base in BASES for entry in base.iterdir()}
    words = [word.strip(",;:()'\"") for code in CODE.findall(text) for word in code.split()]
    named = [w for w in words if re.fullmatch(r"[\w.]+/[\w./{},*<>-]*", w) and w.split("/")[0] in known]
    return [re.sub(r"<\w+>", "*", p).rstrip("/") for w in named for p in alternatives(w)]


def missing(text: str, folder: Path) -> list[str]:
    """Paths and links that lead nowhere; folder: of the document."""
    lost = [p for p in paths_of(text) if not any(next(base.glob(p), None) for base in BASES)]
    return lost + [link for link in LINK.findall(text) if not re.match(r"\w+:", link) and not (folder / link).exists()]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_every_path_that_is_named_exists(path: Path) -> None:
    assert missing(path.read_text(encoding="utf-8"), path.parent) == []


def test_a_wrong_path_is_seen() -> None:
    text = "`qsim/ir/ops.py`, `ir/ops/`, `targets/{c,hls,vhdl}/lower/<family>.py`, `a/b`, [x](nowhere.md), [y](https://e.org)"
    assert missing(text, ROOT / "docs") == ["qsim/ir/ops.py", "targets/vhdl/lower/*.py", "nowhere.md"]


def row(what: str) -> list[str]:
    """The paths that docs/architecture.md gives for adding something, from the checkout."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {what} |"))
    found = [next(base / p for base in BASES if next(base.glob(p), None)) for p in paths_of(line)]
    return sorted(str(p.relative_to(ROOT)) for p in found)


def test_adding_a_rounding_mode_touches_what_is_listed() -> None:
    """Every file that tells the modes apart names this one, which no source of models asks for."""
    folders = [
        p for part in ("qsim", "templates") for p in (ROOT / part).rglob("*") if p.suffix in (".py", ".h", ".sv", ".c")
    ]
    naming = [p for p in folders if re.search("TRN_ZERO|trn_zero", p.read_text(encoding="utf-8"))]
    assert row("a rounding mode") == sorted(str(p.relative_to(ROOT)) for p in naming)


def test_adding_an_operation_touches_every_table_that_is_listed() -> None:
    listed = row("an operation")
    tables = [p for p in (ROOT / "qsim").rglob("*.py") if "check_registry(" in p.read_text(encoding="utf-8")]
    parts = {str(p.relative_to(ROOT).parent) for p in tables} - {"qsim/ir/ops"}
    assert len(parts) == 6
    for part in parts:
        assert [p for p in listed if p.startswith(f"{part}/")], part
