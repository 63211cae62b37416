/*
 * Contracts of the legacy table activations. All work in place, on `size` elements.
 */
#include "contract.h"

#include <math.h>

/*
 * The tables behind sigmoid and tanh: 256 entries for x = -8 ... 7.9375 in steps of 1/16, value
 * times 2^frac_bits rounded half up and saturated. `index` is taken modulo 256; entry 128 is x =
 * -8.
 */
static q31_t table_entry(arm_nn_activation_type type, q31_t index, unsigned frac_bits)
{
    const q31_t wrapped = index & 0xFF;
    const double x = (wrapped < 128 ? wrapped : wrapped - 256) / 16.0;
    const double y = type == ARM_SIGMOID ? 1.0 / (1.0 + exp(-x)) : tanh(x);
    const q31_t one = (q31_t)1 << frac_bits;
    const q31_t rounded = (q31_t)floor(y * one + 0.5);

    return rounded < one ? rounded : one - 1;
}

/*
 * sigmoid(x) or tanh(x) as q0.7. int_width = integer bits of the input (its frac bits are
 * 7 - int_width), 0 to 3: more make the shift below negative. The input is cut down to
 * steps of 1/16 by an arithmetic shift and looked up. Any type but ARM_SIGMOID is tanh.
 */
void arm_nn_activations_direct_q7(q7_t *data, uint16_t size, uint16_t int_width,
                                  arm_nn_activation_type type)
{
    if (int_width > 3) {
        poison(data, size);
        return;
    }
    for (size_t i = 0; i < size; i++) {
        data[i] = (q7_t)table_entry(type, data[i] >> (3 - int_width), 7);
    }
}

/*
 * sigmoid(x) or tanh(x) as q0.15. int_width = integer bits of the input (its frac bits are
 * 15 - int_width), 0 to 3. Between two entries of the table the value is interpolated linearly and
 * rounded down; behind the last entry (x > 7.9375) the last entry is taken.
 */
void arm_nn_activations_direct_q15(q15_t *data, uint16_t size, uint16_t int_width,
                                   arm_nn_activation_type type)
{
    if (int_width > 3) {
        poison(data, bytes_of(Q15, size));
        return;
    }
    const unsigned shift = 11u - int_width;
    const q31_t step = (q31_t)1 << shift;
    for (size_t i = 0; i < size; i++) {
        const q31_t index = data[i] >> shift;
        const q31_t frac = data[i] & (step - 1);
        const q31_t left = table_entry(type, index, 15);
        const q31_t right = index == 127 ? left : table_entry(type, index + 1, 15);
        data[i] = (q15_t)(((step - frac) * left + frac * right) >> shift);
    }
}
