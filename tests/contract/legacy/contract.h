/*
 * What all contracts of the legacy kernels share: elements of 8 or 16 bits, the accumulator, and
 * the poison that makes a caller's wrong assumption visible. Not part of the public interface.
 *
 * Three rules hold for every function that takes an output or a scratch buffer:
 *
 * - The whole output is poisoned before anything is read, but for softmax. A caller who lets it
 *   overlap the input gets wrong results, as the real kernels may give.
 * - The whole documented scratch is poisoned before and after. A caller who gives too little, or
 *   lets it overlap something that is alive, is found by ASan or by the wrong results.
 * - ARM_MATH_SIZE_MISMATCH is returned where the real function refuses; ARM_MATH_ARGUMENT_ERROR
 *   where it accepts but one of its paths (C, DSP) computes something wrong. Nothing is computed in
 *   either case. Functions that return nothing leave poison in their output instead.
 */
#ifndef CONTRACT_H
#define CONTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "arm_nnfunctions.h"

/* Bits of a tensor's elements. */
typedef enum { Q7 = 8, Q15 = 16 } width;

/* The sizes of a convolution; x is the width, y the height. */
typedef struct {
    uint16_t in_x, in_y, in_ch;
    uint16_t out_x, out_y, out_ch;
    uint16_t kernel_x, kernel_y;
    uint16_t padding_x, padding_y; /* zeros to the left and on top; the rest follows from out_* */
    uint16_t stride_x, stride_y;
    uint16_t bias_shift, out_shift;
} conv_sizes;

static inline void poison(void *buffer, size_t bytes)
{
    if (bytes > 0) {
        memset(buffer, 0xA5, bytes);
    }
}

static inline size_t bytes_of(width bits, size_t elements)
{
    return elements * (size_t)bits / 8;
}

static inline q31_t load(const void *tensor, width bits, size_t index)
{
    return bits == Q7 ? ((const q7_t *)tensor)[index] : ((const q15_t *)tensor)[index];
}

/* Writes `value` saturated to the width of the tensor. */
static inline void store(void *tensor, width bits, size_t index, q31_t value)
{
    const q31_t max = bits == Q7 ? INT8_MAX : INT16_MAX;
    const q31_t min = bits == Q7 ? INT8_MIN : INT16_MIN;
    const q31_t saturated = value > max ? max : value < min ? min : value;

    if (bits == Q7) {
        ((q7_t *)tensor)[index] = (q7_t)saturated;
    } else {
        ((q15_t *)tensor)[index] = (q15_t)saturated;
    }
}

/* 32 bits that wrap, like the registers of the real kernels: nothing saturates before the end. */
typedef uint32_t accumulator;

/* (bias << bias_shift) + half a unit of the output, so that the final shift rounds half up. */
static inline accumulator acc_start(q31_t bias, uint16_t bias_shift, uint16_t out_shift)
{
    return ((uint32_t)bias << bias_shift) + ((UINT32_C(1) << out_shift) >> 1);
}

static inline accumulator acc_add(accumulator acc, q31_t a, q31_t b)
{
    return acc + (uint32_t)(a * b); /* 16 x 16 bits: the product itself cannot overflow */
}

/* acc / 2^out_shift rounded down; right shifts are arithmetic on every compiler that is used. */
static inline q31_t acc_finish(accumulator acc, uint16_t out_shift)
{
    const int64_t wrapped = acc > INT32_MAX ? (int64_t)acc - (INT64_C(1) << 32) : (int64_t)acc;

    return (q31_t)(wrapped >> out_shift);
}

/* The rounding constant is 1 << out_shift in a signed 32-bit integer: 31 would make it negative. */
static inline bool shifts_usable(uint16_t bias_shift, uint16_t out_shift)
{
    return bias_shift <= 31 && out_shift <= 30;
}

/* The input coordinate under a kernel tap, or -1 where the tap lies on padding. */
static inline int32_t tap(uint16_t out, uint16_t stride, uint16_t kernel, uint16_t padding,
                          uint16_t in)
{
    const int32_t position = (int32_t)out * stride + kernel - padding;

    return position >= 0 && position < in ? position : -1;
}

#endif
