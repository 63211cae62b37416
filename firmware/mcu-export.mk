# Exports models before the firmware builds. In your own Makefile, either one model
#
#   MODEL_FILE    = net.keras
#   MODEL_SAMPLES = calibration.npz
#   include $(shell mcu-export makefile)
#
# or all those of a configuration (`mcu-export init` makes one):
#
#   MODEL_CONFIG = mcu-export.toml
#   include $(shell mcu-export makefile)
#
# then compile $(MODEL_SOURCES), with $(addprefix -I,$(MODEL_DIRS)). The export runs again when a
# model, its samples, the options or mcu-export itself change; what it writes changes only if the
# result does, so an unchanged network compiles nothing.
#
# You may also set, before the include:
#   MCU_EXPORT        how to call the tool; default: mcu-export
#   MODEL_BUILD       with a configuration: where make keeps its notes; default: build/mcu-export
#   MODEL             with one model: its C name; default: the file's
#   MODEL_DIR         where its C goes; default: build/NAME
#   MCU_EXPORT_FLAGS  further options for it, such as --scheme q15
#
# `make model-check` fails if what is there is not what an export would write.

MCU_EXPORT ?= mcu-export

ifdef MODEL_CONFIG

MODEL_BUILD ?= build/mcu-export
MODEL_STAMP = $(MODEL_BUILD)/models.stamp
MODEL_DEPS  = $(MODEL_BUILD)/models.d

MODEL_COMMAND = $(MCU_EXPORT) export --config $(MODEL_CONFIG)

# MODEL_SOURCES, MODEL_DIRS and MODEL_OUTPUTS; make makes this file, then starts again.
include $(MODEL_BUILD)/models.mk

$(MODEL_BUILD)/models.mk: $(MODEL_CONFIG)
	@mkdir -p $(@D)
	@$(MCU_EXPORT) list models --config $(MODEL_CONFIG) --make > $@.new && mv $@.new $@

$(MODEL_STAMP): $(MODEL_CONFIG)
else

MODEL     ?= $(subst -,_,$(subst .,_,$(basename $(notdir $(MODEL_FILE)))))
MODEL_DIR ?= build/$(MODEL)

MODEL_SOURCE  = $(MODEL_DIR)/$(MODEL).c
MODEL_SOURCES = $(MODEL_SOURCE)
MODEL_DIRS    = $(MODEL_DIR)
MODEL_OUTPUTS = $(addprefix $(MODEL_DIR)/$(MODEL),.c .h _weights.h _test.h _reference.npz .json)
MODEL_STAMP   = $(MODEL_DIR)/$(MODEL).stamp
MODEL_DEPS    = $(MODEL_DIR)/$(MODEL).d

MODEL_COMMAND = $(MCU_EXPORT) export $(MODEL_FILE) -o $(MODEL_DIR) --name $(MODEL) \
                $(if $(MODEL_SAMPLES),--samples '$(MODEL_SAMPLES)') $(MCU_EXPORT_FLAGS)

$(MODEL_STAMP): $(MODEL_FILE) $(firstword $(subst :, ,$(MODEL_SAMPLES)))
endif

$(MODEL_STAMP): $(MODEL_STAMP).options
	$(MODEL_COMMAND) --depfile $(MODEL_DEPS) --depfile-target $@
	@touch $@

# The outputs keep their times where nothing changed; the stamp says that they are up to date.
$(MODEL_OUTPUTS): $(MODEL_STAMP) ;

# A file that somebody deleted is exported again.
ifneq ($(words $(wildcard $(MODEL_OUTPUTS))),$(words $(MODEL_OUTPUTS)))
.PHONY: $(MODEL_STAMP)
endif

# Changes when the options do.
$(MODEL_STAMP).options: model-always
	@mkdir -p $(@D)
	@printf '%s\n' "$$MODEL_OPTIONS" | cmp -s - $@ || printf '%s\n' "$$MODEL_OPTIONS" > $@
$(MODEL_STAMP).options: export MODEL_OPTIONS = $(MODEL_COMMAND)

.PHONY: model-always model-check
model-check:
	$(MODEL_COMMAND) --check

-include $(MODEL_DEPS)
