/* Layer norm: a row is normalised over its units, forward and backward. Variances are biased. */

#ifndef LAYER_NORM_H
#define LAYER_NORM_H

#include "call.h"

/* A row's vectors, (blocks, gates, LANES), at gates [from, to): mean 0 and deviation 1. Gives 1 / deviation, and
   leaves the mean where it is asked for. */
static real normalise_row(const Work *work, real *row, int gates, int from, int to, real *mean_to)
{
    real count = (real)((to - from) * work->call->units);
    vec total = {0}, squares = {0};
    for (int64_t u = 0; u < work->blocks; u++)
        for (int g = from; g < to; g++)
            total += load(row + (u * gates + g) * LANES, LANES);
    real mean = sum(total) / count;
    if (mean_to)
        *mean_to = mean;
    for (int64_t u = 0; u < work->blocks; u++)
        for (int g = from; g < to; g++) {
            real *at = row + (u * gates + g) * LANES;
            vec centred = {0};
            store((real *)&centred, load(at, LANES) - mean, lanes_of(work->call, u));
            squares += centred * centred;
            store(at, centred, LANES);
        }
    real scale = 1 / (real)__builtin_sqrt((double)(sum(squares) / count) + EPSILON);
    for (int64_t u = 0; u < work->blocks; u++)
        for (int g = from; g < to; g++) {
            real *at = row + (u * gates + g) * LANES;
            store(at, load(at, LANES) * scale, LANES);
        }
    return scale;
}

/* From the gradient d (gates, H) of a row's normalised values times the gain to that of what was normalised, in place.
   Adds to that of the gain; the values and the gain are (blocks, gates, LANES). */
static void normalise_row_backward(const Work *work, real *d, const real *normal, real scale, const real *gain,
                                   real *d_gain, int gates, int from, int to)
{
    const int64_t H = work->call->units;
    real count = (real)((to - from) * H);
    vec total = {0}, along = {0};
    for (int64_t u = 0; u < work->blocks; u++)
        for (int g = from; g < to; g++) {
            int64_t n = lanes_of(work->call, u), at = g * H + u * LANES, padded = (u * gates + g) * LANES;
            vec value = load(normal + padded, LANES), given = load(d + at, n);
            vec scaled = given * load(gain + padded, LANES);
            store(d_gain + at, load(d_gain + at, n) + given * value, n);
            total += scaled;
            along += scaled * value;
        }
    real mean = sum(total) / count, slope = sum(along) / count;
    for (int64_t u = 0; u < work->blocks; u++)
        for (int g = from; g < to; g++) {
            int64_t n = lanes_of(work->call, u), at = g * H + u * LANES, padded = (u * gates + g) * LANES;
            vec scaled = load(d + at, n) * load(gain + padded, LANES);
            store(d + at, scale * (scaled - mean - slope * load(normal + padded, LANES)), n);
        }
}

#endif
