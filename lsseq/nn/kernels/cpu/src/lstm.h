/* The pointwise part of the LSTM, forward and backward; the equations are those of lsseq/nn/cells/lstm.py. */

#ifndef LSTM_H
#define LSTM_H

#include "stage.h"

/* The cell that a step starts from, (B, H). */
INLINE const real *cells_before(const Call *call, int64_t t)
{
    const real *past = call->past_c ? call->past_c : call->cells;
    return t == 0 ? call->c0 : past + (call->saves ? (t - 1) * call->rows * call->units : 0);
}

/* Where the cell of a row's block stands within the thread's, of rows from r on and blocks [u, u_end). */
INLINE int64_t cell_at(int64_t row, int64_t r, int64_t b, int64_t u, int64_t u_end)
{
    return ((row - r) * (u_end - u) + b - u) * LANES;
}

INLINE Moments cell_moments(const Call *call, int64_t t, int64_t b)
{
    return moments_at(call->cell_mean, call->cell_variance, call->sets[OF_CELL], t, call->units, b * LANES,
                      lanes_of(call, b));
}

/* Normalises the new cells in me->cells. */
static void normalise_cells(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end)
{
    const Work *work = me->work;
    if (work->norm == LAYER_NORM) {
        real *scales = work->call->scales + ((work->call->saves ? t * work->call->rows : 0) + r) * SCALES;
        scales[CELL_SCALE] = normalise_row(work, me->cells, 1, 0, 1, &scales[CELL_MEAN]);
        return;
    }
    for (int64_t b = u; b < u_end; b++) {
        Moments moments = cell_moments(work->call, t, b);
        normalise_rows(me->cells + cell_at(r, r, b, u, u_end), (u_end - u) * LANES, r_end - r, &moments, all(1), NULL, 0);
    }
}

static void lstm_forward(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end, const real *products,
                         int64_t stride)
{
    const Work *work = me->work;
    const Call *call = work->call;
    const int64_t H = call->units;
    real *cells = call->cells + (call->saves ? t * call->rows * H : 0);
    for (int64_t row = r; row < r_end; row++) {
        real *gates = call->inputs + (t * call->rows + row) * 4 * H;
        const real *old_c = cells_before(call, t) + row * H, *old_h = state_before(call, t) + row * H;
        for (int64_t b = u; b < u_end; b++) {
            const real *p = products + (row - r) * stride + (b - u) * 4 * LANES, *bias = work->bias + b * 4 * LANES;
            int64_t n = lanes_of(call, b), at = b * LANES;
            vec gate[4];
            for (int g = 0; g < 4; g++)
                gate[g] = (work->hoisted ? load(gates + g * H + at, n) : all(0)) + load(p + g * LANES, LANES) +
                          load(bias + g * LANES, LANES);
            vec i = sigmoid(gate[0]), f = sigmoid(gate[1]), g = tanh_of(gate[2]), o = sigmoid(gate[3]);
            vec before = load(old_c + at, n), c = f * before + i * (dropped(me, row, b) * g);
            store(cells + row * H + at, keep(event(me, ZONEOUT_CELL, row, b), before, c), n);
            if (call->saves) {
                store(gates + at, i, n);
                store(gates + H + at, f, n);
                store(gates + 2 * H + at, g, n);
                store(gates + 3 * H + at, o, n);
            } else if (work->norm)
                store(gates + 3 * H + at, o, n);
            if (work->norm)
                store(me->cells + cell_at(row, r, b, u, u_end), n == LANES ? c : load((real *)&c, n), LANES);
            else
                store(call->output + (t * call->rows + row) * H + at,
                      keep(event(me, ZONEOUT_HIDDEN, row, b), load(old_h + at, n), o * tanh_of(c)), n);
        }
    }
    if (!work->norm)
        return;
    normalise_cells(me, t, r, r_end, u, u_end);
    for (int64_t row = r; row < r_end; row++)
        for (int64_t b = u; b < u_end; b++) {
            int64_t n = lanes_of(call, b), at = b * LANES, line = (t * call->rows + row) * H;
            vec c = load(me->cells + cell_at(row, r, b, u, u_end), LANES);
            vec squashed = tanh_of(c * load(work->cell_gain + at, LANES) + load(work->cell_bias + at, LANES));
            vec h = load(call->inputs + 4 * line + 3 * H + at, n) * squashed;
            vec old = load(state_before(call, t) + row * H + at, n);
            store(call->output + line + at, keep(event(me, ZONEOUT_HIDDEN, row, b), old, h), n);
        }
}

/* The new cell of a row's block, before zoneout. */
INLINE vec new_cell(const Thread *me, int64_t t, int64_t r, int64_t b, const real *gates)
{
    const Call *call = me->work->call;
    const int64_t H = call->units, n = lanes_of(call, b), at = b * LANES;
    vec i = load(gates + at, n), f = load(gates + H + at, n), g = load(gates + 2 * H + at, n);
    return f * load(cells_before(call, t) + r * H + at, n) + i * (dropped(me, r, b) * g);
}

/* The gradient of a row's output, without what zoneout hands to the step before. */
INLINE vec new_output_gradient(const Thread *me, int64_t t, int64_t r, int64_t b)
{
    const Work *work = me->work;
    const Call *call = work->call;
    vec d = load(carried(work, work->d_h, r, b), LANES);
    if (call->d_output)
        d += load(call->d_output + (t * call->rows + r) * call->units + b * LANES, lanes_of(call, b));
    return d;
}

/* Leaves in me->products the gradient of each new cell that comes through the normalised one, then tanh of that. Apart
   from its caller, which would have too few registers for both. */
