/*
 * From reset to main, for every Cortex-M. A fault, or an exception nobody handles, says where it
 * happened and ends the program with PORT_EXIT_FAULT; nothing hangs.
 */
#include "linker.h"
#include "port.h"
#include "systick.h"

#include <stdlib.h>

#define CPACR (*(volatile uint32_t *)0xE000ED88U)
#define CFSR (*(volatile uint32_t *)0xE000ED28U)
#define CPACR_CP10_CP11_FULL (0xFU << 20)

#define NOINLINE __attribute__((noinline))

int main(void);
void Reset_Handler(void);
void Fault_Handler(void);
void fault_report(const uint32_t *frame, uint32_t exception);

/* The stack of the fault report: the program's own may be what overflowed. */
uint64_t fault_stack[64];

typedef struct {
    uint32_t *stack;
    void (*handlers[15])(void);
} vector_table;

const vector_table vectors __attribute__((section(".vectors"), used)) = {
    .stack = __stack_top,
    .handlers = {Reset_Handler, /* 1 */
                 Fault_Handler, /* 2 NMI */
                 Fault_Handler, /* 3 HardFault */
                 Fault_Handler, /* 4 MemManage */
                 Fault_Handler, /* 5 BusFault */
                 Fault_Handler, /* 6 UsageFault */
                 Fault_Handler, /* 7 SecureFault */
                 0, 0, 0,       /* reserved */
                 Fault_Handler, /* 11 SVCall */
                 Fault_Handler, /* 12 DebugMonitor */
                 0,             /* reserved */
                 Fault_Handler, /* 14 PendSV */
                 SysTick_Handler},
};

/* A program that gives up; the one of the C library would hang. */
void abort(void)
{
    port_print("FAULT: abort\n");
    port_exit(PORT_EXIT_FAULT);
}

static NOINLINE void initialize_memory(void)
{
    const uint32_t *source = __data_load;
    for (uint32_t *word = __data_start; word < __data_end; word++) {
        *word = *source++;
    }
    for (uint32_t *word = __bss_start; word < __bss_end; word++) {
        *word = 0;
    }
}

/* Keep it free of anything that a compiler might do in floating-point or vector registers. */
void Reset_Handler(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    CPACR |= CPACR_CP10_CP11_FULL;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
#if defined(__ARM_ARCH_8M_MAIN__) || defined(__ARM_ARCH_8_1M_MAIN__)
    __asm__ volatile("msr msplim, %0" ::"r"(__stack_bottom)); /* an overflow faults */
#endif
    initialize_memory();
    port_exit(main());
}

__attribute__((naked)) void Fault_Handler(void)
{
    __asm__ volatile("mov r0, sp\n\t" /* the frame that the exception pushed */
                     "mrs r1, ipsr\n\t"
                     "ldr r2, =fault_stack + 512\n\t"
                     "mov sp, r2\n\t"
                     "bl fault_report\n\t");
}

static void print_hex(uint32_t value)
{
    char text[] = "0x00000000";
    for (size_t i = sizeof text - 2U; value != 0U; i--) {
        text[i] = "0123456789abcdef"[value & 0xFU];
        value >>= 4;
    }
    port_print(text);
}

#if __ARM_ARCH >= 7
/* Bits of the Configurable Fault Status Register, Armv7-M ARM B3.2.15 and Armv8-M ARM D1.2.30. */
static void print_cause(void)
{
    static const struct {
        uint32_t mask;
        const char *text;
    } causes[] = {
        {1U << 0, "instruction access violation"},
        {1U << 1, "data access violation"},
        {1U << 8, "instruction bus error"},
        {1U << 9, "data bus error"},
        {1U << 10, "imprecise data bus error"},
        {1U << 12, "bus error while stacking"},
        {1U << 16, "undefined instruction"},
        {1U << 17, "invalid state (not Thumb code)"},
        {1U << 18, "invalid exception return"},
        {1U << 19, "coprocessor is off"},
        {1U << 20, "stack overflow"},
        {1U << 24, "unaligned access"},
        {1U << 25, "division by zero"},
    };
    const uint32_t status = CFSR;
    for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++) {
        if ((status & causes[i].mask) != 0U) {
            port_print(", ");
            port_print(causes[i].text);
        }
    }
}
#else
static void print_cause(void) {} /* Armv6-M does not tell */
#endif

/* `frame`: r0 to r3, r12, lr, pc, xpsr as the exception pushed them. */
__attribute__((used)) void fault_report(const uint32_t *frame, uint32_t exception)
{
    port_print("FAULT: exception ");
    port_print_unsigned(exception);
    print_cause();
    port_print(", pc ");
    print_hex(frame[6]);
    port_print(", lr ");
    print_hex(frame[5]);
    port_print("\n");
    port_exit(PORT_EXIT_FAULT);
}
