/* The gatings of a Mogrifier LSTM and their gradients; the equations are those of lsseq/nn/cells/mogrifier.py.

   A row's *values* at a step are h^0, x^1, h^2, x^3 … in blocks beside each other. Round i makes block i of block i - 2
   (the first of x) and of a product with block i - 1; the LSTM's step reads the last two blocks. Going back,
   the gradient of block i becomes that of block i - 2 in its place, as these have the same units: there is one of the
   newest x^i and one of the newest h^i, and that of h^0 is what is carried to the step before.

   Threads share the units of a block: each computes the products of its panels, and of these units everything else, so
   that they meet once a product. A backward pass makes the values anew from the factors, which costs less than to read as
   many numbers from memory.

   Shape letters: R rounds, k rank, V numbers in all blocks, F those of all but h^0. */

#ifndef MOGRIFIER_H
#define MOGRIFIER_H

#include "lstm.h"

typedef struct {
    const real *out, *in; /* of round i with whole weights (units of block i, of block i - 1) and nothing; else with k */
} Gating;

typedef struct {
    Call lstm;             /* no products are hoisted, so that `inputs` is there for a backward pass only */
    const real *weight_x; /* (4H, I) */
    int64_t features; /* I */
    int64_t rounds;   /* R, at least 1 */
    int64_t rank;     /* k; 0 where the weights are whole */
    const Gating *gatings; /* (R) */
    const real *x;    /* (T, B, I) */
    real *values;     /* (T, B, V), going back */
    real *factors;    /* (T, B, F): 2σ of each round; absent unless saved */
    real *narrow;     /* (T, B, R, k): what the first factors give; (B, R, k) unless saved */
    real *d_sums;     /* (T, B, F): of what each round takes the sigmoid of */
    real *d_narrow;   /* (T, B, R, k) */
    real *d_x;        /* (T, B, I), or absent */
} MogrifierCall;

/* A weight that rows are multiplied with. */
typedef struct {
    Matrix matrix; /* not packed for few rows and steps in the forward pass, which then takes the weight as it is */
    const real *weight;
    int64_t stride; /* of its rows */
} Weight;

typedef struct {
    Weight first; /* of low rank, the factor that comes first: `in`, or going back `out` */
    Weight last;
} Round;

typedef struct {
    Work work; /* the LSTM's, and the first member: its step knows nothing else */
    const MogrifierCall *call;
    int backward;
    real *values;      /* (T, B, V), or forward (2, B, V): of this step and the next */
    Round *rounds;
    Weight read[2];    /* going back: the LSTM's weights for the last block but one and for the last; forward these are stages */
    real *gradients[2]; /* of the newest h^i (0) and x^i (1), (panels, B, width, LANES) */
    Thread *threads;
} Mogrifier;

INLINE const Mogrifier *mogrifier_of(const Thread *me) { return (const Mogrifier *)me->work; }

INLINE int64_t units_of(const MogrifierCall *call, int64_t i) { return i % 2 ? call->features : call->lstm.units; }

/* The LSTM's weight for a block. */
INLINE const real *weight_of(const MogrifierCall *call, int64_t i) { return i % 2 ? call->weight_x : call->lstm.weight; }

/* Where block i begins; block R + 1 is the end. */
INLINE int64_t place_of(const MogrifierCall *call, int64_t i)
{
    return (i + 1) / 2 * call->lstm.units + i / 2 * call->features;
}

INLINE int64_t row_size(const MogrifierCall *call) { return place_of(call, call->rounds + 1); }

INLINE real *values_at(const Mogrifier *job, int64_t t, int64_t i)
{
    const MogrifierCall *call = job->call;
    return job->values + (job->backward ? t : t % 2) * call->lstm.rows * row_size(call) + place_of(call, i);
}

/* One of the arrays (T, B, F) at round i. */
INLINE real *of_round(const MogrifierCall *call, real *array, int64_t t, int64_t i)
{
    const int64_t H = call->lstm.units;
    return array + t * call->lstm.rows * (row_size(call) - H) + place_of(call, i) - H;
}

