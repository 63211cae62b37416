/*
 * arm_avgpool_* and arm_max_pool_*: windows cut off at the border; the mean is rounded half away
 * from zero, and the result clamped.
 */
#include "contract.h"

typedef struct {
    int32_t sum, count, largest;
} window;

static window look(const cmsis_nn_pool_params *params, width bytes, const cmsis_nn_dims *in,
                   const void *input, const cmsis_nn_dims *filter, int32_t y, int32_t x, int32_t c)
{
    window w = {0, 0, INT32_MIN};
    for (int32_t row = 0; row < filter->h; row++) {
        for (int32_t column = 0; column < filter->w; column++) {
            const int32_t in_y = y * params->stride.h + row - params->padding.h;
            const int32_t in_x = x * params->stride.w + column - params->padding.w;
            if (in_y < 0 || in_y >= in->h || in_x < 0 || in_x >= in->w) {
                continue;
            }
            const int32_t value = load(input, bytes, (in_y * in->w + in_x) * in->c + c);
            w.sum += value;
            w.count++;
            w.largest = value > w.largest ? value : w.largest;
        }
    }
    return w;
}

static arm_cmsis_nn_status pool(const cmsis_nn_context *ctx, const cmsis_nn_pool_params *params,
                                width bytes, const cmsis_nn_dims *in, const void *input,
                                const cmsis_nn_dims *filter, const cmsis_nn_dims *out, void *output,
                                bool average)
{
    poison_scratch(ctx);
    poison(output, (size_t)volume(out) * bytes);
    for (int32_t i = 0; i < volume(out); i++) {
        const int32_t place = i / out->c;
        const window w =
            look(params, bytes, in, input, filter, place / out->w, place % out->w, i % out->c);
        if (w.count == 0) {
            return ARM_CMSIS_NN_ARG_ERROR;
        }
        const int32_t half = w.sum > 0 ? w.count / 2 : -(w.count / 2);
        const int32_t value = average ? (w.sum + half) / w.count : w.largest;
        store(output, bytes, i, clamp(value, params->activation.min, params->activation.max));
    }
    poison_scratch(ctx);
    return ARM_CMSIS_NN_SUCCESS;
}

arm_cmsis_nn_status arm_avgpool_s8(const cmsis_nn_context *ctx, const cmsis_nn_pool_params *params,
                                   const cmsis_nn_dims *input_dims, const int8_t *input,
                                   const cmsis_nn_dims *filter_dims,
                                   const cmsis_nn_dims *output_dims, int8_t *output)
{
    return pool(ctx, params, S8, input_dims, input, filter_dims, output_dims, output, true);
}

arm_cmsis_nn_status arm_avgpool_s16(const cmsis_nn_context *ctx, const cmsis_nn_pool_params *params,
                                    const cmsis_nn_dims *input_dims, const int16_t *input,
                                    const cmsis_nn_dims *filter_dims,
                                    const cmsis_nn_dims *output_dims, int16_t *output)
{
    return pool(ctx, params, S16, input_dims, input, filter_dims, output_dims, output, true);
}

arm_cmsis_nn_status arm_max_pool_s8(const cmsis_nn_context *ctx, const cmsis_nn_pool_params *params,
                                    const cmsis_nn_dims *input_dims, const int8_t *input,
                                    const cmsis_nn_dims *filter_dims,
                                    const cmsis_nn_dims *output_dims, int8_t *output)
{
    return pool(ctx, params, S8, input_dims, input, filter_dims, output_dims, output, false);
}

arm_cmsis_nn_status arm_max_pool_s16(const cmsis_nn_context *ctx,
                                     const cmsis_nn_pool_params *params,
                                     const cmsis_nn_dims *input_dims, const int16_t *input,
                                     const cmsis_nn_dims *filter_dims,
                                     const cmsis_nn_dims *output_dims, int16_t *output)
{
    return pool(ctx, params, S16, input_dims, input, filter_dims, output_dims, output, false);
}
