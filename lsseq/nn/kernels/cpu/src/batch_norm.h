/* Batch norm: a unit is normalised over the rows, forward and backward. Variances are biased. */

#ifndef BATCH_NORM_H
#define BATCH_NORM_H

#include "vector.h"

/* The statistics of a vector of units at a step. */
typedef struct {
    real *mean, *variance;
    int64_t stride; /* between those of rows; 0 where all rows have the same */
    int64_t lanes;
    int given;      /* else they are those of the rows, and depend on them */
} Moments;

/* Those of the units from `column` on at step t, of arrays (T, S, columns): S sets are given, or the one of the rows. */
INLINE Moments moments_at(real *mean, real *variance, int64_t sets, int64_t t, int64_t columns, int64_t column,
                          int64_t lanes)
{
    int64_t at = t * (sets > 1 ? sets : 1) * columns + column;
    return (Moments){mean + at, variance + at, sets > 1 ? columns : 0, lanes, sets > 0};
}

/* Σ (u - centre), or with `squares` Σ (u - centre)², over the rows, in sums that do not wait for each other. */
INLINE vec sum_rows(const int squares, const real *u, int64_t stride, int64_t rows, vec centre, int64_t lanes)
{
    vec sums[4] = {{0}, {0}, {0}, {0}};
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4)
        for (int j = 0; j < 4; j++) {
            vec centred = load(u + (r + j) * stride, lanes) - centre;
            sums[j] = squares ? multiply_add(centred, centred, sums[j]) : sums[j] + centred;
        }
    for (; r < rows; r++) {
        vec centred = load(u + r * stride, lanes) - centre;
        sums[0] = squares ? multiply_add(centred, centred, sums[0]) : sums[0] + centred;
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

INLINE vec mean_of(const Moments *moments, int64_t r, int64_t lanes)
{
    return load(moments->mean + r * moments->stride, lanes);
}

/* 1 / deviation. */
INLINE vec scale_of(const Moments *moments, int64_t r, int64_t lanes)
{
    return inverse_root(load(moments->variance + r * moments->stride, lanes) + (real)EPSILON);
}

/* The number of lanes is an argument here and below so that it may be a constant, with which loops keep to registers. */
INLINE void forward_of_lanes(int64_t lanes, real *u, int64_t stride, int64_t rows, const Moments *moments, vec gain,
                             real *normal, int64_t normal_stride)
{
    if (!moments->given) {
        vec average = sum_rows(0, u, stride, rows, all(0), lanes) / (real)rows;
        store(moments->mean, average, lanes);
        store(moments->variance, sum_rows(1, u, stride, rows, average, lanes) / (real)rows, lanes);
    }
    vec mean = mean_of(moments, 0, lanes), scale = scale_of(moments, 0, lanes);
    for (int64_t r = 0; r < rows; r++) {
        if (moments->stride > 0) {
            mean = mean_of(moments, r, lanes);
            scale = scale_of(moments, r, lanes);
        }
        vec value = (load(u + r * stride, lanes) - mean) * scale;
        store(u + r * stride, gain * value, lanes);
        if (normal)
            store(normal + r * normal_stride, value, lanes);
    }
}

/* u, rows of a vector of units, becomes the gain times its normalised values, and these go to `normal` where it is. */
static void normalise_rows(real *u, int64_t stride, int64_t rows, const Moments *moments, vec gain, real *normal,
                           int64_t normal_stride)
{
    if (moments->lanes == LANES)
        forward_of_lanes(LANES, u, stride, rows, moments, gain, normal, normal_stride);
    else
        forward_of_lanes(moments->lanes, u, stride, rows, moments, gain, normal, normal_stride);
}

INLINE void backward_of_lanes(int64_t lanes, const real *d, const real *normal, int64_t stride, int64_t rows,
                              const Moments *moments, vec gain, real *to, int64_t to_stride, real *d_gain)
{
    vec totals[2] = {{0}, {0}}, along[2] = {{0}, {0}};
    for (int64_t r = 0; r < rows; r += 2)
        for (int j = 0; j < 2 && r + j < rows; j++) {
            vec given = load(d + (r + j) * stride, lanes);
            totals[j] += given;
            along[j] = multiply_add(given, load(normal + (r + j) * stride, lanes), along[j]);
        }
    const real share = moments->given ? 0 : 1 / (real)rows;
    vec slope = along[0] + along[1], shift = (totals[0] + totals[1]) * share, scale = gain * scale_of(moments, 0, lanes);
    store(d_gain, load(d_gain, lanes) + slope, lanes);
    slope *= share;
    for (int64_t r = 0; r < rows; r++) {
        if (moments->stride > 0)
            scale = gain * scale_of(moments, r, lanes);
        vec centred = load(d + r * stride, lanes) - shift;
        store(to + r * to_stride, scale * (centred - slope * load(normal + r * stride, lanes)), lanes);
    }
}

/* From the gradient d of the normalised values times the gain to that of what was normalised, which may take its place.
   Adds to that of the gain. */
static void normalise_rows_backward(const real *d, const real *normal, int64_t stride, int64_t rows,
                                    const Moments *moments, vec gain, real *to, int64_t to_stride, real *d_gain)
{
    if (moments->lanes == LANES)
        backward_of_lanes(LANES, d, normal, stride, rows, moments, gain, to, to_stride, d_gain);
    else
        backward_of_lanes(moments->lanes, d, normal, stride, rows, moments, gain, to, to_stride, d_gain);
}

#endif
