# Two commands do everything: `make run` and `make test`. `make help` lists the rest; CI calls the same targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The engine is compiled for this machine. We use libllama alone: leaving out llama.cpp's command-line helpers, image and
# audio parts takes the compile from seven minutes to less than four on two cores. The package forces the helpers on, so
# they are switched off again by a file that is read inside llama.cpp's own project; it also adds our kernels.
ENGINE_BUILD := $(abspath config/llama.cpp)
ENGINE_ID := $(shell cat $(ENGINE_BUILD)/* | cksum | cut -d ' ' -f 1)
export CMAKE_ARGS ?= -DLLAVA_BUILD=OFF -DCMAKE_PROJECT_INCLUDE=$(ENGINE_BUILD)/engine.cmake -DHOUSEVOICE_ENGINE_ID=$(ENGINE_ID)
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell nproc 2>/dev/null || echo 2)
SAMPLE_ADAPTERS := $(foreach brand,halden pipkin,--adapter config/sample/adapters/$(brand)/adapter.gguf)
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev

.PHONY: help install install-dev run test test-slow check format lint type imports bench bench-quick bench-streams bench-retrieval train-sample lock image clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(INSTALLED) ## make .venv with exact pins (the engine compiles for some minutes, once)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "housevoice needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt $(wildcard config/llama.cpp/*) | $(BIN)/python
	@echo "Installing; llama-cpp-python compiles for this machine, which takes some minutes the first time."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
# pip keeps the wheels that it compiled, whatever flags and kernels that was with.
	@grep -q housevoice_kernels_$(ENGINE_ID) $(VENV)/lib/python3*/site-packages/llama_cpp/lib/libggml-cpu* || \
	  $(BIN)/python -m pip install --quiet --no-cache-dir --force-reinstall --no-deps --constraint constraints.txt llama-cpp-python
	@touch $@

install-dev: $(INSTALLED_DEV)

$(INSTALLED_DEV): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip==26.3'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev
	@touch $@

run: $(INSTALLED) ## ingest the sample company and start the server with its two brands
	@exec $(BIN)/housevoice serve --sample

test: $(INSTALLED_DEV) ## install what is needed and run all tests
	$(BIN)/pytest

test-slow: $(INSTALLED_DEV) ## soak, kill loops and training at full length
	$(BIN)/pytest -m slow

check: lint type imports test ## everything CI checks

format: $(INSTALLED_DEV) ## rewrite the code in house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(INSTALLED_DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

type: $(INSTALLED_DEV)
	$(BIN)/mypy

imports: $(INSTALLED_DEV) ## the import contracts
	$(BIN)/lint-imports

bench: $(INSTALLED_DEV) ## housevoice beside llama-server and another peer, on three models: hours, on an idle machine
	$(BIN)/python -m benchmarks.bench

bench-quick: $(INSTALLED_DEV) ## the same in five minutes, on the default base (the peers build once before)
	$(BIN)/python -m benchmarks.bench --quick

bench-streams: $(INSTALLED_DEV) ## sixteen streams together against one after another (start the sample server first)
	$(BIN)/python -m benchmarks.engine_streams $(SAMPLE_ADAPTERS) --save
	$(BIN)/python -m benchmarks.company_streams --save

bench-retrieval: $(INSTALLED_DEV) ## retrieval on XQuAD and CLAPNQ: make bench-retrieval QUESTIONS=folder-that-holds-both
	$(BIN)/python -m benchmarks.retrieval_quality --questions $(QUESTIONS) --sweep --save

train-sample: $(INSTALLED) ## train the sample brands' adapters again (about an hour on two cores)
	$(BIN)/python config/sample/train_adapters.py

lock: $(INSTALLED_DEV) ## write constraints.txt anew from this environment
	{ head -1 constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' | sort -f; } > constraints.new
	mv constraints.new constraints.txt

image: ## build the container image
	docker build --tag housevoice .

clean: ## remove what was built; the data directory stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
