/* The pointwise part of the recurrent highway network; the equations are those of lsseq/nn/cells/rhn.py.

   A micro-layer is a recurrence of one stage with two gates, the candidate and the transform gate: it has a `Call` and a
   `Work` of its own, and takes its turn in every step. Micro-layer k starts from s_k, which the one before it made; the
   first from the output of the step before. Its products read m ⊙ s_k where there is a mask m.

   Shape letters: K micro-layers. */

#ifndef RHN_H
#define RHN_H

#include "stage.h"

typedef struct {
    Call call;    /* h0 and output are what the products read, at the first step and at those after it; only the gradient of
                     D needs them */
    real *states; /* (T, B, H): s_k; (2, B, H) unless saved; absent for the first micro-layer */
    real *reads;  /* m ⊙ s_k, as `states`; absent without m */
} MicroCall;

typedef struct {
    int64_t depth;              /* K */
    int32_t tied;               /* whether all micro-layers have the parameters of the first one, which alone points to them;
                                   d_gain is for each of them to add to */
    const MicroCall *layers;    /* (K) */
    const real *h0;             /* (B, H) */
    const real *seen;           /* (B, H): m, or absent */
    real *output;               /* (T, B, H) */
    const real *d_output;       /* (T, B, H), or absent */
    const real *d_last_h;       /* (B, H), or absent */
    real *d_h0;                 /* (B, H) */
} RhnCall;

typedef struct MicroLayer {
    Work work; /* the first member, so that a thread's work leads to it */
    const struct Rhn *network;
    const MicroCall *call;
    int64_t k;
} MicroLayer;

typedef struct Rhn {
    const RhnCall *call;
    int backward;
    MicroLayer *layers; /* (K) */
    Thread *threads;
    real *d_state, *d_read, *d_kept; /* gradients of s_k, of m ⊙ s_k, and what zoneout hands to the step before; as `carried` */
} Rhn;

INLINE const MicroLayer *layer_of(const Thread *me) { return (const MicroLayer *)me->work; }

INLINE int is_last(const MicroLayer *layer) { return layer->k == layer->network->call->depth - 1; }

/* Where step t has its (B, H) of an array that has two of them unless they are saved. */
INLINE int64_t place_of(const Call *call, int64_t t) { return (call->saves ? t : t % 2) * call->rows * call->units; }

/* The state that step t of a micro-layer starts from, (B, H). */
INLINE const real *state_of(const MicroLayer *layer, int64_t t)
{
    const RhnCall *network = layer->network->call;
    const Call *call = layer->work.call;
    if (layer->k > 0)
        return layer->call->states + place_of(call, t);
    return t == 0 ? network->h0 : network->output + (t - 1) * call->rows * call->units;
}

/* What its products read. */
INLINE const real *read_of(const MicroLayer *layer, int64_t t)
{
    return layer->call->reads ? layer->call->reads + place_of(layer->work.call, t) : state_of(layer, t);
}

INLINE vec seen(const MicroLayer *layer, int64_t r, int64_t b)
{
    const Call *call = layer->work.call;
    const real *seen = layer->network->call->seen;
    return seen ? load(seen + r * call->units + b * LANES, lanes_of(call, b)) : all(1);
}

/* What the products of a micro-layer read of a row's unit block at step t, where it is not the state itself. */
INLINE void show(const MicroLayer *layer, int64_t t, int64_t r, int64_t b, vec state)
{
    const Call *call = layer->work.call;
    if (layer->call->reads && t < call->steps)
        store(layer->call->reads + place_of(call, t) + r * call->units + b * LANES, seen(layer, r, b) * state,
              lanes_of(call, b));
}

static void rhn_forward(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end, const real *products,
                        int64_t stride)
{
    const MicroLayer *layer = layer_of(me), *first = layer->network->layers;
    const Work *work = me->work;
    const Call *call = work->call;
    const int64_t H = call->units;
    const int last = is_last(layer);
    for (int64_t r0 = r; r < r_end; r++)
        for (int64_t b = u; b < u_end; b++) {
            const real *p = products + (r - r0) * stride + (b - u) * 2 * LANES, *bias = work->bias + b * 2 * LANES;
            const int64_t n = lanes_of(call, b), at = r * H + b * LANES, gates = (t * call->rows + r) * 2 * H + b * LANES;
            vec inner = load(p, LANES) + load(bias, LANES), outer = load(p + LANES, LANES) + load(bias + LANES, LANES);
            if (layer->k == 0) {
                inner += load(call->inputs + gates, n);
                outer += load(call->inputs + gates + H, n);
            }
            vec candidate = tanh_of(inner), gate = sigmoid(outer), state = load(state_of(layer, t) + at, n);
            if (call->saves) {
                store(call->inputs + gates, candidate, n);
                store(call->inputs + gates + H, gate, n);
            }
            state += gate * (dropped(me, r, b) * candidate - state);
            if (last) {
                state = keep(event(me, ZONEOUT_HIDDEN, r, b), load(state_of(first, t) + at, n), state);
                store(layer->network->call->output + t * call->rows * H + at, state, n);
                show(first, t + 1, r, b, state);
            } else {
                store(layer[1].call->states + place_of(call, t) + at, state, n);
                show(layer + 1, t, r, b, state);
            }
        }
}

static void rhn_backward(Thread *me, int64_t t, int64_t r, int64_t r_end, int64_t u, int64_t u_end, const real *products,
                         int64_t stride)
{
    const MicroLayer *layer = layer_of(me);
    const Rhn *network = layer->network;
    const Work *work = me->work;
    const Call *call = work->call;
    const int64_t H = call->units;
    const int last = is_last(layer);
    (void)products, (void)stride;
    for (int64_t b = u; b < u_end; b++) {
        const int64_t n = lanes_of(call, b), at = b * LANES;
        vec d_bias[2] = {{0}, {0}};
        for (int64_t row = r; row < r_end; row++) {
            const int64_t line = t * call->rows + row;
            real *d_state = carried(work, network->d_state, row, b), *d_read = carried(work, network->d_read, row, b);
            real *d_kept = carried(work, network->d_kept, row, b);
            vec d = load(d_state, LANES) + seen(layer, row, b) * load(d_read, LANES);
            if (last) {
                vec kept = event(me, ZONEOUT_HIDDEN, row, b);
                if (network->call->d_output)
                    d += load(network->call->d_output + line * H + at, n);
                store(d_kept, kept * d, LANES);
                d = (1 - kept) * d;
            }
            vec candidate = load(call->inputs + line * 2 * H + at, n), gate = load(call->inputs + line * 2 * H + H + at, n);
            vec state = load(state_of(layer, t) + row * H + at, n), factor = dropped(me, row, b);
            vec d_inner = d * gate * factor * (1 - candidate * candidate);
            vec d_outer = d * (factor * candidate - state) * gate * (1 - gate);
            store(call->d_inputs + line * 2 * H + at, d_inner, n);
            store(call->d_inputs + line * 2 * H + H + at, d_outer, n);
            if (work->norm) {
                store(call->d_products + line * 2 * H + at, d_inner, n);
                store(call->d_products + line * 2 * H + H + at, d_outer, n);
            }
            d_bias[0] += d_inner;
            d_bias[1] += d_outer;
            d -= d * gate;
            store(d_state, layer->k == 0 ? d + load(d_kept, LANES) : d, LANES);
            store(d_read, all(0), LANES);
        }
        for (int g = 0; g < 2 && !work->norm; g++)
            add_to(work->d_bias + (b * 2 + g) * LANES, d_bias[g]);
    }
}

#endif
