DESCRIPTION = Cortex-M55 with MVE (Helium)
MACHINE     = mps3-an547
CORES       = cortex-m55
FPU_FLAGS   = -mfloat-abi=hard
SYSTICK_MHZ = 32
UART_BASE   = 0x59303000U
UART_MHZ    = 25
