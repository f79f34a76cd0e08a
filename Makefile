# Two commands: `make demo` shows what metarl does, `make test` checks all of it. Both need Python >= 3.11 only, and
# put everything else into .venv. A machine without a GPU saves gigabytes of CUDA libraries with
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Old build products would slip into the wheel.
REINSTALL = rm -rf build && $(PIP_INSTALL) --no-build-isolation --no-deps --force-reinstall . && rm -rf build

ROOMS := metarl envs policies experiments
# Folders too: their time tells of files that went.
SOURCES := $(shell find $(ROOMS) -not -path '*/__pycache__*')

.DELETE_ON_ERROR:
.PHONY: help demo test lint format clean

help: ## print this list
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' $(MAKEFILE_LIST)

demo: $(VENV)/package ## meta-train a small controller, adapt it to unseen tasks, write plots
	$(BIN)/metarl demo

test: lint ## lint, type-check and test the installed package
	OMP_NUM_THREADS=1 $(BIN)/pytest

lint: $(VENV)/package $(VENV)/tools
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache -p metarl

format: $(VENV)/tools ## format the sources and sort their imports
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

clean: ## remove the virtual environment and everything built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/dependencies: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("metarl needs Python 3.11 or newer: make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -c constraints.txt setuptools
	$(PIP_INSTALL) -c constraints.txt --no-build-isolation .
	touch $@

$(VENV)/tools: $(VENV)/dependencies
	$(PIP_INSTALL) -c constraints.txt --no-build-isolation .[dev]
	touch $@

$(VENV)/package: $(VENV)/dependencies $(SOURCES)
	$(REINSTALL)
	touch $@
