/*
 * The serial line of port.h on the UART of the MPS2 boards, at UART_BASE from board.mk,
 * with a clock of UART_MHZ.
 * Source: Arm, "Cortex-M System Design Kit", APB UART.
 */
#include "port.h"

#ifdef UART_BASE

#define UART_DATA (*(volatile uint32_t *)(UART_BASE + 0x00U))
#define UART_STATE (*(volatile uint32_t *)(UART_BASE + 0x04U))
#define UART_CTRL (*(volatile uint32_t *)(UART_BASE + 0x08U))
#define UART_BAUDDIV (*(volatile uint32_t *)(UART_BASE + 0x10U))

#define STATE_TX_FULL 0x1U
#define STATE_RX_FULL 0x2U
#define CTRL_TX_AND_RX 0x3U
#define BAUD 115200U

#ifndef UART_MHZ
#define UART_MHZ SYSTICK_MHZ
#endif

void port_serial_init(void)
{
    UART_BAUDDIV = UART_MHZ * 1000000U / BAUD;
    UART_CTRL = CTRL_TX_AND_RX;
}

uint8_t port_serial_read(void)
{
    while ((UART_STATE & STATE_RX_FULL) == 0U) {
    }
    return (uint8_t)UART_DATA;
}

void port_serial_write(uint8_t byte)
{
    while ((UART_STATE & STATE_TX_FULL) != 0U) {
    }
    UART_DATA = byte;
}

#else

typedef int no_uart; /* a C file may not be empty */

#endif
