/*
 * How much stack a call uses: everything below the caller is filled with a pattern, and the lowest
 * word that lost it is the high-water mark.
 */
#include "linker.h"
#include "port.h"

#define PATTERN 0xC5A5A5C5U

static uint32_t *painters_caller; /* its stack pointer */

void port_stack_paint(void)
{
    uint32_t *own_stack;
    __asm__ volatile("mov %0, sp" : "=r"(own_stack));
    /* volatile: as a call to memset, the loop would paint over memset's own frame */
    for (volatile uint32_t *word = __stack_bottom; word < own_stack; word++) {
        *word = PATTERN;
    }
    painters_caller = __builtin_dwarf_cfa();
}

size_t port_stack_used(void)
{
    const uint32_t *word = __stack_bottom;
    while (word < painters_caller && *word == PATTERN) {
        word++;
    }
    return (size_t)(painters_caller - word) * sizeof *word;
}
