# A thin front for the CMake presets. `make help` says what there is.
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
BUILD = cmake --build -j$(JOBS) --preset
CTEST = ctest -j$(JOBS) --preset

.PHONY: all help release install-deps test test-unit test-tsan test-fuzz test-release test-vm demo bench \
        fuzz tidy format clean need-root

all: release

help:
	@echo 'make               build (preset release, into build/release)'
	@echo 'sudo make test     install what is missing, build, run every test'
	@echo 'sudo make demo     the same programs on the kernel and through the chimney, side by side'
	@echo 'sudo make bench    the table of doc/benchmarks.md'
	@echo 'make test-unit     what needs no root: unit tests under ASan and UBSan, house rules'
	@echo 'sudo make test-vm  what needs another kernel or a network card with a table: in virtual machines'
	@echo 'make fuzz          each fuzz target for $(FUZZ_SECONDS) s'
	@echo 'make tidy          clang-tidy over everything'
	@echo 'make format        clang-format over everything'
	@echo 'make install-deps  Debian packages for all of this'

release:
	cmake --preset release
	$(BUILD) release

install-deps:
	@tools/install_deps.sh

need-root:
	@test "$$(id -u)" = 0 || { echo "this needs root (network namespaces, BPF): run it with sudo" >&2; exit 1; }

# The cheap and strict runs first; the last one knows every test and gives the summary.
test: need-root install-deps
	$(MAKE) test-unit
	$(MAKE) test-tsan
	$(MAKE) test-fuzz FUZZ_SECONDS=20
	$(MAKE) test-release

test-unit:
	cmake --preset dev
	$(BUILD) dev-unit
	$(BUILD) dev-headers
	$(CTEST) dev

test-tsan:
	cmake --preset tsan
	$(BUILD) tsan
	$(CTEST) tsan

test-fuzz:
	cmake --preset fuzz -D SNP_FUZZ_SECONDS=$(FUZZ_SECONDS)
	$(BUILD) fuzz
	$(CTEST) fuzz

test-release: need-root release
	$(CTEST) release

test-vm: need-root
	@tools/install_deps.sh vm
	$(MAKE) release
	ctest --preset vm

fuzz:
	$(MAKE) test-fuzz

demo: need-root install-deps release
	tools/demo/snp-demo

bench: need-root install-deps release
	tools/bench/snp-bench

tidy:
	cmake --preset tidy
	$(BUILD) tidy

format:
	python3 -B tools/rules/check_format.py --fix

clean:
	rm -rf build
