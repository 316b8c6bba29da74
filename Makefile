# The verbs of the project. CI calls the same ones.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# An environment that was begun and not ended (no python3-venv, no network) would be taken for a whole one.
.DELETE_ON_ERROR:
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: help install install-dev demo test test-browser test-docs test-faults test-library test-processors test-compose test-dist fuzz unit lint advisories audit lock types imports coverage dist openapi golden serve docs pictures clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "masktune needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -m venv $(VENV)
	@$(PIP) install --upgrade "pip>=25.1"

# Ours by path, never by name: a stranger's package of that name is not what an index would be asked for.
OURS := ./packaging/masktune .

$(VENV)/.installed: pyproject.toml packaging/masktune/pyproject.toml | $(BIN)/python
	@echo "Installing the Python packages into $(VENV) (the first time takes a minute or two) …"
	@$(PIP) --quiet uninstall --yes masktune-service  # of a checkout before there were two: it would take the command along
	@$(PIP) install $(addprefix --editable ,$(OURS))
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed
	@$(PIP) install --upgrade "pip>=25.1"  # for --group: an environment that was there before has its own
	@$(PIP) install --group test --group lint --group docs
	@touch $@

install: $(VENV)/.installed ## the product, into .venv
install-dev: $(VENV)/.installed-dev ## the product, its tests and linters

demo: install ## a data set, a masktune job, its report and a prediction, from nothing, in two minutes
	@$(BIN)/masktune demo

serve: install ## the service on http://127.0.0.1:8000, data under ./var
	@exec $(BIN)/masktune serve

# Files of tests run beside each other, a process more than there are cores, for many tests wait: with two more, two
# cores took no less time (922 s and 903), and each test longer. More than four would only fight for the disk. In the
# order of their collection, which has the slow ones first (tests/conftest.py).
SIDE_BY_SIDE := --numprocesses=$(shell n=$$(nproc 2>/dev/null || echo 3); echo $$((n < 3 ? n + 1 : 4))) --dist=loadfile --no-loadscope-reorder

# Unit tests wait for nothing: another process than there are cores only reads the same modules once more. They share
# nothing, so that a process without work takes tests from the middle of a file.
ONE_A_CORE := --numprocesses=$(shell n=$$(nproc 2>/dev/null || echo 3); echo $$((n < 4 ? n : 4))) --dist=worksteal

# Tests of faults start workers and children of their own, and end leases by leaving them no time: a file a core.
FAULTS := --numprocesses=$(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4))) --dist=loadfile --no-loadscope-reorder

# Compiled files are kept, whatever the shell says: each of some hundred processes would compile ours anew.
unexport PYTHONDONTWRITEBYTECODE

test: install-dev ## unit, integration and the main flows; at the end, what could not be tested here
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) --durations=20 $(ARGS)

test-browser: install-dev ## the dashboard in chromium
	@$(BIN)/python -m pytest -m browser $(SIDE_BY_SIDE) --durations=5 $(ARGS)

test-docs: install-dev ## every command of the documentation, the README, the demo and the examples
	@$(BIN)/python -m pytest -m docs $(SIDE_BY_SIDE) --durations=5 $(ARGS)

test-faults: install-dev ## kills, outages, restarts, signals, a rolling update
	@$(BIN)/python -m pytest -m faults $(FAULTS) --durations=5 $(ARGS)

test-library: install-dev ## saliency maps beside the grad-cam package's, and every network of timm and torchvision
	@$(BIN)/python -m pytest -m library $(SIDE_BY_SIDE) --durations=5 $(ARGS)

test-processors: install-dev ## the tests that train, as older processors compute and with other seeds; ARGS=--docs: the documentation too
	@$(BIN)/python -m tests.processors $(ARGS)

# One after the other: they build the same image, and one of them runs all parts of the service.
test-compose: install-dev ## the image, and the service in containers: needs a Docker engine
	@$(BIN)/python -m pytest -m compose --durations=5 $(ARGS)

test-dist: install-dev ## the wheels in empty environments: fetches the client's dependencies
	@$(BIN)/python -m pytest -m dist --durations=5 $(ARGS)

fuzz: install-dev ## schemathesis against a service of its own; ARGS="--seed=2 --max-time=600": other requests, for longer
	@$(BIN)/python -m tests.fuzz $(ARGS)

