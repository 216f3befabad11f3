# `make demo` and `make test` set everything up themselves: python3 >= 3.10 with pip and venv is all they need.
PYTHON ?= python3
BIN := .venv/bin
DEMO ?= runs/demo

.PHONY: demo test check bench clean
.DELETE_ON_ERROR:

demo: .venv/installed
	$(BIN)/navloop loop loop_tiny --run-dir $(DEMO)

# The tests start Python some hundred times: its bytecode is kept, whatever the shell says.
test: .venv/installed-test
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n 3 --dist loadfile

check: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/lib build/typed
	$(BIN)/pip install -q --no-deps --no-build-isolation --upgrade --target build/typed .
	$(BIN)/mypy

bench: .venv/installed-test
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv build dist *.egg-info $(DEMO)

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --upgrade pip
	$(BIN)/pip install -q -e .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/pip install -q -e '.[test]' 'setuptools>=77'
	touch $@
