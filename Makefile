# `make` sets up what each target needs: hash-pinned packages in .venv, nothing else.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: install help serve test test-wheel test-compiled check-native fuzz check check-deploy bench benchmark load soak drift pictures lock kserve exporters manifests ray rpc clean
.DELETE_ON_ERROR:

install: .venv/installed         ## Install the command .venv/bin/calibrant, with what fitting needs.

.venv/installed: requirements/calibration.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --require-hashes -r requirements/calibration.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

.venv/developing: requirements/dev.txt .venv/installed
	$(PIP) --require-hashes -r requirements/dev.txt
	touch $@

help:                            ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s%s\n", $$1, $$2 }' Makefile

serve: install                   ## Serve models/ on 127.0.0.1:8000.
	$(BIN)/calibrant serve

# clients of the protocol that want other versions of what the service stands on
.venv/kserve/ready: requirements/kserve.txt .venv/installed
	test -x .venv/kserve/bin/python || $(PYTHON) -m venv .venv/kserve
	.venv/kserve/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	touch $@

kserve: .venv/kserve/ready       ## Install KServe's and Triton's clients, for the tests that use them.

rpc: service/rpc/messages.desc   ## Compile the messages over gRPC from their .proto files.
service/rpc/messages.desc: service/rpc/open_inference.proto service/rpc/health.proto
	$(MAKE) kserve
	.venv/kserve/bin/python -m grpc_tools.protoc --proto_path=$(@D) --descriptor_set_out=$@ $(^F)

# torch by itself and by number: its build without CUDA is not where the others are, and has other hashes
.venv/exporters/ready: requirements/exporters.txt
	test -x .venv/exporters/bin/python || $(PYTHON) -m venv .venv/exporters
	.venv/exporters/bin/python -m pip --disable-pip-version-check install --quiet torch==2.13.0
	.venv/exporters/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	touch $@

exporters: .venv/exporters/ready ## Install what makes ONNX classifiers, for the tests that serve these.

# what `calibrant score --engine ray` and `serve run deploy.ray.app:app` need
.venv/ray/ready: requirements/ray.txt
	test -x .venv/ray/bin/python || $(PYTHON) -m venv .venv/ray
	.venv/ray/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	touch $@

ray: .venv/ray/ready .venv/developing ## Install Ray, for deploy/ray and scores on a cluster, and test these.
	$(BIN)/python -m pytest tests/scoring/test_cluster.py --thorough

# three groups at once, of one length: much of their time they wait; the targets named in THEN follow the second
FIRST := tests/console tests/exporters tests/journal tests/process tests/resilience
SECOND := tests/benchmarks tests/commands tests/deploy
COVERED := $(BIN)/coverage run -m pytest

test: .venv/developing           ## Run the tests with coverage; TESTS=tests/codec runs a part without.
ifdef TESTS
	$(BIN)/python -m pytest $(TESTS)
else
	$(BIN)/coverage erase
	$(COVERED) $(FIRST) > .first.log 2>&1 & first=$$!; \
	($(COVERED) $(SECOND) $(if $(THEN),&& $(MAKE) $(THEN))) > .second.log 2>&1 & second=$$!; \
	$(COVERED) $(patsubst %,--ignore=%,$(FIRST) $(SECOND)); rest=$$?; \
	wait $$first || rest=1; wait $$second || rest=1; cat .first.log .second.log; rm .first.log .second.log; test $$rest = 0
	$(BIN)/coverage combine -q
	$(BIN)/coverage report
endif

test-wheel: .venv/developing     ## Build the wheel and run the main tests against what it installs.
	tests/wheel.sh

test-compiled: .venv/developing  ## Build the compiled wheel, and run the tests of what is compiled on it.
	tests/wheel.sh compiled

check-native: .venv/developing   ## Run the tests of the C code with AddressSanitizer and UBSan.
	tests/native.sh

fuzz: .venv/developing           ## Compare 10 million fuzzed bodies with the careful way, in an hour; FUZZ=1 is 100,000.
	tests/native.sh fuzz

check: .venv/developing          ## Check style, types and the imports between rooms.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deno fmt --check --quiet service/console deno.json
	$(BIN)/deno lint --quiet service/console
	$(BIN)/deno check --quiet service/console/*.js service/console/*/*.js

# what the checks of deploy/ need; without it they are skipped among the tests
.venv/deploying: requirements/deploy.txt .venv/developing
	$(PIP) --require-hashes -r requirements/deploy.txt
	touch $@

