/*
 * Contracts of the legacy pooling layers: square, height, width, channel, no output shift.
 *
 * Both destroy their input: the DSP path pools along x in place. Here all of it is poisoned.
 *
 * Unchecked by the real functions, which return nothing; the output is left poisoned:
 *
 * - Each window must reach into the input: dim_kernel > padding, and the last window must start
 *   before the end. An empty window gives 127 or a division by zero in the C path.
 * - padding < stride, unless there is only one output. The DSP path writes output x over input
 *   column x, so a window that starts to the left of its own output reads what it has overwritten.
 *   (Maximum and average of 3x3, padding 1, stride 1 are wrong there.)
 */
#include "contract.h"

typedef struct {
    uint16_t in, channels, kernel, padding, stride, out;
} pool_sizes;

static bool pool_usable(const pool_sizes *s)
{
    const int32_t last_start = ((int32_t)s->out - 1) * s->stride - s->padding;

    return s->kernel > s->padding && last_start < s->in && (s->padding < s->stride || s->out == 1);
}

typedef struct {
    q31_t max, sum, count;
} window_result;

/* One channel of one window; padding takes no part. */
static window_result pool_window(const pool_sizes *s, const q7_t *in, uint16_t y, uint16_t x,
                                 uint16_t c)
{
    window_result result = {INT8_MIN, 0, 0};

    for (uint16_t ky = 0; ky < s->kernel; ky++) {
        for (uint16_t kx = 0; kx < s->kernel; kx++) {
            const int32_t row = tap(y, s->stride, ky, s->padding, s->in);
            const int32_t column = tap(x, s->stride, kx, s->padding, s->in);
            if (row < 0 || column < 0) {
                continue;
            }
            const q31_t value = in[((size_t)row * s->in + (size_t)column) * s->channels + c];
            result.max = value > result.max ? value : result.max;
            result.sum += value;
            result.count++;
        }
    }
    return result;
}

typedef enum { MAXIMUM, AVERAGE } pooling;

static void pool(const pool_sizes *s, pooling kind, q7_t *in, q7_t *out)
{
    size_t index = 0;

    poison(out, (size_t)s->out * s->out * s->channels);
    if (!pool_usable(s)) {
        return;
    }
    for (uint16_t y = 0; y < s->out; y++) {
        for (uint16_t x = 0; x < s->out; x++) {
            for (uint16_t c = 0; c < s->channels; c++) {
                const window_result window = pool_window(s, in, y, x, c);
                store(out, Q7, index++, kind == MAXIMUM ? window.max : window.sum / window.count);
            }
        }
    }
    poison(in, (size_t)s->in * s->in * s->channels);
}

/* The largest element of the window. bufferA is not used and may be NULL. */
void arm_maxpool_q7_HWC(q7_t *Im_in, const uint16_t dim_im_in, const uint16_t ch_im_in,
                        const uint16_t dim_kernel, const uint16_t padding, const uint16_t stride,
                        const uint16_t dim_im_out, q7_t *bufferA, q7_t *Im_out)
{
    const pool_sizes s = {dim_im_in, ch_im_in, dim_kernel, padding, stride, dim_im_out};

    (void)bufferA;
    pool(&s, MAXIMUM, Im_in, Im_out);
}

/*
 * sum / count of the elements of the window that lie inside the input, rounded towards zero.
 *
 * This is the C path (Cortex-M0, M3, M55). The DSP path (M4, M7, M33) rounds twice: each row of
 * the window is averaged first, rounded towards zero, and then the column of those averages,
 * rounded towards zero. For a 2x2 window of 1, 0, 1, 2 the C path gives 4 / 4 = 1; the DSP path
 * (1 + 0) / 2 = 0, (1 + 2) / 2 = 1, (0 + 1) / 2 = 0. So no network that calls this function gives
 * the same bytes on every core.
 *
 * Scratch: bufferA, 2 * dim_im_out * ch_im_in bytes, aligned for q15.
 */
void arm_avepool_q7_HWC(q7_t *Im_in, const uint16_t dim_im_in, const uint16_t ch_im_in,
                        const uint16_t dim_kernel, const uint16_t padding, const uint16_t stride,
                        const uint16_t dim_im_out, q7_t *bufferA, q7_t *Im_out)
{
    const size_t scratch_bytes = (size_t)2 * dim_im_out * ch_im_in;
    const pool_sizes s = {dim_im_in, ch_im_in, dim_kernel, padding, stride, dim_im_out};

    poison(bufferA, scratch_bytes);
    pool(&s, AVERAGE, Im_in, Im_out);
    poison(bufferA, scratch_bytes);
}
