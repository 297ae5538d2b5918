# `make demo` and `make test` each work as the first command after a clone: they make .venv once,
# and bring it up to date when pyproject.toml or constraints.txt changes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := dev,demo,pandas,narwhals,delta,iceberg,postgres,serve,federation,telemetry,datafusion,spark,learn,onnx,torch,privacy
PYTHON ?= python3.11 python3.12 python3.13 python3

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PIP_ROOT_USER_ACTION := ignore
# Each of the tests' many processes would compile every module that it imports.
unexport PYTHONDONTWRITEBYTECODE
# Modules are compiled when they are first imported: most never are.
PIP_INSTALL := -m pip install -qq --no-compile

.PHONY: help demo test lint docs unit bench chaos canaries constraints clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## Run the demonstration
	@$(BIN)/umbel demo

test: ## Everything that CI checks
	@$(find-python)
	# Java comes while packages are installed; lint and docs run beside the tests, which leave a
	# processor idle wherever they wait for a server or another process.
	beside=()
	trap 'kill "$${beside[@]}" 2>/dev/null || true' EXIT
	( $(find-java) ) & beside+=($$!)
	$(MAKE) --no-print-directory --silent $(READY)
	wait "$${beside[0]}"
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint docs & beside=($$!)
	$(MAKE) --no-print-directory unit
	wait "$${beside[0]}"
	beside=()
	echo "make test: all checks passed in $$SECONDS seconds"

lint: $(READY) ## Style, format, types and layers
	@echo "== ruff";        $(BIN)/ruff check --quiet .
	echo "== ruff format";  $(BIN)/ruff format --quiet --check .
	echo "== mypy";         $(BIN)/mypy
	echo "== lint-imports"; $(BIN)/lint-imports --no-cache --no-logo
	echo "== lint took $$SECONDS seconds"

docs: $(READY) ## Build the manual into site/; a warning fails the build
	@echo "== docs"
	$(BIN)/properdocs build --strict --clean --config-file mkdocs.yml
	echo "== docs took $$SECONDS seconds"

unit: $(READY) ## Tests: unit, conformance, doctests, code blocks, examples, wheel
	@$(find-java)
	echo "== pytest"
	# No more workers than processors: each collects all tests, and compiles what engines run.
	$(BIN)/python -m pytest --numprocesses=logical --dist=worksteal --durations=25 --durations-min=3
	echo "== pytest took $$SECONDS seconds"

bench: $(READY) ## Run every benchmarks/bench_*.py, results into build/bench/
	@mkdir -p build/bench
	found=0
	for script in benchmarks/bench_*.py; do
	    [ -e "$$script" ] || continue
	    found=1
	    name=$$(basename "$$script" .py)
	    echo "== $$name"
	    $(BIN)/python -m "benchmarks.$$name" --json "build/bench/$$name.json"
	done
	[ "$$found" = 1 ] || { echo "No benchmarks/bench_*.py found." >&2; exit 1; }

chaos: $(READY) ## Every failure of a federation, for every statement, at every stage (half an hour)
	UMBEL_CHAOS_ALL=1 $(BIN)/python -m pytest -q -s tests/federation/chaos

CANARIES ?= 2000
canaries: $(READY) ## Random questions to sites, and all bytes that leave searched (root; half an hour)
	UMBEL_CANARIES=$(CANARIES) $(BIN)/python -m pytest -q -s tests/federation/oracle

# With the oldest Python that is supported, where it is here: Debian 12's is 3.11.2, and some
# packages ask for 3.11.5.
constraints: PYTHON := /usr/bin/python3.11 $(PYTHON)
constraints: ## Write constraints.txt anew, with the newest versions that pyproject.toml allows
	@fresh=build/constraints-venv
	$(find-python)
	"$$python" -m venv --clear "$$fresh"
	"$$fresh/bin/python" $(PIP_INSTALL) --upgrade pip
	"$$fresh/bin/python" $(PIP_INSTALL) --editable '.[$(EXTRAS)]'
	{
	    echo "# Exact versions for development and CI: all that umbel[$(EXTRAS)] brings."
	    echo "# Written by \`make constraints\` with $$("$$python" --version); do not edit by hand."
	    { "$$fresh/bin/python" -m pip freeze --exclude-editable | grep -v '^torch=='; echo 'torch==2.13.0'; } | LC_ALL=C sort -f
	} > build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -rf "$$fresh"
	echo "constraints.txt: $$(grep -c == constraints.txt) versions"