# the Dockerfile and deploy/, also by running them; a tool that is missing is a failure
check-deploy: .venv/deploying .venv/kserve/ready .venv/loading .venv/ray/ready ## Run the tests of the Dockerfile and deploy/.
	$(BIN)/python -m pytest tests/deploy --thorough $(CHECKS)

manifests: .venv/deploying       ## Render deploy/kubernetes from the chart.
	$(BIN)/python deploy/kubernetes/render.py

pictures: .venv/developing       ## Take the pictures of docs/console.md, and one of every page into build/pictures.
	$(BIN)/python -m tests.console.pictures

bench: .venv/developing          ## Run the benchmarks; BENCH="all --json FILE" says which and how.
	$(BIN)/python -m tests.benchmarks $(BENCH)

# each server that is measured in an environment of its own, this one in that of the image, compiled
PEERS := bentoml litserve mlserver mosec
$(PEERS:%=.venv/%/ready): .venv/%/ready: requirements/%.txt
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	touch $@

.venv/image/ready: requirements/image.txt .venv/developing $(shell find service -name '*.py' -o -name '*.c')
	rm -rf build/image
	HATCH_BUILD_HOOK_ENABLE_CUSTOM=1 $(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/image .
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	$(@D)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --no-index --force-reinstall build/image/*.whl
	touch $@

benchmark: $(PEERS:%=.venv/%/ready) .venv/image/ready ## Measure this server beside others, and write docs/benchmark.md; 12 minutes.
	$(BIN)/python -m tests.benchmarks.comparison $(BENCHMARK)

.venv/loading: requirements/load.txt .venv/installed
	$(PIP) --require-hashes -r requirements/load.txt
	touch $@

HOST ?= http://127.0.0.1:8000
load: .venv/loading              ## Load HOST, or a server of its own where none answers there; LOAD="--stage-s 4" is shorter.
	$(BIN)/python -m deploy.locust.run --host $(HOST) $(LOAD)

# pins with hashes for every platform and Python; an address of an index never gets in
LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate --quiet
lock: .venv/developing           ## Renew the pins in requirements/.
	$(LOCK) --upgrade --extra calibration --group build -o requirements/calibration.txt
	$(LOCK) --upgrade --extra calibration --extra grpc --extra otel --extra postgres --group dev -o requirements/dev.txt
	$(subst pyproject.toml,,$(LOCK)) --upgrade --group build --group compile --constraint requirements/dev.txt -o requirements/build.txt
	$(LOCK) --upgrade --extra grpc --extra otel --extra postgres --constraint requirements/dev.txt -o requirements/image.txt
	echo onnxruntime | $(LOCK) --upgrade --extra grpc --extra otel --extra postgres --group cuda --excludes - --constraint requirements/image.txt -o requirements/cuda.txt
	$(subst pyproject.toml,,$(LOCK)) --upgrade --group sbom --constraint requirements/dev.txt -o requirements/sbom.txt
	$(subst pyproject.toml,,$(LOCK)) --upgrade --group kserve -o requirements/kserve.txt
	echo torch | $(subst pyproject.toml,,$(LOCK)) --upgrade --group exporters --excludes - -o requirements/exporters.txt
	$(subst pyproject.toml,,$(LOCK)) --upgrade --group load --constraint requirements/dev.txt -o requirements/load.txt
	$(LOCK) --upgrade --group deploy --constraint requirements/dev.txt -o requirements/deploy.txt
	$(LOCK) --upgrade --extra ray --group ray --constraint requirements/dev.txt -o requirements/ray.txt
	$(foreach peer,$(PEERS),$(subst pyproject.toml,,$(LOCK)) --upgrade --group $(peer) -o requirements/$(peer).txt &&) true

soak: .venv/developing          ## Fuzz, ask, load and kill for an hour; SOAK="--minutes 10" is less.
	$(BIN)/python -m tests.resilience.soak $(SOAK)
	$(BIN)/python -m tests.resilience.overload
	$(BIN)/python -m tests.resilience.overload --plain
	$(BIN)/python -m tests.resilience.slow
	$(BIN)/python -m tests.resilience.slow --plain
	$(BIN)/python -m tests.resilience.vanish
	$(BIN)/python -m tests.resilience.vanish --plain
	$(BIN)/python -m tests.resilience.killed

drift: install                   ## See a head drift, the alarm and what follows, in two minutes.
	$(BIN)/python -m deploy.drift.run $(DRIFT)

clean:                           ## Remove what was built and installed here.
	rm -rf .venv build dist .*_cache .coverage .coverage.* .hypothesis
