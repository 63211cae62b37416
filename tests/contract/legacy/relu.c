/*
 * Contracts of the legacy rectifiers. Both work in place, on `size` elements.
 */
#include "contract.h"

/* max(x, 0) */
void arm_relu_q7(q7_t *data, uint16_t size)
{
    for (size_t i = 0; i < size; i++) {
        data[i] = data[i] < 0 ? 0 : data[i];
    }
}

/* max(x, 0) */
void arm_relu_q15(q15_t *data, uint16_t size)
{
    for (size_t i = 0; i < size; i++) {
        data[i] = data[i] < 0 ? 0 : data[i];
    }
}
