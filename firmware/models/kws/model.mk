# The keyword spotter of this folder; paths are relative to firmware/.
MODEL_FILE       = models/kws/kws.keras
MODEL_SAMPLES    = models/kws/calibration.npz:features
MCU_EXPORT_FLAGS = --scheme q7 --labels models/kws/labels.txt \
                   --test-samples models/kws/test.npz:features --test-count 12
