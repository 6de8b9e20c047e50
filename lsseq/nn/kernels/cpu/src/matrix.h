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

/* The widest panels of which there are enough for the threads. */
static Matrix matrix_of(int64_t depth, int64_t columns, int threads)
{
    int64_t vectors = (columns + LANES - 1) / LANES;
    int width = MOST_WIDTH;
    while (width > 1 && (vectors + width - 1) / width < threads)
        width /= 2;
    return (Matrix){.depth = depth, .columns = columns, .panels = (vectors + width - 1) / width, .width = width};
}

INLINE int64_t matrix_size(const Matrix *matrix) { return matrix->panels * matrix->depth * matrix->width * LANES; }

INLINE int64_t lanes_at(const Matrix *matrix, int64_t vector)
{
    int64_t left = matrix->columns - vector * LANES;
    return left < 0 ? 0 : left < LANES ? left : LANES;
}

/* Packs a member's panels of a weight: its rows become the columns (`rows`), or its columns do, which has `stride` of
   them. */
static void pack_matrix(Matrix *matrix, const real *weight, int64_t stride, int rows, int member, int team)
{
    for (int64_t p = share(matrix->panels, member, team); p < share(matrix->panels, member + 1, team); p++)
        for (int v = 0; v < matrix->width; v++) {
            int64_t vector = p * matrix->width + v, lanes = lanes_at(matrix, vector);
            real *to = matrix->packed + (p * matrix->depth * matrix->width + v) * LANES;
            if (rows)
                pack_rows(weight + vector * LANES * stride, stride, lanes, matrix->depth, matrix->width, to);
            else
                pack_columns(weight + vector * LANES, stride, lanes, matrix->depth, matrix->width, to);
        }
}

/* A member's panels of out (rows, columns) = a (rows, depth) times the matrix; both are dense. `scratch` holds rows times
   the width of a panel. It takes a panel that is wider than what is left, and deep ones, whose sums are passed over more
   than once: there dense rows are faster. */
static void multiply(const Matrix *matrix, int64_t rows, const real *a, real *out, real *scratch, int member, int team)
{
    const int64_t size = matrix->width * LANES, columns = matrix->columns;
    for (int64_t p = share(matrix->panels, member, team); rows > 0 && p < share(matrix->panels, member + 1, team); p++) {
        const int64_t here = columns - p * size < size ? columns - p * size : size;
        const int apart = here < size || matrix->depth > PANEL_ROWS;
        real *to = apart ? scratch : out + p * size;
        const int64_t stride = apart ? size : columns;
        for (int64_t r = 0; r < rows; r++)
            memset(to + r * stride, 0, (size_t)size * sizeof(real));
        add_product(rows, a, matrix->depth, matrix->packed + p * matrix->depth * size, matrix->depth, matrix->width, to, stride);
        for (int64_t r = 0; r < rows && apart; r++)
            memcpy(out + r * columns + p * size, scratch + r * size, (size_t)here * sizeof(real));
    }
}

#endif
