/*
 * The self-test of any exported model: runs its golden samples, compares every output and, for the
 * first sample, every layer, then says what one inference costs. The Makefile names the model:
 * MODEL_TEST_HEADER, for example "kws_test.h", and MODEL_TEST, for example kws_test.
 */
#include "measure.h"
#include "port.h"

#include <string.h>

#include MODEL_TEST_HEADER

static const mcu_export_test *const test = &MODEL_TEST;

typedef struct {
    bool found;
    bool in_layer; /* `place` is a layer; else an output of sample `sample` */
    size_t sample;
    size_t place;
    size_t index; /* element */
    int32_t got, expected;
} difference;

/* What mcu_export_trace compares, and what it has seen. */
static struct {
    bool enabled;
    size_t layers;     /* that are complete, in order */
    size_t bytes;      /* of the next layer, so far */
    bool out_of_order; /* a layer that was not the next, or larger than expected */
    difference first;
} trace;

/* Element `index` of a buffer of 8-, 16- or 32-bit integers. */
static int32_t element(const void *buffer, size_t element_bytes, size_t index)
{
    const unsigned char *bytes = (const unsigned char *)buffer + index * element_bytes;
    int8_t value8;
    int16_t value16;
    int32_t value32;
    switch (element_bytes) {
    case sizeof value8:
        memcpy(&value8, bytes, sizeof value8);
        return value8;
    case sizeof value16:
        memcpy(&value16, bytes, sizeof value16);
        return value16;
    default:
        memcpy(&value32, bytes, sizeof value32);
        return value32;
    }
}

/* The first element that differs, or `found` false. */
static difference compare(const void *got, const void *expected, size_t bytes, size_t element_bytes)
{
    difference result = {0};
    for (size_t i = 0; i < bytes / element_bytes && !result.found; i++) {
        result.got = element(got, element_bytes, i);
        result.expected = element(expected, element_bytes, i);
        result.index = i;
        result.found = result.got != result.expected;
    }
    return result;
}

void mcu_export_trace(unsigned layer, const void *output, size_t bytes)
{
    if (!trace.enabled || bytes == 0) {
        return;
    }
    if (layer != trace.layers || layer >= test->layer_count ||
        trace.bytes + bytes > test->layers[layer].bytes) {
        trace.out_of_order = true;
        return;
    }
    const mcu_export_layer *expected = &test->layers[layer];
    if (!trace.first.found) {
        const unsigned char *golden = (const unsigned char *)expected->golden + trace.bytes;
        trace.first = compare(output, golden, bytes, expected->element_bytes);
        trace.first.in_layer = true;
        trace.first.place = layer;
        trace.first.index += trace.bytes / expected->element_bytes;
    }
    trace.bytes += bytes;
    if (trace.bytes == expected->bytes) {
        trace.bytes = 0;
        trace.layers++;
    }
}

static const void *golden(const mcu_export_port *port, size_t sample)
{
    return (const unsigned char *)port->golden + sample * port->bytes;
}

static void set_inputs(size_t sample)
{
    for (size_t i = 0; i < test->input_count; i++) {
        const mcu_export_port *port = &test->inputs[i];
        memcpy(port->buffer(), golden(port, sample), port->bytes);
    }
}

static difference compare_outputs(size_t sample)
{
    difference result = {0};
    for (size_t i = 0; i < test->output_count && !result.found; i++) {
        const mcu_export_port *port = &test->outputs[i];
        result = compare(port->buffer(), golden(port, sample), port->bytes, port->element_bytes);
        result.sample = sample;
        result.place = i;
    }
    return result;
}

static void print_label(size_t sample)
{
    const mcu_export_port *scores = &test->outputs[0];
    size_t best = 0;
    for (size_t i = 1; i < test->label_count; i++) {
        const int32_t score = element(scores->buffer(), scores->element_bytes, i);
        if (score > element(scores->buffer(), scores->element_bytes, best)) {
            best = i;
        }
    }
    port_print("sample ");
    port_print_aligned(sample, 4);
    port_print("  ");
    port_print(test->labels[best]);
    port_print("\n");
}

/* Runs every sample; the first difference, preferring the layer where sample 0 goes wrong. */
static difference run_samples(void)
{
    difference first = {0};
    for (size_t sample = 0; sample < test->sample_count; sample++) {
        trace.enabled = sample == 0;
        set_inputs(sample);
        test->run();
        trace.enabled = false;
        const difference output = compare_outputs(sample);
        if (!first.found) {
            first = trace.first.found ? trace.first : output;
        }
        if (test->label_count > 0) {
            print_label(sample);
        }
    }
    return first;
}

static void print_bytes(const char *name, size_t bytes)
{
    port_print(name);
    port_print_aligned(bytes, 12);
    port_print(" bytes\n");
}

static void print_costs(void)
{
    set_inputs(0);
    const measurement cost = measure(test->run);
    if (port_counts_instructions()) {
        port_print("instructions ");
        port_print_aligned(cost.instructions, 12);
        if (test->mac_count > 0) {
            port_print(" (");
            port_print_ratio(cost.instructions, test->mac_count);
            port_print(" per MAC)");
        }
        port_print("\n");
        print_bytes("stack        ", cost.stack_bytes);
    }
    print_bytes("RAM (arena)  ", test->arena_bytes);
    print_bytes("weights      ", test->weight_bytes);
}

static void print_difference(const difference *first)
{
    if (first->in_layer) {
        const mcu_export_layer *layer = &test->layers[first->place];
        port_print("layer ");
        port_print(layer->name);
        port_print(" (");
        port_print(layer->op);
        port_print(")");
    } else {
        port_print("sample ");
        port_print_unsigned(first->sample);
        port_print(", output ");
        port_print(test->outputs[first->place].name);
    }
    port_print(", index ");
    port_print_unsigned(first->index);
    port_print(": got ");
    port_print_signed(first->got);
    port_print(", expected ");
    port_print_signed(first->expected);
    port_print("\n");
}

/* Prints the verdict and returns the program's exit code. */
static int conclude(const difference *first)
{
    if (test->sample_count == 0) {
        port_print("FAIL: no golden samples to compare\n");
    } else if (trace.out_of_order || trace.layers != test->layer_count) {
        port_print("FAIL: the layers that ran are not those of the test; export the model again\n");
    } else if (first->found) {
        port_print("FAIL: ");
        print_difference(first);
    } else {
        port_print("PASS\n");
        return PORT_EXIT_PASS;
    }
    return PORT_EXIT_FAIL;
}

int main(void)
{
    port_init();
    port_print(test->name);
    port_print(" on " BOARD_NAME ", ");
    port_print_unsigned(test->sample_count);
    port_print(" samples, ");
    port_print_unsigned(test->layer_count);
    port_print(" layers, ");
    port_print_unsigned(test->mac_count);
    port_print(" MACs\n");
    const difference first = run_samples();
    if (test->sample_count > 0) {
        print_costs();
    }
    port_exit(conclude(&first));
}
