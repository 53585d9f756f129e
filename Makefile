# The commands of this repository. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench torture lock clean

BIN := .venv/bin

help: ## List the commands
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' Makefile | expand -t 10

setup: ## Install and build what a fresh Debian 12 lacks
	@sh images/dev/setup.sh

demo: setup ## Migrate a real guest end to end and boot it: build/demo/result.json
	@$(BIN)/python -m tests.demo

test: setup ## Run every test
	$(BIN)/pytest

lint: setup ## Style, types, import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## Measure beside the peers; results in bench/results, table in bench/TABLE.md
	$(BIN)/pytest bench -q -s --benchmark-storage=file://bench/results --benchmark-save=copy_engine
	$(BIN)/python -m bench.table

torture: setup ## Run the sweeps whole; appends to tests/torture/LOG.md
	$(BIN)/python -m tests.torture

lock: ## Rewrite the locked requirements (needs uv)
	uv pip compile -q pyproject.toml --group dev --python-version 3.11 \
	    --python-platform x86_64-unknown-linux-gnu --generate-hashes --no-emit-index-url \
	    --custom-compile-command "make lock" -o requirements.lock
	uv pip compile -q --group go --python-version 3.11 \
	    --python-platform x86_64-unknown-linux-gnu --generate-hashes --no-emit-index-url \
	    --custom-compile-command "make lock" -o requirements-go.lock

clean: ## Remove what was built here; caches under ~/.cache/transferd stay
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
