# Everything here works on a machine with Python 3.11+ and make: uv is used when present, else pip.
# What is installed is what the hashed locks say, into .venv.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
UV     := $(shell command -v uv 2>/dev/null)

# The tests start some hundred processes; where no bytecode is kept, each compiles everything anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test lint chaos soak schedules mutants fuzz fuzz-atheris matrix protocol metrics reference page-pictures page-speed unit bench wheel-test lock clean

demo: $(VENV)/.run ## the whole main job, on this machine alone
	$(BIN)/candled demo $(if $(CANDLES),--candles $(CANDLES)) $(ARGS)

test: $(VENV)/.dev mosquitto chromium judges ## all tests
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

chaos: $(VENV)/.dev mosquitto faketime ## kill -9, freezes and worse upon real processes (docs/chaos.md)
	CANDLED_CHAOS_BARS=$(or $(BARS),5000) CANDLED_CHAOS_KILLS=$(or $(KILLS),300) \
	  CANDLED_CHAOS_BROKER_KILLS=$(or $(BROKER_KILLS),100) CANDLED_CHAOS_FREEZES=$(or $(FREEZES),20) \
	  CANDLED_CHAOS_SEED=$(or $(SEED),11) CANDLED_CHAOS_PAGE=$(PAGE) \
	  $(BIN)/python -m pytest tests/chaos -s $(ARGS)

soak: $(VENV)/.dev ## a year of misbehaving venues, with kill -9; BARS=8760, PACE=10 (bars a second) by default
	CANDLED_SOAK_BARS=$(or $(BARS),8760) CANDLED_SOAK_PACE=$(or $(PACE),10) CANDLED_SOAK_SEED=$(or $(SEED),11) $(BIN)/python -m pytest tests/soak -s $(ARGS)

schedules: $(VENV)/.dev ## delivery in virtual time with faults at any step; SEEDS=10000, AGAIN=1000 by default
	$(BIN)/python tests/simulation/run.py --seeds $(or $(SEEDS),10000) --again $(or $(AGAIN),1000) $(ARGS)

mutants: $(VENV)/.dev ## planted defects, each of which the simulation or a named test must find
	$(BIN)/python tests/simulation/mutants.py $(ARGS)

fuzz: $(VENV)/.dev ## broken frames through every parser; FRAMES=1000000 by default
	$(BIN)/python tests/contract/fuzz.py $(or $(FRAMES),1000000) $(SEED)

fuzz-atheris: $(VENV)/.dev ## the same led by coverage, where atheris is installed; SECONDS=300 by default
	$(BIN)/python tests/contract/fuzz_atheris.py $(or $(SECONDS),300)

matrix: $(VENV)/.dev ## every venue against every misbehaviour, as a table
	$(BIN)/python tests/contract/print_matrix.py $(ROWS)

protocol: $(VENV)/.dev ## the schemas of what is said over MQTT, written anew into docs/protocol
	$(BIN)/python -m candled_adapters.protocol.schema docs/protocol

metrics: $(VENV)/.dev ## the table of all figures, written anew into docs/metrics.md
	$(BIN)/python -m candled_adapters.web.metrics_table docs/metrics.md
page-pictures: $(VENV)/.dev chromium ## the pictures of the live page, taken anew into docs/images
	$(BIN)/python tests/web_page/pictures.py

page-speed: $(VENV)/.dev chromium ## how fast the live page is; STREAMS=200 by default
	$(BIN)/python tests/web_page/measure.py $(or $(STREAMS),200)

reference: $(VENV)/.dev ## the pages of all commands and of the configuration, written anew into docs
	$(BIN)/python -m candled.cli.reference docs

unit: $(VENV)/.dev judges ## the systemd units, judged by systemd itself: valid, and exposed by 1.5 at most
	@mkdir -p build/unit
	@sed "s#/opt/candled/.venv#$(abspath $(VENV))#" systemd/candled.service > build/unit/candled.service
	@$(BIN)/candled systemd install --config config.toml --name candled-here --write build/unit/candled-here.service
	@if command -v systemd-analyze >/dev/null; then for unit in candled candled-here; do \
	  systemd-analyze verify build/unit/$$unit.service && \
	  systemd-analyze security --offline=true --threshold=15 --no-pager build/unit/$$unit.service > build/unit/$$unit.txt \
	    || { cat build/unit/$$unit.txt; exit 1; }; tail -n 1 build/unit/$$unit.txt; done; fi

bench: $(VENV)/.run mosquitto ## against the notebook's way
	$(BIN)/candled bench $(ARGS)

lint: $(VENV)/.dev ## formatter, linter, types, walls, the container's file
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint systemd/container/Containerfile

wheel-test: $(VENV)/.dev mosquitto chromium judges ## the tests once more, against the built wheel in an empty environment
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel .
	$(MAKE) --no-print-directory VENV=build/wheel/venv build/wheel/venv/.locked-dev
	build/wheel/venv/bin/python -m pip install --quiet --no-deps build/wheel/*.whl
	build/wheel/venv/bin/python -m pytest -n auto --dist loadfile $(ARGS)

# Environments. A stamp file says what a virtual environment holds.
$(VENV)/.run: $(VENV)/.locked-run pyproject.toml
	$(call install-project)
	touch $@

$(VENV)/.dev: $(VENV)/.locked-dev pyproject.toml
	$(call install-project)
	touch $@ $(VENV)/.run

$(VENV)/.locked-run: requirements.lock
	$(call install-lock,requirements.lock)
	touch $@

$(VENV)/.locked-dev: requirements-dev.lock
	$(call install-lock,requirements-dev.lock)
	touch $@ $(VENV)/.locked-run

define install-lock
	test -x $(BIN)/python || $(if $(UV),uv venv --quiet --seed --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))
	$(if $(UV),uv pip install --quiet --python $(BIN)/python,$(BIN)/python -m pip install --quiet --disable-pip-version-check) --require-hashes -r $(1)
endef

define install-project
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
endef

# The tests use a real broker, a real browser and clocks that jump, and skip those parts without.
.PHONY: mosquitto chromium faketime judges
mosquitto chromium faketime:
	@if ! PATH="$$PATH:/usr/sbin" command -v $@ >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $@; \
	  else echo "no $@ here: tests that need a real one will be skipped"; fi; fi

# What judges our units, dashboards and alert rules. Where it cannot be had, that is not judged.
judges:
	@for pair in systemd-analyze:systemd promtool:prometheus; do \
	  command -v $${pair%%:*} >/dev/null && continue; \
	  { [ "$$(id -u)" = 0 ] && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $${pair##*:}; } \
	  || echo "no $${pair%%:*} here: what it judges will be skipped"; done

lock: ## resolve the locks anew
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	  --custom-compile-command "make lock" --extra broker --extra page --group build pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	  --custom-compile-command "make lock" --all-extras --group build --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
