# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin

help:
	@echo "make demo    set up, train handwritten digits (no network, under a minute), show the picture"
	@echo "make test    set up, run the tests"
	@echo "make check   format, lint, types, import layers"
	@echo "make slow    the long proofs: statistics over seeds, twenty kills"
	@echo "make bench   time the round against a loop written by hand, and against what one could take instead (MNIST)"
	@echo "make zoo     train the sick and healthy runs that the diagnosis is tested on (about an hour), write docs/zoo.md"
	@echo "make docs    write the tables of README.md and docs/theory.md anew from the code"
	@echo "make setup   only set up: .venv with everything a contributor needs"

.venv/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "zerosum needs Python 3.11 or newer; say which: make PYTHON=python3.12 ..."; exit 1; }
	@echo "setting up: a virtual environment in .venv"
	@$(PYTHON) -m venv .venv && touch $@

.venv/core: .venv/python pyproject.toml constraints.txt
	@echo "setting up: zerosum and what it needs (torch is large; this happens once)"
	@$(BIN)/python -m pip install -q -c constraints.txt -e . && touch $@

.venv/dev: .venv/core
	@echo "setting up: what tests and checks need"
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]' && touch $@

setup: .venv/dev

demo: .venv/core
	@$(BIN)/python examples/demo.py

test: .venv/dev
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal

slow: .venv/dev
	@$(BIN)/python -m pytest -q -m slow

check: .venv/dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: .venv/core
	@$(BIN)/python benchmarks/round.py && $(BIN)/python benchmarks/peers --install

zoo: .venv/core
	@$(BIN)/python experiments/zoo.py && $(BIN)/python experiments/zoo.py --table

docs: .venv/core
	@$(BIN)/python experiments/tables.py

.PHONY: help setup demo test slow check bench zoo docs
