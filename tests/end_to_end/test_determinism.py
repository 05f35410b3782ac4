"""The same model gives the same bytes, whatever the hash seed and the folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from qsim.targets.registry import TARGETS

SCRIPT = """
import sys
from qsim.demo.flow import MODEL
from qsim.debug.pages.report import Content, html
from qsim.targets.files import emit
from qsim.targets.registry import TARGETS
from qsim.importers import load
from qsim.ir import to_json
from pathlib import Path

graph, out = load(MODEL), Path(sys.argv[1])
for target in TARGETS:
    emit(graph, target, out / target)
(out / "graph.json").write_text(to_json(graph))
(out / "graph.txt").write_text(str(graph))
(out / "report.html").write_text(html(Content(graph=graph)))
"""


def digests(folder: Path, seed: str) -> dict[str, str]:
    """Relative file name -> SHA-256 of everything that one process writes under the given hash seed."""
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    folder.mkdir()
    subprocess.run([sys.executable, "-c", SCRIPT, str(folder)], env=environment, cwd=folder, check=True)
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_two_hash_seeds_give_identical_bytes(tmp_path: Path) -> None:
    first = digests(tmp_path / "one", "1")
    assert {name.split("/")[0] for name in first} >= set(TARGETS)
    assert first == digests(tmp_path / "a folder of another name", "31337")
