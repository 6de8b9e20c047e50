/* A stage of a step: a product of the rows' states with a weight, then what each unit makes of it.

   Threads share the units: each computes the products of its panels, and of these units everything else, so that they
   meet once a stage; batch norm needs no more, as each has all rows. With layer norm a unit needs its whole row: there they
   meet once more and share the rows. */

#ifndef STAGE_H
#define STAGE_H

#include "batch_norm.h"
#include "factors.h"
#include "layer_norm.h"

/* What is done at step t for rows [r, r_end) and unit blocks [u, u_end). In the forward pass `products` has the vector
   of gate g of block u of row r at products + (r - first row) stride + ((u - first block) gates + g) LANES. */
typedef void Pointwise(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end, const real *products,
                       int64_t stride);

static void add_stage(Work *work, Stage *stage, int first_gate, int gates, int group)
{
    const Call *call = work->call;
    *stage = (Stage){.first_gate = first_gate, .gates = gates, .group = group, .sources = 1};
    stage->weight = call->weight + first_gate * call->units * (call->rank ? call->rank : call->units);
    if (work->norm == LAYER_NORM) {
        stage->normal = call->normal + work->blocks * first_gate * LANES;
        stage->gain = take(work, work->blocks * gates * LANES * (int64_t)sizeof(real));
    }
}

/* `vectors` of each unit block in a panel of so many rows, of which a product has those of one source; panels are
   narrower where there are few for the threads. */
static void plan_panels(Work *work, Stage *stage, int vectors, int sources, int64_t depth, int packs)
{
    int blocks = MOST_WIDTH / (vectors / sources);
    while (blocks > 1 && (work->blocks + blocks - 1) / blocks < work->call->threads)
        blocks /= 2;
    stage->depth = depth;
    stage->stride = sources * depth;
    stage->blocks = blocks;
    stage->panels = (work->blocks + blocks - 1) / blocks;
    if (packs)
        stage->packed = take(work, stage->panels * depth * blocks * vectors * LANES * (int64_t)sizeof(real));
}

INLINE int64_t first_panel(const Thread *me, const Stage *stage) { return share(stage->panels, me->member, me->team); }
INLINE int64_t end_panel(const Thread *me, const Stage *stage) { return share(stage->panels, me->member + 1, me->team); }
INLINE int64_t lanes_or_none(const Work *work, int64_t block) { return block < work->blocks ? lanes_of(work->call, block) : 0; }

/* Packs the panels that this thread will use in the forward pass, whose columns are the weight's rows: vector v of a
   panel, (blocks, gates), is vector v / S of source v % S. */
static void pack_forward(Thread *me, Stage *stage)
{
    const Work *work = me->work;
    int vectors = stage->blocks * stage->gates, sources = stage->sources, width = vectors / sources;
    for (int64_t p = first_panel(me, stage); stage->packed && p < end_panel(me, stage); p++)
        for (int v = 0; v < vectors; v++) {
            int64_t u = p * stage->blocks + v / stage->gates, panel = p * sources + v % sources;
            const real *rows = stage->weight + ((v % stage->gates) * work->call->units + u * LANES) * stage->depth;
            pack_rows(rows, stage->depth, lanes_or_none(work, u), stage->depth, width,
                      stage->packed + (panel * stage->depth * width + v / sources) * LANES);
        }
}

/* The same for the backward pass, whose columns are those of the weight, or of R. */
PART void pack_backward(Thread *me, Stage *stage)
{
    const Work *work = me->work;
    int64_t H = work->call->units;
    const real *weight = work->call->rank ? stage->right : stage->weight;
    for (int64_t p = first_panel(me, stage); p < end_panel(me, stage); p++)
        for (int v = 0; v < stage->blocks; v++) {
            int64_t u = p * stage->blocks + v;
            pack_columns(weight + u * LANES, H, lanes_or_none(work, u), stage->depth, stage->blocks,
                         stage->packed + (p * stage->depth * stage->blocks + v) * LANES);
        }
}

/* Adds a panel's products with a weight as it is, a dot product with each of its rows: for few rows and steps. */
static void dot_products(const Thread *me, const Stage *stage, int64_t p, const real *source, real *products)
{
    const Work *work = me->work;
    int width = stage->blocks * stage->gates;
    for (int v = 0; v < width; v++) {
        int64_t u = p * stage->blocks + v / stage->gates, lanes = lanes_or_none(work, u);
        const real *weight = stage->weight + ((v % stage->gates) * work->call->units + u * LANES) * stage->depth;
        const real *own = source + v % stage->sources * stage->depth;
        for (int64_t i = 0; i < lanes; i++)
            for (int64_t r = 0; r < work->call->rows; r++)
                products[(r * width + v) * LANES + i] +=
                    dot(weight + i * stage->depth, own + r * stage->stride, stage->depth);
    }
}

