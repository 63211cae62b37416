/*
 * Contracts of the legacy softmax functions. The base is 2, not e, and the input is taken as
 * integers: one step of the input doubles the output, whatever its frac bits mean.
 * The output has 7 (q7) or 15 (q15) frac bits and saturates at one. In place is allowed.
 */
#include "contract.h"

static q31_t clamp(q31_t value, q31_t low, q31_t high)
{
    return value < low ? low : value > high ? high : value;
}

static q31_t largest(const void *in, width bits, size_t count)
{
    q31_t max = load(in, bits, 0);

    for (size_t i = 1; i < count; i++) {
        const q31_t value = load(in, bits, i);
        max = value > max ? value : max;
    }
    return max;
}

/*
 * With base = max - 8:
 *     sum = sum of 2^clamp(x - base, 0, 7)             (max and max - 1 count the same)
 *     out = saturate((2^20 / sum) >> clamp(13 + base - x, 0, 31))
 */
void arm_softmax_q7(const q7_t *vec_in, const uint16_t dim_vec, q7_t *p_out)
{
    q31_t sum = 0;

    if (dim_vec == 0) {
        return;
    }
    const q31_t base = largest(vec_in, Q7, dim_vec) - 8;
    for (size_t i = 0; i < dim_vec; i++) {
        sum += (q31_t)1 << clamp(vec_in[i] - base, 0, 7);
    }
    const q31_t one = ((q31_t)1 << 20) / sum;
    for (size_t i = 0; i < dim_vec; i++) {
        store(p_out, Q7, i, one >> clamp(13 + base - vec_in[i], 0, 31));
    }
}

/* arm_softmax_q7 on each of nb_batches vectors, one behind the other. */
void arm_softmax_with_batch_q7(const q7_t *vec_in, const uint16_t nb_batches,
                               const uint16_t dim_vec, q7_t *p_out)
{
    for (size_t batch = 0; batch < nb_batches; batch++) {
        arm_softmax_q7(vec_in + batch * dim_vec, dim_vec, p_out + batch * dim_vec);
    }
}

/*
 * With base = max - 16, over the elements above base only:
 *     sum = sum of 2^(x - base)
 *     out = saturate((2^32 / sum) >> (17 + base - x))
 * The others give 0.
 */
void arm_softmax_q15(const q15_t *vec_in, const uint16_t dim_vec, q15_t *p_out)
{
    int64_t sum = 0;

    if (dim_vec == 0) {
        return;
    }
    const q31_t base = largest(vec_in, Q15, dim_vec) - 16;
    for (size_t i = 0; i < dim_vec; i++) {
        sum += vec_in[i] > base ? INT64_C(1) << (vec_in[i] - base) : 0;
    }
    const q31_t one = (q31_t)((INT64_C(1) << 32) / sum);
    for (size_t i = 0; i < dim_vec; i++) {
        store(p_out, Q15, i, vec_in[i] > base ? one >> (17 + base - vec_in[i]) : 0);
    }
}
