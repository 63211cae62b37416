/*
 * Console, files and exit of port.h by Arm semihosting: a BKPT 0xAB that the emulator (or a
 * debugger) answers, operation in r0, arguments in r1.
 * Source: Arm, "Semihosting for AArch32 and AArch64", release 2.0.
 */
#include "port.h"

#include <string.h>

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_SEEK = 0x0A,
    SYS_EXIT_EXTENDED = 0x20
};

enum { OPEN_READ_BINARY = 1, OPEN_WRITE_BINARY = 5 }; /* fopen's "rb" and "wb" */
enum { ADP_STOPPED_APPLICATION_EXIT = 0x20026 };

static int semihost(int operation, const void *arguments)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void port_exit(int code)
{
    const uintptr_t arguments[] = {ADP_STOPPED_APPLICATION_EXIT, (uintptr_t)code};
    for (;;) {
        (void)semihost(SYS_EXIT_EXTENDED, arguments);
    }
}

void port_print(const char *text)
{
    (void)semihost(SYS_WRITE0, text);
}

port_file port_file_open(const char *path, port_file_mode mode)
{
    const uintptr_t arguments[] = {
        (uintptr_t)path, mode == PORT_WRITE ? OPEN_WRITE_BINARY : OPEN_READ_BINARY, strlen(path)};
    return semihost(SYS_OPEN, arguments);
}

/* SYS_READ and SYS_WRITE answer how many bytes are left over, or a negative number. */
size_t port_file_read(port_file file, void *data, size_t bytes)
{
    const uintptr_t arguments[] = {(uintptr_t)file, (uintptr_t)data, bytes};
    const int left = semihost(SYS_READ, arguments);
    return left < 0 ? 0 : bytes - (size_t)left;
}

bool port_file_write(port_file file, const void *data, size_t bytes)
{
    const uintptr_t arguments[] = {(uintptr_t)file, (uintptr_t)data, bytes};
    return semihost(SYS_WRITE, arguments) == 0;
}

bool port_file_seek(port_file file, size_t offset)
{
    const uintptr_t arguments[] = {(uintptr_t)file, offset};
    return semihost(SYS_SEEK, arguments) == 0;
}

bool port_file_close(port_file file)
{
    const uintptr_t arguments[] = {(uintptr_t)file};
    return semihost(SYS_CLOSE, arguments) == 0;
}