clean: ## Remove everything that make has made
	@rm -rf $(VENV) build dist site .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Sets the shell variable `python` to a Python that can make a virtual environment. Debian ships
# venv's ensurepip apart: as root it is installed, otherwise the command to do so is shown.
define find-python
python=
for candidate in $(PYTHON); do
    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$$candidate
        break
    fi
done
if [ -z "$$python" ]; then
    echo "umbel needs Python 3.11 or newer; none of these is: $(PYTHON)" >&2
    exit 1
fi
if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package=$$("$$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "Python's venv is incomplete. On Debian or Ubuntu: sudo apt-get install $$package" >&2
        exit 1
    fi
    echo "Installing $$package"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$$package" >/dev/null
fi
endef

# The tests start a Spark, which runs on Java. As root it is installed where it is missing,
# otherwise the command to do so is shown.
define find-java
java=java
[ -z "$${JAVA_HOME:-}" ] || java=$$JAVA_HOME/bin/java
major=$$("$$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1 || true)
if [ "$${major:-0}" -lt 17 ]; then
    package=openjdk-17-jre-headless
    if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "The tests of Spark need Java 17 or newer. On Debian or Ubuntu: sudo apt-get install $$package" >&2
        exit 1
    fi
    echo "Installing $$package, which Spark runs on"
    export DEBIAN_FRONTEND=noninteractive
    installed=
    for wait in 10 0; do # a mirror may be out of reach for a moment
        if apt-get update -qq &&
            apt-get install -y -qq --no-install-recommends "$$package" >/dev/null; then
            installed=yes
            break
        fi
        sleep $$wait
    done
    if [ -z "$$installed" ]; then
        echo "$$package could not be installed, twice; see apt's messages above." >&2
        echo "Install Java 17 or newer by other means, in PATH or named by JAVA_HOME, and try again." >&2
        exit 1
    fi
fi
endef

$(READY): pyproject.toml constraints.txt
	@$(find-python)
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then
	    echo "Making $(VENV) with $$("$$python" --version)"
	    "$$python" -m venv --clear $(VENV)
	fi
	echo "Installing umbel and its tools into $(VENV); the first time takes a minute or two"
	if ! $(BIN)/python -c 'import pyspark' 2>/dev/null; then
	    # It comes as source, of which pip makes a wheel for a minute: meanwhile all the rest, in
	    # three parts, as pip fetches and unpacks one package after the other. torch is left to
	    # the end, where pip chooses its build.
	    parts=$$(mktemp -d)
	    trap 'rm -rf "$$parts"' EXIT
	    grep -ivE '^(#|torch=|pyspark=|opendp=)' constraints.txt |
	        awk -v to="$$parts" '{ print > (to "/" NR % 2) }'
	    grep -i '^opendp=' constraints.txt > "$$parts/2"
	    pids=()
	    (
	        $(BIN)/python -m pip wheel -qq --no-deps --constraint constraints.txt --wheel-dir "$$parts" pyspark
	        $(BIN)/python $(PIP_INSTALL) --no-deps "$$parts"/pyspark-*.whl
	    ) & pids+=($$!)
	    for part in 0 1 2; do
	        $(BIN)/python $(PIP_INSTALL) --no-deps --requirement "$$parts/$$part" & pids+=($$!)
	    done
	    for pid in "$${pids[@]}"; do wait "$$pid"; done
	fi
	$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@
	echo "== installing took $$SECONDS seconds"
