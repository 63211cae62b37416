/* Addresses that sections.ld defines. */
#ifndef LINKER_H
#define LINKER_H

#include <stdint.h>

extern uint32_t __stack_bottom[], __stack_top[];
extern uint32_t __data_load[], __data_start[], __data_end[];
extern uint32_t __bss_start[], __bss_end[];

#endif
