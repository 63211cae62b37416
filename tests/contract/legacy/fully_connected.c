/*
 * Contracts of the legacy fully-connected layers.
 *
 *     acc = (bias[r] << bias_shift) + ((1 << out_shift) >> 1) + sum(pM[r][c] * pV[c])
 *     pOut[r] = saturate(acc >> out_shift)
 *
 * Bias and matrix have the same width, input and output have the same width. Any sizes. The plain
 * functions take the matrix row by row. The _opt functions take it interleaved: rows in groups of
 * four, each group in blocks of `step` columns, the elements of a block in the order of a table
 * below; columns behind the last whole block follow column by column, four rows each; rows behind
 * the last whole group follow row by row.
 *
 * Scratch: vec_buffer, dim_vec elements for the q7 input, none (NULL is fine) for the q15 input.
 */
#include "contract.h"

typedef struct {
    size_t step;            /* columns in a block */
    uint8_t position[4][4]; /* of [row in the group][column in the block] in the stored block */
} interleaving;

/* Stored: a1 b1 a3 b3  c1 d1 c3 d3  a2 b2 a4 b4  c2 d2 c4 d4 (rows a..d, columns 1..4). */
static const interleaving q7_opt = {4,
                                    {{0, 8, 2, 10}, {1, 9, 3, 11}, {4, 12, 6, 14}, {5, 13, 7, 15}}};

/* Stored: a1 a2  b1 b2  c1 c2  d1 d2. */
static const interleaving q15_opt = {2, {{0, 1}, {2, 3}, {4, 5}, {6, 7}}};

/* Stored: a1 b1 a2 b2  c1 d1 c2 d2. */
static const interleaving mat_q7_vec_q15_opt = {2, {{0, 2}, {1, 3}, {4, 6}, {5, 7}}};

/* Where weight [row][column] of a rows x columns matrix is stored; `order` is NULL if plain. */
static size_t weight_index(const interleaving *order, size_t rows, size_t columns, size_t row,
                           size_t column)
{
    if (order == NULL || row >= rows - rows % 4) {
        return row * columns + column;
    }
    const size_t group = (row - row % 4) * columns;
    if (column >= columns - columns % order->step) {
        return group + 4 * column + row % 4;
    }
    const size_t in_block = column % order->step;
    return group + 4 * (column - in_block) + order->position[row % 4][in_block];
}

typedef struct {
    width vector, matrix;
    const interleaving *order;
    size_t rows, columns;
    uint16_t bias_shift, out_shift;
} layer;

static arm_status fully_connected(const layer *l, const void *in, const void *wt, const void *bias,
                                  void *out, q15_t *scratch)
{
    const size_t scratch_bytes = l->vector == Q7 ? bytes_of(Q15, l->columns) : 0;

    if (!shifts_usable(l->bias_shift, l->out_shift)) {
        return ARM_MATH_ARGUMENT_ERROR;
    }
    poison(out, bytes_of(l->vector, l->rows));
    poison(scratch, scratch_bytes);
    for (size_t row = 0; row < l->rows; row++) {
        accumulator acc = acc_start(load(bias, l->matrix, row), l->bias_shift, l->out_shift);
        for (size_t column = 0; column < l->columns; column++) {
            const size_t index = weight_index(l->order, l->rows, l->columns, row, column);
            acc = acc_add(acc, load(in, l->vector, column), load(wt, l->matrix, index));
        }
        store(out, l->vector, row, acc_finish(acc, l->out_shift));
    }
    poison(scratch, scratch_bytes);
    return ARM_MATH_SUCCESS;
}

arm_status arm_fully_connected_q7(const q7_t *pV, const q7_t *pM, const uint16_t dim_vec,
                                  const uint16_t num_of_rows, const uint16_t bias_shift,
                                  const uint16_t out_shift, const q7_t *bias, q7_t *pOut,
                                  q15_t *vec_buffer)
{
    const layer l = {Q7, Q7, NULL, num_of_rows, dim_vec, bias_shift, out_shift};

    return fully_connected(&l, pV, pM, bias, pOut, vec_buffer);
}

arm_status arm_fully_connected_q7_opt(const q7_t *pV, const q7_t *pM, const uint16_t dim_vec,
                                      const uint16_t num_of_rows, const uint16_t bias_shift,
                                      const uint16_t out_shift, const q7_t *bias, q7_t *pOut,
                                      q15_t *vec_buffer)
{
    const layer l = {Q7, Q7, &q7_opt, num_of_rows, dim_vec, bias_shift, out_shift};

    return fully_connected(&l, pV, pM, bias, pOut, vec_buffer);
}

arm_status arm_fully_connected_q15(const q15_t *pV, const q15_t *pM, const uint16_t dim_vec,
                                   const uint16_t num_of_rows, const uint16_t bias_shift,
                                   const uint16_t out_shift, const q15_t *bias, q15_t *pOut,
                                   q15_t *vec_buffer)
{
    const layer l = {Q15, Q15, NULL, num_of_rows, dim_vec, bias_shift, out_shift};

    return fully_connected(&l, pV, pM, bias, pOut, vec_buffer);
}

arm_status arm_fully_connected_q15_opt(const q15_t *pV, const q15_t *pM, const uint16_t dim_vec,
                                       const uint16_t num_of_rows, const uint16_t bias_shift,
                                       const uint16_t out_shift, const q15_t *bias, q15_t *pOut,
                                       q15_t *vec_buffer)
{
    const layer l = {Q15, Q15, &q15_opt, num_of_rows, dim_vec, bias_shift, out_shift};

    return fully_connected(&l, pV, pM, bias, pOut, vec_buffer);
}

arm_status arm_fully_connected_mat_q7_vec_q15(const q15_t *pV, const q7_t *pM,
                                              const uint16_t dim_vec, const uint16_t num_of_rows,
                                              const uint16_t bias_shift, const uint16_t out_shift,
                                              const q7_t *bias, q15_t *pOut, q15_t *vec_buffer)
{
    const layer l = {Q15, Q7, NULL, num_of_rows, dim_vec, bias_shift, out_shift};

    return fully_connected(&l, pV, pM, bias, pOut, vec_buffer);
}

arm_status arm_fully_connected_mat_q7_vec_q15_opt(const q15_t *pV, const q7_t *pM,
                                                  const uint16_t dim_vec,
                                                  const uint16_t num_of_rows,
                                                  const uint16_t bias_shift,
                                                  const uint16_t out_shift, const q7_t *bias,
                                                  q15_t *pOut, q15_t *vec_buffer)
{
    const layer l = {Q15, Q7, &mat_q7_vec_q15_opt, num_of_rows, dim_vec, bias_shift, out_shift};

    return fully_connected(&l, pV, pM, bias, pOut, vec_buffer);
}
