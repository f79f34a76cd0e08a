# Two commands: `make demo` shows what metarl does, `make test` checks all of it. Both need Python >= 3.11 only, and
# put everything else into .venv. A machine without a GPU saves gigabytes of CUDA libraries with
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Old build products would slip into the wheel.
REINSTALL = rm -rf build && $(PIP_INSTALL) --no-build-isolation --no-deps --force-reinstall . && rm -rf build

ROOMS := metarl envs policies experiments
# Folders too: their time tells of files that went.
SOURCES := metarl_adapt.py $(shell find $(ROOMS) -not -path '*/__pycache__*')

.DELETE_ON_ERROR:
.PHONY: help demo test test-fast test-lowest coverage lint types format develop dist docs docs-links clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' $(MAKEFILE_LIST)

demo: $(VENV)/package ## meta-train a small controller, adapt it to unseen tasks, write plots
	$(BIN)/metarl demo

# One process per core; each takes one thread, because small products gain nothing from more.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto

test: lint ## lint, type-check and test the installed package
	$(PYTEST)

test-fast: $(VENV)/package $(VENV)/tools ## the tests that take less than ten seconds each
	$(PYTEST) -m "not slow"

coverage: $(VENV)/package $(VENV)/tools ## the tests, and which lines they ran: htmlcov/index.html
	$(PYTEST) --cov metarl --cov-report html --cov-report term:skip-covered

test-lowest: $(LOWEST)/package ## the tests with the oldest versions that pyproject.toml allows
	OMP_NUM_THREADS=1 $(LOWEST)/bin/pytest --numprocesses auto

lint: $(VENV)/package $(VENV)/tools types ## check formatting, code, spelling and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell

types: $(VENV)/package $(VENV)/tools ## check the types of the installed package
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache -p metarl

format: $(VENV)/tools ## format the sources and sort their imports
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

develop: $(VENV)/tools ## install links to the sources, so that editors and type checkers find all rooms
	$(PIP_INSTALL) --no-build-isolation --no-deps --editable . --config-settings editable_mode=strict

dist: $(VENV)/release ## build and check what is uploaded to the package index: dist/
	rm -rf build dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

docs: $(VENV)/package $(VENV)/tools ## build the documentation's site: build/site/index.html
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs build/site

docs-links: $(VENV)/package $(VENV)/tools ## try the links of the site that lead elsewhere; needs the internet
	$(BIN)/sphinx-build --quiet -b linkcheck docs build/links

clean: ## remove the virtual environments and everything built
	rm -rf $(VENV) $(LOWEST) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis htmlcov .coverage

$(VENV)/dependencies: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("metarl needs Python 3.11 or newer: make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -c constraints.txt setuptools
	@# What was installed under the name that metarl had before shares its folder.
	$(BIN)/python -m pip uninstall -qq --yes metarl
	$(PIP_INSTALL) -c constraints.txt --no-build-isolation .[all]
	touch $@

$(VENV)/tools: $(VENV)/dependencies
	$(PIP_INSTALL) -c constraints.txt --no-build-isolation .[dev]
	touch $@

$(VENV)/release: $(VENV)/dependencies
	$(PIP_INSTALL) -c constraints.txt --no-build-isolation .[release]
	touch $@

$(VENV)/package: $(VENV)/dependencies $(SOURCES)
	$(REINSTALL)
	touch $@

$(LOWEST)/package: pyproject.toml constraints-lowest.txt $(SOURCES)
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt --no-build-isolation .[dev]
	rm -rf build
	touch $@
