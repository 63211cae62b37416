/*
 * The part of CMSIS-NN's public interface that generated code for cmsis-nn uses: names, types and
 * the order of parameters and fields, as they are in release CMSIS_NN_RELEASE (400, 410, 500, 600,
 * 700). Only for tests; see contract.h.
 */
#ifndef ARM_NNFUNCTIONS_H
#define ARM_NNFUNCTIONS_H

#include <stdbool.h>
#include <stdint.h>

#ifndef CMSIS_NN_RELEASE
#define CMSIS_NN_RELEASE 700
#endif

typedef enum {
    ARM_CMSIS_NN_SUCCESS = 0,
    ARM_CMSIS_NN_ARG_ERROR = -1,
    ARM_CMSIS_NN_NO_IMPL_ERROR = -2,
    ARM_CMSIS_NN_FAILURE = -3
} arm_cmsis_nn_status;

typedef struct {
    int32_t w, h;
} cmsis_nn_tile;

typedef struct {
    void *buf;
    int32_t size;
} cmsis_nn_context;

#if CMSIS_NN_RELEASE >= 600
typedef struct {
    const void *data;
    const bool is_int32_bias;
} cmsis_nn_bias_data;
typedef cmsis_nn_bias_data wide_conv_bias;
#else
typedef int64_t wide_conv_bias;
#endif

typedef struct {
    int32_t n, h, w, c;
} cmsis_nn_dims;

typedef struct {
    int32_t *multiplier;
    int32_t *shift;
} cmsis_nn_per_channel_quant_params;

typedef struct {
    int32_t multiplier;
    int32_t shift;
} cmsis_nn_per_tensor_quant_params;

typedef struct {
    int32_t min, max;
} cmsis_nn_activation;

typedef struct {
    int32_t input_offset, output_offset;
    cmsis_nn_tile stride, padding, dilation;
    cmsis_nn_activation activation;
} cmsis_nn_conv_params;

typedef struct {
    int32_t input_offset, output_offset, ch_mult;
    cmsis_nn_tile stride, padding, dilation;
    cmsis_nn_activation activation;
} cmsis_nn_dw_conv_params;

typedef struct {
    cmsis_nn_tile stride, padding;
    cmsis_nn_activation activation;
} cmsis_nn_pool_params;

typedef struct {
    int32_t input_offset, filter_offset, output_offset;
    cmsis_nn_activation activation;
} cmsis_nn_fc_params;

typedef struct {
    const int16_t *exp_lut;
    const int16_t *one_by_one_lut;
} cmsis_nn_softmax_lut_s16;

arm_cmsis_nn_status arm_convolve_wrapper_s8(const cmsis_nn_context *ctx,
                                            const cmsis_nn_conv_params *params,
                                            const cmsis_nn_per_channel_quant_params *quant,
                                            const cmsis_nn_dims *input_dims, const int8_t *input,
                                            const cmsis_nn_dims *filter_dims, const int8_t *filter,
                                            const cmsis_nn_dims *bias_dims, const int32_t *bias,
                                            const cmsis_nn_dims *output_dims, int8_t *output);
arm_cmsis_nn_status arm_convolve_wrapper_s16(const cmsis_nn_context *ctx,
                                             const cmsis_nn_conv_params *params,
                                             const cmsis_nn_per_channel_quant_params *quant,
                                             const cmsis_nn_dims *input_dims, const int16_t *input,
                                             const cmsis_nn_dims *filter_dims, const int8_t *filter,
                                             const cmsis_nn_dims *bias_dims,
                                             const wide_conv_bias *bias,
                                             const cmsis_nn_dims *output_dims, int16_t *output);
arm_cmsis_nn_status
arm_depthwise_conv_wrapper_s8(const cmsis_nn_context *ctx, const cmsis_nn_dw_conv_params *params,
                              const cmsis_nn_per_channel_quant_params *quant,
                              const cmsis_nn_dims *input_dims, const int8_t *input,
                              const cmsis_nn_dims *filter_dims, const int8_t *filter,
                              const cmsis_nn_dims *bias_dims, const int32_t *bias,
                              const cmsis_nn_dims *output_dims, int8_t *output);
