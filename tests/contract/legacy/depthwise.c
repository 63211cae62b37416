/*
 * Contract of the legacy depthwise convolution, channel multiplier 1.
 *
 *     acc = (bias[c] << bias_shift) + ((1 << out_shift) >> 1) + sum(weight * input) over channel c
 *     out[y][x][c] = saturate(acc >> out_shift)
 *
 * Activations lie height, width, channel; weights lie kernel height, kernel width, channel. Padding
 * as in convolve.c. ch_im_in must equal ch_im_out. Any number of channels works in both paths.
 *
 * Scratch: bufferA, 2 * ch_im_in * dim_kernel_x * dim_kernel_y q15 elements by the documentation.
 * The DSP path uses a quarter of that, the bytes of one window; the C path nothing. bufferB is
 * never used and may be NULL.
 */
#include "contract.h"

static accumulator channel_sum(const conv_sizes *s, const q7_t *in, const q7_t *wt, uint16_t y,
                               uint16_t x, uint16_t c, accumulator acc)
{
    for (uint16_t ky = 0; ky < s->kernel_y; ky++) {
        for (uint16_t kx = 0; kx < s->kernel_x; kx++) {
            const int32_t row = tap(y, s->stride_y, ky, s->padding_y, s->in_y);
            const int32_t column = tap(x, s->stride_x, kx, s->padding_x, s->in_x);
            if (row < 0 || column < 0) {
                continue;
            }
            const size_t pixel = (size_t)row * s->in_x + (size_t)column;
            const size_t position = (size_t)ky * s->kernel_x + kx;
            acc = acc_add(acc, in[pixel * s->in_ch + c], wt[position * s->in_ch + c]);
        }
    }
    return acc;
}

static arm_status depthwise(const conv_sizes *s, const q7_t *in, const q7_t *wt, const q7_t *bias,
                            q7_t *out, q15_t *scratch)
{
    const size_t window = (size_t)s->in_ch * s->kernel_x * s->kernel_y;
    const size_t scratch_bytes = bytes_of(Q15, 2 * window);
    size_t index = 0;

    if (s->in_ch != s->out_ch) {
        return ARM_MATH_SIZE_MISMATCH;
    }
    if (!shifts_usable(s->bias_shift, s->out_shift)) {
        return ARM_MATH_ARGUMENT_ERROR;
    }
    poison(out, bytes_of(Q7, (size_t)s->out_x * s->out_y * s->out_ch));
    poison(scratch, scratch_bytes);
    for (uint16_t y = 0; y < s->out_y; y++) {
        for (uint16_t x = 0; x < s->out_x; x++) {
            for (uint16_t c = 0; c < s->out_ch; c++) {
                const accumulator start = acc_start(bias[c], s->bias_shift, s->out_shift);
                const accumulator sum = channel_sum(s, in, wt, y, x, c, start);
                store(out, Q7, index++, acc_finish(sum, s->out_shift));
            }
        }
    }
    poison(scratch, scratch_bytes);
    return ARM_MATH_SUCCESS;
}

arm_status arm_depthwise_separable_conv_HWC_q7_nonsquare(
    const q7_t *Im_in, const uint16_t dim_im_in_x, const uint16_t dim_im_in_y,
    const uint16_t ch_im_in, const q7_t *wt, const uint16_t ch_im_out, const uint16_t dim_kernel_x,
    const uint16_t dim_kernel_y, const uint16_t padding_x, const uint16_t padding_y,
    const uint16_t stride_x, const uint16_t stride_y, const q7_t *bias, const uint16_t bias_shift,
    const uint16_t out_shift, q7_t *Im_out, const uint16_t dim_im_out_x,
    const uint16_t dim_im_out_y, q15_t *bufferA, q7_t *bufferB)
{
    const conv_sizes s = {.in_x = dim_im_in_x,
                          .in_y = dim_im_in_y,
                          .in_ch = ch_im_in,
                          .out_x = dim_im_out_x,
                          .out_y = dim_im_out_y,
                          .out_ch = ch_im_out,
                          .kernel_x = dim_kernel_x,
                          .kernel_y = dim_kernel_y,
                          .padding_x = padding_x,
                          .padding_y = padding_y,
                          .stride_x = stride_x,
                          .stride_y = stride_y,
                          .bias_shift = bias_shift,
                          .out_shift = out_shift};

    (void)bufferB;
    return depthwise(&s, Im_in, wt, bias, Im_out, bufferA);
}

arm_status arm_depthwise_separable_conv_HWC_q7(
    const q7_t *Im_in, const uint16_t dim_im_in, const uint16_t ch_im_in, const q7_t *wt,
    const uint16_t ch_im_out, const uint16_t dim_kernel, const uint16_t padding,
    const uint16_t stride, const q7_t *bias, const uint16_t bias_shift, const uint16_t out_shift,
    q7_t *Im_out, const uint16_t dim_im_out, q15_t *bufferA, q7_t *bufferB)
{
    return arm_depthwise_separable_conv_HWC_q7_nonsquare(
        Im_in, dim_im_in, dim_im_in, ch_im_in, wt, ch_im_out, dim_kernel, dim_kernel, padding,
        padding, stride, stride, bias, bias_shift, out_shift, Im_out, dim_im_out, dim_im_out,
        bufferA, bufferB);
}
