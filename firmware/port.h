/*
 * What a program needs from the machine it runs on. boards/common/ implements it for a Cortex-M by
 * semihosting and SysTick, host/port.c with the C library, print.c on top of port_print for both.
 */
#ifndef PORT_H
#define PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Exit codes of a program. */
enum { PORT_EXIT_PASS = 0, PORT_EXIT_FAIL = 1, PORT_EXIT_FAULT = 2 };

/* Starts the instruction counter from zero. Call it first, and again to restart the counter. */
void port_init(void);

/* Ends the program; the emulator (or the process) exits with `code`. */
void port_exit(int code) __attribute__((noreturn));

/* Writes text to standard output; the numbers are decimal. */
void port_print(const char *text);
void port_print_unsigned(uint64_t value);
void port_print_signed(int64_t value);
/* Right-aligned in `width` columns. */
void port_print_aligned(uint64_t value, unsigned width);
/* numerator / denominator with two digits after the point, rounded down. */
void port_print_ratio(uint64_t numerator, uint64_t denominator);

/*
 * Instructions executed since port_init, in steps of one SysTick tick (31 to 50 instructions). Zero
 * where they cannot be counted: on the host, and on a board without `-icount shift=0`.
 */
bool port_counts_instructions(void);
uint64_t port_instructions(void);

/*
 * High-water mark of the stack. Paint, call, then ask: the answer is the bytes used below the
 * painter's caller. Zero on the host, whose stack is not ours to paint.
 */
void port_stack_paint(void);
size_t port_stack_used(void);

/* Files of the host, relative to the emulator's (or the process's) current directory. */
typedef int port_file; /* negative: could not be opened */
typedef enum { PORT_READ, PORT_WRITE } port_file_mode;

port_file port_file_open(const char *path, port_file_mode mode);
/* Bytes read: fewer than asked for only at the end of the file. */
size_t port_file_read(port_file file, void *data, size_t bytes);
bool port_file_write(port_file file, const void *data, size_t bytes);
bool port_file_seek(port_file file, size_t offset); /* from the start */
bool port_file_close(port_file file);

/* A serial line, for the program `serial` only; reading waits. Not on the host. */
void port_serial_init(void);
uint8_t port_serial_read(void);
void port_serial_write(uint8_t byte);

#ifdef __cplusplus
}
#endif

#endif
