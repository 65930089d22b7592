# Everything happens in .venv; nothing outside this folder is touched.
#   make demo        reconstruct the simulated scan that comes with the package
#   make test        every check that a change must pass
#   make bench-env   the peers, in an environment of their own

PYTHON  ?= python3
VENV    ?= .venv
WORKERS ?= 2
BIN     := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help demo test lint types contracts unit docs notebooks wheel bench-env clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -4

demo: $(VENV)/.installed
	$(BIN)/inverse demo --output demo-output

test: lint types contracts unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

contracts: $(VENV)/.installed-dev
	$(BIN)/lint-imports --no-logo

# Doctests, tests, the notebooks, the documentation and the wheel; one thread for each worker.
unit: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

notebooks: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/test_notebooks.py

wheel: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/test_wheel.py

docs: $(VENV)/.installed-dev
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html in a browser."

bench-env: .venv-bench/.installed

.venv-bench/.installed: benchmarks/requirements.txt
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --no-deps --constraint $< torch
	.venv-bench/bin/pip install --quiet --requirement $<
	.venv-bench/bin/pip install --quiet --no-deps mrpro==0.261015 deepinv==0.5.0
	@touch $@

clean:
	rm -rf $(VENV) .venv-bench demo-output docs/_build docs/api dist

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	@echo "Installing into $(VENV) (minutes the first time: PyTorch is large) ..."
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/pip
	@echo "Installing into $(VENV) (minutes the first time: PyTorch is large) ..."
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(VENV)/.installed $@
