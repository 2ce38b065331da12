# One word for each job; every target does its own set-up (tools/setup.sh), also on a fresh Debian 12 machine.
#   demo test asan tsan lint bench bench-all bench-scaling faults failpoints soak fuzz sim model wheel clean help
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.PHONY: help demo test test-cpp test-python asan tsan lint format bench bench-all bench-scaling faults failpoints soak fuzz sim model wheel clean

SETUP := tools/setup.sh
JOBS ?= $(shell nproc)
PYVER ?=
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)
# How long or how much: make sim STEPS=20000000, make fuzz SECONDS_EACH=60
STEPS ?= 1000000
SEED ?= 1
SECONDS_EACH ?= 30
SOAK_SECONDS ?= 60

# In a recipe: puts the environment's tools (cmake, ninja, pytest ...) first on the path.
define use_venv
venv=$$($(SETUP) venv $(PYVER) | tail -n 1); export PATH="$$venv/bin:$$PATH"
endef
define use_holdfast
venv=$$($(SETUP) holdfast $(PYVER) | tail -n 1); export PATH="$$venv/bin:$$PATH"
endef
# $(call build,<preset>): configure and build it.
define build
cmake --preset $(1) >build/$(1).configure.log || { cat build/$(1).configure.log; exit 1; }; cmake --build --preset $(1)
endef

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo:  ## parse the standard library in a pool whose workers are killed all the time
	@$(SETUP) packages g++ python
	$(use_holdfast)
	python examples/demo.py

test: test-cpp test-python  ## C++ and Python tests, < 10 minutes on 2 cores

test-cpp:  ## the C++ tests alone (dev preset)
	@$(SETUP) packages g++ python gtest spin
	$(use_venv)
	$(call build,dev)
	ctest --preset dev -j$(JOBS)

test-python:  ## the Python tests and the short part of the faults, with one Python (PYVER=3.12: that one)
	@$(SETUP) packages g++ python
	$(SETUP) packages python-tests
	$(use_holdfast)
	python -m pytest -q -m "not full" tests/tools tests/python tests/stdlib tests/faults

asan:  ## C++ tests under AddressSanitizer and UBSan
	@$(SETUP) packages g++ python gtest spin
	$(use_venv)
	$(call build,asan)
	ctest --preset asan -j$(JOBS)

tsan:  ## C++ tests that ThreadSanitizer can follow
	@$(SETUP) packages g++ python gtest
	$(use_venv)
	$(call build,tsan)
	ctest --preset tsan -j$(JOBS)

lint:  ## formats, clang-tidy, ruff, mypy, include rules
	@$(SETUP) packages g++ python gtest clang-format clang-tidy
	$(use_holdfast)
	cmake --preset dev -DHOLDFAST_BUILD_PYTHON=ON -DPython_EXECUTABLE="$$venv/bin/python" -B build/lint >build/lint.configure.log || { cat build/lint.configure.log; exit 1; }
	python tools/lint.py build/lint

format:  ## rewrite all sources in the project's format
	@$(SETUP) packages python clang-format
	$(use_venv)
	python tools/lint.py --fix

bench:  ## holdfast, the standard Pool and ProcessPoolExecutor side by side, and which bars are met; 15 minutes
	@$(SETUP) packages g++ python
	$(use_holdfast)
	python bench/run.py --size quick || true  # the report tells of what failed, and fails then
	python bench/report.py

bench-all:  ## the same at the sizes that the bars mean, 5 rounds; an hour
	@$(SETUP) packages g++ python
	$(use_holdfast)
	python bench/run.py --size all || true  # as above
	python bench/report.py

bench-scaling:  ## time per task for 10^3 to 10^7 tasks and 1 to 512 workers, and a picture of it; half an hour
	@$(SETUP) packages g++ python
	$(use_holdfast)
	pip install -qq "matplotlib>=3.8"
	python bench/scaling.py

faults:  ## the full product of causes, moments and methods
	@$(SETUP) packages g++ python
	$(use_holdfast)
	python tests/faults/run_all.py --jobs $(JOBS)

failpoints:  ## all programs and policies at every failpoint, each action (part of it is in make test)
	@$(SETUP) packages g++ python gtest
	$(use_venv)
	$(call build,dev)
	python tests/failpoints/run.py build/dev/hf_failpoint_driver --full

soak:  ## random jobs under random faults for SOAK_SECONDS, from SEED
	@$(SETUP) packages g++ python
	$(use_holdfast)
	cd tests && python ../tools/run_limited.py $$(($(SOAK_SECONDS) + 300)) python -m faults.soak --seconds $(SOAK_SECONDS) --seed $(SEED)

fuzz:  ## mutate the corpora of all decoders for SECONDS_EACH seconds
	@$(SETUP) packages g++ python gtest
	$(use_venv)
	$(call build,asan)
	for target in build/asan/fuzz/*_fuzz; do "$$target" --seconds=$(SECONDS_EACH) fuzz/corpus; done

sim:  ## the core's simulation: STEPS random events from SEED
	@$(SETUP) packages g++ python gtest
	$(use_venv)
	$(call build,release)
	build/release/hf_core_sim --seed=$(SEED) --steps=$(STEPS)

model:  ## check the protocol models with spin
	@$(SETUP) packages spin g++ make
	model/check.sh

wheel:  ## dist/holdfast-*.whl
	@$(SETUP) packages g++ python
	$(use_venv)
	pip wheel --quiet --no-deps --no-build-isolation --config-settings=build-dir="build/py-$${venv##*-}" -w dist . && ls dist/*.whl

clean:  ## remove build/ and dist/
	rm -rf build dist
