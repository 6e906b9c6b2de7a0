# Everything works from a bare clone with Python 3.11: `make demo` and `make test` set up what they need.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: setup demo browser test test-all coverage lint bench clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt tools/setup.sh
	PYTHON=$(PYTHON) tools/setup.sh
	@touch $@

demo: setup
	$(BIN)/feederlab compare mapdn33 --start 2016-06-22 --days 1 --step 3min \
	  -c none -c volt_var:curve=mapdn -c volt_var:curve=ieee1547_b -c lindistflow -c socp -c opf \
	  --out runs/demo --overwrite --report

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

browser: setup
	tools/browser.sh

test: lint browser
	$(BIN)/pytest -n 2 -m "not slow"

test-all: lint browser
	$(BIN)/pytest -n 2

coverage: browser
	$(BIN)/pytest -n 2 -m "not slow" --cov --cov-report=term:skip-covered

bench: setup
	$(BIN)/python -m benchmarks.speed --write

clean:
	rm -rf .venv runs .mypy_cache .ruff_cache .pytest_cache
