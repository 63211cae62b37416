/*
 * arm_softmax_s8: e^(x - max) in Q0.31 by a series and a product, the sum in Q12.19, its reciprocal
 * by three Newton steps. arm_softmax_s16: the same from two tables of 513 points.
 */
#include "contract.h"

/* e^x in Q0.31 for x <= 0 in Q5.26. */
static int32_t exp_negative(int32_t x)
{
    static const int32_t factors[] = {1672461947, 1302514674, 790015084, 290630308,
                                      39332535,   720401,     242};
    const int32_t quarter = 1 << 24;
    const int32_t fraction = (int32_t)((uint32_t)x & (uint32_t)(quarter - 1)) - quarter;
    const int32_t near = fraction * 32 + (1 << 28);
    const int32_t square = high_mul(near, near);
    const int32_t cube = high_mul(square, near);
    const int32_t fourth = divide(high_mul(square, square), 2);
    const int32_t series = high_mul(fourth + cube, 715827883) + square;
    int32_t result = 1895147668 + high_mul(1895147668, near + divide(series, 1));
    const int32_t rest = fraction - x;
    if (x == 0) {
        return INT32_MAX;
    }
    for (int i = 0; i < 7; i++) {
        if (((uint32_t)rest >> (24 + i)) & 1U) {
            result = high_mul(result, factors[i]);
        }
    }
    return result;
}

/* 1 / (1 + x) in Q0.31. */
static int32_t reciprocal(int32_t x)
{
    const int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int64_t estimate = 1515870810 + (int64_t)high_mul(half, -1010580540);
    for (int i = 0; i < 3; i++) {
        const int32_t error = (1 << 29) - high_mul(half, (int32_t)estimate);
        estimate += (int64_t)high_mul((int32_t)estimate, error) * 4;
    }
    return estimate * 2 > INT32_MAX ? INT32_MAX : (int32_t)(estimate * 2);
}

static void row_s8(const int8_t *input, int32_t size, int32_t mult, int32_t shift, int32_t diff_min,
                   int8_t *output)
{
    int32_t largest = INT8_MIN;
    for (int32_t i = 0; i < size; i++) {
        largest = input[i] > largest ? input[i] : largest;
    }
    uint32_t sum = 0;
    for (int32_t i = 0; i < size; i++) {
        const int32_t below = input[i] - largest;
        if (below >= diff_min) {
            sum += (uint32_t)divide(exp_negative(high_mul(below * (1 << shift), mult)), 12);
        }
    }
    int zeros = 0;
    while (((sum << zeros) & 0x80000000U) == 0) {
        zeros++;
    }
    const int32_t scale = reciprocal((int32_t)((sum << zeros) & 0x7FFFFFFFU));
    for (int32_t i = 0; i < size; i++) {
        const int32_t below = input[i] - largest;
        int32_t share = 0;
        if (below >= diff_min) {
            const int32_t power = exp_negative(high_mul(below * (1 << shift), mult));
            share = divide(high_mul(scale, power), 35 - zeros);
        }
        output[i] = (int8_t)clamp(share - 128, INT8_MIN, INT8_MAX);
    }
}

void arm_softmax_s8(const int8_t *input, int32_t num_rows, int32_t row_size, int32_t mult,
                    int32_t shift, int32_t diff_min, int8_t *output)
{
    for (int32_t row = 0; row < num_rows; row++) {
        row_s8(input + row * row_size, row_size, mult, shift, diff_min, output + row * row_size);
    }
}

static int32_t look_up(const int16_t *table, int32_t value)
{
    const int32_t place = value + 32768;
    const int32_t slope = table[place / 128 + 1] - table[place / 128];
    return table[place / 128] + (int32_t)floor_shift(slope * (place % 128) + 64, 7);
}

static int32_t exp_s16(const int16_t *table, int32_t below, int32_t mult, int32_t shift)
{
    return look_up(table, clamp(rescale(below, mult, shift) + 32767, INT16_MIN, INT16_MAX));
}

arm_cmsis_nn_status arm_softmax_s16(const int16_t *input, int32_t num_rows, int32_t row_size,
                                    int32_t mult, int32_t shift,
                                    const cmsis_nn_softmax_lut_s16 *tables, int16_t *output)
{
    for (int32_t row = 0; row < num_rows; row++, input += row_size, output += row_size) {
        int32_t largest = INT16_MIN, sum = 0;
        for (int32_t i = 0; i < row_size; i++) {
            largest = input[i] > largest ? input[i] : largest;
        }
        for (int32_t i = 0; i < row_size; i++) {
            sum += exp_s16(tables->exp_lut, input[i] - largest, mult, shift);
        }
        int bits = 0;
        while (((uint32_t)sum >> bits) != 0) {
            bits++;
        }
        const int32_t scaled = (int32_t)((((int64_t)sum << (31 - bits)) + (1 << 13)) / (1 << 14)) -
                               (1 << 15) - (1 << 16);
        const int32_t inverse =
            look_up(tables->one_by_one_lut, clamp(scaled, INT16_MIN, INT16_MAX));
        for (int32_t i = 0; i < row_size; i++) {
            const int64_t power = exp_s16(tables->exp_lut, input[i] - largest, mult, shift);
            const int64_t half = (int64_t)1 << (bits - 2);
            const int64_t share = floor_shift(power * inverse + half, bits - 1);
            output[i] = (int16_t)(share < 0 ? 0 : share > INT16_MAX ? INT16_MAX : share);
        }
    }
    return ARM_CMSIS_NN_SUCCESS;
}
