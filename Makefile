# `make` says what there is. Everything installs what it needs into .venv first.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev
SLOW_READY := $(VENV)/.ready-slow

EXPERIMENT ?= deep_sigmoid_digits
PROGRAM ?= experiments/$(EXPERIMENT)/train.py
ARGS ?=
PYTEST_ARGS ?=

# Parallel test processes and parallel trials are our own: each of them is to use one thread.
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup setup-dev sweep check nightly test test-slow lint type docs bench wheel-test clean

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  EXPERIMENT=$(EXPERIMENT)   one of: $$(ls experiments/*/train.py | cut -d/ -f2 | xargs)"
	@echo "  PROGRAM=path/to/train.py   your own program instead; ARGS='...' options of sweeper"

setup: $(READY) ## virtual environment in .venv with the versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install -q -c constraints.txt -e '.[test]'
	touch $@

setup-dev: $(DEV_READY) ## the same with linter, type checker and build tools

$(DEV_READY): $(READY)
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

sweep: $(READY) ## find, prove and rank the fixes of EXPERIMENT or PROGRAM
	$(BIN)/sweeper fix $(ARGS) $(PROGRAM)

check: $(READY) ## run EXPERIMENT or PROGRAM once: what is wrong with it, and why
	$(BIN)/sweeper check $(ARGS) $(PROGRAM)

nightly: $(READY) ## check every shipped program, fix what broke, write the index page
	$(BIN)/sweeper nightly $(ARGS) experiments/nightly.toml

test: $(READY) ## the tests that take seconds each
	$(BIN)/python -m pytest -n auto --maxprocesses 4 $(PYTEST_ARGS)

test-slow: $(SLOW_READY) ## the tests that train for minutes, or need a cluster or a browser
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

$(SLOW_READY): $(READY)
	$(BIN)/pip install -q -c constraints.txt -e '.[test,ray,mlflow,wandb]'
	touch $@

lint: $(DEV_READY) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(DEV_READY) ## mypy, strict
	$(BIN)/mypy

docs: $(DEV_READY) ## the documentation in docs/_build, units and commands written from the code
	$(BIN)/sphinx-build -q -W -b html docs docs/_build
	@echo docs/_build/index.html

bench: $(READY) ## what watching, starting and searching cost
	@ls benchmarks/*.py >/dev/null 2>&1 || { echo "no benchmark yet: benchmarks/ holds no script"; exit 1; }
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

wheel-test: $(DEV_READY) ## what ships: build the wheel, use it outside of the checkout
	./.ci/wheel-test $(BIN)/python

clean: ## build outputs and caches (the environment and studies stay)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
	find sweeper tests experiments benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