/* One of the arrays (T, B, R, k) at round i. */
INLINE real *narrow_of(const MogrifierCall *call, real *array, int64_t t, int64_t i)
{
    return array + ((call->lstm.saves ? t * call->lstm.rows * call->rounds : 0) + i - 1) * call->rank;
}

INLINE int64_t begin_of(const Thread *me, const Weight *w) { return share(w->matrix.panels, me->member, me->team); }
INLINE int64_t end_of(const Thread *me, const Weight *w) { return share(w->matrix.panels, me->member + 1, me->team); }

/* The gradient of block i at a panel of its units. */
INLINE real *gradient_of(const Mogrifier *job, int64_t i, const Matrix *matrix, int64_t p)
{
    return (i == 0 ? job->work.d_h : job->gradients[i % 2]) + p * job->call->lstm.rows * matrix->width * LANES;
}

/* Products of `from` with the rows of an unpacked weight from `column` on, to `to`; rows of both are so far apart. */
static void dot_rows(const Weight *w, int64_t column, int64_t columns, int64_t rows, const real *from,
                     int64_t from_stride, real *to, int64_t to_stride)
{
    for (int64_t c = 0; c < columns; c++)
        for (int64_t r = 0; r < rows; r++)
            to[r * to_stride + c] = dot(w->weight + (column + c) * w->stride, from + r * from_stride, w->matrix.depth);
}

/* The first factor of a round, from rows `stride` apart to `narrow`; all meet. */
static void multiply_first(Thread *me, const Weight *w, const real *from, int64_t stride, real *narrow)
{
    const MogrifierCall *call = mogrifier_of(me)->call;
    const Matrix *matrix = &w->matrix;
    const int64_t B = call->lstm.rows, to_stride = call->rounds * call->rank;
    for (int64_t p = begin_of(me, w); matrix->packed && p < end_of(me, w); p++)
        multiply_panel(matrix, p, B, from, stride, 1, narrow, to_stride, 0, me->products);
    const int64_t begin = share(call->rank, me->member, me->team), end = share(call->rank, me->member + 1, me->team);
    if (!matrix->packed)
        dot_rows(w, begin, end - begin, B, from, stride, narrow + begin, to_stride);
    meet(&me->work->barrier, me->team);
}

/* What round i gates at step t, (B, its units), with rows `stride` apart. */
INLINE const real *gated_at(const Mogrifier *job, int64_t t, int64_t i, int64_t *stride)
{
    const MogrifierCall *call = job->call;
    *stride = i == 1 ? call->features : row_size(call);
    return i == 1 ? call->x + t * call->lstm.rows * call->features : values_at(job, t, i - 2);
}

/* Round i of step t. */
static void round_forward(Thread *me, int64_t t, int64_t i)
{
    const Mogrifier *job = mogrifier_of(me);
    const MogrifierCall *call = job->call;
    const Round *round = &job->rounds[i - 1];
    const Matrix *matrix = &round->last.matrix;
    const int64_t B = call->lstm.rows, V = row_size(call), F = V - call->lstm.units, size = matrix->width * LANES;
    const real *from = values_at(job, t, i - 1);
    int64_t stride = V, gated_stride;
    if (call->rank) {
        real *narrow = narrow_of(call, call->narrow, t, i);
        multiply_first(me, &round->first, from, stride, narrow);
        from = narrow;
        stride = call->rounds * call->rank;
    }
    for (int64_t p = begin_of(me, &round->last); p < end_of(me, &round->last); p++) {
        const int64_t begin = p * size, left = at_most(matrix->columns - begin, size);
        const real *gated = gated_at(job, t, i, &gated_stride) + begin;
        real *values = values_at(job, t, i) + begin;
        real *factors = call->lstm.saves ? of_round(call, call->factors, t, i) + begin : NULL;
        memset(me->products, 0, (size_t)(B * size) * sizeof(real));
        if (matrix->packed)
            add_product(B, from, stride, 1, matrix->packed + p * matrix->depth * size, matrix->depth, matrix->width,
                        me->products, size, LANES);
        else
            dot_rows(&round->last, begin, left, B, from, stride, me->products, size);
        for (int64_t r = 0; r < B; r++)
            for (int64_t u = 0; u < left; u += LANES) {
                vec factor = 2 * sigmoid(load(me->products + r * size + u, LANES));
                store(values + r * V + u, factor * load(gated + r * gated_stride + u, left - u), left - u);
                if (factors)
                    store(factors + r * F + u, factor, left - u);
            }
    }
    meet(&me->work->barrier, me->team);
}

