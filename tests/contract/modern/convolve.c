/*
 * arm_convolve_wrapper_* and arm_depthwise_conv_wrapper_*:
 *
 *   acc = bias[o] + sum over the taps inside of the image of w * (x + input_offset)
 *   out = clamp(rescale(acc, multiplier[o], shift[o]) + output_offset)
 *
 * Filters are (out, h, w, in) for conv and (1, h, w, out) for depthwise, where output channel o
 * reads input channel o / ch_mult. With s16 the offsets are 0, the bias has 64 bits and the
 * rescaling is the wide one. Since 6.0.0 the bias of a conv with s16 comes in a struct. With s4 two
 * weights are in a byte, and there must be scratch unless the conv is 1x1 without padding or the
 * depthwise has a multiplier or a dilation.
 */
#include "contract.h"

/* A convolution of either kind; ch_mult is 0 for conv. */
typedef struct {
    const cmsis_nn_dims *input, *filter, *output;
    cmsis_nn_tile stride, padding, dilation;
    cmsis_nn_activation activation;
    int32_t input_offset, output_offset, ch_mult;
    width bytes;
    bool nibbles;
} shape;

static int64_t sum(const shape *s, const void *input, const int8_t *filter, int32_t y, int32_t x,
                   int32_t out)
{
    const int32_t channels = s->input->c;
    int64_t total = 0;
    for (int32_t row = 0; row < s->filter->h; row++) {
        for (int32_t column = 0; column < s->filter->w; column++) {
            const int32_t in_y = y * s->stride.h + row * s->dilation.h - s->padding.h;
            const int32_t in_x = x * s->stride.w + column * s->dilation.w - s->padding.w;
            if (in_y < 0 || in_y >= s->input->h || in_x < 0 || in_x >= s->input->w) {
                continue;
            }
            const int32_t pixel = (in_y * s->input->w + in_x) * channels;
            const int32_t tap = row * s->filter->w + column;
            if (s->ch_mult > 0) {
                total += weight_at(filter, s->nibbles, tap * s->output->c + out) *
                         (load(input, s->bytes, pixel + out / s->ch_mult) + s->input_offset);
                continue;
            }
            const int32_t first = (out * s->filter->h * s->filter->w + tap) * channels;
            for (int32_t i = 0; i < channels; i++) {
                total += weight_at(filter, s->nibbles, first + i) *
                         (load(input, s->bytes, pixel + i) + s->input_offset);
            }
        }
    }
    return total;
}

static bool usable(const shape *s)
{
    const bool plain = s->input->n == 1 && s->output->n == 1 && s->stride.w > 0 && s->stride.h > 0;
    const bool offsets = s->bytes == S8 || (s->input_offset == 0 && s->output_offset == 0);
    const bool channels = s->ch_mult > 0
                              ? s->filter->c == s->output->c && s->filter->n == 1 &&
                                    s->input->c * s->ch_mult == s->output->c
                              : s->filter->c == s->input->c && s->filter->n == s->output->c;
    return plain && offsets && channels;
}

static arm_cmsis_nn_status run(const cmsis_nn_context *ctx, const shape *s,
                               const cmsis_nn_per_channel_quant_params *quant, const void *input,
                               const int8_t *filter, const void *bias, void *output)
{
    if (!usable(s)) {
        return ARM_CMSIS_NN_ARG_ERROR;
    }
    poison_scratch(ctx);
    poison(output, (size_t)volume(s->output) * s->bytes);
    for (int32_t i = 0; i < volume(s->output); i++) {
        const int32_t out = i % s->output->c;
        const int32_t place = i / s->output->c;
        const int64_t total =
            sum(s, input, filter, place / s->output->w, place % s->output->w, out);
        int32_t scaled;
        if (s->bytes == S8) {
            const int64_t acc = total + ((const int32_t *)bias)[out];
            scaled = rescale((int32_t)acc, quant->multiplier[out], quant->shift[out]);
        } else {
            const int64_t acc = total + ((const int64_t *)bias)[out];
            scaled = rescale_wide(acc, quant->multiplier[out], quant->shift[out]);
        }
        store(output, s->bytes, i,
              clamp(scaled + s->output_offset, s->activation.min, s->activation.max));
    }
    poison_scratch(ctx);
    return ARM_CMSIS_NN_SUCCESS;
}

arm_cmsis_nn_status arm_convolve_wrapper_s8(const cmsis_nn_context *ctx,
                                            const cmsis_nn_conv_params *params,
                                            const cmsis_nn_per_channel_quant_params *quant,
                                            const cmsis_nn_dims *input_dims, const int8_t *input,
                                            const cmsis_nn_dims *filter_dims, const int8_t *filter,
                                            const cmsis_nn_dims *bias_dims, const int32_t *bias,
                                            const cmsis_nn_dims *output_dims, int8_t *output)
{
    const shape s = {input_dims,
                     filter_dims,
                     output_dims,
                     params->stride,
                     params->padding,
                     params->dilation,
                     params->activation,
                     params->input_offset,
                     params->output_offset,
                     0,
                     S8,
                     false};
    (void)bias_dims;
    return run(ctx, &s, quant, input, filter, bias, output);
}

