/* Numbers as text, without stdio: the part of port.h that every machine shares. */
#include "port.h"

enum { DIGITS = 20 }; /* of 2^64 - 1 */

static char *format_unsigned(char text[DIGITS + 1], uint64_t value)
{
    char *first = text + DIGITS;
    *first = '\0';
    do {
        *--first = (char)('0' + (int)(value % 10U));
        value /= 10U;
    } while (value != 0U);
    return first;
}

void port_print_unsigned(uint64_t value)
{
    char text[DIGITS + 1];
    port_print(format_unsigned(text, value));
}

void port_print_signed(int64_t value)
{
    if (value < 0) {
        port_print("-");
        port_print_unsigned(0U - (uint64_t)value);
    } else {
        port_print_unsigned((uint64_t)value);
    }
}

void port_print_aligned(uint64_t value, unsigned width)
{
    char text[DIGITS + 1];
    const char *first = format_unsigned(text, value);
    for (size_t length = (size_t)(text + DIGITS - first); length < width; length++) {
        port_print(" ");
    }
    port_print(first);
}

void port_print_ratio(uint64_t numerator, uint64_t denominator)
{
    const uint64_t hundredths = numerator % denominator * 100U / denominator;
    port_print_unsigned(numerator / denominator);
    port_print(hundredths < 10U ? ".0" : ".");
    port_print_unsigned(hundredths);
}
