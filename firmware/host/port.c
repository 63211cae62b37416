/* port.h with the C library, so that the same programs run on the host. */
#include "port.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_FILES = 4 };

static FILE *files[MAX_FILES];

void port_init(void) {}

void port_exit(int code)
{
    exit(code);
}

void port_print(const char *text)
{
    (void)fputs(text, stdout);
}

bool port_counts_instructions(void)
{
    return false;
}

uint64_t port_instructions(void)
{
    return 0;
}

void port_stack_paint(void) {}

size_t port_stack_used(void)
{
    return 0;
}

port_file port_file_open(const char *path, port_file_mode mode)
{
    for (int file = 0; file < MAX_FILES; file++) {
        if (files[file] == NULL) {
            files[file] = fopen(path, mode == PORT_WRITE ? "wb" : "rb");
            return files[file] == NULL ? -1 : file;
        }
    }
    return -1;
}

size_t port_file_read(port_file file, void *data, size_t bytes)
{
    return fread(data, 1, bytes, files[file]);
}

bool port_file_write(port_file file, const void *data, size_t bytes)
{
    return fwrite(data, 1, bytes, files[file]) == bytes;
}

bool port_file_seek(port_file file, size_t offset)
{
    return fseek(files[file], (long)offset, SEEK_SET) == 0;
}

bool port_file_close(port_file file)
{
    FILE *stream = files[file];
    files[file] = NULL;
    return fclose(stream) == 0;
}