/* The values of step t anew, of this thread's rows. */
static void remake_values(const Thread *me, int64_t t)
{
    const Mogrifier *job = mogrifier_of(me);
    const MogrifierCall *call = job->call;
    const int64_t B = call->lstm.rows, V = row_size(call), H = call->lstm.units, end = share(B, me->member + 1, me->team);
    for (int64_t r = share(B, me->member, me->team); r < end; r++) {
        memcpy(values_at(job, t, 0) + r * V, state_before(&call->lstm, t) + r * H, (size_t)H * sizeof(real));
        for (int64_t i = 1; i <= call->rounds; i++) {
            int64_t stride, units = units_of(call, i);
            const real *gated = gated_at(job, t, i, &stride) + r * stride;
            const real *factors = of_round(call, call->factors, t, i) + r * (V - H);
            real *values = values_at(job, t, i) + r * V;
            for (int64_t u = 0; u < units; u += LANES)
                store(values + u, load(factors + u, units - u) * load(gated + u, units - u), units - u);
        }
    }
}

/* Block 0 of step t: this thread's units [u, u_end) of the state before, in blocks of LANES. */
static void take_state(const Thread *me, int64_t t, int64_t u, int64_t u_end)
{
    const Mogrifier *job = mogrifier_of(me);
    const MogrifierCall *call = job->call;
    const int64_t H = call->lstm.units, begin = u * LANES, end = at_most(u_end * LANES, H);
    for (int64_t r = 0; r < call->lstm.rows && begin < end; r++)
        memcpy(values_at(job, t, 0) + r * row_size(call) + begin, state_before(&call->lstm, t) + r * H + begin,
               (size_t)(end - begin) * sizeof(real));
}

/* The LSTM's step, and the beginning of the next one. */
static void step_forward(Thread *me, int64_t t)
{
    const Mogrifier *job = mogrifier_of(me);
    const Stage *stages = me->work->stages;
    const int64_t B = job->call->lstm.rows, R = job->call->rounds, blocks = stages[0].blocks, stride = 4 * blocks * LANES;
    for (int64_t p = first_panel(me, &stages[0]); p < end_panel(me, &stages[0]); p++) {
        const int64_t u = p * blocks, u_end = at_most(u + blocks, me->work->blocks);
        memset(me->products, 0, (size_t)(B * stride) * sizeof(real));
        for (int64_t b = 0; b < 2; b++)
            add_products(me, &stages[b], p, values_at(job, t, R - 1 + b));
        lstm_forward(me, t, 0, B, u, u_end, me->products, stride);
        if (t + 1 < job->call->lstm.steps)
            take_state(me, t + 1, u, u_end);
    }
    meet(&me->work->barrier, me->team);
}

/* Round i at a panel of block i, whose gradient is complete: those of its sum and of block i - 2, for which it is the
   first, but for h^0, which the LSTM's zoneout passes to the step before too. */
static void round_backward(Thread *me, int64_t t, int64_t i, const Matrix *matrix, int64_t p)
{
    const Mogrifier *job = mogrifier_of(me);
    const MogrifierCall *call = job->call;
    const int64_t B = call->lstm.rows, V = row_size(call), F = V - call->lstm.units, size = matrix->width * LANES;
    const int64_t begin = p * size, left = at_most(matrix->columns - begin, size);
    const real *from = gradient_of(job, i, matrix, p), *values = values_at(job, t, i) + begin;
    const real *factors = of_round(call, call->factors, t, i) + begin;
    real *d_sums = of_round(call, call->d_sums, t, i) + begin, *to = i == 1 ? NULL : gradient_of(job, i - 2, matrix, p);
    real *d_x = call->d_x ? call->d_x + t * B * call->features + begin : NULL;
    for (int64_t r = 0; r < B; r++)
        for (int64_t u = 0; u < left; u += LANES) {
            vec d = load(from + r * size + u, LANES), factor = load(factors + r * F + u, left - u);
            store(d_sums + r * F + u, d * load(values + r * V + u, left - u) * (1 - factor * (real)0.5), left - u);
            d *= factor;
            if (i > 2)
                store(to + r * size + u, d, LANES);
            else if (i == 2)
                add_to(to + r * size + u, d);
            else if (d_x)
                store(d_x + r * call->features + u, d, left - u);
        }
}