# Apart, for counting branches costs the tests half as much again.
coverage: install-dev ## the tests of the five verbs above, with coverage: at least 90 %
	@$(BIN)/coverage erase
	@$(BIN)/python -m pytest -m "not compose and not dist" $(SIDE_BY_SIDE) --cov --cov-report=term-missing:skip-covered $(ARGS)

unit: install-dev ## the quick tests: no service, seconds
	@$(BIN)/python -m pytest $(ONE_A_CORE) tests/unit $(ARGS)

lint: install-dev ## ruff, bandit, and that the code does not grow
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/bandit -q -c pyproject.toml -r app worker models core masktune launcher web
	@$(BIN)/python -m tests.measure --check

# Strict, or it would call clean what the index does not know.
PIP_AUDIT = $(BIN)/pip-audit --strict --disable-pip --no-deps
WITH_A_CVE := jinja2==2.4.1

advisories: install-dev ## whether the package index has advisories, shown by one that has long been public
	@report=$$($(PIP_AUDIT) --format json --requirement <(echo $(WITH_A_CVE)) || true); \
	[[ $$report == *'"id"'* ]] || { echo "This package index has no advisories; PyPI has, most mirrors do not."; exit 1; }

audit: advisories ## pip-audit: known vulnerabilities in what the image is built of
	@$(PIP_AUDIT) $(addprefix --requirement=deploy/requirements/,service.txt torch.txt build.txt)

# PyTorch's CPU build, or the lock would name NVIDIA's libraries, which the CPU image must not hold. Ours and PyTorch are
# "unsafe" in pip-tools' word for what it leaves out: the one is installed by path, the other by torch.txt.
# It warns that the lock lacks them, which the image's `--no-deps` allows.
TORCH_INDEX = https://download.pytorch.org/whl/cpu
PIP_COMPILE = $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-annotate --no-emit-index-url --no-emit-find-links
LEFT_OUT := $(addprefix --unsafe-package=,masktune masktune-service torch torchvision)

lock: export CUSTOM_COMPILE_COMMAND = make lock
lock: install-dev ## deploy/requirements anew, with hashes, where pyproject.toml asks for it; ARGS=--upgrade: the newest of all
	@$(PIP) install --group lock
	@$(PIP_COMPILE) $(LEFT_OUT) $(if $(TORCH_INDEX),--extra-index-url=$(TORCH_INDEX)) $(ARGS) deploy/requirements/service.in
	@$(PIP_COMPILE) --allow-unsafe $(ARGS) deploy/requirements/build.in

types: install-dev ## mypy, strict
	@$(BIN)/mypy app worker models core masktune launcher web presets tests benchmarks docs examples

imports: install-dev ## which package may import which
	@$(BIN)/lint-imports

docs: install-dev ## the documentation as pages: build/docs/index.html
	@$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs build/docs
	@echo "build/docs/index.html"

dist: | $(BIN)/python ## both distributions as wheels: dist/masktune-….whl, dist/masktune_service-….whl
	@rm -rf dist
	@$(PIP) wheel --no-deps --wheel-dir dist $(OURS)
	@ls dist

openapi: install-dev ## tests/openapi.json anew, after a change of the API that is meant
	@$(BIN)/python -m tests.openapi

golden: install-dev ## tests/golden_texts/texts anew, after a change of a sentence that is meant
	@$(BIN)/python -m tests.golden_texts

PICTURES := dataset job-live report model try

pictures: install-dev ## the pictures in docs/images, taken anew in chromium: the dashboard, the demo's report, a data set, patterns
	@MASKTUNE_SCREENSHOTS=build/screenshots $(BIN)/python -m pytest -q -m browser tests/acceptance/dashboard/test_flow.py
	@for page in $(PICTURES); do cp build/screenshots/$$page.png docs/images/dashboard-$$page.png; done
	@$(BIN)/masktune demo --output build/demo
	@$(BIN)/python -m docs.report_pictures build/demo/report.html docs/images
	@$(BIN)/python -m docs.data_set_picture docs/images/digits-on-photos.jpg
	@$(BIN)/python -m docs.pattern_pictures docs/images

clean: ## what building and testing left here
	@rm -rf build dist .coverage .coverage.* htmlcov .pytest_cache .mypy_cache .ruff_cache
	@find . -path ./.venv -prune -o -name __pycache__ -print0 | xargs -0 rm -rf
