/* The pointwise part of the GRU, forward and backward; the equations are those of lsseq/nn/cells/gru.py.

   Where the reset gate acts after the product, a step has one stage with the three gates r, z, n. Where it acts before,
   it has two: r and z, then n from the state that was reset. */

#ifndef GRU_H
#define GRU_H

#include "stage.h"

enum { RESET, UPDATE, CANDIDATE };

/* The new state from the candidate's parts, and what the backward pass needs. */
INLINE void gru_finish(const Thread *me, int64_t t, int64_t r, int64_t b, vec update, vec candidate)
{
    const Call *call = me->work->call;
    const int64_t H = call->units, n = lanes_of(call, b), at = b * LANES;
    vec old = load(state_before(call, t) + r * H + at, n);
    vec new = dropped(me, r, b) * candidate;
    new = update * old + (1 - update) * new;
    store(call->output + (t * call->rows + r) * H + at, keep(event(me, ZONEOUT_HIDDEN, r, b), old, new), n);
    if (call->saves)
        store(call->inputs + ((t * call->rows + r) * 3 + CANDIDATE) * H + at, candidate, n);
}

/* Reset after the product: all of a step. */
static void gru_forward(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end, const real *products,
                        int64_t stride)
{
    const Work *work = me->work;
    const Call *call = work->call;
    const int64_t H = call->units;
    for (int64_t r0 = r; r < r_end; r++) {
        real *gates = call->inputs + (t * call->rows + r) * 3 * H;
        for (int64_t b = u; b < u_end; b++) {
            const real *p = products + (r - r0) * stride + (b - u) * 3 * LANES, *bias = work->bias + b * 3 * LANES;
            const int64_t n = lanes_of(call, b), at = b * LANES;
            vec reset = sigmoid(load(gates + at, n) + load(p, LANES) + load(bias, LANES));
            vec update = sigmoid(load(gates + H + at, n) + load(p + LANES, LANES) + load(bias + LANES, LANES));
            vec inner = load(p + 2 * LANES, LANES) + load(work->candidate_bias + at, LANES);
            vec candidate = tanh_of(load(gates + 2 * H + at, n) + load(bias + 2 * LANES, LANES) + reset * inner);
            if (call->saves) {
                store(gates + at, reset, n);
                store(gates + H + at, update, n);
                store(call->candidate + (t * call->rows + r) * H + at, inner, n);
            }
            gru_finish(me, t, r, b, update, candidate);
        }
    }
}

/* Reset before the product, first stage: the gates, and the state as the second stage sees it. */
static void gru_gates_forward(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end,
                              const real *products, int64_t stride)
{
    const Work *work = me->work;
    const Call *call = work->call;
    const int64_t H = call->units;
    for (int64_t r0 = r; r < r_end; r++) {
        real *gates = call->inputs + (t * call->rows + r) * 3 * H;
        for (int64_t b = u; b < u_end; b++) {
            const real *p = products + (r - r0) * stride + (b - u) * 2 * LANES, *bias = work->bias + b * 3 * LANES;
            const int64_t n = lanes_of(call, b), at = b * LANES;
            vec reset = sigmoid(load(gates + at, n) + load(p, LANES) + load(bias, LANES));
            vec update = sigmoid(load(gates + H + at, n) + load(p + LANES, LANES) + load(bias + LANES, LANES));
            store(gates + at, reset, n);
            store(gates + H + at, update, n);
            store(work->reset + r * H + at, reset * load(state_before(call, t) + r * H + at, n), n);
        }
    }
}

/* Second stage: the candidate. */
static void gru_candidate_forward(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end,
                                  const real *products, int64_t stride)
{
    const Work *work = me->work;
    const Call *call = work->call;
    const int64_t H = call->units;
    for (int64_t r0 = r; r < r_end; r++) {
        const real *gates = call->inputs + (t * call->rows + r) * 3 * H;
        for (int64_t b = u; b < u_end; b++) {
            const real *p = products + (r - r0) * stride + (b - u) * LANES;
            const int64_t n = lanes_of(call, b), at = b * LANES;
            vec bias = load(work->bias + (b * 3 + CANDIDATE) * LANES, LANES) + load(work->candidate_bias + at, LANES);
            vec candidate = tanh_of(load(gates + 2 * H + at, n) + load(p, LANES) + bias);
            gru_finish(me, t, r, b, load(gates + H + at, n), candidate);
        }
    }
}

