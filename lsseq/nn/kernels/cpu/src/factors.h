/* Weights of low rank: of each gate L R + diag(D), as in lsseq/nn/parts/transition.py.

   A stage multiplies its states by R first, which gives narrow vectors; its gates are products of these with L. Where each
   gate has an R of its own, it has its own r columns of a narrow vector (S = gates), else all have the same (S = 1). The
   backward pass goes the other way. Threads share the columns of the narrow vectors, and meet. */

#ifndef FACTORS_H
#define FACTORS_H

#include "call.h"

/* S r. */
INLINE int64_t narrow_size(const Work *work, const Stage *stage) { return stage->sources * work->call->rank; }

/* The narrow vectors of a step, or their gradients, (B, S r). */
INLINE real *narrow_at(const Work *work, const Stage *stage, real *narrow, int64_t t)
{
    return narrow + (work->call->saves ? t * work->call->rows * narrow_size(work, stage) : 0);
}

/* In the forward pass `inner` is R; in the backward pass it is the L of each source, one packed behind the other. */
PART void add_factors(Work *work, Stage *stage, int backward, int packs)
{
    const Call *call = work->call;
    const int64_t H = call->units, r = call->rank;
    const int reset = stage->first_gate > 0; /* the candidate of a GRU, whose state was reset */
    const int S = stage->sources = call->tied ? 1 : stage->gates, matrices = backward ? S : 1;
    stage->right = call->right + (call->tied ? 0 : stage->first_gate * r * H);
    stage->narrow = reset ? call->narrow_reset : call->narrow;
    stage->d_narrow = reset ? call->d_narrow_reset : call->d_narrow;
    if (backward)
        stage->inner = matrix_of(stage->gates * H / S, r, (call->threads + S - 1) / S);
    else
        stage->inner = matrix_of(H, S * r, call->threads);
    if (packs)
        stage->inner.packed = take(work, matrices * matrix_size(&stage->inner) * (int64_t)sizeof(real));
    if (!call->diagonal)
        return;
    int64_t padded = work->blocks * stage->gates * LANES * (int64_t)sizeof(real);
    stage->diagonal = take(work, padded);
    stage->d_diagonal = backward ? take(work, padded) : NULL;
}

PART void pad_diagonal(const Work *work, const Stage *stage)
{
    const Call *call = work->call;
    for (int g = 0; g < stage->gates && stage->diagonal; g++) {
        pad(call, call->diagonal + (stage->first_gate + g) * call->units, stage->gates, g, stage->diagonal);
        if (stage->d_diagonal)
            pad(call, NULL, stage->gates, g, stage->d_diagonal);
    }
}

PART void unpad_diagonal(const Work *work, const Stage *stage)
{
    const Call *call = work->call;
    for (int g = 0; g < stage->gates && stage->d_diagonal; g++)
        unpad(call, stage->d_diagonal, stage->gates, g, call->d_diagonal + (stage->first_gate + g) * call->units);
}

/* The L of a source. */
INLINE Matrix left_of(const Stage *stage, int64_t source)
{
    Matrix matrix = stage->inner;
    matrix.packed += source * matrix_size(&matrix);
    return matrix;
}

/* This thread's share of the panels of L of all sources. */
INLINE int64_t first_left(const Thread *me, const Stage *stage, int after)
{
    return share(stage->sources * stage->inner.panels, me->member + after, me->team);
}

/* Packs what this thread will use of R, or of L in the backward pass. */
PART void pack_inner(Thread *me, Stage *stage, int backward)
{
    const int64_t r = me->work->call->rank, panels = stage->inner.panels;
    if (!stage->inner.packed)
        return;
    if (!backward)
        pack_matrix(&stage->inner, stage->right, me->work->call->units, 1, me->member, me->team);
    for (int64_t q = first_left(me, stage, 0); backward && q < first_left(me, stage, 1); q++) {
        Matrix matrix = left_of(stage, q / panels);
        pack_panel(&matrix, q % panels, stage->weight + q / panels * matrix.depth * r, r, 0);
    }
}

/* R times the states (B, H). */
static void multiply_right(Thread *me, int64_t t, const Stage *stage, const real *states)
{
    Work *work = me->work;
    const int64_t B = work->call->rows, H = work->call->units, columns = narrow_size(work, stage);
    const int64_t end = share(columns, me->member + 1, me->team);
    real *narrow = narrow_at(work, stage, stage->narrow, t);
    if (stage->inner.packed)
        multiply(&stage->inner, B, states, narrow, me->products, me->member, me->team);
    for (int64_t k = share(columns, me->member, me->team); !stage->inner.packed && k < end; k++)
        for (int64_t r = 0; r < B; r++)
            narrow[r * columns + k] = dot(stage->right + k * H, states + r * H, H);
    meet(&work->barrier, me->team);
}

/* The gradient of R times the states from that of the products: these times L. */
static void multiply_left(Thread *me, int64_t t, const Stage *stage)
{
    Work *work = me->work;
    const Call *call = work->call;
    const int64_t B = call->rows, columns = work->gates * call->units, panels = stage->inner.panels;
    const real *d = call->d_products + t * B * columns + stage->first_gate * call->units;
    real *to = narrow_at(work, stage, stage->d_narrow, t);
    for (int64_t q = first_left(me, stage, 0); q < first_left(me, stage, 1); q++) {
        const int64_t source = q / panels;
        Matrix matrix = left_of(stage, source);
        multiply_panel(&matrix, q % panels, B, d + source * matrix.depth, columns, 1, to + source * call->rank,
                       narrow_size(work, stage), 0, me->products);
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
