# Two commands for a new user: `make demo` and `make test`. Everything they need is installed into $(VENV).
PYTHON  ?= python3
AIRFLOW ?= 3.3
VENV    ?= .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready-$(AIRFLOW)
# How tests are shared out among pytest's workers, a file each: see tests/conftest.py.
SHARED  := --dist loadfile --no-loadscope-reorder
GROUPS  := --group test --group lint --group package --group docs --group postgresql

# Airflow starts hundreds of processes: with this, which containers like to set, each compiles all of it anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint types-of-package types-of-tests unit e2e journeys bench bench-waiting bench-legs bench-lineage bench-slots bench-triggerer bench-watching bench-page matrix coverage package docs constraints clean

demo: $(READY)
	$(BIN)/python -m demo $(DEMO_ARGS)

# Everything beside the official provider: legs, a real Airflow, waiting. An hour and a half; BENCH_ARGS=--quick for some
# minutes. Nothing else should run meanwhile.
bench: bench-legs bench-slots bench-waiting

# What waiting costs: about a quarter of an hour; BENCH_ARGS=--quick for one minute.
bench-waiting: $(READY)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

# What a leg of a task costs its worker: ten minutes.
bench-legs: $(READY)
	$(BIN)/python -m benchmarks.legs $(BENCH_ARGS)

# What telling of a thousand streams adds to a task's last leg: two minutes.
bench-lineage: $(READY)
	$(BIN)/python -m benchmarks.lineage $(BENCH_ARGS)

# What it costs to watch a thousand connections, beside a poll for each: three minutes.
bench-watching: $(READY)
	$(BIN)/python -m benchmarks.watching $(BENCH_ARGS)

# The same in a real triggerer, with a whole Airflow around it: half an hour, nearly all of it Airflow's workers; needs
# Debian's postgresql. BENCH_ARGS="--tasks 100 --sleepers 50" for some minutes.
bench-triggerer: $(READY)
	$(BIN)/python -m benchmarks.triggerer $(BENCH_ARGS)

# What the page costs with two thousand syncs in flight and ten users who look: some minutes; needs Debian's postgresql.
bench-page: $(READY)
	$(BIN)/python -m benchmarks.page $(BENCH_ARGS)

# Everything that `make lint`, `make unit` and `make e2e` do; one of the workers has the whole Airflow.
test: lint
	$(BIN)/pytest -n 4 $(SHARED) --durations=20 -m "not killmatrix and not journey and not package and not explore"

# Both types of mypy at once: each has one core to itself.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target types-of-package types-of-tests

types-of-package: $(READY)
	$(BIN)/mypy

types-of-tests: $(READY)
	$(BIN)/mypy --config-file tests/mypy.ini

unit: $(READY)
	$(BIN)/pytest -n 4 $(SHARED) --durations=10 -m "not e2e and not journey and not package and not explore"

# All on one Airflow.
e2e: $(READY)
	$(BIN)/pytest --durations=20 -m "e2e and not killmatrix and not journey"

# What a user does and sees, an Airflow for each: the demo, the quick start, Airflow's pages in a browser (Debian's
# chromium and chromium-driver), the page in a browser, fifty syncs over two slots.
journeys: $(READY)
	$(BIN)/pytest -n 2 $(SHARED) --durations=20 -m journey

# Every supported Airflow and Python: see tools/matrix.py. A part: make matrix CELLS="2.11 3.2"
matrix: $(READY)
	$(BIN)/python -m tools.matrix $(CELLS)

# The branch coverage of the unit tests, combined over all cells: an hour and more, since tracing slows them down.
coverage: $(READY)
	$(BIN)/python -m tools.matrix --coverage

package: $(READY)
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	$(BIN)/pytest --durations=5 -m package

docs: $(READY)
	$(BIN)/mkdocs build --strict

# uv installs the pinned set in seconds, where pip needs minutes.
$(READY): pyproject.toml constraints/airflow-$(AIRFLOW).txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints/airflow-$(AIRFLOW).txt \
		--editable . $(GROUPS)
	rm -f $(VENV)/.ready-* && touch $@

# Adds what pyproject.toml newly asks for and keeps every other version; UPGRADE=--upgrade takes the newest ones.
constraints:
	for wanted in constraints/airflow-*.in; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-header --no-annotate $(UPGRADE) \
			pyproject.toml $(GROUPS) $$wanted --output-file $${wanted%.in}.txt || exit 1; \
	done

clean:
	rm -rf $(VENV) .venv-* dist site .mypy_cache .ruff_cache .pytest_cache demo-output

# Kills every part of an Airflow with Celery, PostgreSQL and Redis, while users clear and mark tasks; needs Debian's
# postgresql and redis-server.
CHAOS := .venv-chaos

chaos: $(CHAOS)/.ready
	$(CHAOS)/bin/python -m chaos $(CHAOS_ARGS)

# What syncs cost the workers of a real Airflow, beside the official provider: about an hour. In pieces: first
# BENCH_ARGS="--executors LocalExecutor", then BENCH_ARGS=--missing. BENCH_ARGS=--quick for some minutes.
bench-slots: $(CHAOS)/.ready
	$(CHAOS)/bin/python -m benchmarks.slots $(BENCH_ARGS)

$(CHAOS)/.ready: pyproject.toml constraints/chaos-3.3.txt
	test -x $(CHAOS)/bin/python || $(PYTHON) -m venv $(CHAOS)
	$(CHAOS)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(CHAOS)/bin/uv pip install --quiet --python $(CHAOS)/bin/python --constraints constraints/chaos-3.3.txt \
		--editable . --group chaos
	touch $@

# Each step between a task and the outside, crashed, killed and cleared, and all jobs accounted for. It mostly waits, so
# that it has more workers than cores. A part: make explore EXPLORE_ARGS='-k "deferred and Variable"'
explore: $(READY)
	$(BIN)/pytest -n 4 --timeout 3600 -o faulthandler_timeout=3700 -m explore tests/test_explorer.py $(EXPLORE_ARGS)

# Everything that a person, a deadline or a machine can do to a task, or to a watcher of an asset, on a real Airflow:
# a quarter of an hour. Of another one:
# make kill-matrix AIRFLOW=3.0 VENV=.venv-3.0 PYTHON=python3.11
kill-matrix: $(READY)
	$(BIN)/pytest -s -m killmatrix tests/e2e/test_kill_matrix.py tests/e2e/test_ended.py

# The same on Airflow 2.11, which keeps a task's job in a Variable, in the environment that `make matrix` has made: twelve
# minutes.
kill-matrix-2.11: $(READY)
	$(BIN)/python -m tools.matrix --kill-matrix 2.11

.PHONY: chaos explore kill-matrix kill-matrix-2.11
