# make run: tail samples/ and serve http://127.0.0.1:9877/metrics
# make test: lint, types, import direction, unit, golden and system tests
# Both do all of their own set-up on a machine with Python 3.11+ and make.

PYTHON ?= python3
BIN := .venv/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: run test lint unit golden docs dashboards demo drill clean

run: .venv/run
	$(BIN)/dify-exporter serve

test: .venv/test lint
	$(MAKE) --no-print-directory programs
	$(BIN)/pytest -n auto --dist worksteal

lint: .venv/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# The fast half of the tests.
unit: .venv/test
	$(BIN)/pytest -m "not system" -n auto

# Kills the exporter under load and compares what was written with what was counted:
# make soak KILLS=1000 SECONDS=5 RATE=5000 ROTATE=2 ATTACKERS=300
.PHONY: soak
soak: .venv/test programs
	$(BIN)/python -m tests.system.soak

# Coverage-guided fuzzing of every parser and of what the proxy reads; the corpus and findings are in .fuzz.
.PHONY: fuzz
MINUTES ?= 5
fuzz: .venv/test
	$(BIN)/pip install --quiet --group fuzz
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

# The operator's stack on this machine, with a small Dify, traffic and receivers; prints its addresses.
demo: .venv/demo
	@$(MAKE) --no-print-directory programs
	$(BIN)/python -m tests.drill --demo

# Breaks that stack on purpose and watches each alert arrive and end: 45 minutes, or SPEED=90 for half of one.
SPEED ?= 1
drill: .venv/demo
	@$(MAKE) --no-print-directory programs
	$(BIN)/python -m tests.drill --speed $(SPEED)

# Writes grafana/dashboards/ from grafana/dashboards.py.
dashboards: .venv/test
	$(BIN)/python -m grafana.dashboards

# Writes the expositions that the samples give; read the difference before you commit it.
golden: .venv/test
	$(BIN)/python -m tests.golden

# Writes what is derived from the code and the rules: read the difference before you commit it.
docs: .venv/test
	$(BIN)/python -m tests.metrics_reference
	$(BIN)/python -m tests.alerts
	$(BIN)/python -m tests.references

# Pins what CI and the image install, with hashes; the package itself keeps ranges.
.PHONY: lock
lock: .venv/python
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra proxy --generate-hashes --universal --python-version 3.11 --no-annotate \
	  --no-emit-index-url --custom-compile-command 'make lock' --upgrade --quiet --output-file requirements.lock

# Known vulnerabilities of what the lock pins: exit code 1 for some, 2 where nobody can be asked.
.PHONY: audit
audit: .venv/python
	$(BIN)/pip install --quiet --group release
	$(BIN)/python -m tests.advisories

# What a release uploads, tried as a user gets it: the wheel in an environment of its own, dependencies by their hashes.
.PHONY: dist
dist: .venv/python
	rm -rf dist
	$(BIN)/pip install --quiet --group release
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(PYTHON) -m venv --clear dist/.venv
	dist/.venv/bin/pip install --quiet --require-hashes --requirement requirements.lock
	dist/.venv/bin/pip install --quiet --no-deps dist/*.whl
	dist/.venv/bin/pip check
	cd dist && .venv/bin/dify-exporter --version && .venv/bin/dify-exporter replay ../samples/nginx-dify.log > /dev/null
	rm -rf dist/.venv

clean:
	rm -rf .venv .dify-exporter dist

# Debian splits ensurepip from Python.
.venv/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed"; exit 1; }
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(SUDO) sh -c 'apt-get update && apt-get install -y python3-venv'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	touch $@

# In CI what the package and its proxy need comes from the lock, by its hashes.
.venv/run: .venv/python pyproject.toml $(if $(CI),requirements.lock)
	$(if $(CI),$(BIN)/pip install --quiet --require-hashes --requirement requirements.lock)
	$(BIN)/pip install --quiet --editable . $(if $(CI),--no-deps)
	touch $@

.venv/test: .venv/run
	$(BIN)/pip install --quiet --group test --group lint
	touch $@

.venv/demo: .venv/run
	$(BIN)/pip install --quiet --group demo
	touch $@

# The programs of the system tests and the Debian packages that bring them. RUNLEVEL=1 keeps services from starting.
PROGRAMS := git curl nginx prometheus promtool mtail prometheus-alertmanager amtool prometheus-blackbox-exporter logrotate envsubst \
  systemd-analyze openssl docker-compose chromium chromedriver
PACKAGES := git curl nginx-light prometheus mtail prometheus-alertmanager prometheus-blackbox-exporter logrotate gettext-base \
  systemd openssl docker-compose chromium chromium-driver
.PHONY: programs
programs:
	@for program in $(PROGRAMS); do PATH="$$PATH:/usr/sbin" command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	[ -z "$$missing" ] || $(SUDO) sh -c 'apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y --no-install-recommends $(PACKAGES)' \
	  || echo "could not be installed:$$missing; their tests will be skipped"

# What a real logrotate does to the exporter, Pygtail and mtail: one table; `ROTATIONS=10` takes longer.
.PHONY: rotation-matrix
ROTATIONS ?= 2
rotation-matrix: .venv/test
	$(MAKE) --no-print-directory programs
	$(BIN)/python -m tests.system.rotations --rotations $(ROTATIONS) 2>/dev/null

# Side by side with other tools, one table at the end; `make bench LINES=1000000 ROUNDS=5` takes longer.
.PHONY: bench
LINES ?= 200000
ROUNDS ?= 3
bench: .venv/test
	$(MAKE) --no-print-directory programs
	$(BIN)/python -m benchmarks --lines $(LINES) --rounds $(ROUNDS)
	$(BIN)/python -m benchmarks.proxy --rounds $(ROUNDS)