static __attribute__((noinline)) void lstm_cell_backward(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u,
                                                         int64_t u_end)
{
    const Work *work = me->work;
    const Call *call = work->call;
    const int64_t H = call->units, stride = (u_end - u) * LANES;
    real *squashed_at = me->products + (r_end - r) * stride;
    real *d_gain = call->d_cell_gain + r / ROW_BLOCK * H;
    real *d_bias = call->d_cell_bias ? call->d_cell_bias + r / ROW_BLOCK * H : NULL;
    for (int64_t row = r; row < r_end; row++) /* by themselves: little is computed here, so memory is read far ahead */
        for (int64_t b = u; b < u_end; b++)
            store(me->cells + cell_at(row, r, b, u, u_end),
                  new_cell(me, t, row, b, call->inputs + (t * call->rows + row) * 4 * H), LANES);
    for (int64_t b = u; b < u_end; b++) {
        int64_t n = lanes_of(call, b), at = b * LANES;
        vec gain = load(work->cell_gain + at, LANES), bias = load(work->cell_bias + at, LANES), total = {0};
        Moments moments = {0};
        if (work->norm == BATCH_NORM)
            moments = cell_moments(call, t, b);
        vec mean = {0}, scale = {0};
        for (int64_t row = r; row < r_end; row++) {
            int64_t own = cell_at(row, r, b, u, u_end), line = t * call->rows + row;
            if (work->norm == LAYER_NORM) {
                mean = all(call->scales[line * SCALES + CELL_MEAN]);
                scale = all(call->scales[line * SCALES + CELL_SCALE]);
            } else if (row == r || moments.stride > 0) {
                mean = mean_of(&moments, row, n);
                scale = scale_of(&moments, row, n);
            }
            vec value = (load(me->cells + own, LANES) - mean) * scale, squashed = tanh_of(value * gain + bias);
            vec d = new_output_gradient(me, t, row, b) * (1 - event(me, ZONEOUT_HIDDEN, row, b));
            d = d * load(call->inputs + (line * 4 + 3) * H + at, n) * (1 - squashed * squashed);
            store(me->cells + own, value, LANES);
            store(me->products + own, d, LANES);
            store(squashed_at + own, squashed, LANES);
            total += d;
        }
        if (d_bias)
            store(d_bias + at, load(d_bias + at, n) + total, n);
        if (work->norm == BATCH_NORM) {
            int64_t own = cell_at(r, r, b, u, u_end);
            normalise_rows_backward(me->products + own, me->cells + own, stride, r_end - r, &moments, gain,
                                    me->products + own, stride, d_gain + at);
        }
    }
    if (work->norm == LAYER_NORM)
        normalise_row_backward(work, me->products, me->cells, call->scales[(t * call->rows + r) * SCALES + CELL_SCALE],
                               work->cell_gain, d_gain, 1, 0, 1);
}

static void lstm_backward(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end, const real *products,
                          int64_t stride)
{
    const Work *work = me->work;
    const Call *call = work->call;
    const int64_t H = call->units;
    const int by_unit = work->norm == BATCH_NORM; /* the norm takes the gradients on from me->block */
    (void)products, (void)stride;
    if (work->norm)
        lstm_cell_backward(me, t, r, r_end, u, u_end);
    for (int64_t b = u; b < u_end; b++) {
        const int64_t n = lanes_of(call, b), at = b * LANES;
        vec d_bias[4] = {{0}, {0}, {0}, {0}};
        for (int64_t row = r; row < r_end; row++) {
            const real *gates = call->inputs + (t * call->rows + row) * 4 * H;
            real *to = by_unit ? me->block + row * 4 * LANES : call->d_inputs + (t * call->rows + row) * 4 * H + at;
            real *carry_h = carried(work, work->d_h, row, b), *carry_c = carried(work, work->d_c, row, b);
            vec i = load(gates + at, n), f = load(gates + H + at, n), g = load(gates + 2 * H + at, n);
            vec o = load(gates + 3 * H + at, n), before = load(cells_before(call, t) + row * H + at, n);
            vec factor = dropped(me, row, b);
            vec kept_h = event(me, ZONEOUT_HIDDEN, row, b), kept_c = event(me, ZONEOUT_CELL, row, b);
            vec d_h = new_output_gradient(me, t, row, b), d_c = load(carry_c, LANES);
            if (call->d_cells)
                d_c += load(call->d_cells + (t * call->rows + row) * H + at, n);
            vec d_new_h = (1 - kept_h) * d_h, d_new_c = (1 - kept_c) * d_c, squashed;
            if (work->norm) {
                const real *through = me->products + cell_at(row, r, b, u, u_end);
                squashed = load(through + (r_end - r) * (u_end - u) * LANES, LANES);
                d_new_c += load(through, LANES);
            } else {
                squashed = tanh_of(f * before + i * (factor * g));
                d_new_c += d_new_h * o * (1 - squashed * squashed);
            }
            vec d[4];
            d[0] = d_new_c * factor * g * i * (1 - i);
            d[1] = d_new_c * before * f * (1 - f);
            d[2] = d_new_c * factor * i * (1 - g * g);
            d[3] = d_new_h * squashed * o * (1 - o);
            for (int k = 0; k < 4; k++) {
                store(to + k * (by_unit ? LANES : H), d[k], n);
                d_bias[k] += d[k];
            }
            if (work->norm == LAYER_NORM)
                for (int k = 0; k < 4; k++)
                    store(call->d_products + (t * call->rows + row) * 4 * H + at + k * H, d[k], n);
            store(carry_h, kept_h * d_h, LANES);
            store(carry_c, kept_c * d_c + d_new_c * f, LANES);
        }
        if (work->norm != LAYER_NORM)
            for (int k = 0; k < 4; k++)
                add_to(work->d_bias + (b * 4 + k) * LANES, d_bias[k]);
    }
}

#endif
