"""Quantization-aware fine-tuning: training in the arithmetic of the export.

The only part of mcu-export that needs TensorFlow: ``pip install 'mcu-export[tensorflow]'``.
"""