arm_cmsis_nn_status arm_convolve_wrapper_s16(const cmsis_nn_context *ctx,
                                             const cmsis_nn_conv_params *params,
                                             const cmsis_nn_per_channel_quant_params *quant,
                                             const cmsis_nn_dims *input_dims, const int16_t *input,
                                             const cmsis_nn_dims *filter_dims, const int8_t *filter,
                                             const cmsis_nn_dims *bias_dims,
                                             const wide_conv_bias *bias,
                                             const cmsis_nn_dims *output_dims, int16_t *output)
{
    const shape s = {input_dims,
                     filter_dims,
                     output_dims,
                     params->stride,
                     params->padding,
                     params->dilation,
                     params->activation,
                     params->input_offset,
                     params->output_offset,
                     0,
                     S16,
                     false};
    (void)bias_dims;
#if CMSIS_NN_RELEASE >= 600
    if (bias->is_int32_bias) {
        return ARM_CMSIS_NN_ARG_ERROR;
    }
    return run(ctx, &s, quant, input, filter, bias->data, output);
#else
    return run(ctx, &s, quant, input, filter, bias, output);
#endif
}

arm_cmsis_nn_status
arm_depthwise_conv_wrapper_s8(const cmsis_nn_context *ctx, const cmsis_nn_dw_conv_params *params,
                              const cmsis_nn_per_channel_quant_params *quant,
                              const cmsis_nn_dims *input_dims, const int8_t *input,
                              const cmsis_nn_dims *filter_dims, const int8_t *filter,
                              const cmsis_nn_dims *bias_dims, const int32_t *bias,
                              const cmsis_nn_dims *output_dims, int8_t *output)
{
    const shape s = {input_dims,
                     filter_dims,
                     output_dims,
                     params->stride,
                     params->padding,
                     params->dilation,
                     params->activation,
                     params->input_offset,
                     params->output_offset,
                     params->ch_mult,
                     S8,
                     false};
    (void)bias_dims;
    return run(ctx, &s, quant, input, filter, bias, output);
}

arm_cmsis_nn_status
arm_depthwise_conv_wrapper_s16(const cmsis_nn_context *ctx, const cmsis_nn_dw_conv_params *params,
                               const cmsis_nn_per_channel_quant_params *quant,
                               const cmsis_nn_dims *input_dims, const int16_t *input,
                               const cmsis_nn_dims *filter_dims, const int8_t *filter,
                               const cmsis_nn_dims *bias_dims, const int64_t *bias,
                               const cmsis_nn_dims *output_dims, int16_t *output)
{
    const shape s = {input_dims,
                     filter_dims,
                     output_dims,
                     params->stride,
                     params->padding,
                     params->dilation,
                     params->activation,
                     params->input_offset,
                     params->output_offset,
                     params->ch_mult,
                     S16,
                     false};
    (void)bias_dims;
    return run(ctx, &s, quant, input, filter, bias, output);
}

#if CMSIS_NN_RELEASE >= 500
arm_cmsis_nn_status arm_convolve_wrapper_s4(const cmsis_nn_context *ctx,
                                            const cmsis_nn_conv_params *params,
                                            const cmsis_nn_per_channel_quant_params *quant,
                                            const cmsis_nn_dims *input_dims, const int8_t *input,
                                            const cmsis_nn_dims *filter_dims, const int8_t *filter,
                                            const cmsis_nn_dims *bias_dims, const int32_t *bias,
                                            const cmsis_nn_dims *output_dims, int8_t *output)
{
    const shape s = {input_dims,
                     filter_dims,
                     output_dims,
                     params->stride,
                     params->padding,
                     params->dilation,
                     params->activation,
                     params->input_offset,
                     params->output_offset,
                     0,
                     S8,
                     true};
    const bool pointwise = filter_dims->h == 1 && filter_dims->w == 1 && params->padding.h == 0 &&
                           params->padding.w == 0 && params->dilation.h == 1 &&
                           params->dilation.w == 1;
    const int32_t column = filter_dims->h * filter_dims->w * input_dims->c;
    (void)bias_dims;
    if (!pointwise && (ctx->buf == NULL || ctx->size < 4 * column)) {
        return ARM_CMSIS_NN_ARG_ERROR;
    }
    return run(ctx, &s, quant, input, filter, bias, output);
}

arm_cmsis_nn_status
arm_depthwise_conv_wrapper_s4(const cmsis_nn_context *ctx, const cmsis_nn_dw_conv_params *params,
                              const cmsis_nn_per_channel_quant_params *quant,
                              const cmsis_nn_dims *input_dims, const int8_t *input,
                              const cmsis_nn_dims *filter_dims, const int8_t *filter,
                              const cmsis_nn_dims *bias_dims, const int32_t *bias,
                              const cmsis_nn_dims *output_dims, int8_t *output)
{
    const shape s = {input_dims,
                     filter_dims,
                     output_dims,
                     params->stride,
                     params->padding,
                     params->dilation,
                     params->activation,
                     params->input_offset,
                     params->output_offset,
                     params->ch_mult,
                     S8,
                     true};
    const bool copies = params->ch_mult == 1 && params->dilation.h == 1 && params->dilation.w == 1;
    const int32_t window = filter_dims->h * filter_dims->w * input_dims->c;
    (void)bias_dims;
    if (copies && (ctx->buf == NULL || ctx->size < 2 * window)) {
        return ARM_CMSIS_NN_ARG_ERROR;
    }
    return run(ctx, &s, quant, input, filter, bias, output);
}
#endif