arm_cmsis_nn_status
arm_depthwise_conv_wrapper_s16(const cmsis_nn_context *ctx, const cmsis_nn_dw_conv_params *params,
                               const cmsis_nn_per_channel_quant_params *quant,
                               const cmsis_nn_dims *input_dims, const int16_t *input,
                               const cmsis_nn_dims *filter_dims, const int8_t *filter,
                               const cmsis_nn_dims *bias_dims, const int64_t *bias,
                               const cmsis_nn_dims *output_dims, int16_t *output);

arm_cmsis_nn_status arm_fully_connected_s8(const cmsis_nn_context *ctx,
                                           const cmsis_nn_fc_params *params,
                                           const cmsis_nn_per_tensor_quant_params *quant,
                                           const cmsis_nn_dims *input_dims, const int8_t *input,
                                           const cmsis_nn_dims *filter_dims, const int8_t *filter,
                                           const cmsis_nn_dims *bias_dims, const int32_t *bias,
                                           const cmsis_nn_dims *output_dims, int8_t *output);
#if CMSIS_NN_RELEASE >= 500
arm_cmsis_nn_status arm_convolve_wrapper_s4(const cmsis_nn_context *ctx,
                                            const cmsis_nn_conv_params *params,
                                            const cmsis_nn_per_channel_quant_params *quant,
                                            const cmsis_nn_dims *input_dims, const int8_t *input,
                                            const cmsis_nn_dims *filter_dims, const int8_t *filter,
                                            const cmsis_nn_dims *bias_dims, const int32_t *bias,
                                            const cmsis_nn_dims *output_dims, int8_t *output);
arm_cmsis_nn_status
arm_depthwise_conv_wrapper_s4(const cmsis_nn_context *ctx, const cmsis_nn_dw_conv_params *params,
                              const cmsis_nn_per_channel_quant_params *quant,
                              const cmsis_nn_dims *input_dims, const int8_t *input,
                              const cmsis_nn_dims *filter_dims, const int8_t *filter,
                              const cmsis_nn_dims *bias_dims, const int32_t *bias,
                              const cmsis_nn_dims *output_dims, int8_t *output);
arm_cmsis_nn_status arm_fully_connected_s4(const cmsis_nn_context *ctx,
                                           const cmsis_nn_fc_params *params,
                                           const cmsis_nn_per_tensor_quant_params *quant,
                                           const cmsis_nn_dims *input_dims, const int8_t *input,
                                           const cmsis_nn_dims *filter_dims, const int8_t *filter,
                                           const cmsis_nn_dims *bias_dims, const int32_t *bias,
                                           const cmsis_nn_dims *output_dims, int8_t *output);
#endif
#if CMSIS_NN_RELEASE >= 700
arm_cmsis_nn_status
arm_fully_connected_per_channel_s8(const cmsis_nn_context *ctx, const cmsis_nn_fc_params *params,
                                   const cmsis_nn_per_channel_quant_params *quant,
                                   const cmsis_nn_dims *input_dims, const int8_t *input,
                                   const cmsis_nn_dims *filter_dims, const int8_t *filter,
                                   const cmsis_nn_dims *bias_dims, const int32_t *bias,
                                   const cmsis_nn_dims *output_dims, int8_t *output);
#endif
arm_cmsis_nn_status arm_fully_connected_s16(const cmsis_nn_context *ctx,
                                            const cmsis_nn_fc_params *params,
                                            const cmsis_nn_per_tensor_quant_params *quant,
                                            const cmsis_nn_dims *input_dims, const int16_t *input,
                                            const cmsis_nn_dims *filter_dims, const int8_t *filter,
                                            const cmsis_nn_dims *bias_dims, const int64_t *bias,
                                            const cmsis_nn_dims *output_dims, int16_t *output);

