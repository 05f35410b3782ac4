"""Imports every table of qsim with one rounding mode, overflow mode, rescale scheme, operation and RTL kernel more than
there is, and prints which tables miss which, one a line.

Where a table would stop the import it is noted instead, so that one run names all of them.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "qsim"

NOTED = {
    "qsim.numerics.tables": ("        raise TypeError(f", "        print(f"),
    "qsim.ir.ops": ("        raise TypeError(f", "        print(f"),
    "qsim.targets.rtl.lower.tables": ("raise TypeError(", "print("),
}
"""Module -> what its text says, and what it says here."""

MEMBERS = {
    "qsim.numerics.rounding": ('    RND = "rnd"', '    ANOTHER_ROUNDING = "another"\n    RND = "rnd"'),
    "qsim.numerics.overflow": ('    WRAP = "wrap"', '    ANOTHER_OVERFLOW = "another"\n    WRAP = "wrap"'),
    "qsim.numerics.rescale": ('    PLAIN = "plain"', '    ANOTHER_SCHEME = "another"\n    PLAIN = "plain"'),
    "qsim.ir.ops": ("OPS: tuple", "class AnotherOp(Op):\n    pass\n\n\nOPS: tuple"),
    "qsim.targets.rtl.network.kernels": ("class Builder", "class AnotherKernel(Kernel):\n    pass\n\n\nclass Builder"),
}
"""Module -> what its text says, and what it says here."""


class Changed(importlib.machinery.SourceFileLoader):
    """Loads a module with parts of its text replaced; each must be there."""

    changes: Sequence[tuple[str, str]] = ()

    def get_code(self, fullname: str) -> types.CodeType:
        text = Path(self.path).read_text(encoding="utf-8")
        for old, new in self.changes:
            if old not in text:
                raise LookupError(f"{fullname} has no {old!r}")
            text = text.replace(old, new)
        return compile(text, self.path, "exec")


class Finder(importlib.abc.MetaPathFinder):
    """Finds modules that are to be changed."""

    def __init__(self, changes: dict[str, list[tuple[str, str]]]) -> None:
        self.changes = changes

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.changes:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert spec.origin is not None
        loader = Changed(fullname, spec.origin)
        loader.changes = self.changes[fullname]
        spec.loader = loader
        return spec


def main() -> None:
    changes = {module: [change] for module, change in NOTED.items()}
    for module, change in MEMBERS.items():
        changes.setdefault(module, []).append(change)
    changes["qsim.ir.ops"].append(("    ArgMax,\n)", "    ArgMax,\n    AnotherOp,\n)"))
    sys.meta_path.insert(0, Finder(changes))
    package = types.ModuleType("qsim")  # without what qsim/__init__.py imports, in whatever order
    package.__path__ = [str(PACKAGE)]
    sys.modules["qsim"] = package
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "exhaustive(" in text or "check_registry(" in text:
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            importlib.import_module(".".join(parts).removesuffix(".__init__"))


if __name__ == "__main__":
    main()
