"""mcu-export."""
