/* The HM-LSTM over a whole sequence, forward and backward; the equations are those of lsseq/nn/cells/hmlstm.py.

   A layer works only when something changes. An *event* is a row of the batch that a layer updates or flushes at a step,
   or its initial state; between two events the row's state stays. Products are computed once an event: U h when a layer
   itself comes to need it, V h for the layer below, W h_below where the layer below has found a boundary. The events of a
   step follow each other in memory, so that a product of a step has dense rows, and weight gradients are one product of
   all events. Steps at which a row copies cost no matrix product in either pass: of them only the boundary detector's
   products remain, which are single rows, and with the `product` gradient what another operation would have given.

   With layer norm a product stands normalised in its place, without its gain, beside 1 / its deviation.

   Shape letters: T steps, B rows, H units, N events; events 0 to B - 1 are the initial states. */

#ifndef HM_H
#define HM_H

#include "matrix.h"
#include "random.h"

typedef struct {
    int64_t units, below;                        /* H, units of the layer below (or of the input) */
    const real *w_below, *w_hidden, *w_above;    /* (4H + 1, …); 4H rows in the top layer */
    const real *bias;                            /* (4H + 1) */
    const real *below_gain, *hidden_gain, *above_gain; /* (4H): layer norm; absent without, as all that it has */
    const real *cell_gain, *cell_bias;           /* (H) */
    const real *h0, *c0, *z0;                    /* (B, H), (B, H), (B) */
    real *output;                                /* (T, B, H) */
    /* What the passes share. */
    int32_t *event;                              /* (T + 1, B): which event made the state before each step */
    int32_t *source;                             /* (N): the event of the row before each event */
    int32_t *above;                              /* (N): the event of the layer above that each event reads, or -1 */
    int64_t *starts;                             /* (T + 2): first event of the initial states, of each step; the end */
    int64_t *plain;                              /* (T): how many of a step's events have no boundary before; they come first */
    real *h, *c;                                 /* (N, H) */
    real *gates;                                 /* (N, 4H) */
    real *from_hidden;                           /* (N, 4H): U h of each event */
    real *for_below;                             /* (N, 4 H_below): V h of each event for the layer below, if it reads it */
    real *input;                                 /* (N, H_below): h below of each event, or the input */
    real *from_below;                            /* (N, 4H): W h_below of each event; only for a backward pass with norm */
    real *hidden_scale, *for_below_scale, *below_scale; /* (N): of from_hidden, for_below, from_below */
    /* Of the backward pass. */
    const real *d_output;                        /* (T, B, H), or absent */
    real *d_h, *d_c, *d_z;                       /* (B, H), (B, H), (B): of the last state or zeros; in the end of the first */
    real *d_sums;                                /* (N, 4H): of the gates' sums at each event */
    real *d_from_below, *d_from_hidden, *d_from_above; /* (N, 4H): of the products in these sums; without norm d_sums itself */
    real *d_below_gain, *d_hidden_gain, *d_above_gain; /* (B, 4H) zeros: to be summed */
    real *d_cell_gain, *d_cell_bias;             /* (B, H) zeros: to be summed */
    real *d_sum_z;                               /* (N): of the detector's sum, where an event reads */
    real *d_hidden_z, *d_below_z;                /* (N) zeros: of what detectors, its own and that below, make of its h */
    real *d_bias_z;                              /* (B) zeros: of the detector's bias, to be summed */
} HmLayer;

typedef struct {
    int64_t steps, rows;
    int64_t half;                    /* half the events that there is memory for, at least 2 B; or 0, for all of them */
    int32_t layers, threads;
    int32_t product, holds, nested, flushes, straight_through, draws;
    uint64_t key;
    uint32_t first_row, first_step;
    double slope;
    double rates[2];      /* zoneout of cell, hidden */
    int64_t thresholds[2];
    const real *x;                   /* (T, B, I) */
    const real *forced;              /* (T, B, L - 1), or absent */
    const double *numbers;           /* (L - 1, T, B) in [0, 1) to sample with, or absent */
    real *boundaries, *probabilities, *detector_sums; /* (T, B, L - 1) */
    const real *d_boundaries, *d_probabilities, *d_detector_sums; /* (T, B, L - 1), or absent */
    real *d_x;                       /* (T, B, I), or absent */
    HmLayer *layer;
} HmCall;

typedef struct {
    Matrix below, hidden, above; /* of a layer; forward by the weights' rows, backward by their columns */
} Matrices;

typedef struct {
    HmCall *call;
    Matrices *matrices;
    Barrier barrier;
    real *from_own, *from_above, *from_below; /* backward: what events of a layer, of its neighbours, hand on to its h */
    real *for_input;                /* backward: what events of the first layer hand on to the input */
    real *d_detector;               /* backward: (L, B), of the detectors' sums at a step */
    real *scratch;                  /* (threads, B MOST_WIDTH LANES) */
    real *units;                    /* (threads, 3, widest H) */
    int32_t *order;                 /* (threads, B) */
    uint32_t *row_words;            /* (threads, 2 kinds, 2 B) */
} HmWork;

typedef struct {
    HmWork *work;
    HmCall *call;
    int member, team;
    real *scratch;
    real *units[3]; /* a value of each unit of a row */
    int32_t *order;
    uint32_t *row_words[2];
} Member;

INLINE int is_top(const HmCall *call, int l) { return l == call->layers - 1; }

/* The boundary that layer l found at step t - 1. */
INLINE real own_boundary(const HmCall *call, int l, int64_t t, int64_t r)
{
    if (is_top(call, l))
        return 0;
    if (t == 0)
        return call->layer[l].z0[r];
    return call->boundaries[((t - 1) * call->rows + r) * (call->layers - 1) + l];
}

/* The boundary that the layer below found at step t. */
INLINE real boundary_below(const HmCall *call, int l, int64_t t, int64_t r)
{
    return l == 0 ? 1 : call->boundaries[(t * call->rows + r) * (call->layers - 1) + l - 1];
}

/* What layer l reads at step t. */
INLINE const real *read_by(const HmCall *call, int l, int64_t t, int64_t r)
{
    return (l == 0 ? call->x : call->layer[l - 1].output) + (t * call->rows + r) * call->layer[l].below;
}

/* to += factor * from */
INLINE void add_scaled(real *to, real factor, const real *from, int64_t n)
{
    if (factor != 0)
        for (int64_t k = 0; k < n; k += LANES)
            store(to + k, load(to + k, n - k) + factor * load(from + k, n - k), n - k);
}

enum { CELL, HIDDEN };

static void begin_layer(Member *me, int l, int64_t t)
{
    const HmCall *call = me->call;
    for (int kind = 0; kind < 2 && call->draws; kind++) {
        uint32_t prefix[2];
        draw_prefix(call->key, (uint32_t)l, (uint32_t)kind, prefix);
        draw_words(prefix, call->first_step + (uint32_t)t, call->first_row, call->rows, me->row_words[kind]);
    }
}

/* How much of the old value a row's units from k on keep. */
INLINE vec kept(const Member *me, int kind, int64_t r, int64_t k)
{
    const HmCall *call = me->call;
    if (!call->draws)
        return all((real)call->rates[kind]);
    int64_t threshold = call->thresholds[kind];
    if (threshold <= INT32_MIN || threshold > INT32_MAX)
        return all(threshold > 0 ? 1 : 0);
    const uint32_t *keys = me->row_words[kind];
    return draw(keys[r], keys[call->rows + r], (uint32_t)k, (int32_t)threshold);
}

#endif
