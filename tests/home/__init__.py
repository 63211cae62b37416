"""How mcu-export fits into builds, and what it shows to people."""
