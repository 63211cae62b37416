# mcu-export: `make demo`, `make test`, `make bench`. Everything goes into .venv and build/.

PYTHON  ?= python3
VENV    ?= .venv
BOARD   ?= mps2-an386
WORKERS ?= 2

BIN = $(VENV)/bin
# Debian and Ubuntu packages, by the command that shows they are there.
DEMO_TOOLS = arm-none-eabi-gcc:gcc-arm-none-eabi,libnewlib-arm-none-eabi \
             qemu-system-arm:qemu-system-arm
TEST_TOOLS = $(DEMO_TOOLS) gcc:gcc,libc6-dev g++:g++ clang:clang clang-format:clang-format \
             chromium:chromium,fonts-dejavu-core cmake:cmake ninja:ninja-build meson:meson \
             cppcheck:cppcheck

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench clean demo-tools test-tools

help:
	@echo 'make demo    export the keyword spotter, run it on an emulated Cortex-M4'
	@echo 'make test    all tests (WORKERS=2)'
	@echo 'make lint    ruff, mypy, clang-format'
	@echo 'make bench   instructions, RAM and flash of each network and core'
	@echo 'make format  format Python and C'
	@echo 'make clean   remove what was built, but not $(VENV)'

demo: demo-tools $(VENV)/installed
	$(MAKE) --no-print-directory -C firmware run BOARD=$(BOARD) MODEL=kws \
	    MCU_EXPORT='$(abspath $(BIN))/mcu-export' BUILD=../build/firmware

test: test-tools $(VENV)/installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_FLAGS)

lint: test-tools $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	clang-format --style=file:firmware/.clang-format --dry-run --Werror $(C_FILES)

format: test-tools $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	clang-format --style=file:firmware/.clang-format -i $(C_FILES)

C_FILES = $(shell find firmware tests/contract -name '*.[ch]' -not -path '*/build/*')

bench: demo-tools $(VENV)/installed-dev
	$(BIN)/python -m tests.bench $(BENCH_FLAGS)

clean:
	rm -rf build dist firmware/build

$(VENV)/installed: pyproject.toml
	$(call make_venv)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml
	$(call make_venv)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/installed

# Debian's python3 comes without venv; the error of the second try is the one to show.
define make_venv
@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || \
    { rm -rf $(VENV); $(call install,python3-venv) && $(PYTHON) -m venv $(VENV); }
endef

demo-tools:
	@$(call install_missing,$(DEMO_TOOLS))

test-tools:
	@$(call install_missing,$(TEST_TOOLS))

comma := ,
# $(1): command:package,package ...
install_missing = packages='$(strip $(foreach tool,$(1),$(if \
    $(shell command -v $(firstword $(subst :, ,$(tool))) 2>/dev/null),,$(subst $(comma), ,$(lastword \
    $(subst :, ,$(tool)))))))'; test -z "$$packages" || { $(call install,$$packages); }

install = $(if $(shell command -v apt-get 2>/dev/null),,echo "install these by hand: $(1)" >&2; exit 1;) \
    if [ "$$(id -u)" = 0 ]; then root=; else root=sudo; \
      command -v sudo >/dev/null || { echo "missing: $(1); install them as root" >&2; exit 1; }; fi; \
    : the sanitizers of clang are a package that it only recommends; \
    case " $(1) " in *" clang "*) lean=;; *) lean=--no-install-recommends;; esac; \
    echo "installing $(1)"; \
    $$root apt-get update -qq && \
    DEBIAN_FRONTEND=noninteractive $$root apt-get install -y -qq $$lean $(1) >/dev/null
