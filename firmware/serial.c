/*
 * Runs an exported model on samples that come over a serial line, and answers with what every layer
 * computes: the program behind `mcu-export verify --on serial:DEVICE`. README.md has the protocol.
 * It uses nothing but port_serial_read, port_serial_write and the instruction counter.
 */
#include "measure.h"
#include "port.h"

#include MODEL_TEST_HEADER

#define PROTOCOL "mcu-export 1 "

static const mcu_export_test *const test = &MODEL_TEST;

static bool tracing;

static void write_text(const char *text)
{
    while (*text != '\0') {
        port_serial_write((uint8_t)*text++);
    }
}

static void write_byte(uint8_t byte)
{
    port_serial_write((uint8_t) "0123456789abcdef"[byte >> 4]);
    port_serial_write((uint8_t) "0123456789abcdef"[byte & 0xFU]);
}

static void write_number(uint64_t value)
{
    for (int shift = 56; shift >= 0; shift -= 8) {
        write_byte((uint8_t)(value >> shift));
    }
}

static void write_error(const char *message)
{
    write_text("error ");
    write_text(message);
    write_text("\n");
}

void mcu_export_trace(unsigned layer, const void *output, size_t bytes)
{
    const uint8_t *data = output;
    if (!tracing) {
        return;
    }
    write_text("layer ");
    write_number(layer);
    write_text(" ");
    for (size_t i = 0; i < bytes; i++) {
        write_byte(data[i]);
    }
    write_text("\n");
}

/* The value of a digit, or -1. */
static int digit(uint8_t character)
{
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    return (character >= 'a' && character <= 'f') ? character - 'a' + 10 : -1;
}

static size_t input_bytes(void)
{
    size_t total = 0;
    for (size_t i = 0; i < test->input_count; i++) {
        total += test->inputs[i].bytes;
    }
    return total;
}

/* Where byte `index` of a sample goes: all inputs one after another. */
static uint8_t *input_byte(size_t index)
{
    size_t port = 0;
    while (index >= test->inputs[port].bytes) {
        index -= test->inputs[port].bytes;
        port++;
    }
    return (uint8_t *)test->inputs[port].buffer() + index;
}

/* Reads the hexadecimal rest of a line straight into the inputs. */
static void read_sample(void)
{
    const size_t wanted = input_bytes();
    size_t count = 0;
    bool good = true;
    for (uint8_t high = port_serial_read(); high != '\n'; high = port_serial_read()) {
        const uint8_t low = port_serial_read();
        if (low == '\n') {
            good = false;
            break;
        }
        good = good && digit(high) >= 0 && digit(low) >= 0 && count < wanted;
        if (good) {
            *input_byte(count) = (uint8_t)(digit(high) * 16 + digit(low));
            count++;
        }
    }
    if (good && count == wanted) {
        write_text("ok\n");
    } else {
        write_error("the sample is not as long as the inputs, or not hexadecimal");
    }
}

static void skip_line(void)
{
    while (port_serial_read() != '\n') {
    }
}

static void answer_hello(void)
{
    write_text(PROTOCOL);
    write_text(test->name);
    write_text(" ");
    write_number(input_bytes());
    write_text(" ");
    write_number(test->layer_count);
    write_text("\n");
}

static void answer_measure(void)
{
    const measurement cost = measure(test->run);
    write_text("cost ");
    write_number(cost.instructions);
    write_text(" ");
    write_number(cost.stack_bytes);
    write_text("\n");
}

int main(void)
{
    port_init();
    port_serial_init();
    for (;;) {
        const uint8_t command = port_serial_read();
        if (command == 'i') {
            read_sample();
            continue;
        }
        if (command == '\n') {
            continue; /* an empty line wakes nobody */
        }
        skip_line();
        switch (command) {
        case 'h':
            answer_hello();
            break;
        case 'r':
            tracing = true;
            test->run();
            tracing = false;
            write_text("done\n");
            break;
        case 'm':
            answer_measure();
            break;
        default:
            write_error("this is no command: h, i, r, m are");
        }
    }
}
