# `make help` says what there is. The cluster: CLUSTER=existing, kind or local, or KUBECONFIG; else kind where Docker
# runs, else the local one of hack/local-cluster.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV ?= .venv
PYTHON_IN_VENV := $(VENV)/bin/python
STAMP := $(VENV)/.installed
export PYTHONPATH := hack:hack/local-cluster
# Compiled code is kept: tests start hundreds of processes, and to compile all that one imports takes seconds.
export PYTHONDONTWRITEBYTECODE :=
CODE := memory operator/robotgroups_operator robot-image/robotgroups_robot cli/robotgroups_cli hack tests $(wildcard examples) $(wildcard benchmarks)
# Tracing doubles what pure tests take: COVER=1 asks for it.
COVER ?=
PYTEST := $(PYTHON_IN_VENV) -m pytest $(if $(COVER),--cov --cov-report=) $(PYTEST_ARGS)
# These tests work and wait in turn: two at a time on one core, each with servers of its own.
PARALLEL := -n 4 --dist loadfile
CHAOS_PATH := $(CURDIR):$(CURDIR)/tests/support:$(CURDIR)/hack:$(CURDIR)/hack/local-cluster
CHAOS_DIRECTORY ?= $(CURDIR)/build/chaos
CHAOS_RESULTS ?= benchmarks/results
IN_CLUSTER = eval "$$($(PYTHON_IN_VENV) -m clusters env)";
BENCH_VENV ?= .venv-bench
BENCH_PATH := $(CURDIR):$(CURDIR)/tests/support:$(CURDIR)/hack:$(CURDIR)/hack/local-cluster
BENCHMARKS := bench-remember bench-sync bench-recall bench-context bench-memory bench-quality bench-doorbell bench-idle
COVERAGE := $(CURDIR)/build/coverage
# Set when this run has started the cluster: whoever started it takes it down.
STARTED_FILE ?= build/cluster-started

.PHONY: help venv bench-venv bench bench-smoke bench-soak bench-failover $(BENCHMARKS) chaos reference lock cluster-up cluster-down images load demo lint unit integration e2e coverage test clean programs

help: ## say what the targets do
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  CLUSTER=existing|kind|local or KUBECONFIG=file chooses the cluster; PYTEST_ARGS goes to pytest;"
	@echo "  DEMO_JSON=file makes the demo write its result; REGISTRY=host/path is where an existing cluster pulls from."

venv: $(STAMP) ## make .venv with the project, all its extras and the tools

$(STAMP): hack/venv.sh hack/locks/dev.txt pyproject.toml
	@hack/venv.sh $(VENV)
	@touch $@

reference: venv ## write docs/reference anew from the resource and the API
	@$(PYTHON_IN_VENV) hack/reference.py

lock: ## write hack/locks anew from pyproject.toml
	hack/locks/lock.sh

programs: venv ## build etcd, Kubernetes, Helm and CoreDNS into the cache (10 minutes the first time on 2 cores)
	@PYTHON=$(PYTHON_IN_VENV) hack/local-cluster/cluster programs

cluster-up: venv ## bring the cluster up, if it is not
	@$(PYTHON_IN_VENV) -m clusters up --started-file $(STARTED_FILE)

cluster-down: venv ## take the cluster down and leave nothing of it
	@$(PYTHON_IN_VENV) -m clusters down
	@rm -f $(STARTED_FILE)

images: venv ## build the images whose content changed (LOCAL_MODEL=1: robot-local too); their names go to build/images.json
	@$(PYTHON_IN_VENV) -m images $(if $(LOCAL_MODEL),--local-model)

load: images cluster-up ## give the images to the cluster's nodes
	@$(PYTHON_IN_VENV) -m clusters load

demo: load ## see a group of robots share memory and survive the death of its active robot
	@$(IN_CLUSTER) $(PYTHON_IN_VENV) hack/demo

lint: venv ## ruff, mypy --strict, import-linter
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy --strict $(CODE)
	$(VENV)/bin/lint-imports

unit: venv ## pure tests
	@mkdir -p $(COVERAGE)
	COVERAGE_FILE=$(COVERAGE)/.coverage.unit $(PYTEST) -n 2 --dist loadfile tests/unit tests/architecture

