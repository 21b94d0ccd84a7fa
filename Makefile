# TaskMet: builds, tests and installs libtaskmet. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# The header is the one place that states the version and the number of the binary interface.
header = $(shell sed -n 's/^\#define TASKMET_$(1) *//p' include/taskmet.h)
VERSION_MAJOR := $(call header,VERSION_MAJOR)
VERSION_MINOR := $(call header,VERSION_MINOR)
VERSION := $(VERSION_MAJOR).$(VERSION_MINOR).$(call header,VERSION_PATCH)
SONAME := libtaskmet.so.$(call header,ABI_VERSION)
LIBRARY_FILE := libtaskmet.so.$(VERSION)

# Where `make install` puts things, below DESTDIR.
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
BINDIR := $(PREFIX)/bin
INCLUDEDIR := $(PREFIX)/include
PKGCONFIGDIR := $(LIBDIR)/pkgconfig
CMAKEDIR := $(LIBDIR)/cmake/TaskMet

# The directory of the built library.
BUILT := .build/release
CFLAGS ?= -O2
WARNINGS := -Wall -Wextra -Wpedantic

.PHONY: all build cli demo examples accuracy bench bench-quick test test-swift test-c test-fuzz test-cli \
  test-examples test-packaging test-abi test-faults test-python test-all test-faults-all test-sanitize fuzz fuzzers \
  abi-dump wheel test-wheel install uninstall clean format lint lint-python help system-packages system-packages-test

## all: the library and the command line; what `make` does and `make install` installs
all: build cli

## build: the library, .build/release/libtaskmet.so (self-contained: the Swift runtime is inside)
build: system-packages
	swift build -c release --product taskmet -Xswiftc -static-stdlib
	@ln -sf libtaskmet.so $(BUILT)/$(SONAME)  # the name that programs look for; SwiftPM makes only libtaskmet.so

## cli: the command line over the paper's experiments, .build/release/taskmet-cli (installed as bin/taskmet)
cli: build
	swift build -c release --product taskmet-cli -Xswiftc -static-stdlib

## demo: the library and its main job: the trainer learns a metric for the paper's cubic problem
demo: examples
	$(EXAMPLES)/cubic

