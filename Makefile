# Two commands for a new user: `make demo` and `make test`. Everything they need is installed into $(VENV).
PYTHON  ?= python3
AIRFLOW ?= 3.3
VENV    ?= .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready-$(AIRFLOW)

.PHONY: demo test lint unit e2e clean

demo: $(READY)
	$(BIN)/python -m airbyte_deferrable.demo $(DEMO_ARGS)

test: lint unit e2e

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile -m "not e2e"

e2e: $(READY)
	$(BIN)/pytest -m "e2e and not killmatrix"

# uv installs the pinned set in seconds, where pip needs minutes.
$(READY): pyproject.toml constraints/airflow-$(AIRFLOW).txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints/airflow-$(AIRFLOW).txt \
		--editable . --group test --group lint --group package
	rm -f $(VENV)/.ready-* && touch $@

clean:
	rm -rf $(VENV) .venv-* dist site .mypy_cache .ruff_cache .pytest_cache demo-output

# Kills every part of an Airflow with Celery, PostgreSQL and Redis; needs Debian's postgresql and redis-server.
CHAOS := .venv-chaos

chaos: $(CHAOS)/.ready
	$(CHAOS)/bin/python -m chaos $(CHAOS_ARGS)

$(CHAOS)/.ready: pyproject.toml constraints/chaos-3.3.txt
	test -x $(CHAOS)/bin/python || $(PYTHON) -m venv $(CHAOS)
	$(CHAOS)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(CHAOS)/bin/uv pip install --quiet --python $(CHAOS)/bin/python --constraints constraints/chaos-3.3.txt \
		--editable . --group chaos
	touch $@

# Everything that a person, a deadline or a machine can do to a task, on a real Airflow.
kill-matrix: $(READY)
	$(BIN)/pytest -s tests/e2e/test_kill_matrix.py

.PHONY: chaos kill-matrix
