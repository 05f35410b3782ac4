"""Imports go one way, files and functions stay small, nothing that is committed or emitted names the machine it was
made on."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from graphs import small_cnn

from qsim.numerics import Overflow, Rounding, Scheme
from qsim.targets.files import files
from qsim.targets.registry import TARGETS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "qsim"

ORDER = (
    "version",
    "errors",
    "process",
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
    "evaluation",
    "debug",
    "demo",
    "cli",
    "__main__",
)
"""Each part imports from earlier parts and from itself only; docs/architecture.md says why it is this order."""

RANK = {part: rank for rank, part in enumerate(ORDER)}
NEVER = (("simulate", "targets"), ("targets", "simulate"), ("importers", "targets"), ("importers", "simulate"))
"""Pairs that must not even be one way: agreement of simulator and targets is evidence because they share no code."""

FORBIDDEN = {
    "targets": ("reference", "proof.ranges", "proof.builder", "importers", "simulate", "compare", "debug"),
    "simulate": ("proof.ranges", "proof.builder", "importers", "targets"),
    "importers": ("simulate", "targets", "compare", "debug"),
    "reference": ("proof", "quantizers"),
}
"""What no module of a part may reach by any chain of imports: simulator and targets share the graph, numerics and
proven facts (``proof.weights``, ``proof.steps``), so that their agreement is evidence."""

FILE, FUNCTION = 400, 60
"""The most lines of a file, and of a function from ``def`` to its end."""

LONGER = re.compile(r"# Longer than (\d+) lines: \S.{20,}")
"""The comment that allows a file more (a line of its own) or a function (above it): it says why."""

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


def modules() -> dict[str, set[str]]:
    """Every module of qsim -> the modules of qsim that it imports, wherever in it the import stands."""
    paths = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in PACKAGE.rglob("*.py")
    }
    found: dict[str, set[str]] = {}
    for name, path in paths.items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names if alias.name in paths}
            elif isinstance(node, ast.ImportFrom) and node.module in paths:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found[name] |= {m for m in inner if m in paths} or {str(node.module)}
    return found


def reached(imports: dict[str, set[str]], start: str) -> set[str]:
    """All modules that a module reaches."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        for name in imports[todo.pop()]:
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return seen


def forbidden(imports: dict[str, set[str]]) -> list[str]:
    """Modules that reach what their part must not."""
    found = []
    for name in imports:
        part = name.split(".")[1] if "." in name else name
        for other in FORBIDDEN.get(part, ()):
            hits = [m for m in reached(imports, name) if m == f"qsim.{other}" or m.startswith(f"qsim.{other}.")]
            found += [f"{name} reaches {hit}" for hit in sorted(hits)]
    return found


def test_what_must_not_be_shared_is_not_reached() -> None:
    imports = modules()
    assert len(imports) > 200
    assert not forbidden(imports)
    imports["qsim.targets.text"] = imports["qsim.targets.text"] | {"qsim.proof.ranges"}
    assert "qsim.targets.c.design reaches qsim.reference.kernels" in forbidden(imports)


def test_no_import_circle() -> None:
    imports = modules()
    known = {"qsim.importers.keras.read.live", "qsim.importers.keras.read.files"}
    assert not [name for name in imports if name in reached(imports, name) and name not in known]


def test_nothing_below_the_command_line_imports_the_package_itself() -> None:
    assert not [name for name, seen in modules().items() if "qsim" in seen]


def too_long(name: str, source: str) -> list[str]:
    """A Python file and its functions that are longer than allowed, without a reason beside them."""
    lines = source.splitlines()
    reasons = [(at, int(match[1])) for at, line in enumerate(lines, 1) if (match := LONGER.fullmatch(line.strip()))]
    found = [f"{name}: {len(lines)} lines"] if len(lines) > FILE and FILE not in [n for _, n in reasons] else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            above = min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1
            if count > FUNCTION and (above, FUNCTION) not in reasons:
                found.append(f"{name}: {node.name} has {count} lines")
    return found


def test_files_and_functions_stay_small() -> None:
    folders = ("qsim", "tests", "hw_tests", "benchmarks", "examples")
    paths = [p for folder in folders for p in sorted((ROOT / folder).rglob("*.py"))]
    assert len(paths) > 400
    found = [line for p in paths for line in too_long(str(p.relative_to(ROOT)), p.read_text(encoding="utf-8"))]
    assert found == []
    kernels = [p for p in sorted((ROOT / "templates").rglob("*")) if p.is_file()]
    assert not [p.name for p in kernels if len(p.read_text(encoding="utf-8").splitlines()) > FILE]


def test_what_is_too_long_is_seen() -> None:
    body = "".join(f"    x{n} = {n}\n" for n in range(FUNCTION))
    reason = "# Longer than 60 lines: a table in the order of the format that it reads.\n"
    assert too_long("a.py", f"def f():\n{body}") == ["a.py: f has 61 lines"]
    assert too_long("a.py", f"class A:\n    async def f():\n{body.replace('    ', '        ')}")
    assert not too_long("a.py", f"{reason}@g\ndef f():\n{body}")
    assert too_long("a.py", f"{reason}\ndef f():\n{body}")
    assert too_long("a.py", f"# Longer than 60 lines: so.\ndef f():\n{body}")
    assert not too_long("a.py", f"def f():\n{body[:-12]}")
    assert too_long("a.py", "x = 1\n" * 401) == ["a.py: 401 lines"]
    assert not too_long("a.py", reason.replace("60", "400") + "x = 1\n" * 401)


def consumers(function: str, *, of: str = "") -> list[str]:
    """The last argument, a name for people, of every call of ``function`` in qsim whose last but one is ``of``."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == function:
                *_, enum, name = [ast.unparse(a) for a in node.args]
                found += [name.strip("'")] if of in ("", enum) else []
    return sorted(found)


def tables_by_mode(source: str) -> list[str]:
    """Dictionaries with a key for every member of an enumeration of modes that are no argument of ``exhaustive``."""
    tree = ast.parse(source)
    checked = {
        id(a) for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "exhaustive" for a in n.args
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict) and node.keys and id(node) not in checked:
            keys = {ast.unparse(key) for key in node.keys if key is not None}
            found += [e.__name__ for e in (Rounding, Overflow, Scheme) if keys == {f"{e.__name__}.{m.name}" for m in e}]
    return found


def test_every_table_keyed_by_a_mode_is_exhaustive() -> None:
    paths = sorted(PACKAGE.rglob("*.py"))
    assert [p.name for p in paths if tables_by_mode(p.read_text(encoding="utf-8"))] == []
    table = f"{{{', '.join(f'Scheme.{m.name}: 0' for m in Scheme)}}}"
    assert tables_by_mode(f"X = {table}") == ["Scheme"]
    assert not tables_by_mode(f"X = exhaustive({table}, Scheme, 'here')")


def test_each_table_names_itself_where_it_misses_a_member() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "new_member.py")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    named: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        consumer, missing = line.split(": no entry for ['")
        named.setdefault(missing.split("'")[0], []).append(consumer)
    assert {member: sorted(tables) for member, tables in named.items()} == {
        "ANOTHER_ROUNDING": consumers("exhaustive", of="Rounding"),
        "ANOTHER_OVERFLOW": consumers("exhaustive", of="Overflow"),
        "ANOTHER_SCHEME": consumers("exhaustive", of="Scheme"),
        "AnotherOp": consumers("check_registry"),
        "AnotherKernel": ["the modules of kernels"],
    }
    assert len(named["ANOTHER_ROUNDING"]) >= 7
    assert len(named["AnotherOp"]) >= 8


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
