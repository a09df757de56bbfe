# Every target makes the environment it needs, below .venv/, from nothing but Python and pip.
# PYTHON is the interpreter to use; the training parts need 3.10 or 3.11 (TTS 0.22.0 ends there).

PYTHON ?= $(firstword $(foreach p,python3.11 python3.10 python3,$(if $(shell $(p) -c 'import venv' 2>/dev/null && echo yes),$(p))))
TRAIN_PYTHON ?= $(PYTHON)
BUNDLE ?= bundles/xtts_v2.toml
BUNDLE_FLAGS ?=
FAULT_FLAGS ?=
CORE := .venv/core
TRAIN := .venv/train
SOURCES := pyproject.toml constraints/train.txt

.DEFAULT_GOAL := help

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

install: $(CORE)/.done  ## Install the core (everything but training) into .venv/core

demo: $(TRAIN)/.done  ## Run the whole circle on tiny random weights: fetch, bundle, import, train, synth
	$(TRAIN)/bin/xttsreg demo --directory .demo

bundle: $(CORE)/.done  ## Fetch XTTS_v2 and write the bundle for the stick (BUNDLE=recipe.toml)
	$(CORE)/bin/xttsreg bundle $(BUNDLE) $(BUNDLE_FLAGS)

test: $(TRAIN)/.test  ## Run the whole test suite, with the real TTS
	$(TRAIN)/bin/python -m pytest

test-faults: $(TRAIN)/.test  ## Break every operation at every step; prints what was lost (long)
	$(TRAIN)/bin/python -m pytest -q tests/fault --faults all $(FAULT_FLAGS)

check: $(TRAIN)/.check  ## Run ruff and mypy --strict
	$(TRAIN)/bin/ruff format --check .
	$(TRAIN)/bin/ruff check .
	$(TRAIN)/bin/mypy

bench: $(TRAIN)/.test  ## Measure, as ratios against peers
	$(TRAIN)/bin/python -m benchmarks

clean:  ## Remove what the targets above made
	rm -rf .venv .demo bundles/out dist build

$(CORE)/.done: pyproject.toml
	$(PYTHON) -m venv $(CORE)
	$(CORE)/bin/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

# The constraints pin every package of the environment that the tests ran in.
$(TRAIN)/.done: $(SOURCES)
	@$(TRAIN_PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))' || { \
	  echo 'Training needs Python 3.10 or 3.11 (TTS 0.22.0 runs on nothing newer).' >&2; \
	  echo 'Install python3.11 and its venv module, or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11' >&2; \
	  exit 8; }
	$(TRAIN_PYTHON) -m venv $(TRAIN)
	$(TRAIN)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints/train.txt -e '.[train]'
	@touch $@

$(TRAIN)/.test: $(TRAIN)/.done
	$(TRAIN)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints/train.txt -e '.[train,test]'
	@touch $@

$(TRAIN)/.check: $(TRAIN)/.done
	$(TRAIN)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints/train.txt -e '.[train,check]'
	@touch $@

.PHONY: help install demo bundle test test-faults check bench clean
