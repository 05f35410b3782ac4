"""The version of qsim, for the package, for emitted files and for reports, and the name under which it is installed."""

__version__ = "0.1.0"

# On PyPI, ``qsim`` is another project (a simulator of quantum circuits): the distribution needs a name of its own.
DISTRIBUTION = "qsim-hw"


def install(extra: str) -> str:
    """The command that installs an extra's tools, as errors and emitted files print it."""
    return f'pip install "{DISTRIBUTION}[{extra}]"'
