# Everything runs from .venv; all that is needed before is Python >= 3.11 (with venv), make, and a network once.
#   make run      install, then start Hark with the examples       make test     run all tests
#   make check    all that the CI checks                           make bench    measure
#   make install  only install                                     make lock     renew the lock files
#   make package  build sdist and wheel into dist
#   make clean    remove what was built (never your data)

SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PIP_COMPILE := CUSTOM_COMPILE_COMMAND="make lock" PIP_CONFIG_FILE=/dev/null env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL \
	$(BIN)/python -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host
PYTEST_FLAGS ?=
BENCH ?=

.PHONY: install run test check bench lock package clean
.DEFAULT_GOAL := install

install: $(VENV)/.installed

# The examples need what a stranger has not set up: a secret, a mail server (e-mails become files), a local service.
run: install
	HARK_SECRET_GITHUB=demo HARK_HTTP_ALLOW_NETWORKS=127.0.0.0/8 HARK_MAIL_DIR=.hark/mail \
	$(BIN)/hark run --workflows examples --setup examples/setup.sql

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p hark -p benchmarks
	$(BIN)/lint-imports
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

bench: install
	$(BIN)/python -m benchmarks.run $(BENCH)

lock: $(VENV)/.installed-dev
	$(PIP_COMPILE) --build-deps-for=editable --output-file=requirements.lock pyproject.toml
	$(PIP_COMPILE) --extra=dev --constraint=requirements.lock --output-file=requirements-dev.lock pyproject.toml

# setuptools would put files that were deleted long ago into the wheel, if an older build lay around.
package: $(VENV)/.installed-dev
	rm -rf build dist
	$(BIN)/python -m build --no-isolation

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .venv
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf src/*.egg-info

# The stamps make a second run quick: they are older than the locks only when something has to be installed.
$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --require-hashes --requirement requirements.lock
	rm -rf build
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(PIP) install --quiet --require-hashes --requirement requirements-dev.lock
	touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Hark needs Python 3.11 or newer"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python lacks venv: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
