/* A packed weight as a matrix of any number of columns, whose panels the threads of a team share. */

#ifndef MATRIX_H
#define MATRIX_H

#include "product.h"
#include "team.h"

typedef struct {
    real *packed; /* (panels, depth, width, LANES) */
    int64_t depth, columns, panels;
    int width;
} Matrix;

/* The widest panels of which there are enough for the threads, and no wider than so many have to be. */
static Matrix matrix_of(int64_t depth, int64_t columns, int threads)
{
    int64_t vectors = (columns + LANES - 1) / LANES, panels = (vectors + MOST_WIDTH - 1) / MOST_WIDTH;
    if (panels < threads)
        panels = vectors < threads ? vectors : threads;
    int width = panels > 0 ? (int)((vectors + panels - 1) / panels) : 1;
    return (Matrix){.depth = depth, .columns = columns, .panels = (vectors + width - 1) / width, .width = width};
}

INLINE int64_t matrix_size(const Matrix *matrix) { return matrix->panels * matrix->depth * matrix->width * LANES; }

INLINE int64_t lanes_at(const Matrix *matrix, int64_t vector)
{
    int64_t left = matrix->columns - vector * LANES;
    return left < 0 ? 0 : left < LANES ? left : LANES;
}

/* Packs a panel of a weight: its rows become the columns (`rows`), or its columns do, which has `stride` of them. */
static void pack_panel(Matrix *matrix, int64_t p, const real *weight, int64_t stride, int rows)
{
    for (int v = 0; v < matrix->width; v++) {
        int64_t vector = p * matrix->width + v, lanes = lanes_at(matrix, vector);
        real *to = matrix->packed + (p * matrix->depth * matrix->width + v) * LANES;
        if (rows)
            pack_rows(weight + vector * LANES * stride, stride, lanes, matrix->depth, matrix->width, to);
        else
            pack_columns(weight + vector * LANES, stride, lanes, matrix->depth, matrix->width, to);
    }
}

/* The same for a member's panels. */
static void pack_matrix(Matrix *matrix, const real *weight, int64_t stride, int rows, int member, int team)
{
    for (int64_t p = share(matrix->panels, member, team); p < share(matrix->panels, member + 1, team); p++)
        pack_panel(matrix, p, weight, stride, rows);
}

/* A panel of out (rows, columns) = a (rows, depth) times the matrix, or += with `add`; strides of a as those of `tile`.
   A panel goes straight to its place where it has all its columns and its sums are passed over once; deep sums are faster
   in the dense rows of `scratch`, which holds rows times the width of a panel. */
static void multiply_panel(const Matrix *matrix, int64_t p, int64_t rows, const real *a, int64_t a_stride, int64_t a_step,
                           real *out, int64_t out_stride, int add, real *scratch)
{
    const int width = matrix->width;
    const int64_t size = width * LANES, depth = matrix->depth;
    const real *panel = matrix->packed + p * depth * size;
    out += p * size;
    if (matrix->columns - p * size >= size && depth <= PANEL_ROWS) {
        for (int64_t r = 0; r < rows && !add; r++)
            memset(out + r * out_stride, 0, (size_t)size * sizeof(real));
        add_product(rows, a, a_stride, a_step, panel, depth, width, out, out_stride, LANES);
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        for (int v = 0; v < width; v++) {
            vec old = add ? load(out + r * out_stride + v * LANES, lanes_at(matrix, p * width + v)) : all(0);
            store(scratch + (r * width + v) * LANES, old, LANES);
        }
    add_product(rows, a, a_stride, a_step, panel, depth, width, scratch, size, LANES);
    for (int64_t r = 0; r < rows; r++)
        for (int v = 0; v < width; v++)
            store(out + r * out_stride + v * LANES, load(scratch + (r * width + v) * LANES, LANES),
                  lanes_at(matrix, p * width + v));
}

/* out = a times the matrix, a member's panels of it; a and out are dense. */
PART void multiply(const Matrix *matrix, int64_t rows, const real *a, real *out, real *scratch, int member, int team)
{
    for (int64_t p = share(matrix->panels, member, team); p < share(matrix->panels, member + 1, team); p++)
        multiply_panel(matrix, p, rows, a, matrix->depth, 1, out, matrix->columns, 0, scratch);
}

#endif