/* The products of a panel with `source`, (B, S depth) with rows `stride` apart. */
static void add_products(Thread *me, const Stage *stage, int64_t p, const real *source)
{
    const int vectors = stage->blocks * stage->gates, sources = stage->sources, width = vectors / sources;
    if (!stage->packed)
        dot_products(me, stage, p, source, me->products);
    for (int s = 0; stage->packed && s < sources; s++)
        add_product(me->work->call->rows, source + s * stage->depth, stage->stride, 1,
                    stage->packed + (p * sources + s) * stage->depth * width * LANES, stage->depth, width,
                    me->products + s * LANES, vectors * LANES, sources * LANES);
}

/* Batch norm of the products with the input or the state: of gate g of a unit block, whose first column is given. */
INLINE Moments moments_of(const Work *work, int of, int64_t t, int64_t b, int64_t column)
{
    const Call *call = work->call;
    real *mean = of == OF_INPUT ? call->input_mean : call->mean;
    real *variance = of == OF_INPUT ? call->input_variance : call->variance;
    return moments_at(mean, variance, call->sets[of], t, work->gates * call->units, column, lanes_of(call, b));
}

/* Of an array of normalised products those of all rows of a unit block with a gate, G LANES apart. */
INLINE real *normal_of(const Work *work, real *normal, int64_t t, int64_t b, int gate)
{
    return normal + ((t * work->blocks + b) * work->call->rows * work->gates + gate) * LANES;
}

/* Normalises a unit block's products over the rows, those with the input and those with the state, and scales them. */
static void normalise_block(const Work *work, int64_t t, const Stage *stage, int64_t b, real *products, int64_t stride)
{
    const Call *call = work->call;
    const int64_t H = call->units, columns = work->gates * H, B = call->rows, step = work->gates * LANES;
    for (int g = 0; g < stage->gates; g++) {
        const int gate = stage->first_gate + g;
        const int64_t at = gate * H + b * LANES;
        Moments of_input = moments_of(work, OF_INPUT, t, b, at), of_state = moments_of(work, OF_STATE, t, b, at);
        normalise_rows(call->inputs + t * B * columns + at, columns, B, &of_input,
                       load(call->input_gain + at, of_input.lanes),
                       call->saves ? normal_of(work, call->input_normal, t, b, gate) : NULL, step);
        normalise_rows(products + g * LANES, stride, B, &of_state, load(call->gain + at, of_state.lanes),
                       call->saves ? normal_of(work, call->normal, t, b, gate) : NULL, step);
    }
}

/* The gradients of a unit block's products from that of their sum, which me->block has. */
static void normalise_block_backward(const Thread *me, int64_t t, const Stage *stage, int64_t b)
{
    const Work *work = me->work;
    const Call *call = work->call;
    const int64_t H = call->units, columns = work->gates * H, B = call->rows, step = work->gates * LANES;
    for (int g = 0; g < stage->gates; g++) {
        const int gate = stage->first_gate + g;
        const int64_t at = gate * H + b * LANES, to = t * B * columns + at;
        const real *d = me->block + gate * LANES;
        Moments of_input = moments_of(work, OF_INPUT, t, b, at), of_state = moments_of(work, OF_STATE, t, b, at);
        normalise_rows_backward(d, normal_of(work, call->input_normal, t, b, gate), step, B, &of_input,
                                load(call->input_gain + at, of_input.lanes), call->d_inputs + to, columns,
                                call->d_input_gain + at);
        normalise_rows_backward(d, normal_of(work, call->normal, t, b, gate), step, B, &of_state,
                                load(call->gain + at, of_state.lanes), call->d_products + to, columns, call->d_gain + at);
    }
}

/* One stage of the forward pass: products of the states (B, H), then `pointwise`. */
PART void run_stage(Thread *me, int64_t t, const Stage *stage, const real *states, Pointwise *pointwise)
{
    Work *work = me->work;
    const Call *call = work->call;
    const int by_row = work->norm == LAYER_NORM;
    int64_t B = call->rows, stride = stage->blocks * stage->gates * LANES, row_size = work->blocks * stage->gates * LANES;
    int64_t normal_row = work->blocks * work->gates * LANES;
    real *normal = by_row ? stage->normal + (call->saves ? t * B * normal_row : 0) : NULL;
    if (call->rank)
        multiply_right(me, t, stage, states);
    const real *source = call->rank ? narrow_at(work, stage, stage->narrow, t) : states;
    for (int64_t p = first_panel(me, stage); p < end_panel(me, stage); p++) {
        int64_t u = p * stage->blocks, u_end = at_most(u + stage->blocks, work->blocks);
        begin_products(me, stage, u, states);
        add_products(me, stage, p, source);
        for (int64_t b = u; work->norm == BATCH_NORM && b < u_end; b++)
            normalise_block(work, t, stage, b, me->products + (b - u) * stage->gates * LANES, stride);
        if (!by_row)
            pointwise(me, t, 0, B, u, u_end, me->products, stride);
        else
            for (int64_t r = 0; r < B; r++)
                memcpy(normal + r * normal_row + u * stage->gates * LANES, me->products + r * stride,
                       (size_t)((u_end - u) * stage->gates * LANES) * sizeof(real));
    }
    meet(&work->barrier, me->team);
    if (!by_row)
        return;
    for (int64_t r = share(B, me->member, me->team); r < share(B, me->member + 1, me->team); r++) {
        real *row = normal + r * normal_row;
        real *scales = call->scales + ((call->saves ? t * B : 0) + r) * SCALES + (stage->first_gate > 0);
        scales[FIRST_SCALE] = normalise_row(work, row, stage->gates, 0, stage->group, NULL);
        if (stage->group < stage->gates)
            scales[SECOND_SCALE] = normalise_row(work, row, stage->gates, stage->group, stage->gates, NULL);
        for (int64_t i = 0; i < row_size; i += LANES)
            store(me->products + i, load(row + i, LANES) * load(stage->gain + i, LANES), LANES);
        pointwise(me, t, r, r + 1, 0, work->blocks, me->products, row_size);
    }
    meet(&work->barrier, me->team);
}

