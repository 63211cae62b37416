/*
 * Runs an exported model on any number of samples and writes what every layer computes: the program
 * behind `mcu-export verify`. It reads input.bin and writes trace.bin in the current directory;
 * README.md has the format. Exit code 1 with a message if a file is unusable.
 */
#include "measure.h"
#include "port.h"

#include MODEL_TEST_HEADER

#define INPUT_FILE "input.bin"
#define TRACE_FILE "trace.bin"

static const mcu_export_test *const test = &MODEL_TEST;

typedef enum { TRACE_OFF, TRACE_WRITE, TRACE_TIME } trace_mode;

/* What mcu_export_trace does. */
static struct {
    trace_mode mode;
    port_file file;
    size_t layers;     /* of this sample, so far */
    size_t bytes;      /* of the next layer, so far */
    uint64_t start;    /* instructions when the layer began */
    uint64_t overhead; /* instructions that asking for them takes */
} trace;

static void fail(const char *message)
{
    port_print("error: ");
    port_print(message);
    port_print("\n");
    port_exit(PORT_EXIT_FAIL);
}

static void print_layer_cost(unsigned layer, uint64_t end)
{
    const uint64_t spent = end - trace.start;
    port_print("layer=");
    port_print_unsigned(layer);
    port_print(" instructions=");
    port_print_unsigned(spent - (spent < trace.overhead ? spent : trace.overhead));
    port_print("\n");
}

void mcu_export_trace(unsigned layer, const void *output, size_t bytes)
{
    if (trace.mode == TRACE_OFF) {
        return;
    }
    if (trace.mode == TRACE_TIME) {
        print_layer_cost(layer, port_instructions());
        trace.start = port_instructions();
        return;
    }
    if (bytes == 0) {
        return;
    }
    trace.bytes += bytes;
    if (layer != trace.layers || layer >= test->layer_count ||
        trace.bytes > test->layers[layer].bytes) {
        fail("the layers that ran are not those of the test; export the model again");
    }
    if (!port_file_write(trace.file, output, bytes)) {
        fail("cannot write to " TRACE_FILE);
    }
    if (trace.bytes == test->layers[layer].bytes) {
        trace.bytes = 0;
        trace.layers++;
    }
}

/* Reads one sample into the inputs; false at the end of the file. */
static bool read_inputs(port_file input)
{
    for (size_t i = 0; i < test->input_count; i++) {
        const size_t bytes = test->inputs[i].bytes;
        const size_t got = port_file_read(input, test->inputs[i].buffer(), bytes);
        if (got == 0 && i == 0) {
            return false;
        }
        if (got != bytes) {
            fail(INPUT_FILE " ends within a sample");
        }
    }
    return true;
}

static size_t sample_bytes(void)
{
    size_t total = 0;
    for (size_t i = 0; i < test->input_count; i++) {
        total += test->inputs[i].bytes;
    }
    return total;
}

static size_t run_samples(port_file input)
{
    size_t samples = 0;
    trace.mode = TRACE_WRITE;
    while (read_inputs(input)) {
        trace.layers = 0;
        trace.bytes = 0;
        test->run();
        if (trace.layers != test->layer_count) {
            fail("fewer layers ran than the test knows; export the model again");
        }
        samples++;
    }
    trace.mode = TRACE_OFF;
    return samples;
}

/* Reads the last sample once more: a run overwrites its input. */
static void read_last(port_file input, size_t samples)
{
    if (!port_file_seek(input, (samples - 1U) * sample_bytes()) || !read_inputs(input)) {
        fail("cannot read " INPUT_FILE " again");
    }
}

/* One run in which every layer tells what it costs. */
static void time_layers(port_file input, size_t samples)
{
    read_last(input, samples);
    port_init();
    trace.start = port_instructions();
    trace.overhead = port_instructions() - trace.start;
    trace.mode = TRACE_TIME;
    trace.start = port_instructions();
    test->run();
    trace.mode = TRACE_OFF;
}

int main(void)
{
    port_init();
    const port_file input = port_file_open(INPUT_FILE, PORT_READ);
    if (input < 0) {
        fail("cannot read " INPUT_FILE);
    }
    trace.file = port_file_open(TRACE_FILE, PORT_WRITE);
    if (trace.file < 0) {
        fail("cannot write " TRACE_FILE);
    }
    const size_t samples = run_samples(input);
    if (!port_file_close(trace.file)) {
        fail("cannot write to " TRACE_FILE);
    }
    if (samples == 0) {
        fail(INPUT_FILE " holds no sample");
    }
    if (port_counts_instructions()) {
        time_layers(input, samples);
    }
    read_last(input, samples);
    const measurement cost = measure(test->run);
    port_print("instructions=");
    port_print_unsigned(cost.instructions);
    port_print(" stack=");
    port_print_unsigned(cost.stack_bytes);
    port_print(" samples=");
    port_print_unsigned(samples);
    port_print("\n");
    port_exit(PORT_EXIT_PASS);
}
