/*
 * Contracts of the legacy convolutions.
 *
 *     acc = (bias[c] << bias_shift) + ((1 << out_shift) >> 1) + sum(weight * input)
 *     out[y][x][c] = saturate(acc >> out_shift)
 *
 * Activations lie height, width, channel; weights lie output channel, kernel height, kernel width,
 * input channel. What lies outside the input counts as 0; padding is given on top and to the left
 * only, and the output size tells how far the windows reach beyond the bottom and the right edge.
 * All parameters are plain numbers: nothing is checked against anything but what is said below.
 *
 * Scratch: bufferA, in q15 elements as said below. bufferB is never used and may be NULL. The C
 * path of the real functions (Cortex-M0, M3, M55) leaves bufferA alone, the DSP path (M4, M7, M33)
 * expands one or two windows of the input into it.
 */
#include "contract.h"

static accumulator window_sum(const conv_sizes *s, width bits, const void *in, const void *wt,
                              uint16_t y, uint16_t x, uint16_t out_ch, accumulator acc)
{
    for (uint16_t ky = 0; ky < s->kernel_y; ky++) {
        for (uint16_t kx = 0; kx < s->kernel_x; kx++) {
            const int32_t row = tap(y, s->stride_y, ky, s->padding_y, s->in_y);
            const int32_t column = tap(x, s->stride_x, kx, s->padding_x, s->in_x);
            if (row < 0 || column < 0) {
                continue;
            }
            const size_t pixel = ((size_t)row * s->in_x + (size_t)column) * s->in_ch;
            const size_t taps = (((size_t)out_ch * s->kernel_y + ky) * s->kernel_x + kx) * s->in_ch;
            for (uint16_t ch = 0; ch < s->in_ch; ch++) {
                acc = acc_add(acc, load(in, bits, pixel + ch), load(wt, bits, taps + ch));
            }
        }
    }
    return acc;
}

/* The convolution itself, the same for all functions; `scratch` is `windows` windows long. */
static arm_status convolve(const conv_sizes *s, width bits, const void *in, const void *wt,
                           const void *bias, void *out, q15_t *scratch, size_t windows)
{
    const size_t window = (size_t)s->in_ch * s->kernel_x * s->kernel_y;
    const size_t scratch_bytes = bytes_of(Q15, windows * window);
    size_t index = 0;

    if (!shifts_usable(s->bias_shift, s->out_shift)) {
        return ARM_MATH_ARGUMENT_ERROR;
    }
    poison(out, bytes_of(bits, (size_t)s->out_x * s->out_y * s->out_ch));
    poison(scratch, scratch_bytes);
    for (uint16_t y = 0; y < s->out_y; y++) {
        for (uint16_t x = 0; x < s->out_x; x++) {
            for (uint16_t c = 0; c < s->out_ch; c++) {
                const accumulator start =
                    acc_start(load(bias, bits, c), s->bias_shift, s->out_shift);
                const accumulator sum = window_sum(s, bits, in, wt, y, x, c, start);
                store(out, bits, index++, acc_finish(sum, s->out_shift));
            }
        }
    }
    poison(scratch, scratch_bytes);
    return ARM_MATH_SUCCESS;
}

/*
 * The DSP path of the fast q7 functions calls the first and the last `padding` outputs of an axis
 * its border, and looks for padding only there. Every window in between must lie inside the input:
 * otherwise it reads the next row, or past the end. So padding that is larger at the bottom or the
 * right than at the top or the left (TensorFlow's SAME with stride 2) is wrong there without a
 * word, and an axis shorter than its padding is written beyond its end.
 */
static bool border_is_padding_wide(uint16_t in, uint16_t kernel, uint16_t padding, uint16_t stride,
                                   uint16_t out)
{
    const int32_t last_inner = (int32_t)out - padding - 1;

    if (out < padding) {
        return false;
    }
    return last_inner < padding || last_inner * stride - padding + kernel <= in;
}

/* Any sizes. Scratch: 2 windows of ch_im_in * dim_kernel_x * dim_kernel_y. */
arm_status arm_convolve_HWC_q7_basic_nonsquare(
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
    return convolve(&s, Q7, Im_in, wt, bias, Im_out, bufferA, 2);
}

/* As arm_convolve_HWC_q7_basic_nonsquare. */
arm_status arm_convolve_HWC_q7_basic(const q7_t *Im_in, const uint16_t dim_im_in,
                                     const uint16_t ch_im_in, const q7_t *wt,
                                     const uint16_t ch_im_out, const uint16_t dim_kernel,
                                     const uint16_t padding, const uint16_t stride,
                                     const q7_t *bias, const uint16_t bias_shift,
                                     const uint16_t out_shift, q7_t *Im_out,
                                     const uint16_t dim_im_out, q15_t *bufferA, q7_t *bufferB)
{
    return arm_convolve_HWC_q7_basic_nonsquare(Im_in, dim_im_in, dim_im_in, ch_im_in, wt, ch_im_out,
                                               dim_kernel, dim_kernel, padding, padding, stride,
                                               stride, bias, bias_shift, out_shift, Im_out,
                                               dim_im_out, dim_im_out, bufferA, bufferB);
}

