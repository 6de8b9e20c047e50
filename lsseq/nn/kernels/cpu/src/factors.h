/* Weights of low rank: of each gate L R + diag(D), as in lsseq/nn/parts/transition.py.

   A stage multiplies its state by R first, which gives a narrow vector; its gates are products of that with L. Where each
   gate has an R of its own, it has its own r columns of the narrow vector (S = gates), else all have the same (S = 1).
   The backward pass goes the other way. Threads share the columns of the narrow vector and meet. */

#ifndef FACTORS_H
#define FACTORS_H

#include "call.h"

INLINE int64_t narrow_size(const Work *work, const Stage *stage) { return stage->sources * work->call->rank; }

/* The narrow vectors of a step, or their gradients, (B, S r). */
INLINE real *narrow_at(const Work *work, const Stage *stage, real *narrow, int64_t t)
{
    return narrow + (work->call->saves ? t * work->call->rows * narrow_size(work, stage) : 0);
}

/* How many matrices `inner` stands for, one packed behind the other. */
INLINE int inner_count(const Stage *stage, int backward) { return backward ? stage->sources : 1; }

static void add_factors(Work *work, Stage *stage, int backward, int packs)
{
    const Call *call = work->call;
    const int64_t H = call->units, r = call->rank;
    const int reset = stage->first_gate > 0; /* the candidate of a GRU, whose state was reset */
    stage->sources = call->tied ? 1 : stage->gates;
    stage->right = call->right + (call->tied ? 0 : stage->first_gate * r * H);
    stage->narrow = reset ? call->narrow_reset : call->narrow;
    stage->d_narrow = reset ? call->d_narrow_reset : call->d_narrow;
    stage->inner = backward ? matrix_of(stage->gates * H / stage->sources, r, (call->threads + stage->sources - 1) / stage->sources)
                            : matrix_of(H, stage->sources * r, call->threads);
    if (packs)
        stage->inner.packed = take(work, inner_count(stage, backward) * matrix_size(&stage->inner) * (int64_t)sizeof(real));
    if (!call->diagonal)
        return;
    int64_t padded = work->blocks * stage->gates * LANES * (int64_t)sizeof(real);
    stage->diagonal = take(work, padded);
    stage->d_diagonal = backward ? take(work, padded) : NULL;
}

static void pad_diagonal(const Work *work, const Stage *stage)
{
    for (int g = 0; g < stage->gates && stage->diagonal; g++) {
        pad(work->call, work->call->diagonal + (stage->first_gate + g) * work->call->units, stage->gates, g, stage->diagonal);
        if (stage->d_diagonal)
            pad(work->call, NULL, stage->gates, g, stage->d_diagonal);
    }
}

static void unpad_diagonal(const Work *work, const Stage *stage)
{
    for (int g = 0; g < stage->gates && stage->d_diagonal; g++)
        unpad(work->call, stage->d_diagonal, stage->gates, g, work->call->d_diagonal + (stage->first_gate + g) * work->call->units);
}

/* The matrix of a source. */
INLINE Matrix inner_of(const Stage *stage, int64_t source)
{
    Matrix matrix = stage->inner;
    matrix.packed += source * matrix_size(&matrix);
    return matrix;
}

/* Packs what this thread will use of R, or of L in the backward pass. */
static void pack_inner(Thread *me, const Stage *stage, int backward)
{
    const int64_t H = me->work->call->units, r = me->work->call->rank;
    const int64_t panels = stage->inner.panels, all_panels = inner_count(stage, backward) * panels;
    for (int64_t q = share(all_panels, me->member, me->team); stage->inner.packed && q < share(all_panels, me->member + 1, me->team); q++) {
        Matrix matrix = inner_of(stage, q / panels);
        if (backward)
            pack_panel(&matrix, q % panels, stage->weight + q / panels * matrix.depth * r, r, 0);
        else
            pack_panel(&matrix, q, stage->right, H, 1);
    }
}

/* R times the states (B, H). */
static void multiply_right(Thread *me, int64_t t, const Stage *stage, const real *states)
{
    Work *work = me->work;
    const int64_t B = work->call->rows, H = work->call->units, columns = narrow_size(work, stage);
    real *narrow = narrow_at(work, stage, stage->narrow, t);
    if (stage->inner.packed)
        multiply(&stage->inner, B, states, narrow, 0, me->products, me->member, me->team);
    else
        for (int64_t k = share(columns, me->member, me->team); k < share(columns, me->member + 1, me->team); k++)
            for (int64_t r = 0; r < B; r++)
                narrow[r * columns + k] = dot(stage->right + k * H, states + r * H, H);
    meet(&work->barrier, me->team);
}

/* The gradient of R times the states from that of the products: with L. */
static void multiply_left(Thread *me, int64_t t, const Stage *stage)
{
    Work *work = me->work;
    const Call *call = work->call;
    const int64_t B = call->rows, columns = work->gates * call->units, size = narrow_size(work, stage);
    const int64_t panels = stage->inner.panels, all_panels = stage->sources * panels;
    const real *d = call->d_products + t * B * columns + stage->first_gate * call->units;
    real *to = narrow_at(work, stage, stage->d_narrow, t);
    for (int64_t q = share(all_panels, me->member, me->team); q < share(all_panels, me->member + 1, me->team); q++) {
        const int64_t source = q / panels;
        Matrix matrix = inner_of(stage, source);
        multiply_panel(&matrix, q % panels, B, d + source * matrix.depth, columns, to + source * call->rank, size, 0,
                       me->products);
    }
    meet(&work->barrier, me->team);
}

/* What the products of a panel begin with: D times the states, or 0. */
static void begin_products(Thread *me, const Stage *stage, int64_t u, const real *states)
{
    const Work *work = me->work;
    const int64_t B = work->call->rows, H = work->call->units, stride = stage->blocks * stage->gates * LANES;
    memset(me->products, 0, (size_t)(B * stride) * sizeof(real));
    for (int64_t b = u; stage->diagonal && b < at_most(u + stage->blocks, work->blocks); b++)
        for (int64_t r = 0; r < B; r++) {
            vec state = load(states + r * H + b * LANES, lanes_of(work->call, b));
            for (int g = 0; g < stage->gates; g++)
                store(me->products + r * stride + ((b - u) * stage->gates + g) * LANES,
                      load(stage->diagonal + (b * stage->gates + g) * LANES, LANES) * state, LANES);
        }
}

/* D in the backward pass: its gradient, and what a unit block of a row, at `target`, gets through it from step t. */
static void diagonal_backward(const Work *work, const Stage *stage, int64_t t, int64_t r, int64_t b, real *target)
{
    const Call *call = work->call;
    const int64_t H = call->units, line = t * call->rows + r, n = lanes_of(call, b), at = b * LANES;
    vec state = load(state_before(call, t) + r * H + at, n), total = {0};
    if (stage->first_gate > 0) /* the candidate of a GRU, whose state was reset by the first gate */
        state *= load(call->inputs + line * work->gates * H + at, n);
    for (int g = 0; g < stage->gates; g++) {
        const int64_t padded = (b * stage->gates + g) * LANES;
        vec d = load(call->d_products + (line * work->gates + stage->first_gate + g) * H + at, n);
        total += d * load(stage->diagonal + padded, LANES);
        add_to(stage->d_diagonal + padded, d * state);
    }
    add_to(target, total);
}

#endif
