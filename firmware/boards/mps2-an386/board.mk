DESCRIPTION = Cortex-M4 with DSP and FPU
MACHINE     = mps2-an386
CORES       = cortex-m4
FPU_FLAGS   = -mfloat-abi=hard -mfpu=fpv4-sp-d16
SYSTICK_MHZ = 25
UART_BASE   = 0x40004000U
