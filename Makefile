# SPDX-License-Identifier: MIT
# A thin wrapper: CMake builds, scripts/ do the rest.
#   make             build into build/
#   make demo        install what is needed, build, record the examples, show what came out
#   make test        install what is needed, build, run every test
#   make bench       build and run the benches
#   make bench-peers one table of waitscope beside the tools one would use instead; installs those
#   make stress      the stress tests in their long form: half an hour and more
#   make mutants     see that each way of doing it wrong is noticed by its test (takes a while)
#   make test-kernels the kernel's side on two other kernels, in qemu
#   make test-fresh  `make demo` and `make test` in a bare Debian 12 (needs root)
#   make install     PREFIX=/usr/local, DESTDIR

PREFIX ?= /usr/local
PRESET ?= release
SOURCES = $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h' '*.cpp')

.PHONY: all demo test bench bench-peers stress test-kernels test-fresh install clean format check-format packages

all:
	@cmake --preset $(PRESET)
	@cmake --build --preset $(PRESET)

packages:
	@scripts/install-packages build test

demo:
	@scripts/demo

test: packages all
	@ctest --preset $(PRESET)

bench: packages all
	@scripts/bench

bench-peers: packages all
	@scripts/install-packages peers
	@scripts/bench-peers

# Figures are printed, hence -V. What a hostile target may do is tried against a sanitized collector.
stress: packages all
	@cmake --preset asan
	@cmake --build --preset asan --target hostile_agent
	@WAITSCOPE_STRESS=full ctest --preset $(PRESET) -L stress -E hostile -V
	@WAITSCOPE_STRESS=full ctest --preset asan -R stress/hostile -V

mutants: packages all
	@tests/mutants/run build "$(MUTANTS)"

test-kernels: packages all
	@scripts/test-kernels

test-fresh:
	@scripts/test-fresh

install: all
	@cmake --install build --prefix $(PREFIX)

clean:
	@rm -rf build build-asan build-tsan build-clang demo-out

format:
	@clang-format -i $(SOURCES)

check-format:
	@clang-format --dry-run --Werror $(SOURCES)
