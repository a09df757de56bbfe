# Every target makes the environment it needs, below .venv/, from nothing but Python and pip.
# PYTHON is the interpreter to use; the training parts need 3.11 (TTS 0.22.0 ends there).
# ENGINE=next has demo, test and bench use the second engine (coqui-tts), which takes 3.12 to 3.14.

ENGINE ?= stock
ifeq ($(ENGINE),next)
EXTRA := train-next
PYTHONS := python3.12 python3.13 python3.14 python3
FIRST := (3, 12)
LAST := (3, 14)
WANTED := 3.12 to 3.14
else
EXTRA := train
PYTHONS := python3.11 python3
FIRST := (3, 11)
LAST := (3, 11)
WANTED := 3.11 (TTS 0.22.0 with our pins runs on no other; ENGINE=next does)
endif
PYTHON ?= $(firstword $(foreach p,$(PYTHONS),$(if $(shell $(p) -c 'import venv' 2>/dev/null && echo yes),$(p))))
TRAIN_PYTHON ?= $(PYTHON)
BUNDLE ?= bundles/xtts_v2.toml
BUNDLE_FLAGS ?=
TEST_FLAGS ?=
FAULT_FLAGS ?=
SECONDS ?= 60
CORE := .venv/core
TRAIN := .venv/$(EXTRA)
SOURCES := pyproject.toml constraints/$(EXTRA).txt

.DEFAULT_GOAL := help

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

install: $(CORE)/.done  ## Install the core (everything but training) into .venv/core

demo: $(TRAIN)/.done  ## Run the whole circle on tiny random weights: fetch, bundle, import, train, synth
	$(TRAIN)/bin/xttsreg demo --directory .demo

bundle: $(CORE)/.done  ## Fetch XTTS_v2 and write the bundle for the stick (BUNDLE=recipe.toml)
	$(CORE)/bin/xttsreg bundle $(BUNDLE) $(BUNDLE_FLAGS)

# Two at a time, a file each: much of the time goes by in waiting for processes that start.
test: $(TRAIN)/.test  ## Run the whole test suite, with the real TTS
	$(TRAIN)/bin/python -m pytest -n 2 --dist loadfile $(TEST_FLAGS)

test-next:  ## Run the tests of training on the second engine, in an environment of its own (8 GB)
	$(MAKE) ENGINE=next .venv/train-next/.test
	.venv/train-next/bin/python -m pytest tests/training

test-faults: $(TRAIN)/.test  ## Break every operation at every step; prints what was lost (long)
	$(TRAIN)/bin/python -m pytest -q tests/fault --faults all $(FAULT_FLAGS)

fuzz: $(TRAIN)/.test  ## Fuzz every reader of foreign bytes for SECONDS each (60)
	$(TRAIN)/bin/python -m pytest -q tests/fuzz --fuzz-seconds $(SECONDS)

check: $(TRAIN)/.check  ## Run ruff and mypy --strict; count the packages that come along
	$(TRAIN)/bin/ruff format --check .
	$(TRAIN)/bin/ruff check .
	$(TRAIN)/bin/mypy
	@$(TRAIN)/bin/python tests/support/dependencies.py

audit:  ## Ask PyPI which pinned packages have known vulnerabilities (needs the network)
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints/$(EXTRA).txt

bench: $(TRAIN)/.test  ## Measure, as ratios against peers
	$(TRAIN)/bin/python -m benchmarks

bench-quick: $(TRAIN)/.test  ## See that all measurements run, on tiny files
	$(TRAIN)/bin/python -m benchmarks --quick

clean:  ## Remove what the targets above made
	rm -rf .venv .demo .bench bundles/out dist build

$(CORE)/.done: pyproject.toml
	$(PYTHON) -m venv $(CORE)
	$(CORE)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[bundle]'
	@touch $@

# The constraints pin every package of the environment that the tests ran in.
$(TRAIN)/.done: $(SOURCES)
	@$(TRAIN_PYTHON) -c 'import sys; sys.exit(not $(FIRST) <= sys.version_info[:2] <= $(LAST))' || { \
	  echo 'Training needs Python $(WANTED).' >&2; \
	  echo 'Install $(firstword $(PYTHONS)) and its venv module, or name one: make $(MAKECMDGOALS) PYTHON=/path/to/$(firstword $(PYTHONS))' >&2; \
	  exit 8; }
	$(TRAIN_PYTHON) -m venv $(TRAIN)
	$(TRAIN)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints/$(EXTRA).txt -e '.[$(EXTRA)]'
	@touch $@

$(TRAIN)/.test: $(TRAIN)/.done
	$(TRAIN)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints/$(EXTRA).txt -e '.[$(EXTRA),bundle,test]'
	@touch $@

$(TRAIN)/.check: $(TRAIN)/.done
	$(TRAIN)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints/$(EXTRA).txt -e '.[$(EXTRA),check]'
	@touch $@

.PHONY: help install demo bundle test test-next test-faults fuzz check audit bench bench-quick clean