/* The gradients of the candidate's and the update gate's sums; the rest of the output's goes to the step before. */
static void gru_backward(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end, const real *products,
                         int64_t stride)
{
    const Work *work = me->work;
    const Call *call = work->call;
    const int64_t H = call->units;
    const int after = call->variant == 0;
    (void)products, (void)stride;
    for (int64_t b = u; b < u_end; b++) {
        const int64_t n = lanes_of(call, b), at = b * LANES;
        vec d_bias[3] = {{0}, {0}, {0}}, d_inner_bias = {0};
        for (int64_t row = r; row < r_end; row++) {
            const int64_t line = t * call->rows + row;
            const real *gates = call->inputs + line * 3 * H + at;
            real *to = call->d_inputs + line * 3 * H + at, *inner_to = call->d_products + line * 3 * H + at;
            real *carry = carried(work, work->d_h, row, b);
            vec reset = load(gates, n), update = load(gates + H, n), candidate = load(gates + 2 * H, n);
            vec old = load(state_before(call, t) + row * H + at, n), factor = dropped(me, row, b);
            vec kept = event(me, ZONEOUT_HIDDEN, row, b), d = load(carry, LANES);
            if (call->d_output)
                d += load(call->d_output + line * H + at, n);
            vec d_new = (1 - kept) * d;
            vec d_update = d_new * (old - factor * candidate) * update * (1 - update);
            vec d_candidate = d_new * (1 - update) * factor * (1 - candidate * candidate), d_inner = d_candidate;
            if (after) {
                vec d_reset = d_candidate * load(call->candidate + line * H + at, n) * reset * (1 - reset);
                d_inner = d_candidate * reset;
                store(to, d_reset, n);
                store(inner_to, d_reset, n);
                d_bias[RESET] += d_reset;
            }
            store(to + H, d_update, n);
            store(inner_to + H, d_update, n);
            store(to + 2 * H, d_candidate, n);
            store(inner_to + 2 * H, d_inner, n);
            d_bias[UPDATE] += d_update;
            d_bias[CANDIDATE] += d_candidate;
            d_inner_bias += d_inner;
            store(carry, kept * d + d_new * update, LANES);
        }
        if (work->norm)
            continue;
        for (int k = 0; k < 3; k++)
            add_to(work->d_bias + (b * 3 + k) * LANES, d_bias[k]);
        add_to(work->d_candidate_bias + at, d_inner_bias);
    }
}

/* Reset before the product: from the gradient of the state that was reset to those of reset gate and state. */
static void gru_reset_backward(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end,
                               const real *products, int64_t stride)
{
    const Work *work = me->work;
    const Call *call = work->call;
    const int64_t H = call->units;
    (void)products, (void)stride;
    for (int64_t b = u; b < u_end; b++) {
        const int64_t n = lanes_of(call, b), at = b * LANES;
        vec d_bias = {0};
        for (int64_t row = r; row < r_end; row++) {
            const int64_t line = t * call->rows + row;
            real *of_reset = carried(work, work->d_reset, row, b);
            vec reset = load(call->inputs + line * 3 * H + at, n), d = load(of_reset, LANES);
            vec d_sum = d * load(state_before(call, t) + row * H + at, n) * reset * (1 - reset);
            store(call->d_inputs + line * 3 * H + at, d_sum, n);
            store(call->d_products + line * 3 * H + at, d_sum, n);
            add_to(carried(work, work->d_h, row, b), d * reset);
            store(of_reset, all(0), LANES);
            d_bias += d_sum;
        }
        if (!work->norm)
            add_to(work->d_bias + (b * 3 + RESET) * LANES, d_bias);
    }
}

#endif
