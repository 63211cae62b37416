#ifndef SYSTICK_H
#define SYSTICK_H

/* Ends one period of 2^24 ticks; stands in the vector table. */
void SysTick_Handler(void);

#endif