/*
 * As arm_convolve_HWC_q7_basic for exactly 3 input channels. The DSP path reads a pixel as one
 * word, so one byte behind the input may be read, but is not used. It is read here, so that ASan
 * sees whether it is there.
 */
arm_status arm_convolve_HWC_q7_RGB(const q7_t *Im_in, const uint16_t dim_im_in,
                                   const uint16_t ch_im_in, const q7_t *wt,
                                   const uint16_t ch_im_out, const uint16_t dim_kernel,
                                   const uint16_t padding, const uint16_t stride, const q7_t *bias,
                                   const uint16_t bias_shift, const uint16_t out_shift,
                                   q7_t *Im_out, const uint16_t dim_im_out, q15_t *bufferA,
                                   q7_t *bufferB)
{
    if (ch_im_in != 3) {
        return ARM_MATH_SIZE_MISMATCH;
    }
    (void)*(const volatile q7_t *)(Im_in + (size_t)dim_im_in * dim_im_in * 3);
    return arm_convolve_HWC_q7_basic(Im_in, dim_im_in, ch_im_in, wt, ch_im_out, dim_kernel, padding,
                                     stride, bias, bias_shift, out_shift, Im_out, dim_im_out,
                                     bufferA, bufferB);
}

/*
 * ch_im_in must be a multiple of 4, ch_im_out of 2. Unchecked by the real function: the border, see
 * border_is_padding_wide. Scratch: 2 windows.
 */
arm_status arm_convolve_HWC_q7_fast_nonsquare(
    const q7_t *Im_in, const uint16_t dim_im_in_x, const uint16_t dim_im_in_y,
    const uint16_t ch_im_in, const q7_t *wt, const uint16_t ch_im_out, const uint16_t dim_kernel_x,
    const uint16_t dim_kernel_y, const uint16_t padding_x, const uint16_t padding_y,
    const uint16_t stride_x, const uint16_t stride_y, const q7_t *bias, const uint16_t bias_shift,
    const uint16_t out_shift, q7_t *Im_out, const uint16_t dim_im_out_x,
    const uint16_t dim_im_out_y, q15_t *bufferA, q7_t *bufferB)
{
    if (ch_im_in % 4 != 0 || ch_im_out % 2 != 0) {
        return ARM_MATH_SIZE_MISMATCH;
    }
    if (!border_is_padding_wide(dim_im_in_x, dim_kernel_x, padding_x, stride_x, dim_im_out_x) ||
        !border_is_padding_wide(dim_im_in_y, dim_kernel_y, padding_y, stride_y, dim_im_out_y)) {
        return ARM_MATH_ARGUMENT_ERROR;
    }
    return arm_convolve_HWC_q7_basic_nonsquare(
        Im_in, dim_im_in_x, dim_im_in_y, ch_im_in, wt, ch_im_out, dim_kernel_x, dim_kernel_y,
        padding_x, padding_y, stride_x, stride_y, bias, bias_shift, out_shift, Im_out, dim_im_out_x,
        dim_im_out_y, bufferA, bufferB);
}

/* As arm_convolve_HWC_q7_fast_nonsquare. */
arm_status arm_convolve_HWC_q7_fast(const q7_t *Im_in, const uint16_t dim_im_in,
                                    const uint16_t ch_im_in, const q7_t *wt,
                                    const uint16_t ch_im_out, const uint16_t dim_kernel,
                                    const uint16_t padding, const uint16_t stride, const q7_t *bias,
                                    const uint16_t bias_shift, const uint16_t out_shift,
                                    q7_t *Im_out, const uint16_t dim_im_out, q15_t *bufferA,
                                    q7_t *bufferB)
{
    return arm_convolve_HWC_q7_fast_nonsquare(Im_in, dim_im_in, dim_im_in, ch_im_in, wt, ch_im_out,
                                              dim_kernel, dim_kernel, padding, padding, stride,
                                              stride, bias, bias_shift, out_shift, Im_out,
                                              dim_im_out, dim_im_out, bufferA, bufferB);
}

/*
 * As arm_convolve_HWC_q7_fast_nonsquare for a 1x1 kernel, stride 1, no padding; any other is
 * refused. Unchecked by the real function: the output is not larger than the input.
 * Scratch: 2 * ch_im_in.
 */
