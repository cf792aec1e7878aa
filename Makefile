# Two commands are enough on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo
PYTEST_ARGS ?=

# uv is faster, but cannot see wheels that only pip is set up to find; UV=1 opts in.
ifneq ($(and $(UV),$(shell command -v uv 2>/dev/null)),)
  MAKE_VENV = uv venv --python $(PYTHON) $(VENV)
  INSTALL = uv pip install --python $(BIN)/python
else
  MAKE_VENV = $(shell command -v $(PYTHON) 2>/dev/null || command -v python3) -m venv $(VENV)
  INSTALL = $(BIN)/python -m pip install --quiet
endif

.PHONY: demo test lint venv docs bench clean

demo: $(VENV)/.installed
	$(BIN)/npi-bids-demo $(DEMO)

test: lint
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

venv: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(MAKE_VENV)
	$(INSTALL) -c constraints.txt -e ".[test]"
	touch $@

docs: $(VENV)/.installed
	$(INSTALL) -c constraints.txt -e ".[docs]"
	$(BIN)/python -m sphinx -W -b html docs docs/_build/html

bench: $(VENV)/.installed
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info docs/_build .pytest_cache .mypy_cache .ruff_cache demo
