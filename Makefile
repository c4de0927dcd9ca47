# One rule makes the environment; everything else stands on it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
KIT_TEST_DATA ?=
# Of the benchmarks: where finished parts are kept, and the folder above fashion-mnist/ (Debian: dataset-fashion-mnist).
OUT ?= bench
FASHION ?= /usr/share/datasets
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test test-real docs bench clean

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

# The docs as a site that needs no server and no network: docs/_build/html/index.html.
docs: $(VENV)/.ready
	$(BIN)/python -m sphinx -b html -q -W --keep-going docs docs/_build/html

# The full figures of the docs, outside the tests: minutes to hours.
bench: $(VENV)/.ready .venv-peers/.ready
	$(BIN)/python -m tests.bench.figures
	$(BIN)/python -m tests.bench.loading
	$(BIN)/python -m tests.bench.packing
	$(BIN)/python -m tests.bench.scale
	$(BIN)/python -m tests.bench.lesson --fastai-python .venv-peers/bin/python --out $(OUT)/lesson
	$(BIN)/python -m tests.bench.story --out $(OUT)/story
	$(BIN)/python -m tests.bench.transfer --out $(OUT)/transfer
	$(BIN)/python -m tests.bench.start --out $(OUT)/start
	$(BIN)/python -m tests.bench.fashion --mirror $(FASHION) --out $(OUT)/fashion
	$(BIN)/python -m tests.bench.own_models --mirror $(FASHION) --out $(OUT)/own-models
	$(BIN)/python -m tests.bench.memory --out $(OUT)/memory.json
	$(BIN)/python -m tests.bench.pruning --out $(OUT)/pruning
	$(BIN)/python -m tests.bench.coverage
	$(BIN)/python -m tests.bench.site --out $(OUT)/site

# fast.ai brings much that the kit does not need: an environment of its own.
.venv-peers/.ready: $(VENV)/.ready
	$(BIN)/uv venv -q -p $(BIN)/python .venv-peers
	$(BIN)/uv pip install -q -p .venv-peers -c constraints.txt torch torchvision timm safetensors --group peers
	touch $@

clean:
	rm -rf $(VENV) .venv-peers docs/_build docs/commands .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
