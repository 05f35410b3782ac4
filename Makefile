# qsim: everything a checkout needs. Beyond Python 3.11 only a C++ compiler, make and perl are assumed.
#
#   make demo    the bundled model all the way: C, HLS C++, SystemVerilog, each run and compared; writes qsim-demo/
#   make test    the whole test suite
#   make lint    ruff            make types   mypy --strict
#   make test-coverage   the test suite with a report of the lines that it runs
#   make matrix  docs/qkeras.md: every QKeras layer and quantizer in every target (half an hour or more)
#   make causes  docs/causes.md: every injected fault, and what qsim diff says of it (some minutes)
#   make mutants  some seventy faults of one line, one after the other: the tests must notice each (twenty minutes)
#   make clean   removes what demo and tests left, and the virtual environments
#
# Two virtual environments, reused while pyproject.toml is unchanged: .venv for the demo (without TensorFlow), and
# .venv-dev for tests. Set DEMO_ENV or DEV_ENV to use an environment of your own that has the extras already.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
DEMO_ENV ?= .venv
DEV_ENV ?= .venv-dev
DEMO_OUT ?= qsim-demo
JOBS ?= 2

# Builds inside the demo and the tests start make themselves; they must not inherit this make's flags.
CLEAN = env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS

.PHONY: demo test test-coverage lint types matrix causes mutants clean
.DELETE_ON_ERROR:

demo: $(DEMO_ENV)/.installed-demo
	$(CLEAN) $(DEMO_ENV)/bin/qsim demo -o $(DEMO_OUT)

test: $(DEV_ENV)/.installed-dev
	$(CLEAN) $(DEV_ENV)/bin/python -m pytest -n $(JOBS)

test-coverage: $(DEV_ENV)/.installed-dev
	$(CLEAN) $(DEV_ENV)/bin/python -m pytest -n $(JOBS) --cov=qsim --cov-report=term-missing:skip-covered

lint: $(DEV_ENV)/.installed-dev
	$(DEV_ENV)/bin/ruff check .

types: $(DEV_ENV)/.installed-dev
	$(DEV_ENV)/bin/mypy

matrix: $(DEV_ENV)/.installed-dev
	$(CLEAN) $(DEV_ENV)/bin/python benchmarks/qkeras_table.py --jobs $(JOBS)

causes: $(DEV_ENV)/.installed-dev
	$(CLEAN) $(DEV_ENV)/bin/python benchmarks/causes_table.py

mutants: $(DEV_ENV)/.installed-dev
	$(CLEAN) $(DEV_ENV)/bin/python benchmarks/mutants.py

clean:
	rm -rf .venv .venv-dev qsim-demo build dist .pytest_cache .mypy_cache .ruff_cache

%/.installed-demo: pyproject.toml
	@echo "Installing qsim and its demo's tools into $* (once; about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "qsim needs Python 3.11 or newer: set PYTHON=...")'
	@test -x $*/bin/python || $(PYTHON) -m venv $*
	@$*/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

%/.installed-dev: pyproject.toml
	@echo "Installing qsim and its tests' tools (TensorFlow among them) into $* (once; some minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "qsim needs Python 3.11 or newer: set PYTHON=...")'
	@test -x $*/bin/python || $(PYTHON) -m venv $*
	@$*/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
