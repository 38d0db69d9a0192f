# make help lists the targets. PYTHON chooses the interpreter, TORCH_INDEX the source of torch.
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
BIN := $(VENV)/bin
INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX),)
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --constraint constraints.txt
STAMP := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test slow lint format bench kernel gpu clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16
	@echo "  A GPU: plain 'make setup'. No GPU, away from a machine whose pip knows a CPU wheel:"
	@echo "  make setup TORCH_INDEX=URL   (the CPU index that pytorch.org names)"

setup: $(STAMP) ## a virtual environment in .venv with everything, at the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(INDEX) torch
	$(PIP) --no-deps --requirement constraints.txt   # complete and exact: nothing to resolve, which took minutes
	$(PIP) --no-deps --editable .
	$(BIN)/python -m pip check
	@touch $@

demo: setup ## SMILES to report on real molecules: runs/demo/report.html
	$(BIN)/python launch/demo.py output=runs/demo

test: setup ## the tests (without those marked slow)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow and not gpu'

slow: setup ## the long tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m 'slow and not gpu'

lint: setup ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## the CPU benchmarks; results go to benchmarks/results
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.record --write
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.loader --write
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.ntxent --device cpu --write
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.ntxent.numerics --write
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.training --write
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.checkpoint --write
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.predict --write

kernel: ## the CUDA kernel of NT-Xent with nvcc, for Ampere and later; else torch computes the loss
	$(or $(wildcard $(BIN)/python),$(PYTHON)) -m pretrain.ntxent.kernel.build

gpu: ## all that needs a GPU, in eight minutes: kernel, tests, sanitizer, benchmarks; without make setup if need be
	$(or $(wildcard $(BIN)/python),$(PYTHON)) -m benchmarks.gpu

clean: ## remove the environment and the caches, not the runs
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
