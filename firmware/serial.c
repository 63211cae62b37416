/*
 * Runs an exported model on samples that come over a serial line, and answers with what every layer
 * computes: the program behind `mcu-export verify --on serial:DEVICE`. README.md has the protocol.
 * It uses nothing but port_serial_read, port_serial_write and the instruction counter.
 */
#include "measure.h"
#include "port.h"

#include MODEL_TEST_HEADER

#define PROTOCOL "mcu-export 2 "
#define CRC_START 0xFFFFFFFFU

static const mcu_export_test *const test = &MODEL_TEST;

static bool tracing;
static uint32_t sent_crc = CRC_START;

/* CRC-32 of IEEE 802.3, bit by bit: no table, and still faster than a serial line. */
static uint32_t crc_add(uint32_t crc, uint8_t byte)
{
    crc ^= byte;
    for (int bit = 0; bit < 8; bit++) {
        crc = (crc >> 1) ^ (0xEDB88320U & (0U - (crc & 1U)));
    }
    return crc;
}

static void write_character(uint8_t character)
{
    sent_crc = crc_add(sent_crc, character);
    port_serial_write(character);
}

static void write_text(const char *text)
{
    while (*text != '\0') {
        write_character((uint8_t)*text++);
    }
}

static void write_byte(uint8_t byte)
{
    write_character((uint8_t) "0123456789abcdef"[byte >> 4]);
    write_character((uint8_t) "0123456789abcdef"[byte & 0xFU]);
}

/* The checksum of what was written since the last line, and the line feed. */
static void end_line(void)
{
    const uint32_t crc = ~sent_crc;
    write_character('*');
    for (int shift = 24; shift >= 0; shift -= 8) {
        write_byte((uint8_t)(crc >> shift));
    }
    port_serial_write('\n');
    sent_crc = CRC_START;
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
    end_line();
}

void mcu_export_trace(unsigned layer, const void *output, size_t bytes)
{
    const uint8_t *data = output;
    if (!tracing || bytes == 0) {
        return;
    }
    write_text("layer ");
    write_number(layer);
    write_text(" ");
    for (size_t i = 0; i < bytes; i++) {
        write_byte(data[i]);
    }
    end_line();
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

/* One hexadecimal digit of a sample, written straight into the inputs; false if it has no place. */
static bool store_digit(size_t index, int value)
{
    if (value < 0 || index / 2 >= input_bytes()) {
        return false;
    }
    uint8_t *const byte = input_byte(index / 2);
    *byte = (uint8_t)(index % 2 == 0 ? value << 4 : *byte | value);
    return true;
}

/* A line from the host. */
typedef struct {
    uint8_t command; /* its first character, 0 in an empty line */
    size_t digits;   /* of its data */
    bool data_fits;  /* they are hexadecimal and have a place */
    bool is_intact;  /* its checksum is right */
} request;

static request read_request(void)
{
    request got = {.data_fits = true};
    uint32_t crc = CRC_START;
    uint32_t checksum = 0;
    int checksum_digits = -1; /* no '*' yet */
    bool is_hexadecimal = true;
    for (uint8_t next = port_serial_read(); next != '\n'; next = port_serial_read()) {
        if (checksum_digits >= 0) {
            const int value = digit(next);
            is_hexadecimal = is_hexadecimal && value >= 0 && checksum_digits < 8;
            checksum = (checksum << 4) | ((uint32_t)value & 0xFU);
            checksum_digits += checksum_digits < 9;
        } else if (next == '*') {
            checksum_digits = 0;
        } else {
            crc = crc_add(crc, next);
            if (got.command == 0) {
                got.command = next;
            } else if (got.command == 'i') {
                got.data_fits = got.data_fits && store_digit(got.digits++, digit(next));
            }
        }
    }
    got.is_intact = checksum_digits == 8 && is_hexadecimal && checksum == ~crc;
    return got;
}

static void answer_sample(const request *got)
{
    if (got->data_fits && got->digits == 2 * input_bytes()) {
        write_text("ok");
        end_line();
    } else {
        write_error("the sample is not as long as the inputs, or not hexadecimal");
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
    end_line();
}

static void answer_run(void)
{
    tracing = true;
    test->run();
    tracing = false;
    write_text("done");
    end_line();
}

static void answer_measure(void)
{
    const measurement cost = measure(test->run);
    write_text("cost ");
    write_number(cost.instructions);
    write_text(" ");
    write_number(cost.stack_bytes);
    end_line();
}

int main(void)
{
    port_init();
    port_serial_init();
    for (;;) {
        const request got = read_request();
        if (got.command == 0) {
            continue; /* an empty line ends what was left of a broken one, and gets no answer */
        }
        if (!got.is_intact) {
            write_text("damaged");
            end_line();
            continue;
        }
        switch (got.command) {
        case 'h':
            answer_hello();
            break;
        case 'i':
            answer_sample(&got);
            break;
        case 'r':
            answer_run();
            break;
        case 'm':
            answer_measure();
            break;
        default:
            write_error("this is no command: h, i, r, m are");
        }
    }
}
