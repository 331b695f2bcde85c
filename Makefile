# `make demo` and `make test` are the only set-up: each makes .venv from constraints.txt and runs.
# Needs Python 3.11 or later; choose one with `make PYTHON=python3.12 test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SETUP := pyproject.toml constraints.txt

# Small tensors on few cores: one thread a process is faster than two (tests run two processes).
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint unit clean

demo: .venv/.core
	$(BIN)/python examples/demo.py

test: lint unit

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: .venv/.test
	$(BIN)/pytest

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.core: .venv/bin/python $(SETUP)
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

.venv/.test: .venv/bin/python $(SETUP)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,descriptors,generate,graphs,images,judge,mlip,sevennet]'
	touch $@ .venv/.core

clean:
	rm -rf .venv build dist demo
