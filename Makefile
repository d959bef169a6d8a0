# Each target does all of its own set-up: it makes .venv, installs the versions that constraints.txt pins
# and installs again when pyproject.toml or constraints.txt has changed. ARGS goes to pytest
# (in `make trust` and `make peers` to the script).

PYTHON ?= python3
ARGS ?=
# The models of `make bench`, unless ARGS names some: two that take a quarter of an hour from nothing. MODELS= for all.
MODELS ?= minilm-bbc vit-digits
CHOSEN = $(if $(findstring --model,$(ARGS))$(findstring --zoo,$(ARGS)),,$(foreach model,$(MODELS),--model $(model)))
# One more than there are processors, five at most: a quarter of the time of the tests is waiting for other processes.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(5, 1 + len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2))')
REPORT ?= results/report.html
# No report where ARGS only lists cases, or writes records elsewhere.
ELSEWHERE = $(findstring --results,$(ARGS))$(findstring --co,$(filter --co --collect-only,$(ARGS)))
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -c constraints.txt
WATCHED := $(BIN)/python pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help bench test lint trust peers clean
.NOTPARALLEL:

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'pass options to pytest with ARGS: make bench ARGS="--model minilm-bbc -k int8"'

bench: .venv/.bench ## run the quick tier of the benchmarks, draw the table and the report
	$(info bench: pytest benchmarks --tier quick $(CHOSEN) $(ARGS))
	@status=0; \
	$(BIN)/python -m pytest benchmarks --tier quick --tb short $(CHOSEN) $(ARGS) || status=$$?; \
	$(if $(ELSEWHERE),,$(BIN)/pressbench report --runs results/runs -o $(REPORT);) \
	exit $$status

test: .venv/.dev ## run the tests of the suite itself
	$(info test: pytest tests -n $(WORKERS) $(ARGS))
	@$(BIN)/python -m pytest tests -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: .venv/.dev ## check style, types, the direction of imports and the workflows
	@echo "lint: ruff check, ruff format --check, mypy, lint-imports, zizmor, check-jsonschema"
	@status=0; \
	for check in "ruff check ." "ruff format --check ." mypy "lint-imports --no-logo" \
		"zizmor --offline --quiet .github" \
		"check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml"; do \
		$(BIN)/$$check || status=1; \
	done; \
	exit $$status

trust: .venv/.trust ## measure false alarms and detection beside pytest-benchmark and asv (12 minutes), write results/trust/trust.md
	@$(BIN)/python -m benchmarks.trust $(ARGS)

peers: .venv/.bench ## write docs/peers.md from the records of runs: make peers ARGS="results/runs/RUN.jsonl"
	@$(BIN)/python -m benchmarks.peers $(ARGS)

clean: ## remove .venv and what tools leave behind; results, baselines and the cache stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "setup: Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "setup: making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

# The stamps are files inside .venv, so that they go when it goes.
.venv/.bench: $(WATCHED)
	@echo 'setup: pip install -c constraints.txt -e ".[runtimes,report]"'
	@$(PIP) -e ".[runtimes,report]"
	@touch $@

.venv/.dev: $(WATCHED)
	@echo 'setup: pip install -c constraints.txt -e ".[dev]"'
	@$(PIP) -e ".[dev]"
	@touch $@

.venv/.trust: $(WATCHED)
	@echo 'setup: pip install -c constraints.txt -e ".[trust]"'
	@$(PIP) -e ".[trust]"
	@touch $@
