# Two commands on a fresh machine: `make demo` and `make test`. Each sets up what it needs, once.
# Needs Python >= 3.11 with pip, and make; everything else is installed into .venv here.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(PYTHON) -m pip --disable-pip-version-check --python $(BIN)/python
DEMO   := demo-run
ROWS   ?= 20000
ROUNDS ?= 3
SEEDS  ?= 10000
FROM   ?= 0

.DEFAULT_GOAL := help
.PHONY: help demo test check format unit e2e simulate bench bench-peers clean

help:  ## this list
	@grep -hE '^[a-z0-9-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.local  ## real dialogues from the embedded model, without a key: about two minutes after the downloads
	@$(BIN)/python examples/demo.py $(DEMO)

test: check unit e2e  ## all checks and tests, with set-up

check: $(VENV)/.dev  ## lint, formatting, types, import rules: the same for people and CI
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

unit: $(VENV)/.dev  ## fast tests: they wait for nothing
	$(BIN)/pytest -m "not e2e" -n auto

e2e: $(VENV)/.dev  ## tests with real processes, sockets, kills and the embedded model
	$(BIN)/pytest -m e2e

simulate: $(VENV)/.dev  ## runs with faults, crashes and restarts by seed, on a virtual clock: SEEDS=10000 FROM=0
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --from $(FROM)

format: $(VENV)/.dev  ## put the sources in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## speed and memory beside a bare aiohttp loop, use of a quota (25 minutes; ROWS=55165 for the full size)
	$(BIN)/python benchmarks/throughput.py --rows $(ROWS) --in-flight 64 512 4000 --rounds $(ROUNDS)
	$(BIN)/python benchmarks/throughput.py --rows $(ROWS) --rounds $(ROUNDS) --uvloop
	$(BIN)/python benchmarks/limits.py --requests 6000 --tokens 3000000
	$(BIN)/python benchmarks/limits.py --unknown --windows 3

bench-peers: $(VENV)/.dev  ## the same work by other systems, each in an environment of its own (downloads, half an hour)
	$(BIN)/python benchmarks/peers/run.py

clean:  ## remove what the targets above made here
	rm -rf $(VENV) $(DEMO)

# Set-up: a stamp file a set of extras, made again when pyproject.toml changes. `venv --without-pip` and `pip --python`
# work where Debian's python3-venv is not installed.
$(BIN)/python:
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/.local: pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --editable '.[local]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --editable '.[dev]'
	@touch $@
