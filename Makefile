# The workbook's commands. `make help` lists them.
# VENV, PYTHON, LOCK, PORT, FROM, PYTEST_ARGS may be given on the command line or in the environment.

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8888

BIN := $(abspath $(VENV))/bin
# Tools call each other by name, so the environment's come first on the PATH.
IN_VENV = PATH="$(BIN):$$PATH"
LINTED := workbook autograder benchmarks requirements tests nbgrader_config.py $(wildcard chapters solutions)
TYPED := workbook autograder benchmarks requirements tests $(wildcard chapters/*.py solutions/*/*.py)

.DEFAULT_GOAL := help
.PHONY: help setup lab test lint run notebooks attacks bench-grading bench-sandbox bench-context lock check-locks clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## Set up or update: environment, packages, model weights (LOCK=gpu, VENV=.venv, PYTHON=python3)
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is missing: install Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -m requirements.install --venv "$(VENV)" $(if $(LOCK),--lock $(LOCK))

lab: setup ## Set up, then open JupyterLab on the first chapter (PORT=8888)
	@set --; \
	[ "$$(id -u)" != 0 ] || set -- --allow-root; \
	[ "$$(uname)" != Linux ] || [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || set -- "$$@" --no-browser; \
	$(IN_VENV) exec jupyter lab "$$@" --port=$(PORT) --ServerApp.root_dir="$(CURDIR)" \
	  --LabApp.default_url=/lab/tree/chapters/ch01_agent_sandbox.ipynb

test: lint ## Set up, then check everything: lint and tests (PYTEST_ARGS=…)
	@$(IN_VENV) pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: setup ## Check style and types of modules and notebooks
	@$(IN_VENV) ruff check $(LINTED)
	@$(IN_VENV) ruff format --check $(LINTED)
	@$(IN_VENV) mypy $(TYPED)

run: setup ## Execute all chapters; fail unless every cell ran without error
	@$(IN_VENV) autograder run

notebooks: setup ## Make the .ipynb files from the .py files, or take edits back (FROM=ipynb); release exercises
	@$(IN_VENV) autograder notebooks $(if $(FROM),--from $(FROM))
	@$(IN_VENV) autograder release

attacks: setup ## Attack the grader, on an exercise of each shape, and write the tables in docs/grading.md
	@rm -rf build/attacks && mkdir -p build
	@$(IN_VENV) python -m tests.attacks.course build/attacks
	@cd build/attacks && $(IN_VENV) autograder matrix --attacks all --json > ../attacks.json
	@$(IN_VENV) python -m autograder.attacking.document build/attacks.json docs/grading.md

bench-grading: setup ## Measure how fast submissions are graded, against stock nbgrader (about 6 min)
	@$(IN_VENV) python -m benchmarks.grading

bench-sandbox: setup ## Measure the sandbox service against Jupyter Kernel Gateway (about 5 min)
	@$(IN_VENV) python -m benchmarks.sandbox

bench-context: setup ## Measure the replay of prefix caches against vLLM's own, and the profiler (about 1 min)
	@$(IN_VENV) python -m benchmarks.context

lock: setup ## Resolve the dependencies in pyproject.toml anew and write the locks
	@$(IN_VENV) python -m requirements.lock

check-locks: setup ## Check the locks by resolving them for each Python version
	@$(IN_VENV) python -m requirements.lock --check

clean: ## Remove caches and build/ (executed copies, reports); keeps .venv and your work
	@rm -rf build .pytest_cache .mypy_cache .ruff_cache
	@find $(LINTED) \( -name __pycache__ -o -name .ruff_cache \) -prune -exec rm -rf {} +
