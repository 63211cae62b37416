DESCRIPTION = Cortex-M7 with DSP and double-precision FPU
MACHINE     = mps2-an500
CORES       = cortex-m7
FPU_FLAGS   = -mfloat-abi=hard -mfpu=fpv5-d16
SYSTICK_MHZ = 25
UART_BASE   = 0x40004000U
