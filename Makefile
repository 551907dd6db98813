# The project's entry points. Everything is made inside this folder: .venv, .cache, build.
PYTHON ?= python3
BIN := .venv/bin
export OPENLEDGER_CACHE ?= $(CURDIR)/.cache
export HYPOTHESIS_STORAGE_DIRECTORY ?= $(OPENLEDGER_CACHE)/hypothesis
export VLLM_CACHE_ROOT ?= $(OPENLEDGER_CACHE)/vllm
export MPLCONFIGDIR ?= $(OPENLEDGER_CACHE)/matplotlib
export BUF_CACHE_DIR ?= $(OPENLEDGER_CACHE)/buf
# Arguments for pytest or the demo: make test ARGS="-k merkle", make demo ARGS=--json
ARGS ?=

# Two processes, a module's tests in one of them, in the order given: the longest single thing, the demo, fills one of them
# while the fast tests run in the other. PARALLEL= runs all in one process.
PARALLEL ?= -n 2 --dist loadscope --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev setup-bench proto contracts demo test test-fast test-long test-night lint check format images chart bench lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Says so even where Python is too old to read tools/setup.py. What it prints goes to stderr.
SET_UP = $(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make setup PYTHON=python3.12")' && $(PYTHON) -m tools.setup

setup:  ## everything that `make demo` needs, into .venv
	@$(SET_UP)

setup-dev:
	@$(SET_UP) --dev

setup-bench:
	@$(SET_UP) --bench

demo: setup  ## real data to paid, checkable answers, through all five services
	@$(BIN)/openledger demo $(ARGS)

test: setup-dev  ## lint, types, and every test except the long ones
	$(MAKE) --jobs 2 lint check
	$(BIN)/pytest $(PARALLEL) -m "not long" --durations=20 tests/e2e tests/unit tests/contract tests/attacks tests/integration tests/deploy $(ARGS)

test-fast: setup-dev  ## unit tests that take no more than seconds
	$(BIN)/pytest tests/unit -m "not slow" $(ARGS)

test-long: setup-dev  ## crash tests (kill -9 at many points), attacks, slither, and whatever else takes minutes
	$(BIN)/python contracts/slither.py
	$(BIN)/pytest $(PARALLEL) --durations=10 --timeout=1800 tests/crash $(ARGS)
	$(BIN)/pytest $(PARALLEL) --durations=10 --timeout=900 -m long tests/unit tests/contract tests/attacks tests/integration tests/deploy tests/fuzz $(ARGS)

test-night: setup-dev  ## the contracts' invariants, over a million random calls a suite
	$(BIN)/python contracts/build.py install
	$(BIN)/python contracts/build.py nightly

lint: setup-dev  ## style, types, import rules, protos
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir $(OPENLEDGER_CACHE)/import-linter
	$(BIN)/python -m tools.proto --check
	$(BIN)/buf lint
	$(BIN)/buf breaking proto --against proto/v1.binpb

check: setup-dev  ## what is generated and checked in is up to date
	$(BIN)/python contracts/build.py --check
	$(BIN)/python -m tools.image_requirements --check

format: setup-dev  ## put the code into shape
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

proto: setup-dev  ## regenerate the gRPC stubs from proto/
	$(BIN)/python -m tools.proto

contracts: setup-dev  ## recompile the Solidity contracts
	$(BIN)/python contracts/build.py

chart: setup-dev  ## check the Helm chart; make chart ARGS=--renew writes its golden files anew
	$(BIN)/python -m tools.chart $(ARGS)

images: setup  ## build the services' images with buildah; ARGS="--debootstrap ledger datanet"
	$(BIN)/python -m deploy.images $(ARGS)

bench: setup-bench  ## measure the figures; results in bench/results
	$(BIN)/python -m bench $(ARGS)

lock: setup-dev  ## resolve requirements/*.in anew
	$(BIN)/python -m tools.lock

clean:  ## remove what was made, except the cache of downloads
	rm -rf .venv build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
