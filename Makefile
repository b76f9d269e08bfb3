# `make demo` and `make test` work on a fresh Debian machine: what is missing is installed first
# (a virtual environment in .venv; Debian packages when root).

# Debian's own interpreter before any other: it is built with profile-guided optimisation, and the relay feels it.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
BIN := .venv/bin
MINUTES ?= 10
# Most tests wait for something most of the time.
JOBS ?= $(shell expr 2 \* $$(nproc))
PACKAGES := python3-venv nginx libnginx-mod-stream wrk iproute2 haproxy systemd chromium chromium-driver

.PHONY: demo test lint bench soak clean

demo: .venv/installed
	$(BIN)/kubelb demo $(ARGS)

test: .venv/installed-test
	$(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

lint: .venv/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/installed-test
	$(BIN)/python -m bench $(ARGS)

.venv/bin/pip:
	packaging/install-packages python3-venv
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/pip setup.cfg pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[demo]"
	touch $@

.venv/installed-test: .venv/installed
	packaging/install-packages $(PACKAGES)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,demo]'
	touch $@

soak: .venv/installed-test
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
