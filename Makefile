# Everything runs in .venv, which the first command makes with plain pip and later commands find ready.
#     make run ARGS="--preset smoke --out runs/first"
#     make test ARGS="-k purge"
PYTHON ?= python3.11
ARGS ?=
BIN := .venv/bin
READY := .venv/ready
REQUIREMENTS := pyproject.toml constraints.txt pipelines/requirements.txt tests/requirements.txt $(wildcard images/*/requirements.txt)

# one thread per library: the same bytes on every run, and no contention between the test processes
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export NUMBA_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help run test test-lookahead test-models test-docker check bench compile docs images clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(READY) ## run the whole factory on the embedded data and print a leaderboard
	@$(BIN)/mlfactory run $(ARGS)

test: $(READY) ## run the quick suite: laws, contracts and every part
	@$(BIN)/python -m pytest -q -n 2 --dist loadscope $(ARGS)

test-lookahead: $(READY) ## run the look-ahead laws and the parts that they guard
	@$(BIN)/python -m pytest -q -n 2 --dist loadscope tests/laws tests/audit tests/regime tests/mtf tests/features tests/labels tests/dataset $(ARGS)

test-models: $(READY) ## run the contracts of the models, their training and stacking
	@$(BIN)/python -m pytest -q -n 2 --dist loadscope tests/models tests/train tests/stacking $(ARGS)

test-docker: $(READY) ## compare a run in containers with a run in processes (needs a Docker engine)
	@$(BIN)/python -m pytest -q -m docker tests/images $(ARGS)

check: $(READY) ## check format, lint, types and the import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY) ## measure speed against the anchors
	@$(BIN)/python -m pytest -q -m slow --benchmark-enable tests/bench $(ARGS)

compile: $(READY) ## compile the pipeline to training.yaml
	@$(BIN)/mlfactory compile -o training.yaml $(ARGS)

docs: $(READY) ## write docs/features.md from the declarations of the features
	@mkdir -p docs
	@$(BIN)/mlfactory features --markdown > docs/features.md

images: $(READY) ## build the images that the pipeline asks for (needs a Docker engine)
	@$(BIN)/python images/build.py $(ARGS)

clean: ## remove the environment, caches and build leftovers; runs stay
	@rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks *.egg-info
	@find components pipelines tests images -name __pycache__ -type d -prune -exec rm -rf {} +

# written last, so that an interrupted installation is done again
$(READY): $(REQUIREMENTS)
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; name a Python 3.11 with PYTHON=..." >&2; exit 2; }
	@echo "Installing into .venv (once, a few minutes) ..."
	@rm -f $@
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $@
