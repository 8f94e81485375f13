# Everything a developer or CI calls. Needs Python >= 3.11 and make; no root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEPENDENCIES := $(VENV)/.dependencies
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
WORKERS ?= auto
export OMP_NUM_THREADS ?= 1
export MLFLOW_DISABLE_TELEMETRY ?= true

.PHONY: help setup demo test test-browser check format bench up lock clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: $(STAMP) ## make .venv with the locked dependencies and Greenroom itself

$(DEPENDENCIES): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Greenroom needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) (once; takes a minute or two) ..."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --no-deps --require-hashes -r requirements.lock
	@touch $@

$(STAMP): $(DEPENDENCIES) pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## the whole story on real flights, in under three minutes
	@$(BIN)/python examples/flights/demo.py $(DEMO)

test: $(STAMP) ## the test suite
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --durations=12 -m "not browser"
	@if command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1; \
	  then $(MAKE) --no-print-directory test-browser; \
	  else echo "Browser tests did not run: Chromium is not installed. Install it, then: make test-browser"; fi

test-browser: $(STAMP) ## the tests that look at MLflow's UI (need Chromium)
	@$(BIN)/python -m pytest -m browser

check: $(STAMP) ## format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(STAMP) ## format, and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP) ## ratios against the real rivals, interleaved, in one run
	@for file in benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

up: $(STAMP) ## tracking server with UI, plus the scoring server, until Ctrl-C
	@$(BIN)/python examples/up.py $(if $(FOLDER),--folder $(FOLDER)) $(if $(MODEL),--model $(MODEL))

lock: ## pin the dependencies again (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --unsafe-package greenroom \
	  pyproject.toml -o requirements.lock

clean: ## remove what make made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