/* Generated code does not call it; it declares it to tell the releases apart. */
#if CMSIS_NN_RELEASE >= 700
arm_cmsis_nn_status arm_vector_sum_s8(int32_t *sums, int32_t columns, int32_t rows,
                                      const int8_t *weights, int32_t input_offset,
                                      int32_t weights_offset, const int32_t *bias);
#elif CMSIS_NN_RELEASE >= 600
arm_cmsis_nn_status arm_vector_sum_s8(int32_t *sums, int32_t columns, int32_t rows,
                                      const int8_t *weights, int32_t input_offset,
                                      const int32_t *bias);
#elif CMSIS_NN_RELEASE >= 500
arm_cmsis_nn_status arm_vector_sum_s8(int32_t *sums, int32_t columns, int32_t rows,
                                      const int8_t *weights);
#endif

arm_cmsis_nn_status arm_elementwise_add_s8(const int8_t *a, const int8_t *b, int32_t a_offset,
                                           int32_t a_mult, int32_t a_shift, int32_t b_offset,
                                           int32_t b_mult, int32_t b_shift, int32_t left_shift,
                                           int8_t *output, int32_t out_offset, int32_t out_mult,
                                           int32_t out_shift, int32_t out_min, int32_t out_max,
                                           int32_t size);
arm_cmsis_nn_status arm_elementwise_add_s16(const int16_t *a, const int16_t *b, int32_t a_offset,
                                            int32_t a_mult, int32_t a_shift, int32_t b_offset,
                                            int32_t b_mult, int32_t b_shift, int32_t left_shift,
                                            int16_t *output, int32_t out_offset, int32_t out_mult,
                                            int32_t out_shift, int32_t out_min, int32_t out_max,
                                            int32_t size);
arm_cmsis_nn_status arm_elementwise_mul_s8(const int8_t *a, const int8_t *b, int32_t a_offset,
                                           int32_t b_offset, int8_t *output, int32_t out_offset,
                                           int32_t out_mult, int32_t out_shift, int32_t out_min,
                                           int32_t out_max, int32_t size);
arm_cmsis_nn_status arm_elementwise_mul_s16(const int16_t *a, const int16_t *b, int32_t a_offset,
                                            int32_t b_offset, int16_t *output, int32_t out_offset,
                                            int32_t out_mult, int32_t out_shift, int32_t out_min,
                                            int32_t out_max, int32_t size);

arm_cmsis_nn_status arm_avgpool_s8(const cmsis_nn_context *ctx, const cmsis_nn_pool_params *params,
                                   const cmsis_nn_dims *input_dims, const int8_t *input,
                                   const cmsis_nn_dims *filter_dims,
                                   const cmsis_nn_dims *output_dims, int8_t *output);
arm_cmsis_nn_status arm_avgpool_s16(const cmsis_nn_context *ctx, const cmsis_nn_pool_params *params,
                                    const cmsis_nn_dims *input_dims, const int16_t *input,
                                    const cmsis_nn_dims *filter_dims,
                                    const cmsis_nn_dims *output_dims, int16_t *output);
arm_cmsis_nn_status arm_max_pool_s8(const cmsis_nn_context *ctx, const cmsis_nn_pool_params *params,
                                    const cmsis_nn_dims *input_dims, const int8_t *input,
                                    const cmsis_nn_dims *filter_dims,
                                    const cmsis_nn_dims *output_dims, int8_t *output);
arm_cmsis_nn_status arm_max_pool_s16(const cmsis_nn_context *ctx,
                                     const cmsis_nn_pool_params *params,
                                     const cmsis_nn_dims *input_dims, const int16_t *input,
                                     const cmsis_nn_dims *filter_dims,
                                     const cmsis_nn_dims *output_dims, int16_t *output);

void arm_softmax_s8(const int8_t *input, int32_t num_rows, int32_t row_size, int32_t mult,
                    int32_t shift, int32_t diff_min, int8_t *output);
arm_cmsis_nn_status arm_softmax_s16(const int16_t *input, int32_t num_rows, int32_t row_size,
                                    int32_t mult, int32_t shift,
                                    const cmsis_nn_softmax_lut_s16 *tables, int16_t *output);

#endif
