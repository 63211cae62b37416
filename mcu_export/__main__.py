"""``python -m mcu_export`` is the command line."""

from mcu_export.cli import main

main()
