/* What one call costs: instructions and stack. */
#ifndef MEASURE_H
#define MEASURE_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t instructions; /* within one tick of SysTick (31 to 50 instructions) */
    size_t stack_bytes;    /* below the caller of `run` */
} measurement;

/* Calls `run` once. The cost of measuring, taken from an empty function, is subtracted. */
measurement measure(void (*run)(void));

#endif
