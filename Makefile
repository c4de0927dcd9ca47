# One rule makes the environment; everything else stands on it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
KIT_TEST_DATA ?=
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test test-real bench clean

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install -q uv
	$(BIN)/uv pip install -q -p $(VENV) -c constraints.txt -e '.[weights,quality]' --group dev
	touch $@

# The main job: five-fold on the digits, then scikit-learn's own split, beside its published figure.
demo: $(VENV)/.ready
	$(BIN)/kit run digits
	$(BIN)/kit run digits --protocol sklearn-half --folds 0

test: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict kit
	$(BIN)/python -m pytest -m "not real" --cov=kit --cov-report=term-missing:skip-covered

# Real images: KIT_TEST_DATA names a folder with data/ and weights/.
test-real: $(VENV)/.ready
	$(BIN)/python -m pytest -m real

# The full figures of the docs, outside the tests: minutes to hours.
bench: $(VENV)/.ready
	$(BIN)/python -m tests.bench.figures
	$(BIN)/python -m tests.bench.loading
	$(BIN)/python -m tests.bench.packing
	$(BIN)/python -m tests.bench.scale

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