integration: venv programs ## tests on Postgres (embedded 18, then Debian's 17) and on a real API server
	@hack/test-packages.sh
	@mkdir -p $(COVERAGE)
	COVERAGE_FILE=$(COVERAGE)/.coverage.integration $(PYTEST) $(PARALLEL) tests/integration tests/migration tests/chart tests/benchmarks
	COVERAGE_FILE=$(COVERAGE)/.coverage.integration17 ROBOTGROUPS_TEST_POSTGRES=17 \
	  $(PYTEST) $(PARALLEL) tests/integration/invariants $(addprefix tests/integration/engine/test_,life.py sync.py) tests/migration

e2e: LOCAL_MODEL := 1
e2e: load ## tests on the cluster
	@mkdir -p $(COVERAGE)
	@$(IN_CLUSTER) tests=tests/e2e; \
	if [ "$$($(PYTHON_IN_VENV) -m clusters kind)" = local ]; then tests="$$tests tests/local_cluster"; \
	else tests="$$tests --ignore=tests/e2e/test_chaos.py"; fi; set -x; \
	COVERAGE_FILE=$(COVERAGE)/.coverage.e2e $(PYTEST) $$tests

chaos: load bench-venv ## 200 faults in an hour under load, nothing lost? (CHAOS_SEED, CHAOS_FAULTS, CHAOS_MINUTES, CHAOS_JSON=file)
	@$(IN_CLUSTER) export PYTHONPATH=$(CHAOS_PATH) CHAOS_DIRECTORY=$(CHAOS_DIRECTORY); rm -f "$$CHAOS_DIRECTORY/result.json"; \
	ended=0; $(PYTHON_IN_VENV) -m tests.chaos || ended=$$?; \
	if [ -f "$$CHAOS_DIRECTORY/result.json" ]; then \
	  $(BENCH_VENV)/bin/python -m tests.chaos.report "$$CHAOS_DIRECTORY" $(CHAOS_RESULTS); \
	fi; exit $$ended

bench-venv: $(BENCH_VENV)/.installed ## make .venv-bench with the project and the peers that benchmarks compare it with

$(BENCH_VENV)/.installed: hack/venv.sh hack/locks/bench.txt pyproject.toml
	@hack/venv.sh $(BENCH_VENV) hack/locks/bench.txt
	@touch $@

bench-soak: ## a million changes in one group, 15 minutes at most: is everything bounded? (BENCH_ARGS=--changes N)
$(BENCHMARKS) bench-soak: bench-venv
	@PYTHONPATH=$(BENCH_PATH) $(BENCH_VENV)/bin/python -m benchmarks.$(@:bench-%=%) $(BENCH_ARGS)

bench-failover: load bench-venv ## how soon a dead robot is replaced, by what befell it, on the cluster (45 minutes; BENCH_ARGS=--quick: 5)
	@$(IN_CLUSTER) PYTHONPATH=$(BENCH_PATH) $(BENCH_VENV)/bin/python -m benchmarks.failover $(BENCH_ARGS)

bench-smoke: venv bench-venv ## do all benchmarks work, with all peers? (the tests do this without them)
	BENCH_PYTHON=$(CURDIR)/$(BENCH_VENV)/bin/python BENCH_PEERS=langgraph,langgraph_index,mem0,htm \
	  $(PYTHON_IN_VENV) -m pytest $(PYTEST_ARGS) tests/benchmarks

bench: $(BENCHMARKS) ## all benchmarks, one after the other (BENCH_ARGS=--quick: does everything work?)

coverage: venv ## report what the tests of this checkout have covered (make test COVER=1 first)
	@cd $(COVERAGE) && $(CURDIR)/$(VENV)/bin/coverage combine --quiet --keep --rcfile=$(CURDIR)/pyproject.toml \
	  --data-file=$(COVERAGE)/combined $(COVERAGE)/.coverage.*
	@$(VENV)/bin/coverage report --data-file=$(COVERAGE)/combined --skip-covered

test: ## lint, unit, integration, e2e; then the coverage of all, if COVER=1
	@rm -rf $(COVERAGE)
	@started=$$(date +%s); \
	for step in lint unit integration e2e $(if $(COVER),coverage); do \
	  echo "==> make $$step"; at=$$(date +%s); $(MAKE) $$step; echo "    make $$step took $$(($$(date +%s) - at)) s"; \
	done; \
	echo "all tests passed in $$(($$(date +%s) - started)) s"

clean: ## remove what the build left in the checkout (the cache outside of it stays)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
