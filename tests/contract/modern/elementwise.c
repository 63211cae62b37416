/*
 * arm_elementwise_add_* and _mul_*. A sum brings both inputs to a common scale with left_shift
 * more bits, adds and rescales; a product rescales once.
 */
#include "contract.h"

typedef struct {
    int32_t offset, mult, shift;
} operand;

static int32_t scaled_input(const void *tensor, width bytes, int32_t i, operand o, int32_t left)
{
    return rescale((load(tensor, bytes, i) + o.offset) * (1 << left), o.mult, o.shift);
}

static arm_cmsis_nn_status add(width bytes, const void *a, const void *b, operand first,
                               operand second, int32_t left, void *output, operand out,
                               cmsis_nn_activation limits, int32_t size)
{
    for (int32_t i = 0; i < size; i++) {
        const int32_t sum =
            scaled_input(a, bytes, i, first, left) + scaled_input(b, bytes, i, second, left);
        const int32_t value = rescale(sum, out.mult, out.shift) + out.offset;
        store(output, bytes, i, clamp(value, limits.min, limits.max));
    }
    return ARM_CMSIS_NN_SUCCESS;
}

static arm_cmsis_nn_status mul(width bytes, const void *a, const void *b, int32_t a_offset,
                               int32_t b_offset, void *output, operand out,
                               cmsis_nn_activation limits, int32_t size)
{
    for (int32_t i = 0; i < size; i++) {
        const int32_t product = (load(a, bytes, i) + a_offset) * (load(b, bytes, i) + b_offset);
        const int32_t value = rescale(product, out.mult, out.shift) + out.offset;
        store(output, bytes, i, clamp(value, limits.min, limits.max));
    }
    return ARM_CMSIS_NN_SUCCESS;
}

arm_cmsis_nn_status arm_elementwise_add_s8(const int8_t *a, const int8_t *b, int32_t a_offset,
                                           int32_t a_mult, int32_t a_shift, int32_t b_offset,
                                           int32_t b_mult, int32_t b_shift, int32_t left_shift,
                                           int8_t *output, int32_t out_offset, int32_t out_mult,
                                           int32_t out_shift, int32_t out_min, int32_t out_max,
                                           int32_t size)
{
    const operand first = {a_offset, a_mult, a_shift}, second = {b_offset, b_mult, b_shift};
    const operand out = {out_offset, out_mult, out_shift};
    const cmsis_nn_activation limits = {out_min, out_max};
    return add(S8, a, b, first, second, left_shift, output, out, limits, size);
}

arm_cmsis_nn_status arm_elementwise_add_s16(const int16_t *a, const int16_t *b, int32_t a_offset,
                                            int32_t a_mult, int32_t a_shift, int32_t b_offset,
                                            int32_t b_mult, int32_t b_shift, int32_t left_shift,
                                            int16_t *output, int32_t out_offset, int32_t out_mult,
                                            int32_t out_shift, int32_t out_min, int32_t out_max,
                                            int32_t size)
{
    const operand first = {a_offset, a_mult, a_shift}, second = {b_offset, b_mult, b_shift};
    const operand out = {out_offset, out_mult, out_shift};
    const cmsis_nn_activation limits = {out_min, out_max};
    if (a_offset != 0 || b_offset != 0 || out_offset != 0) {
        return ARM_CMSIS_NN_ARG_ERROR;
    }
    return add(S16, a, b, first, second, left_shift, output, out, limits, size);
}

arm_cmsis_nn_status arm_elementwise_mul_s8(const int8_t *a, const int8_t *b, int32_t a_offset,
                                           int32_t b_offset, int8_t *output, int32_t out_offset,
                                           int32_t out_mult, int32_t out_shift, int32_t out_min,
                                           int32_t out_max, int32_t size)
{
    const operand out = {out_offset, out_mult, out_shift};
    const cmsis_nn_activation limits = {out_min, out_max};
    return mul(S8, a, b, a_offset, b_offset, output, out, limits, size);
}

arm_cmsis_nn_status arm_elementwise_mul_s16(const int16_t *a, const int16_t *b, int32_t a_offset,
                                            int32_t b_offset, int16_t *output, int32_t out_offset,
                                            int32_t out_mult, int32_t out_shift, int32_t out_min,
                                            int32_t out_max, int32_t size)
{
    const operand out = {out_offset, out_mult, out_shift};
    const cmsis_nn_activation limits = {out_min, out_max};
    if (a_offset != 0 || b_offset != 0 || out_offset != 0) {
        return ARM_CMSIS_NN_ARG_ERROR;
    }
    return mul(S16, a, b, a_offset, b_offset, output, out, limits, size);
}
