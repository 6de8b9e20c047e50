/* The pointwise part of the LSTM, forward and backward; the equations are those of lsseq/nn/cells/lstm.py. */

#ifndef LSTM_H
#define LSTM_H

#include "stage.h"

enum { CELL_SCALE = 2 };

/* The cell that a step starts from, (B, H). */
INLINE const real *cells_before(const Call *call, int64_t t)
{
    return t == 0 ? call->c0 : call->cells + (call->saves ? (t - 1) * call->rows * call->units : 0);
}

static void lstm_forward(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end, const real *products,
                         int64_t stride)
{
    const Work *work = me->work;
    const Call *call = work->call;
    const int64_t H = call->units;
    const int norm_cell = call->cell_gain != NULL;
    real *cells = call->cells + (call->saves ? t * call->rows * H : 0);
    for (int64_t r0 = r; r < r_end; r++) {
        real *gates = call->inputs + (t * call->rows + r) * 4 * H;
        const real *old_c = cells_before(call, t) + r * H, *old_h = state_before(call, t) + r * H;
        for (int64_t b = u; b < u_end; b++) {
            const real *p = products + (r - r0) * stride + (b - u) * 4 * LANES, *bias = work->bias + b * 4 * LANES;
            int64_t n = lanes_of(call, b), at = b * LANES;
            vec gate[4];
            for (int g = 0; g < 4; g++)
                gate[g] = (work->hoisted ? load(gates + g * H + at, n) : all(0)) + load(p + g * LANES, LANES) +
                          load(bias + g * LANES, LANES);
            vec i = sigmoid(gate[0]), f = sigmoid(gate[1]), g = tanh_of(gate[2]), o = sigmoid(gate[3]);
            vec before = load(old_c + at, n), c = f * before + i * (dropped(me, r, b) * g);
            store(cells + r * H + at, keep(event(me, ZONEOUT_CELL, r, b), before, c), n);
            if (call->saves) {
                store(gates + at, i, n);
                store(gates + H + at, f, n);
                store(gates + 2 * H + at, g, n);
                store(gates + 3 * H + at, o, n);
            } else if (norm_cell)
                store(gates + 3 * H + at, o, n);
            if (norm_cell)
                store(me->row + at, n == LANES ? c : load((real *)&c, n), LANES);
            else
                store(call->output + (t * call->rows + r) * H + at,
                      keep(event(me, ZONEOUT_HIDDEN, r, b), load(old_h + at, n), o * tanh_of(c)), n);
        }
        if (!norm_cell)
            continue;
        real *scales = call->scales + ((call->saves ? t * call->rows : 0) + r) * SCALES;
        scales[CELL_SCALE] = normalise(work, me->row, 1, 0, 1);
        for (int64_t b = u; b < u_end; b++) {
            int64_t n = lanes_of(call, b), at = b * LANES;
            vec c = load(me->row + at, LANES) * load(work->cell_gain + at, LANES) + load(work->cell_bias + at, LANES);
            vec h = load(gates + 3 * H + at, n) * tanh_of(c);
            store(call->output + (t * call->rows + r) * H + at,
                  keep(event(me, ZONEOUT_HIDDEN, r, b), load(old_h + at, n), h), n);
        }
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

/* Leaves in me->row the gradient of each unit's new cell that comes through the normalised cell of a row. */
static void lstm_cell_backward(Thread *me, int64_t t, int64_t r)
{
    const Work *work = me->work;
    const Call *call = work->call;
    const int64_t H = call->units, row = t * call->rows + r;
    const real *gates = call->inputs + row * 4 * H;
    real *d_gain = call->d_cell_gain + r / ROW_BLOCK * H;
    real *d_bias = call->d_cell_bias ? call->d_cell_bias + r / ROW_BLOCK * H : NULL;
    vec total = {0}, along = {0};
    for (int64_t b = 0; b < work->blocks; b++) {
        int64_t n = lanes_of(call, b), at = b * LANES;
        vec c = new_cell(me, t, r, b, gates);
        total += n == LANES ? c : load((real *)&c, n);
        store(me->row + at, c, LANES);
    }
    real mean = sum(total) / (real)H, scale = call->scales[row * SCALES + CELL_SCALE];
    total = all(0);
    for (int64_t b = 0; b < work->blocks; b++) {
        int64_t n = lanes_of(call, b), at = b * LANES;
        vec gain = load(work->cell_gain + at, LANES), value = (load(me->row + at, LANES) - mean) * scale;
        vec squashed = tanh_of(value * gain + load(work->cell_bias + at, LANES));
        vec d = new_output_gradient(me, t, r, b) * (1 - event(me, ZONEOUT_HIDDEN, r, b));
        d = d * load(gates + 3 * H + at, n) * (1 - squashed * squashed);
        store(d_gain + at, load(d_gain + at, n) + d * value, n);
        if (d_bias)
            store(d_bias + at, load(d_bias + at, n) + d, n);
        total += d * gain;
        along += d * gain * value;
        store(me->row + at, value, LANES);
        store(me->products + at, d * gain, LANES);
        store(me->products + (work->blocks + b) * LANES, squashed, LANES);
    }
    real shift = sum(total) / (real)H, slope = sum(along) / (real)H;
    for (int64_t at = 0; at < work->blocks * LANES; at += LANES)
        store(me->row + at, scale * (load(me->products + at, LANES) - shift - slope * load(me->row + at, LANES)), LANES);
}

static void lstm_backward(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end, const real *products,
                          int64_t stride)
{
    const Work *work = me->work;
    const Call *call = work->call;
    const int64_t H = call->units;
    const int norm_cell = call->cell_gain != NULL;
    (void)products, (void)stride;
    if (norm_cell)
        lstm_cell_backward(me, t, r);
    for (int64_t b = u; b < u_end; b++) {
        const int64_t n = lanes_of(call, b), at = b * LANES;
        vec d_bias[4] = {{0}, {0}, {0}, {0}};
        for (int64_t row = r; row < r_end; row++) {
            const real *gates = call->inputs + (t * call->rows + row) * 4 * H;
            real *to = call->d_inputs + (t * call->rows + row) * 4 * H + at;
            real *carry_h = carried(work, work->d_h, row, b), *carry_c = carried(work, work->d_c, row, b);
            vec i = load(gates + at, n), f = load(gates + H + at, n), g = load(gates + 2 * H + at, n);
            vec o = load(gates + 3 * H + at, n), before = load(cells_before(call, t) + row * H + at, n);
            vec factor = dropped(me, row, b);
            vec kept_h = event(me, ZONEOUT_HIDDEN, row, b), kept_c = event(me, ZONEOUT_CELL, row, b);
            vec d_h = new_output_gradient(me, t, row, b), d_c = load(carry_c, LANES);
            if (call->d_cells)
                d_c += load(call->d_cells + (t * call->rows + row) * H + at, n);
            vec d_new_h = (1 - kept_h) * d_h, d_new_c = (1 - kept_c) * d_c, squashed;
            if (norm_cell) {
                squashed = load(me->products + (work->blocks + b) * LANES, LANES);
                d_new_c += load(me->row + at, LANES);
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
                store(to + k * H, d[k], n);
                d_bias[k] += d[k];
            }
            if (work->norm)
                for (int k = 0; k < 4; k++)
                    store(call->d_products + (t * call->rows + row) * 4 * H + at + k * H, d[k], n);
            store(carry_h, kept_h * d_h, LANES);
            store(carry_c, kept_c * d_c + d_new_c * f, LANES);
        }
        if (!work->norm)
            for (int k = 0; k < 4; k++)
                add_to(work->d_bias + (b * 4 + k) * LANES, d_bias[k]);
    }
}

#endif