/* Adds the products of `from` with a panel of a weight to the gradient of block i at step t, or begins it with them. */
static void add_gradient(Thread *me, int64_t i, const Weight *w, int64_t p, const real *from, int64_t stride, int begins)
{
    const Mogrifier *job = mogrifier_of(me);
    const Matrix *matrix = &w->matrix;
    const int64_t B = job->call->lstm.rows, size = matrix->width * LANES;
    real *to = gradient_of(job, i, matrix, p);
    if (begins)
        memset(to, 0, (size_t)(B * size) * sizeof(real));
    add_product(B, from, stride, 1, matrix->packed + p * matrix->depth * size, matrix->depth, matrix->width, to, size, LANES);
}

/* From the gradients of the LSTM's sums at step t those of the last two blocks, and round R. */
static void read_backward(Thread *me, int64_t t)
{
    const Mogrifier *job = mogrifier_of(me);
    const MogrifierCall *call = job->call;
    const Weight *before = &job->read[0], *last = &job->read[1];
    const int64_t R = call->rounds, columns = 4 * call->lstm.units, panels = before->matrix.panels + last->matrix.panels;
    const real *from = call->lstm.d_inputs + t * call->lstm.rows * columns;
    for (int64_t q = share(panels, me->member, me->team); q < share(panels, me->member + 1, me->team); q++) {
        const int64_t p = q - before->matrix.panels;
        if (p < 0) {
            add_gradient(me, R - 1, before, q, from, columns, R > 1);
            continue;
        }
        add_gradient(me, R, last, p, from, columns, 1);
        round_backward(me, t, R, &last->matrix, p);
    }
    meet(&me->work->barrier, me->team);
}

/* The LSTM's step t at a panel of its units, whose gradient is complete. */
static void step_backward(Thread *me, int64_t t, int64_t p)
{
    const Work *work = me->work;
    const int64_t u = p * work->stages[0].blocks;
    lstm_backward(me, t, 0, work->call->rows, u, at_most(u + work->stages[0].blocks, work->blocks), NULL, 0);
}

/* What step t needs before that. */
static void begin_backward(Thread *me, int64_t t)
{
    begin_step(me, t);
    remake_values(me, t);
}

/* From the gradient of the sum of round i at step t that of block i - 1, which is complete then; so round i - 1 follows, or
   the LSTM's step before. */
static void product_backward(Thread *me, int64_t t, int64_t i)
{
    const Mogrifier *job = mogrifier_of(me);
    const MogrifierCall *call = job->call;
    const Round *round = &job->rounds[i - 1];
    const real *from = of_round(call, call->d_sums, t, i);
    int64_t stride = row_size(call) - call->lstm.units;
    if (call->rank) {
        real *d_narrow = narrow_of(call, call->d_narrow, t, i);
        multiply_first(me, &round->first, from, stride, d_narrow);
        from = d_narrow;
        stride = call->rounds * call->rank;
    }
    if (i == 1 && t > 0)
        begin_backward(me, t - 1);
    for (int64_t p = begin_of(me, &round->last); p < end_of(me, &round->last); p++) {
        add_gradient(me, i - 1, &round->last, p, from, stride, 0);
        if (i > 1)
            round_backward(me, t, i - 1, &round->last.matrix, p);
        else if (t > 0)
            step_backward(me, t - 1, p);
    }
    meet(&me->work->barrier, me->team);
}

#endif
