"""The commands of ``mcu-export``, one module each; each has a click command called ``command``."""
