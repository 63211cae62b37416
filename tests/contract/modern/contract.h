/*
 * What all contracts of CMSIS-NN's kernels share: elements of 8 or 16 bits, the two ways to
 * rescale, and poison. Not part of the public interface.
 *
 * - The whole output is poisoned before anything is read: outputs must not overlap inputs.
 * - The whole scratch is poisoned before and after. Too little of it is found by ASan.
 * - ARM_CMSIS_NN_ARG_ERROR is returned for arguments that the library does not promise to take.
 */
#ifndef CONTRACT_H
#define CONTRACT_H

#include <stddef.h>
#include <string.h>

#include "arm_nnfunctions.h"

/* Bytes of a tensor's elements. */
typedef enum { S8 = 1, S16 = 2 } width;

static inline void poison(void *buffer, size_t bytes)
{
    if (buffer != NULL && bytes > 0) {
        memset(buffer, 0xA5, bytes);
    }
}

static inline void poison_scratch(const cmsis_nn_context *ctx)
{
    poison(ctx->buf, (size_t)ctx->size);
}

static inline int32_t load(const void *tensor, width bytes, int32_t index)
{
    return bytes == S8 ? ((const int8_t *)tensor)[index] : ((const int16_t *)tensor)[index];
}

static inline int32_t clamp(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

static inline void store(void *tensor, width bytes, int32_t index, int32_t value)
{
    if (bytes == S8) {
        ((int8_t *)tensor)[index] = (int8_t)value;
    } else {
        ((int16_t *)tensor)[index] = (int16_t)value;
    }
}

/* floor(value / 2^exponent) */
static inline int64_t floor_shift(int64_t value, int exponent)
{
    const int64_t divisor = (int64_t)1 << exponent;
    const int64_t quotient = value / divisor;
    return quotient - (value % divisor < 0);
}

/* a * b / 2^31, rounded half up. */
static inline int32_t high_mul(int32_t a, int32_t b)
{
    return (int32_t)floor_shift((int64_t)a * b + ((int64_t)1 << 30), 31);
}

/* value / 2^exponent, rounded half away from zero. */
static inline int32_t divide(int32_t value, int exponent)
{
    const int64_t half = ((int64_t)1 << exponent) / 2;
    return (int32_t)(value < 0 ? -floor_shift(half - (int64_t)value, exponent)
                               : floor_shift(value + half, exponent));
}

/* value * multiplier * 2^(shift - 31), rounded twice. */
static inline int32_t rescale(int32_t value, int32_t multiplier, int32_t shift)
{
    const int32_t left = shift > 0 ? shift : 0;
    return divide(high_mul(value * (1 << left), multiplier), (int)(left - shift));
}

/* The same for a 64-bit accumulator, with a multiplier of 15 bits, rounded once. */
static inline int32_t rescale_wide(int64_t value, int32_t multiplier, int32_t shift)
{
    const int64_t narrow = multiplier < 0x7FFF0000 ? (multiplier + (1 << 15)) >> 16 : 0x7FFF;
    const int total = (int)(15 - shift);
    return (int32_t)floor_shift(value * narrow + ((int64_t)1 << (total - 1)), total);
}

/* A weight of 8 bits, or one of 4: two are in a byte, the first in the low half. */
static inline int32_t weight_at(const int8_t *weights, bool nibbles, int32_t index)
{
    if (!nibbles) {
        return weights[index];
    }
    const int32_t half = ((uint8_t)weights[index / 2] >> (index % 2 * 4)) & 15;
    return half < 8 ? half : half - 16;
}

static inline int32_t volume(const cmsis_nn_dims *dims)
{
    return dims->n * dims->h * dims->w * dims->c;
}

#endif
