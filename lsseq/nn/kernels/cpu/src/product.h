/* Matrix products with weights that are packed once a call.

   The columns of a packed weight stand in panels of `width` vectors, each panel as its rows follow each other, so that
   the innermost loop reads memory in order. What a panel's vectors are, whoever packs it knows. Each element is added
   up in the order of the rows, whatever the threads and the number of rows of the batch. */

#ifndef PRODUCT_H
#define PRODUCT_H

#include "vector.h"

#define MOST_WIDTH 4
#define MOST_ROWS 6
/* As many sums as registers hold beside a row of the panel and a factor: of 32, and of 16. */
#define TILE_ROWS (VECTOR_BYTES == 64 ? MOST_ROWS : 3)
/* Rows of a panel that are used at a time: they stay in the second-level cache. */
#define PANEL_ROWS (VECTOR_BYTES == 64 ? 512 : 256)

/* c (rows, width vectors) += a (rows, depth) b (depth, width vectors); rows and width are constants after inlining.
   Rows of a are `a_stride` apart, and the numbers of a row `a_step`; the vectors of a row of c are `c_step` apart. */
INLINE void tile(const int rows, const int width, const real *a, int64_t a_stride, int64_t a_step, const real *b,
                 int64_t depth, real *c, int64_t c_stride, int64_t c_step)
{
    vec sums[MOST_ROWS][MOST_WIDTH];
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < width; j++)
            sums[i][j] = *(const unaligned_vec *)(c + i * c_stride + j * c_step);
    for (int64_t k = 0; k < depth; k++) {
        vec row[MOST_WIDTH];
#pragma GCC unroll 4
        for (int j = 0; j < width; j++)
            row[j] = *(const vec *)(b + (k * width + j) * LANES);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            vec factor = all(a[i * a_stride + k * a_step]);
#pragma GCC unroll 4
            for (int j = 0; j < width; j++)
                sums[i][j] = multiply_add(factor, row[j], sums[i][j]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < width; j++)
            *(unaligned_vec *)(c + i * c_stride + j * c_step) = sums[i][j];
}

#define REST(ROWS, WIDTH)                                                                                            \
    case ROWS:                                                                                                       \
        tile(ROWS, WIDTH, a, a_stride, a_step, b, depth, c, c_stride, c_step);                                       \
        break;

#define TILES_OF(WIDTH)                                                                                              \
    static __attribute__((noinline, unused)) void tiles_##WIDTH(int64_t rows, const real *a, int64_t a_stride,        \
                                                                int64_t a_step, const real *b, int64_t depth,        \
                                                                real *c, int64_t c_stride, int64_t c_step)           \
    {                                                                                                                \
        for (; rows >= TILE_ROWS; rows -= TILE_ROWS, a += TILE_ROWS * a_stride, c += TILE_ROWS * c_stride)            \
            tile(TILE_ROWS, WIDTH, a, a_stride, a_step, b, depth, c, c_stride, c_step);                              \
        switch (rows) {                                                                                              \
            REST(5, WIDTH)                                                                                           \
            REST(4, WIDTH)                                                                                           \
            REST(3, WIDTH)                                                                                           \
            REST(2, WIDTH)                                                                                           \
            REST(1, WIDTH)                                                                                           \
        }                                                                                                            \
    }

TILES_OF(1)
TILES_OF(2)
TILES_OF(3)
TILES_OF(4)

/* c (rows, width vectors) += a (rows, depth) times a packed panel (depth, width vectors), strides as those of `tile`. */
static void add_product(int64_t rows, const real *a, int64_t a_stride, int64_t a_step, const real *panel, int64_t depth,
                        int width, real *c, int64_t c_stride, int64_t c_step)
{
    for (int64_t k = 0; k < depth; k += PANEL_ROWS) {
        int64_t here = depth - k < PANEL_ROWS ? depth - k : PANEL_ROWS;
        const real *b = panel + k * width * LANES;
        switch (width) {
        case 1:
            tiles_1(rows, a + k * a_step, a_stride, a_step, b, here, c, c_stride, c_step);
            break;
        case 2:
            tiles_2(rows, a + k * a_step, a_stride, a_step, b, here, c, c_stride, c_step);
            break;
        case 3:
            tiles_3(rows, a + k * a_step, a_stride, a_step, b, here, c, c_stride, c_step);
            break;
        default:
            tiles_4(rows, a + k * a_step, a_stride, a_step, b, here, c, c_stride, c_step);
        }
    }
}

/* One vector of a panel out of rows of a weight: lane i of row k is weight[i, k]; lanes from `lanes` on are 0. */
static void pack_rows(const real *weight, int64_t stride, int64_t lanes, int64_t depth, int width, real *panel)
{
    for (int64_t k = 0; k < depth; k += 64) {
        int64_t end = depth - k < 64 ? depth : k + 64;
        for (int64_t i = 0; i < LANES; i++)
            for (int64_t l = k; l < end; l++)
                panel[l * width * LANES + i] = i < lanes ? weight[i * stride + l] : 0;
    }
}

/* One vector of a panel out of columns of a weight: lane i of row k is weight[k, i]; lanes from `lanes` on are 0. */
static void pack_columns(const real *weight, int64_t stride, int64_t lanes, int64_t depth, int width, real *panel)
{
    for (int64_t k = 0; k < depth; k++)
        *(unaligned_vec *)(panel + k * width * LANES) = load(weight + k * stride, lanes);
}

INLINE real dot(const real *a, const real *b, int64_t n)
{
    vec sums[4] = {{0}, {0}, {0}, {0}};
    int64_t k = 0;
    for (; k + 4 * LANES <= n; k += 4 * LANES)
        for (int j = 0; j < 4; j++)
            sums[j] = multiply_add(load(a + k + j * LANES, LANES), load(b + k + j * LANES, LANES), sums[j]);
    for (; k < n; k += LANES)
        sums[0] = multiply_add(load(a + k, n - k), load(b + k, n - k), sums[0]);
    return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

#endif
