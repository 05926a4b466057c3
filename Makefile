# Everyday acts, one command each. `make` alone lists them.
.DEFAULT_GOAL := help
.NOTPARALLEL:

# LATEST=1 make test: the newest versions of all packages, in environments of their own, instead of the pinned ones.
LATEST ?=
export LATEST
VENV := .venv$(if $(LATEST),-latest)
PORT ?= 8765
PYTEST_OPTIONS ?=
# QUICK=1 make test: the subset for a laptop. No system package is installed, what needs one is skipped, one Python.
QUICK ?=

# Tests start more than a thousand processes, and each would compile all that it imports where this is set.
unexport PYTHONDONTWRITEBYTECODE

python := $(VENV)/bin/python
# Much of the time is spent waiting for servers, so there is room for more files at once than there are cores.
beside := -n 6 --dist loadfile --no-loadscope-reorder
# Only these are imported to find the tests that run alone.
timed = $(shell grep --recursive --files-with-matches --include=test_*.py 'pytest\.mark\.timing' tests)

.PHONY: help
help: ## list these
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A stamp per set of extras: nothing is installed again until these files change.
$(VENV)/.installed-%: pyproject.toml constraints/main.txt $(if $(LATEST),newest)
	@echo "Preparing $(VENV) (once, about a minute)"
	@tools/venv $(VENV) main --editable ".[$*]"
	@touch $@

.PHONY: newest
newest:
	rm -rf .venv-latest*

.PHONY: pins
pins: ## write the pinned versions in constraints/ anew, and print what changed
	tools/pins

.PHONY: demo
demo: $(VENV)/.installed-demo ## a real worker and a real page on http://localhost:$PORT; nothing else is needed
	@exec $(VENV)/bin/progresskit demo --port $(PORT)

.PHONY: test
ifdef QUICK
test: lint types
	$(python) -m pytest -m "not browser and not packaging and not faults" $(PYTEST_OPTIONS)
else
test: export PROGRESSKIT_CI := 1
# While the types are checked on one processor: what the tests import is compiled, which the processes that run them
# would each do for themselves, and the second Python is prepared. What fails here fails again where it is needed.
test: meanwhile := { $(python) -m pytest --collect-only --quiet -p no:cacheprovider; \
	tools/test-other-python --prepare $(python); } >/dev/null 2>&1 &
test: bootstrap lint types ## everything CI runs: linters, types, the whole suite, and again on a second Python at hand
	$(python) -m pytest $(beside) -m "not timing" $(PYTEST_OPTIONS)
	$(python) -m pytest -m timing $(PYTEST_OPTIONS) $(timed)
	tools/test-other-python $(python) $(PYTEST_OPTIONS)
endif

SOAK ?= 10
.PHONY: soak
soak: export PROGRESSKIT_CI := 1
soak: bootstrap $(VENV)/.installed-all,test ## kill each server ten times as often as the tests do, under running jobs
	$(python) -m pytest tests/faults -k killed --soak $(SOAK) -n 2 --dist loadfile $(PYTEST_OPTIONS)

.PHONY: bootstrap
bootstrap: ## what the tests need from the system (Debian's packages)
	tools/bootstrap

.PHONY: lint
lint: $(VENV)/.installed-all,test ## ruff and the floors of the house
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(VENV)/bin/lint-imports

.PHONY: format
format: $(VENV)/.installed-all,test ## let ruff mend what it can
	$(python) -m ruff check --fix .
	$(python) -m ruff format .

.PHONY: types
types: $(VENV)/.installed-all,test ## mypy, strict; pyright reads what users type
	@$(meanwhile) $(python) -m pyright --pythonpath $(python) tests/typing/api.py & pyright=$$!; $(python) -m mypy && wait $$pyright

.PHONY: docs
docs: $(VENV)/.installed-docs ## docs/ as a searchable site in build/site
	$(VENV)/bin/mkdocs build --quiet

.PHONY: benchmarks
benchmarks: $(VENV)/.installed-all,test ## every promise about speed, measured beside a peer
	@status=0; for file in $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py)); do \
		echo "== $$file"; $(python) $$file || status=1; \
	done; exit $$status

.PHONY: clean
clean: ## what linters, tests and builds leave behind (not the virtual environments)
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path './.venv*' -type d -prune -exec rm -rf {} +
