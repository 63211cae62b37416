/* The port of serial.c on standard input and output, for tests: a board that is a process. */
#include "port.h"

#include <stdio.h>
#include <stdlib.h>

void port_init(void)
{
}

void port_serial_init(void)
{
}

uint8_t port_serial_read(void)
{
    fflush(stdout);
    const int next = getchar();
    if (next == EOF) {
        exit(0);
    }
    return (uint8_t)next;
}

void port_serial_write(uint8_t byte)
{
    putchar(byte);
}

uint64_t port_instructions(void)
{
    return 1;
}

void port_stack_paint(void)
{
}

size_t port_stack_used(void)
{
    return 64;
}
