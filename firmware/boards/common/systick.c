/*
 * Counts instructions. Under QEMU's `-icount shift=0` every instruction takes one nanosecond of
 * virtual time, so a timer of SYSTICK_MHZ (from board.mk) advances once in 1000 / SYSTICK_MHZ
 * instructions. SysTick has 24 bits and counts down; its interrupt counts the periods.
 */
#include "systick.h"

#include "port.h"

#define SYST_CSR (*(volatile uint32_t *)0xE000E010U)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014U)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018U)
#define ICSR (*(volatile uint32_t *)0xE000ED04U)

#define CSR_ENABLE 0x1U
#define CSR_TICKINT 0x2U
#define CSR_CLKSOURCE_CORE 0x4U
#define ICSR_PENDSTSET (1U << 26)

#define PERIOD 0x1000000U /* ticks */

/*
 * Instructions per tick with 16 frac bits, exact for 20, 25 and 32 MHz. A division in place of this
 * multiplication would take a different time for each count, and spoil the next one.
 */
#define FRAC_BITS 16
#define INSTRUCTIONS_PER_TICK ((1000ULL << FRAC_BITS) / SYSTICK_MHZ)

static volatile uint32_t periods;

void SysTick_Handler(void)
{
    periods = periods + 1U;
}

void port_init(void)
{
    SYST_RVR = PERIOD - 1U;
    periods = 0;
    SYST_CVR = 0; /* any write clears it */
    SYST_CSR = CSR_CLKSOURCE_CORE | CSR_TICKINT | CSR_ENABLE;
}

bool port_counts_instructions(void)
{
    return true;
}

uint64_t port_instructions(void)
{
    __asm__ volatile("cpsid i" ::: "memory");
    uint32_t left = SYST_CVR;
    uint32_t whole = periods;
    if ((ICSR & ICSR_PENDSTSET) != 0U) { /* a period ended and its interrupt waits for us */
        left = SYST_CVR;
        whole++;
    }
    __asm__ volatile("cpsie i" ::: "memory");
    const uint64_t ticks = (uint64_t)whole * PERIOD + ((PERIOD - left) & (PERIOD - 1U));
    return (ticks * INSTRUCTIONS_PER_TICK) >> FRAC_BITS;
}
