# Everything happens in a virtual environment of the project's own, .venv; PYTHON chooses the interpreter it is made with.
PYTHON ?= python3
BIN := .venv/bin
PIP := 'pip>=25.1'  # knows dependency groups

# ArviZ 1.x needs Python 3.12; the first of these that runs is taken.
NEWER := python3.12 python3.13 python3.14 $(wildcard $(HOME)/.pyenv/versions/3.1[2-9]*/bin/python)

.PHONY: quickstart docs test test-fast test-lowest fuzz test-arviz1 .venv-arviz1/tested clean

quickstart: .venv/installed  ## train, prune and measure a small network: about a minute after the install
	rm -rf out/quickstart
	$(BIN)/pyro-vd train digits --out out/quickstart

test: .venv/installed-dev  ## lint, types and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "not long"

test-fast: .venv/installed-dev  ## the tests that are not marked as slow or long
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "not slow and not long"

docs: .venv/installed-docs  ## the documentation as a site, docs/_build/html; runs the notebooks of the tutorials
	$(BIN)/python -m sphinx --jobs auto --fail-on-warning --keep-going -b html docs docs/_build/html

test-lowest: .venv-lowest/installed  ## the tests with the oldest versions that pyproject.toml allows
	.venv-lowest/bin/python -m pytest --numprocesses auto --dist worksteal

fuzz: .venv/installed-dev  ## the long tests, and 10,000 spoilt files for every reader, some hours; CASES=1000 for fewer
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m long
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/run.py $(or $(CASES),10000)
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/leaves.py 0

test-arviz1: .venv/installed-dev  ## the tests of the posterior under ArviZ 1.x, where there is a Python for it
	@for python in $(NEWER); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then \
	    exec $(MAKE) .venv-arviz1/tested PYTHON=$$python; \
	  fi; \
	done; echo "skipped: no Python of 3.12 or later"

# What pip installs is compiled; uv is asked for it, or warnings about old source text come up in the tests.
.venv-lowest/installed: pyproject.toml .venv/installed
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv venv --quiet --clear --seed --python 3.11 .venv-lowest
	$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct --compile-bytecode \
	  --editable '.[all]' --group test 'pyparsing==3.2.*'  # later ones warn of what old matplotlib calls
	touch $@

.venv-arviz1/tested: .venv-arviz1/installed
	PYRO_VD_OTHER_PYTHON=$(abspath $(BIN))/python .venv-arviz1/bin/python -m pytest \
	  tests/posterior/test_arviz_*.py tests/cli/test_inspect.py tests/plots/test_posterior_plots.py \
	  tests/repository/test_tutorials.py::test_inspect tests/repository/test_tutorials.py::test_hierarchical

.venv-arviz1/installed: pyproject.toml .venv/installed
	$(PYTHON) -m venv .venv-arviz1
	cp -al .venv/lib/python3*/site-packages/nvidia* .venv-arviz1/lib/python3*/site-packages 2>/dev/null || true  # CUDA: GB
	.venv-arviz1/bin/python -m pip install --quiet $(PIP)
	.venv-arviz1/bin/python -m pip install --quiet --editable '.[arviz,cli,plots]' --group notebooks 'pytest>=8'
	touch $@

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet $(PIP)
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group docs
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet $(PIP)
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev
	touch $@

clean:
	rm -rf .venv .venv-lowest .venv-arviz1 build dist docs/_build docs/reference *.egg-info .mypy_cache .ruff_cache .pytest_cache
