# make demo    set everything up and run the whole loop in a real hub      make test    set up and run every check
# make lab     the same hub, left running                                 make bench   measure against the budgets
#
# Set-up is done once: each step leaves a stamp whose name is a checksum of what it was made from.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROXY := tools/proxy/node_modules/.bin/configurable-http-proxy

checksum = $(firstword $(shell cat $(1) /dev/null | cksum))
sources_of_labextension := package.json package-lock.json tsconfig.json $(shell find labextension/src labextension/style labextension/schema -type f | LC_ALL=C sort)

NODE_MODULES := node_modules/.installed-$(call checksum,package.json package-lock.json)
LABEXTENSION := build/.labextension-$(call checksum,$(sources_of_labextension))
REQUIREMENTS := $(VENV)/.requirements-$(call checksum,constraints.txt)
INSTALLED := $(VENV)/.installed-$(call checksum,pyproject.toml constraints.txt install.json $(sources_of_labextension) $(wildcard kernels/*/* jupyter-config/*))
PROXY_INSTALLED := tools/proxy/node_modules/.installed-$(call checksum,tools/proxy/package.json tools/proxy/package-lock.json)

# Two downloads at a time: Python's and Node's do not wait for each other.
MAKEFLAGS += --jobs=2
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PATH := $(CURDIR)/$(BIN):$(PATH)
export JUPYTER_EXT_HUB_PROXY := $(CURDIR)/$(PROXY)

.PHONY: demo lab test bench lint types contracts typescript constraints set-up clean

set-up: $(INSTALLED) $(PROXY_INSTALLED)

demo: set-up
	@python tools/demo.py

lab: set-up
	@python tools/demo.py --keep

# Each check says what it is; the first that fails ends the run, and pytest's closing line is the last.
test: lint types contracts typescript
	@tools/system_packages.sh
	python -m pytest -n 2 --dist loadgroup -q

lint: set-up $(NODE_MODULES)
	ruff check .
	ruff format --check .
	npm run --silent lint:check

types: set-up
	mypy
	mypy tools hub_config benchmarks

contracts: set-up
	lint-imports

typescript: $(NODE_MODULES)
	npm run --silent test

bench: set-up
	python -m benchmarks

# The newest versions that fit together, of everything we can need.
constraints: $(BIN)/uv
	uv pip compile --quiet --upgrade --all-extras --no-header --no-annotate --no-emit-index-url --output-file constraints.txt pyproject.toml

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jupyter-ext needs Python 3.11 or newer; set PYTHON=…, this is " + sys.version)'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt uv

$(REQUIREMENTS): | $(BIN)/uv
	@echo "Installing Python packages"
	uv pip install --quiet --compile-bytecode --requirement constraints.txt
	@rm -f $(VENV)/.requirements-*
	@touch $@

$(INSTALLED): $(REQUIREMENTS) $(LABEXTENSION)
	HATCH_JUPYTER_BUILDER_SKIP_NPM=1 uv pip install --quiet --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-*
	@touch $@

$(LABEXTENSION): $(NODE_MODULES)
	@echo "Building the labextension"
	npm run --silent build:prod
	@mkdir -p build
	@rm -f build/.labextension-*
	@touch $@

$(NODE_MODULES):
	@node -e 'if (+process.versions.node.split(".")[0] < 20) throw "jupyter-ext needs Node 20 or newer, this is " + process.version'
	@echo "Installing Node packages"
	npm ci --silent
	@touch $@

$(PROXY_INSTALLED):
	@echo "Installing the hub's proxy"
	npm ci --silent --no-audit --no-fund --prefix tools/proxy
	@touch $@

clean:
	rm -rf build dist lib $(VENV) node_modules tools/proxy/node_modules jupyter_ext/labextension
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find jupyter_ext tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
