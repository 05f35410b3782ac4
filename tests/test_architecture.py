"""Imports go one way, and nothing that is committed or emitted names the machine it was made on."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
from graphs import small_cnn

from qsim.targets.files import TARGETS, files

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "qsim"

ORDER = (
    "errors",
    "numerics",
    "ir",
    "reference",
    "proof",
    "quantizers",
    "importers",
    "simulate",
    "targets",
    "compare",
    "estimate",
    "debug",
    "demo",
    "cli",
    "__main__",
)
"""Each part imports from earlier parts and from itself only; docs/architecture.md says why it is this order."""

RANK = {part: rank for rank, part in enumerate(ORDER)}
NEVER = (("simulate", "targets"), ("targets", "simulate"), ("importers", "targets"), ("importers", "simulate"))
"""Pairs that must not even be one way: agreement of simulator and targets is evidence because they share no code."""

MACHINE_PATH = re.compile(r"(?<![\w.])/(work|root|opt|farm|home|Users)/\w")


def imported(source: str, package: str) -> list[str]:
    """The parts of qsim (first name below the package) that a module imports, wherever in it the import stands."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            names = [package]
        elif isinstance(node, ast.ImportFrom):
            names = [f"qsim.{alias.name}" for alias in node.names] if node.module == "qsim" else [str(node.module)]
        else:
            continue
        found += [name.split(".")[1] for name in names if name.startswith("qsim.")]
    return [name for name in found if name != "__version__"]


def violations(sources: dict[str, str]) -> list[str]:
    """What breaks the order among modules given as 'part/file' (or 'part' alone) -> source text."""
    found = []
    for name, source in sources.items():
        part = name.split("/")[0]
        for other in imported(source, f"qsim.{part}"):
            if other not in RANK or RANK[other] > RANK[part] or (part, other) in NEVER:
                found.append(f"{name} imports {other}")
    return found


def test_imports_go_one_way() -> None:
    sources = {
        str(path.relative_to(PACKAGE).with_suffix("")): path.read_text(encoding="utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py"
    }
    assert len(sources) > 40
    assert not violations(sources)


def test_every_part_has_a_place() -> None:
    names = [p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()]
    assert sorted(RANK) == sorted({*names} - {"__init__"})


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("numerics/a", "from qsim.ir import Graph"),
        ("simulate/a", "def f():\n    from qsim.targets.files import emit"),
        ("targets/a", "import qsim.simulate.engine"),
        ("ir/a", "from qsim import proof"),
        ("compare/a", "from qsim.nowhere import x"),
        ("debug/a", "from qsim.cli.view import table"),
    ],
)
def test_a_wrong_import_is_seen(name: str, source: str) -> None:
    assert len(violations({name: source})) == 1


def names_a_machine(text: str) -> bool:
    return bool(MACHINE_PATH.search(text)) or str(ROOT) in text


def test_machine_paths_are_seen() -> None:
    assert names_a_machine("#include </" + "home/someone/x.h>")
    assert names_a_machine(f"see {ROOT}")
    assert not names_a_machine("a/home/b, https://example.org/work/x, /usr/bin/env")


def test_no_committed_file_names_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    assert "pyproject.toml" in names
    guilty = [n for n in names if names_a_machine((ROOT / n).read_bytes().decode("latin-1"))]
    assert not guilty


@pytest.mark.parametrize("target", list(TARGETS))
def test_no_emitted_file_names_a_machine(target: str) -> None:
    made = files(small_cnn(), target)
    assert made
    assert not [name for name, text in made.items() if names_a_machine(text) or name.startswith("/")]
