# Everyday acts, one command each. `make` alone lists them.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help

VENV := .venv
PORT ?= 8000

help: ## list these
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A stamp per set of extras, so that an unchanged pyproject.toml installs nothing again.
$(VENV)/.installed-%: pyproject.toml
	tools/venv $(VENV) $*
	@touch $@

.PHONY: demo
demo: $(VENV)/.installed-demo ## a real worker and a real page on http://localhost:$PORT, nothing else needed
	@exec $(VENV)/bin/progresskit demo --port $(PORT)
