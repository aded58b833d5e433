# make demo     install into .venv and run the shipped default scenario
# make test     install and run the tests
# make test-live  install torch and transformers as well, and run the tests that need them
# make test-browser  install selenium and, as root on Debian, chromium, and try the pages in it; skipped where there is none
# make docs     the documentation as a site, docs/_build/html; a warning is an error
# make check    ruff and mypy --strict
# make validate calibrate on this machine, and hold the simulator against real runs of six configurations (SUITE=cpu: of all)
# make results  the same of all configurations, anew, and write what is committed: validation/results, the docs' figures
# make bench    speed, as ratios within one process
# Another interpreter: make test PYTHON=python3.13 (it gets a virtual environment of its own).
SHELL := /bin/bash
PYTHON ?= $(firstword $(foreach p,python3 python3.11 python3.12 python3.13 python3.14,$(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test test-live test-browser docs check validate results bench clean
.DEFAULT_GOAL := demo

$(VENV)/created:
	@test -n "$(PYTHON)" || { echo "moesim needs Python 3.11 or newer; name one with make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) install --constraint constraints.txt --editable '.[test]'
	@touch $@

$(VENV)/installed-live: $(VENV)/installed-test
	$(PIP) install --constraint constraints.txt --editable '.[live,test]'
	@touch $@

$(VENV)/installed-browser: $(VENV)/installed-test
	$(PIP) install --constraint constraints.txt --editable '.[browser,test]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) install --constraint constraints.txt --editable '.[docs]'
	@touch $@

demo: $(VENV)/installed
	$(BIN)/moesim run examples/demo.yaml --out results/demo --overwrite

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n auto $(ARGS)

test-live: $(VENV)/installed-live
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto tests/capture tests/nano tests/validation $(ARGS)

APT := timeout 300 apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=20
test-browser: $(VENV)/installed-browser
	@if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then \
	  if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
	    $(APT) update && $(APT) install -y chromium chromium-driver >/dev/null || echo "apt-get brought no chromium" >&2; \
	  fi; \
	  command -v chromedriver >/dev/null || echo "no chromium and chromedriver here: tests in a browser are skipped" >&2; \
	fi
	$(BIN)/python -m pytest -n auto --dist loadfile tests/pages $(ARGS)

docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

check: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

VALIDATED := results/validation
SUITE := cpu-quick
BUDGET := 50 s
PATIENCE := 0 s
REPLAY = $(BIN)/moesim validate validation/suites/$(SUITE).yaml --device cpu --out $(VALIDATED)/$(SUITE) --patience "$(PATIENCE)"
validate: $(VENV)/installed-live
	@mkdir -p $(VALIDATED)
	for model in lab-wide lab-narrow; do \
	  test -e $(VALIDATED)/$$model.yaml || \
	  $(BIN)/moesim calibrate --model $$model --dtype float32 --device cpu --budget "$(BUDGET)" --patience "$(PATIENCE)" \
	    --throttle "2 GB/s" $$(test $$model = lab-wide || echo --at-speed-of $(VALIDATED)/lab-wide.yaml) \
	    --out $(VALIDATED)/$$model.yaml || exit; \
	  $(REPLAY) --model $$model --profile $$model=$(VALIDATED)/$$model.yaml || exit; \
	done
	$(REPLAY) --profile lab-wide=$(VALIDATED)/lab-wide.yaml --profile lab-narrow=$(VALIDATED)/lab-narrow.yaml $(ARGS)

results: $(VENV)/installed-live
	rm -rf $(VALIDATED)
	$(MAKE) validate SUITE=cpu BUDGET="200 s" PATIENCE="15 min" ARGS="--results validation/results/cpu.json"
	$(MAKE) validate SUITE=cpu-quick ARGS="--results validation/results/cpu-quick.json"
	$(BIN)/python docs/make_validation.py

bench: $(VENV)/installed-test
	$(BIN)/python -m pytest bench -p no:xdist --benchmark-disable-gc -s $(ARGS)

clean:
	rm -rf .venv* results docs/_build
