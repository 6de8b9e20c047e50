/* The pointwise part of the simple recurrent network; the equations are those of lsseq/nn/cells/rnn.py. */

#ifndef RNN_H
#define RNN_H

#include "stage.h"

static void rnn_forward(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end, const real *products,
                        int64_t stride)
{
    const Work *work = me->work;
    const Call *call = work->call;
    const int64_t H = call->units;
    for (int64_t r0 = r; r < r_end; r++) {
        real *inputs = call->inputs + (t * call->rows + r) * H;
        for (int64_t b = u; b < u_end; b++) {
            const int64_t n = lanes_of(call, b), at = b * LANES;
            vec total = load(inputs + at, n) + load(products + (r - r0) * stride + (b - u) * LANES, LANES);
            total += load(work->bias + at, LANES);
            vec new = call->variant ? choose(total < 0, all(0), total) : tanh_of(total);
            vec old = load(state_before(call, t) + r * H + at, n);
            store(call->output + (t * call->rows + r) * H + at, keep(event(me, ZONEOUT_HIDDEN, r, b), old, new), n);
            if (call->saves)
                store(inputs + at, new, n);
        }
    }
}

static void rnn_backward(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end, const real *products,
                         int64_t stride)
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
            real *carry = carried(work, work->d_h, row, b);
            vec new = load(call->inputs + line * H + at, n), kept = event(me, ZONEOUT_HIDDEN, row, b);
            vec d = load(carry, LANES);
            if (call->d_output)
                d += load(call->d_output + line * H + at, n);
            vec d_sum = (1 - kept) * d;
            d_sum = call->variant ? choose(new <= 0, all(0), d_sum) : d_sum * (1 - new * new);
            store(call->d_inputs + line * H + at, d_sum, n);
            if (work->norm)
                store(call->d_products + line * H + at, d_sum, n);
            d_bias += d_sum;
            store(carry, kept * d, LANES);
        }
        if (!work->norm)
            add_to(work->d_bias + at, d_bias);
    }
}

#endif
