# Everything a person or a machine runs in this repository is spelled here, once.
# A fresh Debian or Ubuntu needs: python3 (3.11 or later), python3-venv, make.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz faults torture siege simulate lint bench format clean

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1: /p' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything, by the versions in constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv: about a minute, once ..."
	@$(PYTHON) -m venv .venv \
		|| { echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,speed]'
	@touch $@

demo: $(STAMP) ## watch drips of e-mail, SMS and WhatsApp leave, and receipts and replies come back; on this machine only
	@$(BIN)/gateway demo $(ARGS)

test: $(STAMP) ## run the tests; ARGS="-k drip" for some of them
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile $(ARGS)

fuzz: $(STAMP) ## for the night: a million spoilt callbacks to the parsers; EXAMPLES=1000 of each adapter for less
	@GATEWAY_FUZZ_EXAMPLES=$(or $(EXAMPLES),200000) $(BIN)/python -m pytest -q -n 2 tests/fuzz

siege: $(STAMP) ## two minutes: 2,000 connections that trickle, and how long everybody else waits meanwhile
	@$(BIN)/python -m tests.security.siege $(ARGS)

faults: $(STAMP) ## what goes wrong, at full size, with a line for each figure that must hold; SHARE=0.2 for less, ARGS="-k locked" for one
	@GATEWAY_FAULTS=$(or $(SHARE),1) $(BIN)/python -m pytest -q --timeout 3600 tests/faults $(ARGS)

simulate: $(STAMP) ## the loops by seeds, for SECONDS=60 of them; FIRST=7 SEEDS=1 runs one again; JOBS=1 leaves cores to others
	@$(BIN)/python -m tests.simulation $(if $(JOBS),--jobs $(JOBS)) --first $(or $(FIRST),$$(date +%s)) --seconds $(or $(SECONDS),60) $(if $(SEEDS),--seeds $(SEEDS))

lint: $(STAMP) ## style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## let ruff repair what it can
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench: $(STAMP) ## measure speed and memory; writes bench/results.json
	@$(BIN)/python -m bench.run $(ARGS)

torture: $(STAMP) ## kill the daemon a thousand times, compare what was asked, booked and received; ARGS="--kills 50 --seed 7"
	@$(BIN)/python -m tests.torture $(ARGS)

clean: ## remove .venv and everything that was made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
