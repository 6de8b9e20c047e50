/* The cells of a fast-slow network; the equations are those of lsseq/nn/stacks/fast_slow.py.

   Each cell is an LSTM with a `Call` and a `Work` of its own, and takes its turn in every step. The fast ones hand one state
   on: where each of them finds it, `h0` and `past_h` say, and its gradient is carried through all of them in one place. A cell
   that reads what another one made in the same step multiplies that first, which is a stage of a recurrence without a state.

   Shape letters: K cells, R units of the cell that is read. */

#ifndef FAST_SLOW_H
#define FAST_SLOW_H

#include "lstm.h"

typedef struct {
    Call product;     /* of W_ih, with its layer norm; `inputs` and `d_inputs` are those of the cell that reads */
    int64_t features; /* R; 0 where nothing is read, or x, whose products are there before the first step */
    const real *read; /* (T, B, R): the output of the cell that is read */
    const real *seen; /* (T, B, R), or (B, R) for all steps: what it is multiplied by first; absent without dropout */
    int32_t held;     /* whether it is for all steps */
    real *shown;      /* (T, B, R): seen ⊙ read; (B, R) unless saved; absent without dropout */
    real *d_read;     /* (T, B, R): its gradient, the `d_output` of the cell that is read */
} Reading;

typedef struct {
    Call lstm;
    Reading reading;
} CellCall;

typedef struct {
    int64_t cells;        /* K */
    const CellCall *turns; /* (K), in the order of their turns: the first fast cell, the slow one, the other fast ones */
} FastSlowCall;

enum { FIRST, SLOW };

typedef struct {
    const CellCall *call;
    Work lstm, reader;
    Matrix weight; /* going back: W_ih of what is read */
    Thread *threads, *readers;
} Cell;

typedef struct {
    const FastSlowCall *call;
    int backward;
    Cell *cells; /* (K) */
} FastSlow;

INLINE int reads(const Cell *cell) { return cell->call->reading.features > 0; }

/* The cell that goes on from the state which this one leaves: in the next step if it is not a later one. */
INLINE int64_t follower(const FastSlow *network, int64_t k)
{
    if (k == SLOW)
        return SLOW;
    return k == FIRST ? SLOW + 1 : k + 1 < network->call->cells ? k + 1 : FIRST;
}

static void take_inputs(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end, const real *products,
                        int64_t stride)
{
    const Call *call = me->work->call;
    for (int64_t row = r; row < r_end; row++)
        for (int64_t b = u; b < u_end; b++)
            for (int g = 0; g < 4; g++)
                store(call->inputs + ((t * call->rows + row) * 4 + g) * call->units + b * LANES,
                      load(products + (row - r) * stride + ((b - u) * 4 + g) * LANES, LANES), lanes_of(call, b));
}

/* The gradient of whole rows of normalised products, to become that of the products. */
static void take_gradients(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end, const real *products,
                           int64_t stride)
{
    const Call *call = me->work->call;
    const int64_t columns = 4 * call->units, at = (t * call->rows + r) * columns;
    (void)u, (void)u_end, (void)products, (void)stride;
    memcpy(call->d_products + at, call->d_inputs + at, (size_t)((r_end - r) * columns) * sizeof(real));
}

/* to = seen ⊙ from at step t, (B, R) each; all meet. */
static void show(const Thread *me, const Reading *reading, int64_t t, const real *from, real *to)
{
    const int64_t size = me->work->call->rows * reading->features;
    const real *seen = reading->seen + (reading->held ? 0 : t * size);
    const int64_t end = share(size, me->member + 1, me->team);
    for (int64_t i = share(size, me->member, me->team); i < end; i += LANES)
        store(to + i, load(seen + i, end - i) * load(from + i, end - i), end - i);
    meet(&me->work->barrier, me->team);
}

/* The products of step t with what the cell reads, to its inputs. */
static void read_forward(const Cell *cell, Thread *me, int64_t t)
{
    const Reading *reading = &cell->call->reading;
    const Call *call = &reading->product;
    const int64_t size = call->rows * reading->features;
    const real *source = reading->read + t * size;
    if (reading->seen) {
        real *shown = reading->shown + (call->saves ? t * size : 0);
        show(me, reading, t, source, shown);
        source = shown;
    }
    run_stage(me, t, &cell->reader.stages[0], source, take_inputs);
}

/* From the gradient of the inputs of step t that of what was read. */
static void read_backward(const Cell *cell, Thread *me, int64_t t)
{
    const Reading *reading = &cell->call->reading;
    const Call *call = &reading->product;
    const Stage *stage = &cell->reader.stages[0];
    const int64_t B = call->rows;
    real *to = reading->d_read + t * B * reading->features;
    if (cell->reader.norm)
        run_stage_backward(me, stage, call->steps, NULL, t, take_gradients, stage);
    multiply(&cell->weight, B, call->d_products + t * B * 4 * call->units, to, me->products, me->member, me->team);
    meet(&me->work->barrier, me->team);
    if (reading->seen)
        show(me, reading, t, to, to);
}

#endif
