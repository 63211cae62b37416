#include "measure.h"

#include "port.h"

/* A tick is coarser than the overhead, so the overhead is the mean of many measurements. */
enum { OVERHEAD_REPEATS = 64 };

static void do_nothing(void) {}

/* Called through `count` only: a copy specialized for do_nothing would cost less than this one. */
static uint64_t count_instructions(void (*run)(void))
{
    const uint64_t start = port_instructions();
    run();
    return port_instructions() - start;
}

static uint64_t (*volatile count)(void (*run)(void)) = count_instructions;

static uint64_t counting_overhead(void)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < OVERHEAD_REPEATS; i++) {
        total += count(do_nothing);
    }
    return total / OVERHEAD_REPEATS;
}

measurement measure(void (*run)(void))
{
    const uint64_t overhead = counting_overhead();
    measurement result;
    port_init(); /* the end of a counter period would put an interrupt's frame on the stack */
    port_stack_paint();
    result.instructions = count(run);
    result.stack_bytes = port_stack_used();
    result.instructions -= result.instructions < overhead ? result.instructions : overhead;
    return result;
}
