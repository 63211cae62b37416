DESCRIPTION = Cortex-M33 with DSP and FPU
MACHINE     = mps2-an505
CORES       = cortex-m33
FPU_FLAGS   = -mfloat-abi=hard -mfpu=fpv5-sp-d16
SYSTICK_MHZ = 20
UART_BASE   = 0x50200000U
