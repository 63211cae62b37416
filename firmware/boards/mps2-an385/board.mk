DESCRIPTION = Cortex-M3 (and Cortex-M0 code with CORE=cortex-m0)
MACHINE     = mps2-an385
CORES       = cortex-m3 cortex-m0
FPU_FLAGS   = -mfloat-abi=soft
SYSTICK_MHZ = 25
UART_BASE   = 0x40004000U
