/*
 * arm_fully_connected_*: out[o] = clamp(rescale(bias[o] + sum(w[o][i] * (x[i] + input_offset))) +
 * output_offset) for each row of the input.
 *
 * With s8 the buffer of the context holds what the MVE path reads: since 7.0.0
 * bias[o] + input_offset * sum(w[o][i]), and the bias not at all; in 5.0.0 and 6.0.0 sum(w[o][i]).
 * Before, and with s4, it is not used. The contract wants it to be right on every path. With s4 two
 * weights are in a byte.
 */
#include "contract.h"

typedef struct {
    const cmsis_nn_fc_params *params;
    const int32_t *multiplier, *shift;
    bool per_channel, nibbles;
    int32_t rows, in, out;
} layer;

static bool sums_agree(const cmsis_nn_context *ctx, const layer *l, const int8_t *filter,
                       const int32_t *bias)
{
    const int32_t *sums = (const int32_t *)ctx->buf;
    if (sums == NULL || ctx->size < l->out * (int32_t)sizeof *sums) {
        return false;
    }
    for (int32_t out = 0; out < l->out; out++) {
        int32_t total = 0;
        for (int32_t i = 0; i < l->in; i++) {
            total += filter[out * l->in + i];
        }
        const int32_t biased = bias[out] + l->params->input_offset * total;
        if (sums[out] != (CMSIS_NN_RELEASE >= 700 ? biased : total)) {
            return false;
        }
    }
    return true;
}

static arm_cmsis_nn_status run_s8(const cmsis_nn_context *ctx, const layer *l, const int8_t *input,
                                  const int8_t *filter, const int32_t *bias, int8_t *output)
{
    const bool reads_sums = CMSIS_NN_RELEASE >= 500 && !l->nibbles;
    if (l->params->filter_offset != 0 || (reads_sums && !sums_agree(ctx, l, filter, bias))) {
        return ARM_CMSIS_NN_ARG_ERROR;
    }
    poison(output, (size_t)(l->rows * l->out));
    for (int32_t i = 0; i < l->rows * l->out; i++) {
        const int32_t row = i / l->out, out = i % l->out, channel = l->per_channel ? out : 0;
        int32_t acc = bias[out];
        for (int32_t k = 0; k < l->in; k++) {
            acc += weight_at(filter, l->nibbles, out * l->in + k) *
                   (input[row * l->in + k] + l->params->input_offset);
        }
        const int32_t scaled = rescale(acc, l->multiplier[channel], l->shift[channel]);
        output[i] = (int8_t)clamp(scaled + l->params->output_offset, l->params->activation.min,
                                  l->params->activation.max);
    }
    return ARM_CMSIS_NN_SUCCESS;
}

arm_cmsis_nn_status arm_fully_connected_s8(const cmsis_nn_context *ctx,
                                           const cmsis_nn_fc_params *params,
                                           const cmsis_nn_per_tensor_quant_params *quant,
                                           const cmsis_nn_dims *input_dims, const int8_t *input,
                                           const cmsis_nn_dims *filter_dims, const int8_t *filter,
                                           const cmsis_nn_dims *bias_dims, const int32_t *bias,
                                           const cmsis_nn_dims *output_dims, int8_t *output)
{
    const layer l = {params, &quant->multiplier, &quant->shift,  false,
                     false,  input_dims->n,      filter_dims->n, output_dims->c};
    (void)bias_dims;
    return run_s8(ctx, &l, input, filter, bias, output);
}

#if CMSIS_NN_RELEASE >= 700
arm_cmsis_nn_status
arm_fully_connected_per_channel_s8(const cmsis_nn_context *ctx, const cmsis_nn_fc_params *params,
                                   const cmsis_nn_per_channel_quant_params *quant,
                                   const cmsis_nn_dims *input_dims, const int8_t *input,
                                   const cmsis_nn_dims *filter_dims, const int8_t *filter,
                                   const cmsis_nn_dims *bias_dims, const int32_t *bias,
                                   const cmsis_nn_dims *output_dims, int8_t *output)
{
    const layer l = {params, quant->multiplier, quant->shift,   true,
                     false,  input_dims->n,     filter_dims->n, output_dims->c};
    (void)bias_dims;
    return run_s8(ctx, &l, input, filter, bias, output);
}
#endif

#if CMSIS_NN_RELEASE >= 500
arm_cmsis_nn_status arm_fully_connected_s4(const cmsis_nn_context *ctx,
                                           const cmsis_nn_fc_params *params,
                                           const cmsis_nn_per_tensor_quant_params *quant,
                                           const cmsis_nn_dims *input_dims, const int8_t *input,
                                           const cmsis_nn_dims *filter_dims, const int8_t *filter,
                                           const cmsis_nn_dims *bias_dims, const int32_t *bias,
                                           const cmsis_nn_dims *output_dims, int8_t *output)
{
    const layer l = {params, &quant->multiplier, &quant->shift,  false,
                     true,   input_dims->n,      filter_dims->n, output_dims->c};
    (void)bias_dims;
    return run_s8(ctx, &l, input, filter, bias, output);
}
#endif

arm_cmsis_nn_status arm_fully_connected_s16(const cmsis_nn_context *ctx,
                                            const cmsis_nn_fc_params *params,
                                            const cmsis_nn_per_tensor_quant_params *quant,
                                            const cmsis_nn_dims *input_dims, const int16_t *input,
                                            const cmsis_nn_dims *filter_dims, const int8_t *filter,
                                            const cmsis_nn_dims *bias_dims, const int64_t *bias,
                                            const cmsis_nn_dims *output_dims, int16_t *output)
{
    const int32_t in = filter_dims->n, count = output_dims->c;
    (void)ctx;
    (void)bias_dims;
    if (params->input_offset != 0 || params->filter_offset != 0 || params->output_offset != 0) {
        return ARM_CMSIS_NN_ARG_ERROR;
    }
    poison(output, (size_t)(input_dims->n * count) * sizeof *output);
    for (int32_t i = 0; i < input_dims->n * count; i++) {
        int64_t acc = bias[i % count];
        for (int32_t k = 0; k < in; k++) {
            acc += filter[i % count * in + k] * input[i / count * in + k];
        }
        const int32_t scaled = rescale_wide(acc, quant->multiplier, quant->shift);
        output[i] = (int16_t)clamp(scaled, params->activation.min, params->activation.max);
    }
    return ARM_CMSIS_NN_SUCCESS;
}