# Called with another EXAMPLES directory and EXTRA flags by test-examples.
EXAMPLES := .build/examples
EXTRA :=
## examples: the programs in examples/c and examples/cpp, as .build/examples/*
examples: build $(patsubst examples/c/%.c,$(EXAMPLES)/%,$(wildcard examples/c/*.c)) $(EXAMPLES)/raii

# The parts that examples share; every example is linked with all of them.
SHARED_SOURCES := $(wildcard examples/c/common/*.c)
SHARED_HEADERS := $(wildcard examples/c/common/*.h)

$(EXAMPLES)/%: examples/c/%.c $(SHARED_SOURCES) $(SHARED_HEADERS) include/taskmet.h | build
	@mkdir -p $(@D)
	$(CC) -std=c99 $(CFLAGS) $(WARNINGS) $(EXTRA) -Iinclude $< $(SHARED_SOURCES) -o $@ \
	  -L$(BUILT) -ltaskmet -lm -Wl,-rpath,'$$ORIGIN/../release'

$(EXAMPLES)/raii: examples/cpp/raii.cpp include/taskmet.h | build
	@mkdir -p $(@D)
	$(CXX) -std=c++17 $(CFLAGS) $(WARNINGS) $(EXTRA) -Iinclude $< -o $@ \
	  -L$(BUILT) -ltaskmet -Wl,-rpath,'$$ORIGIN/../release'

## accuracy: the presets' hypergradients against the exact one (LOAD=FILE adds the hourly load data); some minutes
accuracy: build
	@mkdir -p $(EXAMPLES)
	$(CC) -std=c99 $(CFLAGS) $(WARNINGS) -Iinclude -Iexamples/c/common benchmarks/hypergradient_accuracy.c \
	  $(SHARED_SOURCES) -o $(EXAMPLES)/hypergradient_accuracy -L$(BUILT) -ltaskmet -lm -Wl,-rpath,'$$ORIGIN/../release'
	$(EXAMPLES)/hypergradient_accuracy $(LOAD)

## bench: times beside PyTorch, JAX, ... (docs/performance.md); BENCH="--only 'step/*' --repeats 5 --docs", see run.py --help
BENCH ?=
bench: build .venv-bench/installed
	$(call install_package,.venv-bench)
	env -u TASKMET_LIBRARY -u PYTHONPATH .venv-bench/bin/python benchmarks/run.py $(BENCH)

## bench-quick: operations counted by valgrind against benchmarks/operation_counts.json; COUNTS=--update commits to new ones
COUNTS ?=
bench-quick: build
	python3 benchmarks/operation_counts.py $(BUILT) $(COUNTS)

# ---------------------------------------------------------------------------------------------------------------------

TEST_PARTS := swift c fuzz cli examples packaging abi faults python
TEST_LOGS := .build/test-logs
# What each runner prints at its end: Swift Testing, the C programs and run.sh scripts, pytest.
SUMMARY := Test run with [0-9]+ test|[0-9]+ passed, [0-9]+ failed|[0-9]+ (passed|failed|errors?|skipped)\b.* in [0-9.]+s

## test: every test: Swift, C, fuzzers, command line, examples, packaging, ABI, faults, Python; test-swift, ... run one
test: system-packages-test build
	@rm -rf $(TEST_LOGS); mkdir -p $(TEST_LOGS); failed=; \
	for part in $(TEST_PARTS); do \
	  echo; echo "=== test-$$part"; \
	  $(MAKE) -o build test-$$part 2>&1 | tee $(TEST_LOGS)/$$part || failed+=" test-$$part"; \
	done; \
	echo; echo "=== summaries"; \
	for part in $(TEST_PARTS); do \
	  grep -E '$(SUMMARY)' $(TEST_LOGS)/$$part || echo "test-$$part ended without a summary"; \
	done; \
	if [ -n "$$failed" ]; then echo "make test: FAILED:$$failed" >&2; exit 1; fi

# XCTest is off because it would report its 0 tests as a success of its own; a test written for it would not run.
test-swift: build
	@if grep -rn --include='*.swift' '^import XCTest' Tests; then echo "use Swift Testing, not XCTest" >&2; exit 1; fi
	swift build --build-tests
	swift test --skip-build --disable-xctest

test-c: build
	bash Tests/c/run.sh "$(CURDIR)/$(BUILT)" "$(CURDIR)/include" "$(CURDIR)/.build/c-tests"

# Random API programs, and the fuzzers' own tests; Tests/fuzz has the rest.
test-fuzz: build
	bash Tests/fuzz/test.sh "$(CURDIR)/$(BUILT)"

# The scripts in Tests/fuzz find what they build in .build/{fuzz,asan,tsan}; a fuzzer goes on where it was stopped.
SECONDS := 60
FUZZERS :=
## fuzz: every fuzzer for SECONDS=60, or those named by FUZZERS='fuzz_api fuzz_checkpoint'
fuzz: fuzzers
	bash Tests/fuzz/run.sh $(SECONDS) $(FUZZERS)

fuzzers: build
	for part in api asan files; do bash Tests/fuzz/build.sh $$part || exit 1; done

## test-sanitize: the C tests and random API programs under address, undefined and thread sanitizers and valgrind
test-sanitize: build
	for part in api asan tsan; do bash Tests/fuzz/build.sh $$part || exit 1; done
	bash Tests/c/sanitize.sh .build/sanitize

test-cli: cli
	bash Tests/cli/run.sh "$(CURDIR)/$(BUILT)/taskmet-cli"

# The examples compile without a warning, run, and reach what they promise.
test-examples: build
	@$(MAKE) -o build examples EXAMPLES=.build/examples-strict EXTRA=-Werror
	bash Tests/examples/run.sh .build/examples-strict

test-packaging: build cli
	bash Tests/packaging/run.sh "$(CURDIR)/$(BUILT)"

# What the header declares and the library exports, against what was released.
test-abi: build
	bash Tests/abi/run.sh "$(CURDIR)/$(BUILT)"

# Kills, full disks, damaged files, small memory, and what a host must not notice: a quick part, and all of it.
RUN_FAULTS = TASKMET_PYTHON="$(1)/bin/python" bash Tests/faults/run.sh "$(CURDIR)/$(BUILT)" "$(CURDIR)/include" \
  "$(CURDIR)/.build/faults"
test-faults: build .venv/installed
	$(call RUN_FAULTS,.venv) quick

## test-faults-all: all of test-faults, of which make test runs a quick part: 200 kills, every bit of every file
test-faults-all: build .venv-all/installed
	TASKMET_WITH=torch $(call RUN_FAULTS,.venv-all)

## abi-dump: renews packaging/abi from the header and the built library; for a release, after a look at what test-abi says
abi-dump: build
	bash packaging/abi/dump.sh include packaging/abi/$(SONAME).abi
	nm -D --defined-only $(BUILT)/libtaskmet.so | awk '{ print $$NF }' | LC_ALL=C sort > packaging/abi/symbols.txt

PIP := -m pip --quiet --disable-pip-version-check
# Puts the package with the built library into the virtual environment $(1).
install_package = $(1)/bin/python $(PIP) install --no-deps --no-build-isolation --force-reinstall ./bindings/python

# The tests, and the docstrings' examples, run against the installed package.
test-python: build .venv/installed
	$(call install_package,.venv)
	env -u TASKMET_LIBRARY -u PYTHONPATH .venv/bin/python -m pytest --doctest-modules Tests/python \
	  --pyargs taskmet --ignore-glob='*/taskmet/torch.py' --ignore-glob='*/taskmet/jax.py'

## test-all: make test, all faults, sanitizers, a minute of each fuzzer, PyTorch, JAX, cvxpylayers (some hundred MB)
test-all: test test-faults-all test-sanitize test-wheel .venv-all/installed
	$(MAKE) -o build fuzz
	$(call install_package,.venv-all)
	env -u TASKMET_LIBRARY -u PYTHONPATH .venv-all/bin/python -m pytest --doctest-modules Tests/python_live \
	  --pyargs taskmet.torch taskmet.jax

.venv/installed: Tests/python/requirements.txt
.venv-all/installed: Tests/python_live/requirements.txt Tests/python/requirements.txt
.venv-bench/installed: benchmarks/requirements.txt
.venv/installed .venv-all/installed .venv-bench/installed:
	python3 -m venv $(@D)
	$(@D)/bin/python $(PIP) install -r $<
	@touch $@

WHEELS := .build/wheels
## wheel: the Python package with the library, for this platform, in .build/wheels; in repaired/ with OpenBLAS inside
wheel: build .venv/installed
	rm -rf $(WHEELS)
	mkdir -p $(WHEELS)
	strip --strip-unneeded -o $(WHEELS)/libtaskmet.so $(BUILT)/libtaskmet.so
	TASKMET_LIBRARY="$(CURDIR)/$(WHEELS)/libtaskmet.so" .venv/bin/python $(PIP) wheel --no-deps --no-build-isolation \
	  --wheel-dir $(WHEELS) ./bindings/python
	PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python -m auditwheel repair --wheel-dir $(WHEELS)/repaired $(WHEELS)/*.whl
	@ls $(WHEELS)/*.whl $(WHEELS)/repaired/*.whl

# The repaired wheel, in an empty environment, runs the README's program as printed and the package's tests.
test-wheel: wheel
	bash Tests/packaging/wheel.sh "$(CURDIR)/$(WHEELS)/repaired"

# ---------------------------------------------------------------------------------------------------------------------

# Steps from one installed directory to another: by these the installed files find each other, and can be moved.
steps = $(shell realpath -ms --relative-to="$(1)" "$(2)")
FILL = sed -e 's|@VERSION@|$(VERSION)|g' -e 's|@VERSION_MAJOR@|$(VERSION_MAJOR)|g' \
  -e 's|@VERSION_MINOR@|$(VERSION_MINOR)|g' -e 's|@LIBRARY_FILE@|$(LIBRARY_FILE)|g' -e 's|@SONAME@|$(SONAME)|g' \
  -e 's|@PREFIX_FROM_PC@|$(call steps,$(PKGCONFIGDIR),$(PREFIX))|g' \
  -e 's|@PREFIX_FROM_CMAKE@|$(call steps,$(CMAKEDIR),$(PREFIX))|g'

# A program started in the usual prefixes finds the library by the loader's cache.
REFRESH_CACHE = if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" -eq 0 ]; then \
  case "$(PREFIX)" in /usr | /usr/local) ldconfig ;; esac; fi

## install: library, header, command line, pkg-config and CMake files, to PREFIX=/usr/local (LIBDIR=PREFIX/lib) below DESTDIR=
install:
# Installs what is built, and builds only where nothing is: `sudo make install` must not build as root.
	@[ -e "$(BUILT)/libtaskmet.so" ] && [ -e "$(BUILT)/taskmet-cli" ] || $(MAKE) cli
	install -d "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(INCLUDEDIR)" "$(DESTDIR)$(PKGCONFIGDIR)" "$(DESTDIR)$(CMAKEDIR)"
	install -m 644 include/taskmet.h "$(DESTDIR)$(INCLUDEDIR)/"
	strip --strip-unneeded -o "$(DESTDIR)$(LIBDIR)/$(LIBRARY_FILE)" "$(BUILT)/libtaskmet.so"
	chmod 644 "$(DESTDIR)$(LIBDIR)/$(LIBRARY_FILE)"
	strip -o "$(DESTDIR)$(BINDIR)/taskmet" "$(BUILT)/taskmet-cli"
	chmod 755 "$(DESTDIR)$(BINDIR)/taskmet"
	ln -sf $(LIBRARY_FILE) "$(DESTDIR)$(LIBDIR)/$(SONAME)"
	ln -sf $(SONAME) "$(DESTDIR)$(LIBDIR)/libtaskmet.so"
	@$(FILL) packaging/taskmet.pc.in > "$(DESTDIR)$(PKGCONFIGDIR)/taskmet.pc"
	@$(FILL) packaging/TaskMetConfig.cmake.in > "$(DESTDIR)$(CMAKEDIR)/TaskMetConfig.cmake"
	@$(FILL) packaging/TaskMetConfigVersion.cmake.in > "$(DESTDIR)$(CMAKEDIR)/TaskMetConfigVersion.cmake"
	@$(REFRESH_CACHE)

## uninstall: removes what install put there, with the same variables
uninstall:
	rm -f "$(DESTDIR)$(BINDIR)/taskmet" "$(DESTDIR)$(INCLUDEDIR)/taskmet.h" "$(DESTDIR)$(PKGCONFIGDIR)/taskmet.pc" \
	  "$(DESTDIR)$(LIBDIR)/$(LIBRARY_FILE)" "$(DESTDIR)$(LIBDIR)/$(SONAME)" "$(DESTDIR)$(LIBDIR)/libtaskmet.so"
	rm -rf "$(DESTDIR)$(CMAKEDIR)"
	@$(REFRESH_CACHE)

# ---------------------------------------------------------------------------------------------------------------------

## clean: removes all that was built, and the Python environments of tests and benchmarks
clean:
	rm -rf .build .venv .venv-all .venv-bench Package.resolved .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

## format: formats the Swift sources in place
format:
	swift format format --in-place --parallel --recursive Package.swift Sources Tests

## lint: checks the format of the Swift sources and of the Python package, its types, and compiles the header alone
lint: lint-python
	swift format lint --strict --parallel --recursive Package.swift Sources Tests
	bash packaging/check-header.sh include

# ruff and mypy read their settings in bindings/python/pyproject.toml.
RUFF_OPTIONS := --no-cache --config bindings/python/pyproject.toml
PYTHON_SOURCES := bindings/python Tests/python Tests/python_live Tests/faults benchmarks
## lint-python: the Python sources by ruff, the package's types by mypy
lint-python: .venv/installed
	.venv/bin/python -m ruff format --check --quiet $(RUFF_OPTIONS) $(PYTHON_SOURCES)
	.venv/bin/python -m ruff check --quiet $(RUFF_OPTIONS) $(PYTHON_SOURCES)
	.venv/bin/python -m mypy --cache-dir=.build/mypy --config-file bindings/python/pyproject.toml bindings/python/taskmet

## system-packages: checks for, and as root installs, the system packages that build needs; -test: that test needs
system-packages:
	@CC="$(CC)" bash packaging/check-system-packages.sh build

system-packages-test:
	@CC="$(CC)" bash packaging/check-system-packages.sh test

## help: this list
help:
	@sed -n 's/^## \([a-z-]*\): /\1\t/p' $(MAKEFILE_LIST) | expand -t 17