arm_status arm_convolve_1x1_HWC_q7_fast_nonsquare(
    const q7_t *Im_in, const uint16_t dim_im_in_x, const uint16_t dim_im_in_y,
    const uint16_t ch_im_in, const q7_t *wt, const uint16_t ch_im_out, const uint16_t dim_kernel_x,
    const uint16_t dim_kernel_y, const uint16_t padding_x, const uint16_t padding_y,
    const uint16_t stride_x, const uint16_t stride_y, const q7_t *bias, const uint16_t bias_shift,
    const uint16_t out_shift, q7_t *Im_out, const uint16_t dim_im_out_x,
    const uint16_t dim_im_out_y, q15_t *bufferA, q7_t *bufferB)
{
    if (dim_kernel_x != 1 || dim_kernel_y != 1 || padding_x != 0 || padding_y != 0 ||
        stride_x != 1 || stride_y != 1) {
        return ARM_MATH_SIZE_MISMATCH;
    }
    return arm_convolve_HWC_q7_fast_nonsquare(
        Im_in, dim_im_in_x, dim_im_in_y, ch_im_in, wt, ch_im_out, dim_kernel_x, dim_kernel_y,
        padding_x, padding_y, stride_x, stride_y, bias, bias_shift, out_shift, Im_out, dim_im_out_x,
        dim_im_out_y, bufferA, bufferB);
}

/* Any sizes, square only. Scratch: 1 window of ch_im_in * dim_kernel * dim_kernel. */
arm_status arm_convolve_HWC_q15_basic(const q15_t *Im_in, const uint16_t dim_im_in,
                                      const uint16_t ch_im_in, const q15_t *wt,
                                      const uint16_t ch_im_out, const uint16_t dim_kernel,
                                      const uint16_t padding, const uint16_t stride,
                                      const q15_t *bias, const uint16_t bias_shift,
                                      const uint16_t out_shift, q15_t *Im_out,
                                      const uint16_t dim_im_out, q15_t *bufferA, q7_t *bufferB)
{
    const conv_sizes s = {.in_x = dim_im_in,
                          .in_y = dim_im_in,
                          .in_ch = ch_im_in,
                          .out_x = dim_im_out,
                          .out_y = dim_im_out,
                          .out_ch = ch_im_out,
                          .kernel_x = dim_kernel,
                          .kernel_y = dim_kernel,
                          .padding_x = padding,
                          .padding_y = padding,
                          .stride_x = stride,
                          .stride_y = stride,
                          .bias_shift = bias_shift,
                          .out_shift = out_shift};

    (void)bufferB;
    return convolve(&s, Q15, Im_in, wt, bias, Im_out, bufferA, 1);
}

/*
 * ch_im_in and ch_im_out must be even. Unchecked by the real function: dim_im_out_x must be even,
 * because the DSP path computes pixels of a row in pairs; with an odd one it mixes rows and
 * writes past its scratch. Scratch: 2 windows.
 */
arm_status arm_convolve_HWC_q15_fast_nonsquare(
    const q15_t *Im_in, const uint16_t dim_im_in_x, const uint16_t dim_im_in_y,
    const uint16_t ch_im_in, const q15_t *wt, const uint16_t ch_im_out, const uint16_t dim_kernel_x,
    const uint16_t dim_kernel_y, const uint16_t padding_x, const uint16_t padding_y,
    const uint16_t stride_x, const uint16_t stride_y, const q15_t *bias, const uint16_t bias_shift,
    const uint16_t out_shift, q15_t *Im_out, const uint16_t dim_im_out_x,
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
    if (ch_im_in % 2 != 0 || ch_im_out % 2 != 0) {
        return ARM_MATH_SIZE_MISMATCH;
    }
    if (dim_im_out_x % 2 != 0) {
        return ARM_MATH_ARGUMENT_ERROR;
    }
    return convolve(&s, Q15, Im_in, wt, bias, Im_out, bufferA, 2);
}

/*
 * As arm_convolve_HWC_q15_fast_nonsquare, but an odd dim_im_out is refused. (The DSP path refuses
 * it; the C path would compute it.)
 */
arm_status arm_convolve_HWC_q15_fast(const q15_t *Im_in, const uint16_t dim_im_in,
                                     const uint16_t ch_im_in, const q15_t *wt,
                                     const uint16_t ch_im_out, const uint16_t dim_kernel,
                                     const uint16_t padding, const uint16_t stride,
                                     const q15_t *bias, const uint16_t bias_shift,
                                     const uint16_t out_shift, q15_t *Im_out,
                                     const uint16_t dim_im_out, q15_t *bufferA, q7_t *bufferB)
{
    if (dim_im_out % 2 != 0) {
        return ARM_MATH_SIZE_MISMATCH;
    }
    return arm_convolve_HWC_q15_fast_nonsquare(Im_in, dim_im_in, dim_im_in, ch_im_in, wt, ch_im_out,
                                               dim_kernel, dim_kernel, padding, padding, stride,
                                               stride, bias, bias_shift, out_shift, Im_out,
                                               dim_im_out, dim_im_out, bufferA, bufferB);
}