/* The gradient of a row's products from that of their normalised, scaled values, in place. */
static void normalise_products_backward(Thread *me, int64_t t, int64_t r, const Stage *stage)
{
    const Work *work = me->work;
    const Call *call = work->call;
    const int64_t row = t * call->rows + r, columns = work->gates * call->units, first = stage->first_gate * call->units;
    const real *normal = stage->normal + row * work->blocks * work->gates * LANES;
    const real *scales = call->scales + row * SCALES + (stage->first_gate > 0);
    real *d = call->d_products + row * columns + first, *d_gain = call->d_gain + r / ROW_BLOCK * columns + first;
    const int gates = stage->gates, group = stage->group;
    normalise_row_backward(work, d, normal, scales[FIRST_SCALE], stage->gain, d_gain, gates, 0, group);
    if (group < gates)
        normalise_row_backward(work, d, normal, scales[SECOND_SCALE], stage->gain, d_gain, gates, group, gates);
}

/* Where the gradient of a row's unit block that is carried from step to step stands. */
INLINE real *carried(const Work *work, real *gradients, int64_t r, int64_t u)
{
    int64_t blocks = work->stages[0].blocks;
    return gradients + ((u / blocks * work->call->rows + r) * blocks + u % blocks) * LANES;
}

INLINE real *take_carried(Work *work)
{
    return take(work, work->stages[0].panels * work->call->rows * work->stages[0].blocks * LANES * (int64_t)sizeof(real));
}

/* The carried gradients of this thread's units, from or to (B, H). */
static void carry(Thread *me, real *gradients, const real *from, real *to)
{
    const Work *work = me->work;
    const Call *call = work->call;
    const Stage *stage = &work->stages[0];
    for (int64_t u = first_panel(me, stage) * stage->blocks; u < end_panel(me, stage) * stage->blocks; u++)
        for (int64_t r = 0; r < call->rows; r++) {
            int64_t n = lanes_or_none(work, u), at = r * call->units + u * LANES;
            if (to)
                store(to + at, load(carried(work, gradients, r, u), LANES), n);
            else
                store(carried(work, gradients, r, u), from ? load(from + at, n) : all(0), LANES);
        }
}

/* `target` += d_products of step t times the weight of a stage, then `pointwise` for step `now`; each where there is
   one. */
PART void run_stage_backward(Thread *me, const Stage *stage, int64_t t, real *target, int64_t now, Pointwise *pointwise,
                               const Stage *normalised)
{
    Work *work = me->work;
    const Call *call = work->call;
    const int by_row = work->norm == LAYER_NORM;
    int64_t B = call->rows, columns = work->gates * call->units, stride = stage->blocks * LANES;
    const real *d = call->d_products + t * B * columns + stage->first_gate * call->units;
    if (call->rank && t < call->steps) {
        multiply_left(me, t, stage);
        d = narrow_at(work, stage, stage->d_narrow, t);
        columns = narrow_size(work, stage);
    }
    for (int64_t p = first_panel(me, stage); p < end_panel(me, stage); p++) {
        int64_t u = p * stage->blocks, u_end = at_most(u + stage->blocks, work->blocks);
        if (t < call->steps)
            add_product(B, d, columns, 1, stage->packed + p * stage->depth * stride, stage->depth, stage->blocks,
                        target + p * B * stride, stride, LANES);
        for (int64_t b = u; t < call->steps && stage->diagonal && b < u_end; b++)
            for (int64_t r = 0; r < B; r++)
                diagonal_backward(work, stage, t, r, b, carried(work, target, r, b));
        for (int64_t b = u; pointwise && !by_row && b < u_end; b++) { /* one by one: its numbers stay in the cache */
            pointwise(me, now, 0, B, b, b + 1, NULL, 0);
            if (work->norm == BATCH_NORM)
                normalise_block_backward(me, now, normalised, b);
        }
    }
    meet(&work->barrier, me->team);
    if (!pointwise || !by_row)
        return;
    int64_t row_blocks = (B + ROW_BLOCK - 1) / ROW_BLOCK, r_end = share(row_blocks, me->member + 1, me->team) * ROW_BLOCK;
    for (int64_t r = share(row_blocks, me->member, me->team) * ROW_BLOCK; r < at_most(r_end, B); r++) {
        pointwise(me, now, r, r + 1, 0, work->blocks, NULL, 0);
        normalise_products_backward(me, now, r, normalised);
    }
    meet(&work->barrier, me->team);
}

#endif
