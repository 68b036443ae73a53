# The only list of developer commands. Each makes .venv when it is missing; a second call is instant.
#   make demo PYTHON=python3.12     chooses the Python that makes .venv
#   make test PYTEST=-k\ dice       hands options to pytest

PYTHON ?= python3
PYTEST ?=
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test test-slow check bench docs

demo: $(READY)  ## made-up data, a small training, a report: under three minutes
	$(BIN)/xln demo

test: $(READY)  ## the default suite: minutes on two cores
	$(BIN)/pytest -m "not slow" -n 2 --dist worksteal $(PYTEST)

test-slow: $(READY)  ## the tests that take long
	$(BIN)/pytest -m slow $(PYTEST)

check: $(READY)  ## format, lint, types, floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## every script of benchmarks/, one after the other
	@set -e; for script in benchmarks/*.py; do \
	  if [ -f "$$script" ]; then echo "== $$script"; $(BIN)/python "$$script"; fi; done

docs: $(READY)  ## write anew what is made from the code
	$(BIN)/python scripts/write_schema.py

$(READY): pyproject.toml constraints.txt scripts/setup_venv.py
	$(PYTHON) scripts/setup_venv.py
	@touch $@
