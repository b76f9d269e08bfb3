# `make demo` and `make test` work on a fresh Debian machine: what is missing is installed first, into a virtual
# environment and just as packaging/lock has it. Debian packages are installed, by root, by the tests that need them.

# LATEST=1 installs the newest that setup.cfg allows. It, and PYTHON=/path/to/python3.13, have an environment of their own.
ifndef VENV
VENV := .venv$(if $(LATEST),-latest)$(if $(PYTHON),-$(notdir $(PYTHON)))
endif
# Debian's own interpreter before any other: it is built with profile-guided optimisation, and the relay feels it.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
BIN := $(VENV)/bin
LOCK := packaging/lock
MINUTES ?= 10
# Most tests wait for something most of the time. The tests of a file share servers, so they stay with one process.
JOBS ?= $(shell expr 2 \* $$(nproc))
PYTEST = $(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
# Hundreds of processes begin: none is to compile what another has.
export PYTHONDONTWRITEBYTECODE :=
CHECKED := tests/test_architecture.py tests/pure $(addprefix tests/real/,control health relay/test_ending.py \
	relay/test_mover.py relay/test_thread.py test_cuts.py test_dialling.py test_handover.py test_rebalancing.py \
	test_reception.py test_upgrade.py)

.PHONY: demo check test lint mutants bench soak lock newest clean

demo: $(VENV)/installed-demo
	$(BIN)/kubelb demo $(ARGS)

test: $(VENV)/installed-test
	$(PYTEST) $(ARGS)

# What finds most in the least time, and takes no Debian packages but Python's.
check: lint
	$(PYTEST) $(CHECKED) $(ARGS)

lint: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# ARGS names modules and folders of kubelb/ other than those that are held to a share.
mutants: $(VENV)/installed-test
	$(BIN)/python -m tests.mutants $(ARGS)

bench: $(VENV)/installed-bench
	packaging/install-packages nginx libnginx-mod-stream wrk iproute2 haproxy
	$(BIN)/python -m bench $(ARGS)

soak: $(VENV)/installed-test
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(ARGS)

# ARGS=--upgrade takes the newest versions; without it those that are locked stay where they fit.
lock: $(VENV)/installed-compile
	$(BIN)/python $(LOCK)/compile.py $(ARGS)

PIP := $(BIN)/pip --quiet --disable-pip-version-check install
LOCKED := $(PIP) --require-hashes --only-binary :all:

$(BIN)/pip:
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || packaging/install-packages python3-venv
	$(PYTHON) -m venv $(VENV)

ifdef LATEST
EXTRAS_demo := demo
EXTRAS_bench := demo,bench
EXTRAS_test := demo,bench,test
$(VENV)/installed-%: newest | $(BIN)/pip
	$(PIP) --upgrade --upgrade-strategy eager --editable '.[$(EXTRAS_$*)]'
	touch $@
else
$(VENV)/installed-%: $(LOCK)/%.txt $(LOCK)/build.txt setup.cfg pyproject.toml | $(BIN)/pip
	$(LOCKED) -r $(LOCK)/build.txt -r $<
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@
endif

$(VENV)/installed-compile: $(LOCK)/compile.txt | $(BIN)/pip
	$(LOCKED) -r $<
	touch $@

clean:
	rm -rf .venv .venv-* build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
