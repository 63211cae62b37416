# Exports a model before the firmware builds. In your own Makefile:
#
#   MODEL_FILE    = net.keras
#   MODEL_SAMPLES = calibration.npz
#   include $(shell mcu-export makefile)
#
# then compile $(MODEL_SOURCE), with -I$(MODEL_DIR). The export runs again when the model, the
# samples, the options or mcu-export itself change; what it writes changes only if the result does,
# so an unchanged network compiles nothing.
#
# You may also set, before the include:
#   MODEL             C name of the model; default: the file's
#   MODEL_DIR         where the C goes; default: build/NAME
#   MCU_EXPORT_FLAGS  further options, such as --scheme q15
#   MCU_EXPORT        how to call the tool; default: mcu-export
#
# `make model-check` fails if what is in MODEL_DIR is not what an export would write.

MCU_EXPORT ?= mcu-export
MODEL      ?= $(basename $(notdir $(MODEL_FILE)))
MODEL_DIR  ?= build/$(MODEL)

MODEL_SOURCE  = $(MODEL_DIR)/$(MODEL).c
MODEL_OUTPUTS = $(addprefix $(MODEL_DIR)/$(MODEL),.c .h _weights.h _test.h _reference.npz .json)
MODEL_STAMP   = $(MODEL_DIR)/$(MODEL).stamp

MODEL_COMMAND = $(MCU_EXPORT) export $(MODEL_FILE) -o $(MODEL_DIR) --name $(MODEL) \
                $(if $(MODEL_SAMPLES),--samples '$(MODEL_SAMPLES)') $(MCU_EXPORT_FLAGS)

$(MODEL_STAMP): $(MODEL_FILE) $(firstword $(subst :, ,$(MODEL_SAMPLES))) $(MODEL_STAMP).options
	$(MODEL_COMMAND) --depfile $(MODEL_DIR)/$(MODEL).d --depfile-target $@
	@touch $@

# The outputs keep their times where nothing changed; the stamp says that they are up to date.
$(MODEL_OUTPUTS): $(MODEL_STAMP) ;

# A file that somebody deleted is exported again.
ifneq ($(words $(wildcard $(MODEL_OUTPUTS))),$(words $(MODEL_OUTPUTS)))
.PHONY: $(MODEL_STAMP)
endif

# Changes when the options do.
$(MODEL_STAMP).options: model-always
	@mkdir -p $(MODEL_DIR)
	@printf '%s\n' "$$MODEL_OPTIONS" | cmp -s - $@ || printf '%s\n' "$$MODEL_OPTIONS" > $@
$(MODEL_STAMP).options: export MODEL_OPTIONS = $(MODEL_COMMAND)

.PHONY: model-always model-check
model-check:
	$(MODEL_COMMAND) --check

-include $(MODEL_DIR)/$(MODEL).d
