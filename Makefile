# Polyrhythm: `make demo` makes a picture, `make test` runs every check. Both create their environment first.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# torch goes in first and alone: pip then takes the build that this machine's index offers for exactly this version.
# For another build (a CUDA version, or CPU only), give pip its index:  make demo TORCH_FLAGS="--index-url URL"
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)
TORCH_FLAGS ?=

# Without CUDA the demo emulates two devices, the second half as fast as the first, and takes the transformer: a picture of
# 128 pixels gives two CPU devices too little of the UNet to share.
PROMPT ?= red apple on a blue background
DEMO_OUT ?= demo.png
ifeq ($(shell nvidia-smi -L 2>/dev/null),)
DEMO_ARGS ?= --speeds 1,0.5 --model demo-transformer
else
DEMO_ARGS ?=
endif

PROTOS := $(shell find protos -name '*.proto')
STUBS := $(PROTOS:.proto=_pb2.py)
PYTEST_ARGS ?=
# In as many processes as there are cores; tests/conftest.py says which tests share one, and which want to be alone.
PYTEST_PROCESSES := -n logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder

# What runs in seconds: the suites of all that is written without torch, which tests/checks/without_torch.py holds to it.
QUICK := tests/golden tests/contract/test_job_store_contract.py \
    $(addprefix tests/unit/,client coordinator protos simulation agent/daemon agent/worker \
        test_documentation.py test_file_reading.py test_import_rules.py)

BUF_VERSION := 1.75.0
BUF_HOME := $(VENV)/buf-$(BUF_VERSION)
BUF := $(BUF_HOME)/node_modules/.bin/buf

# pyright and buf run on the node that the development environment brings along.
export PATH := $(abspath $(BIN)):$(PATH)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test quick lint lint-style lint-types lint-imports lint-protos pytest test-tools format protos wheel clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.runtime $(STUBS)  ## Make a picture on an embedded fleet: PROMPT=..., DEMO_OUT=..., DEMO_ARGS=...
	$(BIN)/polyrhythm generate "$(PROMPT)" -o "$(DEMO_OUT)" $(DEMO_ARGS)

test: lint pytest  ## Run the linters, then every test suite

lint: lint-style lint-types lint-imports lint-protos  ## Run ruff, pyright, import-linter and buf

lint-style: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint-types: $(VENV)/.development $(STUBS)
	$(BIN)/pyright

lint-imports: $(VENV)/.development $(STUBS)
	$(BIN)/lint-imports --no-logo

# A machine without an npm registry can still run the rest; continuous integration cannot go without buf.
lint-protos: $(VENV)/.development
	@if [ -x $(BUF) ] || npm install --prefix $(BUF_HOME) --ignore-scripts --loglevel=error @bufbuild/buf@$(BUF_VERSION); then \
	    echo "$(BUF) lint"; $(BUF) lint; \
	elif [ -n "$$CI" ]; then \
	    echo "lint-protos: buf could not be installed from npm" >&2; exit 1; \
	else \
	    echo "lint-protos: SKIPPED, buf could not be installed from npm" >&2; \
	fi

pytest: $(VENV)/.development $(STUBS)  ## Run every test suite: PYTEST_ARGS=...
	$(BIN)/python -m pytest $(PYTEST_PROCESSES) $(PYTEST_ARGS)

quick: $(VENV)/.development $(STUBS)  ## Run the tests that need neither torch nor processes of their own
	$(BIN)/python -m pytest -p tests.checks.without_torch $(PYTEST_PROCESSES) $(QUICK) $(PYTEST_ARGS)

test-tools: $(VENV)/.development $(STUBS)  ## Run the tests of benchmarks and of how the demo models are made
	$(BIN)/python -m pytest $(PYTEST_PROCESSES) tests/tools $(PYTEST_ARGS)

format: $(VENV)/.development  ## Let ruff repair and format what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: $(VENV)/.runtime  ## Generate the protobuf and gRPC stubs again
	$(BIN)/python hatch_build.py

wheel: $(VENV)/.development  ## Build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

clean:  ## Remove the environment and everything generated
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find protos -name '*_pb2.py' -delete -o -name '*_pb2.pyi' -delete -o -name '*_pb2_grpc.py' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STUBS) &: $(PROTOS) hatch_build.py | $(VENV)/.runtime
	@$(BIN)/python hatch_build.py >/dev/null

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Polyrhythm needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: constraints.txt | $(BIN)/python
	$(PIP) install --quiet $(TORCH_FLAGS) $(TORCH)
	@touch $@

$(VENV)/.runtime: pyproject.toml constraints.txt hatch_build.py $(VENV)/.torch
	$(PIP) install --quiet -c constraints.txt hatchling grpcio-tools
	$(PIP) install --quiet -c constraints.txt --no-build-isolation -e '.[all]'
	@touch $@

$(VENV)/.development: $(VENV)/.runtime
	$(PIP) install --quiet -c constraints.txt --no-build-isolation -e '.[all,benchmarks,dev]'
	@touch $@
