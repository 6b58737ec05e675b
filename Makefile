# `make` lists the targets. Everything is installed into .venv and node_modules; a second run installs nothing
# unless a lock file has changed.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Extra words for the program that the target runs: make run ARGS="--log-level debug", make test ARGS="-k inbox".
ARGS ?=
PYTEST_WORKERS ?= auto

# One stamp per environment: newer than what it was made from means up to date.
VENV_MADE := $(VENV)/.made
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
E2E := tests/e2e/node_modules/.installed
LOAD := bench/load/node_modules/.installed
NODE_PEER := bench/peers/node/node_modules/.installed
METADATA := setup.cfg pyproject.toml
TYPED_SCRIPTS := $(wildcard bench/*.py) bench/peers/stock.py

PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check
PIP_COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/pip-compile --quiet --generate-hashes --allow-unsafe \
	--strip-extras --build-deps-for=editable --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test check format bench lock clean mongo-test-server mongo-test-program system-test

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo '  Variables: HOST, PORT (run), ARGS (run, test, bench, lock), PYTHON (default python3)'

run: $(RUNTIME) ## Set up and serve in development mode on 127.0.0.1:3000
	@exec $(PY) -m realtime serve --dev $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT)) $(ARGS)

test: system-test mongo-test-program $(DEV) $(E2E) ## Set up and run every test
	$(PY) -m pytest -n $(PYTEST_WORKERS) --dist loadscope -r fEs $(ARGS)

check: $(DEV) ## Check format, lint and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy $(TYPED_SCRIPTS)

format: $(DEV) ## Format the code and mend what lint can mend
	$(VENV)/bin/ruff check --fix-only .
	$(VENV)/bin/ruff format .

bench: $(RUNTIME) $(LOAD) $(NODE_PEER) ## Measure against Node.js, python-socketio and bare send() (ARGS="--clients 1000")
	$(PY) bench/run.py $(ARGS)

mongo-test-server: | $(VENV_MADE) ## Start a MongoDB-compatible server for tests; prints its URI
	@PYTHON=$(PY) exec scripts/mongo-test-server

lock: $(DEV) ## Pin the dependencies anew (ARGS=--upgrade takes the newest that setup.cfg allows)
	$(PIP_COMPILE) $(ARGS) --extra uvloop --output-file requirements.lock pyproject.toml
	$(PIP_COMPILE) $(ARGS) --extra dev --extra uvloop --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	cd tests/e2e && npm install --package-lock-only
	cd bench/load && npm install --package-lock-only
	cd bench/peers/node && npm install --package-lock-only

clean: ## Remove what the other targets made, except data/
	rm -rf $(VENV) tests/e2e/node_modules bench/load/node_modules bench/peers/node/node_modules build *.egg-info
	rm -rf tests/mongo-server/bin
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

system-test:
	@PATH="$$PATH:/usr/sbin" PYTHON=$(PYTHON) scripts/install-system-packages chromium curl nginx

# Where it cannot be made, the tests that need it are skipped and say why; where CI is set, they fail.
mongo-test-program: | $(VENV_MADE)
	@PYTHON=$(PY) scripts/mongo-test-server --build || true

$(VENV_MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Roomcast needs Python 3.11 or newer; name one with: make PYTHON=python3.11 ...' >&2; exit 1; }
	@PYTHON=$(PYTHON) scripts/install-system-packages python3-venv
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(RUNTIME): requirements.lock $(METADATA) | $(VENV_MADE)
	$(PIP_INSTALL) --require-hashes -r requirements.lock
	$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

# After the runtime, never beside it: two pips must not write to one environment.
$(DEV): requirements-dev.lock | $(RUNTIME)
	$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

$(E2E) $(LOAD) $(NODE_PEER): %/node_modules/.installed: %/package.json %/package-lock.json %/.npmrc
	@command -v npm >/dev/null || { echo 'Node.js 20 with npm is needed' >&2; exit 1; }
	cd $* && npm ci --no-progress --loglevel=error
	@touch $@
