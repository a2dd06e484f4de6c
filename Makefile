# Two commands on a machine with Python >= 3.10, venv and make:
#   make demo    convert the bundled model of the README's picture, and run a photograph through it
#   make test    run the tests, two at a time (make test JOBS=4: four)
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BIN = $(VENV)/bin
NET = fixtures/trained/oilpaint

.PHONY: demo test safety lint types check coverage site clean

demo: $(VENV)/.installed
	$(BIN)/porter convert $(NET)/model.t7 -o demo/oilpaint --force
	$(BIN)/porter stylize demo/oilpaint $(NET)/coffee.png -o demo/coffee.png --force

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

# What files and accidents may do holds without porter's asserts too. pytest keeps those of tests.
SAFETY = tests/torch7/test_hostile.py tests/frontend/test_hostile_models.py \
	tests/system/test_atomic.py tests/system/test_checksums.py tests/system/test_optimized.py \
	tests/runtime/test_archive.py tests/emit/test_keras_files.py tests/imaging/test_photos.py \
	tests/apps/stylize/test_trust.py tests/apps/transfer/test_safe_unpickle.py \
	tests/apps/transfer/test_bad_input.py tests/parity/test_recording.py

safety: $(VENV)/.installed-dev
	$(BIN)/python -O -m pytest -q -W ignore::pytest.PytestConfigWarning $(SAFETY)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-dev
	$(BIN)/mypy

check: $(VENV)/.installed
	$(BIN)/porter check fixtures --jobs 2 --cache $(VENV)/porter-check

coverage: $(VENV)/.installed-dev
	$(BIN)/python tools/measure_coverage.py
	$(BIN)/python tools/zoo_page.py
	$(BIN)/python tools/count.py

site: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) demo site .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@
