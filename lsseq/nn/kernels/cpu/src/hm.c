/* The HM-LSTM over a whole sequence, forward and backward; the equations are those of lsseq/nn/cells/hmlstm.py.

   A layer works only when something changes. An *event* is a row of the batch that a layer updates or flushes at a step,
   or its initial state; between two events the row's state stays. Products are computed once an event: U h when a layer
   itself comes to need it, V h for the layer below, W h_below where the layer below has found a boundary. The events of a
   step follow each other in memory, so that a product of a step has dense rows, and weight gradients are one product of
   all events. Steps at which a row copies cost no matrix product in either pass: of them only the boundary detector's
   products remain, which are single rows, and with the `product` gradient what another operation would have given.

   Shape letters: T steps, B rows, H units, N events; events 0 to B - 1 are the initial states. */

#include <stdlib.h>

#include "matrix.h"
#include "random.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define EXPORT(name) __attribute__((visibility("default"))) int JOIN(name, SUFFIX)

typedef struct {
    int64_t units, below;                        /* H, units of the layer below (or of the input) */
    const real *w_below, *w_hidden, *w_above;    /* (4H + 1, …); no w_below in the first layer; 4H rows in the top one */
    const real *bias;                            /* (4H + 1) */
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
    real *input;                                 /* (N, H_below): what each event reads, or zeros; not in the first layer */
    /* Of the backward pass. */
    const real *d_output;                        /* (T, B, H), or absent */
    real *d_h, *d_c, *d_z;                       /* (B, H), (B, H), (B): of the last state or zeros; in the end of the first */
    real *d_sums;                                /* (N, 4H): of the gates' sums at each event */
    real *d_sum_z;                               /* (N): of the detector's sum, where an event reads */
    real *d_hidden_z, *d_below_z;                /* (N) zeros: of what detectors, its own and that below, make of its h */
    real *d_bias_z;                              /* (B) zeros: of the detector's bias, to be summed */
} HmLayer;

typedef struct {
    int64_t steps, rows;
    int32_t layers, threads;
    int32_t product, holds, nested, flushes, straight_through, draws;
    uint64_t key;
    uint32_t first_row, unused;
    double slope;
    double rates[2];      /* zoneout of cell, hidden */
    int64_t thresholds[2];
    const real *from_input;          /* (T, B, 4H + 1) of the first layer: W x */
    const real *forced;              /* (T, B, L - 1), or absent */
    const double *numbers;           /* (L - 1, T, B) in [0, 1) to sample with, or absent */
    real *boundaries, *probabilities; /* (T, B, L - 1) */
    const real *d_boundaries, *d_probabilities; /* (T, B, L - 1), or absent */
    real *d_from_input;              /* (T, B, 4H + 1) */
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
    real *d_detector;               /* backward: (L, B), of the detectors' sums at a step */
    real *scratch;                  /* (threads, B MOST_WIDTH LANES) */
    int32_t *order;                 /* (threads, B) */
    uint32_t *row_words;            /* (threads, 2 kinds, 2 B) */
} HmWork;

typedef struct {
    HmWork *work;
    HmCall *call;
    int member, team;
    real *scratch;
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

INLINE real dot(const real *a, const real *b, int64_t n)
{
    vec sums[2] = {{0}, {0}};
    int64_t k = 0;
    for (; k + 2 * LANES <= n; k += 2 * LANES) {
        sums[0] += load(a + k, LANES) * load(b + k, LANES);
        sums[1] += load(a + k + LANES, LANES) * load(b + k + LANES, LANES);
    }
    for (; k < n; k += LANES)
        sums[0] += load(a + k, n - k) * load(b + k, n - k);
    return sum(sums[0] + sums[1]);
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
        draw_words(prefix, (uint32_t)t, call->first_row, call->rows, me->row_words[kind]);
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

/* ----------------------------------------------------------------------------------------------------- forward */

/* The parts of a step's rows, in this order: UPDATE, FLUSH that reads the layer below, FLUSH that does not, COPY. What
   reads is together, and what has a boundary before. Gives the end of each part. */
static void order_rows(const Member *me, int l, int64_t t, int64_t end[4])
{
    const HmCall *call = me->call;
    int64_t n = 0;
    for (int part = 0; part < 4; part++) {
        for (int64_t r = 0; r < call->rows; r++) {
            int z = own_boundary(call, l, t, r) != 0, reads = boundary_below(call, l, t, r) != 0;
            if (part == (reads ? z : z && call->flushes ? 2 : 3))
                me->order[n++] = (int32_t)r;
        }
        end[part] = n;
    }
}

/* The new state of an event. */
static void make_event(Member *me, int l, int64_t t, int64_t e, int64_t r)
{
    const HmCall *call = me->call;
    HmLayer *layer = &call->layer[l];
    const int64_t H = layer->units, B = call->rows, source = layer->event[t * B + r];
    const real z = own_boundary(call, l, t, r), flush = call->flushes ? z : 0;
    const int reads = boundary_below(call, l, t, r) != 0, top_down = layer->w_above && z != 0;
    const real *below = l == 0 ? call->from_input + (t * B + r) * (4 * H + 1) : layer->gates + e * 4 * H;
    const int64_t event_above = top_down ? call->layer[l + 1].event[t * B + r] : -1;
    const real *above = top_down ? call->layer[l + 1].for_below + event_above * 4 * H : NULL;
    layer->event[(t + 1) * B + r] = (int32_t)e;
    layer->source[e] = (int32_t)source;
    layer->above[e] = (int32_t)event_above;
    for (int64_t k = 0; k < H; k += LANES) {
        const int64_t n = H - k;
        vec gate[4];
        for (int g = 0; g < 4; g++) {
            const int64_t at = g * H + k;
            gate[g] = load(layer->from_hidden + source * 4 * H + at, n) + load(layer->bias + at, n);
            if (reads)
                gate[g] += load(below + at, n);
            if (top_down)
                gate[g] += load(above + at, n);
            gate[g] = g == 2 ? tanh_of(gate[g]) : sigmoid(gate[g]);
            store(layer->gates + e * 4 * H + at, gate[g], n);
        }
        vec old_c = load(layer->c + source * H + k, n), old_h = load(layer->h + source * H + k, n);
        vec c = gate[0] * gate[2];
        if (flush == 0)
            c += gate[1] * old_c;
        vec h = gate[3] * tanh_of(c), keep_c = kept(me, CELL, r, k), keep_h = kept(me, HIDDEN, r, k);
        store(layer->c + e * H + k, keep_c * old_c + (1 - keep_c) * c, n);
        h = keep_h * old_h + (1 - keep_h) * h;
        store(layer->h + e * H + k, h, n);
        store(layer->output + (t * B + r) * H + k, h, n);
    }
}

/* The detector's sum and what it makes of it; `source` is the event before the step. */
static void detect(const Member *me, int l, int64_t t, int64_t r, int copies)
{
    const HmCall *call = me->call;
    const HmLayer *layer = &call->layer[l];
    const int64_t H = layer->units, B = call->rows, at = (t * B + r) * (call->layers - 1) + l;
    const int64_t source = layer->event[t * B + r];
    const real below = boundary_below(call, l, t, r);
    real s = layer->bias[4 * H] + dot(layer->w_hidden + 4 * H * H, layer->h + source * H, H);
    if (layer->w_above && own_boundary(call, l, t, r) != 0) {
        const HmLayer *upper = &call->layer[l + 1];
        s += dot(layer->w_above + 4 * H * upper->units, upper->h + upper->event[t * B + r] * upper->units, upper->units);
    }
    if (l == 0)
        s += call->from_input[(t * B + r) * (4 * H + 1) + 4 * H];
    else if (below != 0)
        s += dot(layer->w_below + 4 * H * layer->below, call->layer[l - 1].output + (t * B + r) * layer->below, layer->below);
    real p = (real)call->slope * s;
    p = ((p > 1 ? 1 : p < -1 ? -1 : p) + 1) / 2;
    call->probabilities[at] = p;
    if (call->forced)
        call->boundaries[at] = call->forced[at];
    else {
        int found = call->numbers ? call->numbers[((int64_t)l * call->steps + t) * B + r] < (double)p : p > (real)0.5;
        call->boundaries[at] = found && !(call->holds && copies) && !(call->nested && below == 0);
    }
}

static void hm_forward_step(Member *me, int l, int64_t t)
{
    HmWork *work = me->work;
    HmCall *call = me->call;
    HmLayer *layer = &call->layer[l], *upper = layer + 1;
    const int64_t B = call->rows, H = layer->units, first = layer->starts[t + 1];
    const Matrices *matrices = &work->matrices[l];
    int64_t end[4];
    begin_layer(me, l, t);
    order_rows(me, l, t, end);
    const int64_t reads = end[1], active = end[2];
    for (int64_t i = share(active, me->member, me->team); l > 0 && i < share(active, me->member + 1, me->team); i++) {
        real *to = layer->input + (first + i) * layer->below;
        if (i < reads)
            memcpy(to, call->layer[l - 1].output + (t * B + me->order[i]) * layer->below, (size_t)layer->below * sizeof(real));
        else
            memset(to, 0, (size_t)layer->below * sizeof(real));
    }
    meet(&work->barrier, me->team);
    const int64_t before = layer->starts[t];
    multiply(&matrices->hidden, first - before, layer->h + before * H, layer->from_hidden + before * 4 * H, 0, me->scratch,
             me->member, me->team);
    if (layer->w_above) {
        const int64_t begin = upper->starts[t], count = upper->starts[t + 1] - begin;
        multiply(&matrices->above, count, upper->h + begin * upper->units, upper->for_below + begin * 4 * H, 0, me->scratch,
                 me->member, me->team);
    }
    if (l > 0)
        multiply(&matrices->below, reads, layer->input + first * layer->below, layer->gates + first * 4 * H, 0, me->scratch,
                 me->member, me->team);
    meet(&work->barrier, me->team);
    for (int64_t i = share(active, me->member, me->team); i < share(active, me->member + 1, me->team); i++) {
        const int64_t r = me->order[i];
        make_event(me, l, t, first + i, r);
        if (!is_top(call, l))
            detect(me, l, t, r, 0);
    }
    const int64_t copies = B - active;
    for (int64_t i = share(copies, me->member, me->team); i < share(copies, me->member + 1, me->team); i++) {
        const int64_t r = me->order[active + i], source = layer->event[t * B + r];
        memcpy(layer->output + (t * B + r) * H, layer->h + source * H, (size_t)H * sizeof(real));
        layer->event[(t + 1) * B + r] = (int32_t)source;
        if (!is_top(call, l))
            detect(me, l, t, r, 1);
    }
    if (me->member == 0) {
        layer->starts[t + 2] = first + active;
        layer->plain[t] = end[0];
    }
    meet(&work->barrier, me->team);
}

/* ---------------------------------------------------------------------------------------------------- backward */

/* What would have become of a row that copies, had it updated or flushed, times the gradient: the gradients of the
   boundaries below (returned first) and of its own. */
static void copy_gradients(const Member *me, int l, int64_t t, int64_t r, real *d_below, real *d_own)
{
    const HmCall *call = me->call;
    const HmLayer *layer = &call->layer[l];
    const int64_t H = layer->units, source = layer->event[t * call->rows + r];
    const real *sums = layer->from_hidden + source * 4 * H, *above = NULL;
    if (layer->w_above && own_boundary(call, l, t, r) != 0) /* a boundary that does not flush */
        above = layer[1].for_below + (int64_t)layer[1].event[t * call->rows + r] * 4 * H;
    vec below = {0}, own = {0};
    for (int64_t k = 0; k < H; k += LANES) {
        const int64_t n = H - k;
        vec gate[4];
        for (int j = 0; j < 4; j++) {
            gate[j] = load(sums + j * H + k, n) + load(layer->bias + j * H + k, n);
            if (above)
                gate[j] += load(above + j * H + k, n);
            gate[j] = j == 2 ? tanh_of(gate[j]) : sigmoid(gate[j]);
        }
        vec i = gate[0], f = gate[1], g = gate[2], o = gate[3];
        vec c = load(layer->c + source * H + k, n), h = load(layer->h + source * H + k, n);
        vec d_c = (1 - kept(me, CELL, r, k)) * load(layer->d_c + r * H + k, n);
        vec d_h = (1 - kept(me, HIDDEN, r, k)) * load(layer->d_h + r * H + k, n);
        /* Both operations would make h anew from the cell that is copied. */
        vec through_h = d_h * (o * tanh_of(c) - h);
        below += d_c * (i * g + f * c - c) + through_h;
        own += d_c * (i * g - c) + through_h;
    }
    *d_below = sum(below);
    *d_own = call->flushes ? sum(own) : 0;
}

/* The gradients of an event's sums, and of the state before; as above those of the boundaries. */
static void event_gradients(const Member *me, int l, int64_t t, int64_t r, int64_t e, real *d_below, real *d_own)
{
    const HmCall *call = me->call;
    const HmLayer *layer = &call->layer[l];
    const int64_t H = layer->units, source = layer->event[t * call->rows + r];
    const int flush = call->flushes && own_boundary(call, l, t, r) != 0, reads = boundary_below(call, l, t, r) != 0;
    vec below = {0}, own = {0};
    for (int64_t k = 0; k < H; k += LANES) {
        const int64_t n = H - k;
        const real *gates = layer->gates + e * 4 * H + k;
        vec i = load(gates, n), f = load(gates + H, n), g = load(gates + 2 * H, n), o = load(gates + 3 * H, n);
        vec old_c = load(layer->c + source * H + k, n), old_h = load(layer->h + source * H + k, n);
        vec keep_c = kept(me, CELL, r, k), keep_h = kept(me, HIDDEN, r, k);
        vec all_c = load(layer->d_c + r * H + k, n), all_h = load(layer->d_h + r * H + k, n);
        vec squashed = tanh_of(flush ? i * g : i * g + f * old_c), d_h = (1 - keep_h) * all_h;
        vec d_c = (1 - keep_c) * all_c + d_h * o * (1 - squashed * squashed);
        /* By how much the operation that would have been changes the cell and h. */
        vec through_h = d_h * (o * squashed - old_h);
        if (flush) {
            own += reads ? -d_c * f * old_c : d_c * (i * g - old_c) + through_h;
        } else {
            own -= d_c * f * old_c;
            below += d_c * (i * g + f * old_c - old_c) + through_h;
        }
        real *to = layer->d_sums + e * 4 * H + k;
        store(to, d_c * g * i * (1 - i), n);
        store(to + H, flush ? all(0) : d_c * old_c * f * (1 - f), n);
        store(to + 2 * H, d_c * i * (1 - g * g), n);
        store(to + 3 * H, d_h * squashed * o * (1 - o), n);
        store(layer->d_c + r * H + k, keep_c * all_c + (flush ? all(0) : d_c * f), n);
        store(layer->d_h + r * H + k, keep_h * all_h, n);
    }
    *d_below = sum(below);
    *d_own = call->flushes ? sum(own) : 0;
}

/* Adds to the gradient of a row's h after step t what comes from the step after, by the layer itself and the one below,
   and from the layer above at this step; to that of its boundary, what comes from above. */
static void gather(const Member *me, int l, int64_t t, int64_t r)
{
    const HmWork *work = me->work;
    const HmCall *call = me->call;
    const HmLayer *layer = &call->layer[l], *upper = layer + 1, *lower = layer - 1;
    const int64_t H = layer->units, B = call->rows;
    real *d_h = layer->d_h + r * H;
    if (t + 1 < call->steps) {
        const int64_t own = layer->event[(t + 2) * B + r] - layer->starts[t + 2];
        if (own >= 0)
            add_scaled(d_h, 1, work->from_own + own * H, H);
        if (!is_top(call, l))
            add_scaled(d_h, work->d_detector[l * B + r], layer->w_hidden + 4 * H * H, H);
        if (l > 0 && lower->w_above && own_boundary(call, l - 1, t + 1, r) != 0) {
            const int64_t below = lower->event[(t + 2) * B + r] - lower->starts[t + 2] - lower->plain[t + 1];
            if (below >= 0)
                add_scaled(d_h, 1, work->from_below + below * H, H);
            add_scaled(d_h, work->d_detector[(l - 1) * B + r], lower->w_above + 4 * lower->units * H, H);
        }
    }
    if (t < 0)
        return;
    if (layer->d_output)
        add_scaled(d_h, 1, layer->d_output + (t * B + r) * H, H);
    if (is_top(call, l))
        return;
    const real z = boundary_below(call, l + 1, t, r), *h = layer->output + (t * B + r) * H;
    const int64_t above = upper->event[(t + 1) * B + r] - upper->starts[t + 1];
    if (above >= 0) {
        layer->d_z[r] += dot(work->from_above + above * H, h, H);
        add_scaled(d_h, z, work->from_above + above * H, H);
    }
    if (!is_top(call, l + 1)) {
        const real d_sum = work->d_detector[(l + 1) * B + r], *weight = upper->w_below + 4 * upper->units * H;
        layer->d_z[r] += d_sum * dot(weight, h, H);
        add_scaled(d_h, z * d_sum, weight, H);
    }
}

/* The gradient of the detector's sum, from that of the boundary and of its probability. */
static real detector_gradient(const Member *me, int l, int64_t t, int64_t r, int copies)
{
    const HmCall *call = me->call;
    const int64_t at = (t * call->rows + r) * (call->layers - 1) + l;
    const real p = call->probabilities[at];
    real d = call->layer[l].d_z[r] + (call->d_boundaries ? call->d_boundaries[at] : 0);
    if (call->forced)
        d = call->straight_through ? d : 0;
    else if ((call->holds && copies) || (call->nested && boundary_below(call, l, t, r) == 0))
        d = 0;
    if (call->d_probabilities)
        d += call->d_probabilities[at];
    return p > 0 && p < 1 ? d * (real)call->slope / 2 : 0;
}

static void row_backward(Member *me, int l, int64_t t, int64_t r)
{
    HmWork *work = me->work;
    HmCall *call = me->call;
    HmLayer *layer = &call->layer[l], *upper = layer + 1;
    const int64_t H = layer->units, B = call->rows, e = layer->event[(t + 1) * B + r], source = layer->event[t * B + r];
    const int is_event = e >= layer->starts[t + 1];
    const real z = own_boundary(call, l, t, r), below = boundary_below(call, l, t, r);
    gather(me, l, t, r);
    real d_below = 0, d_own = 0, d_sum = is_top(call, l) ? 0 : detector_gradient(me, l, t, r, !is_event);
    if (is_event)
        event_gradients(me, l, t, r, e, &d_below, &d_own);
    else if (call->product && l > 0)
        copy_gradients(me, l, t, r, &d_below, &d_own);
    if (!call->product)
        d_below = d_own = 0;
    if (is_event && layer->w_above)
        d_own += dot(layer->d_sums + e * 4 * H, upper->for_below + upper->event[t * B + r] * 4 * H, 4 * H);
    if (!is_top(call, l)) {
        work->d_detector[l * B + r] = d_sum;
        layer->d_hidden_z[source] += d_sum;
        layer->d_bias_z[r] += d_sum;
        if (is_event && below != 0)
            layer->d_sum_z[e] = d_sum;
        if (layer->w_above) {
            const int64_t above = upper->event[t * B + r];
            upper->d_below_z[above] += z * d_sum;
            d_own += d_sum * dot(layer->w_above + 4 * H * upper->units, upper->h + above * upper->units, upper->units);
        }
        layer->d_z[r] = d_own;
    }
    if (l > 0)
        call->layer[l - 1].d_z[r] += d_below;
    else {
        real *to = call->d_from_input + (t * B + r) * (4 * H + 1);
        memcpy(to, layer->d_sums + e * 4 * H, (size_t)(4 * H) * sizeof(real));
        to[4 * H] = d_sum;
    }
}

/* At t = -1 only what reaches the initial states. */
static void hm_backward_step(Member *me, int l, int64_t t)
{
    HmWork *work = me->work;
    HmCall *call = me->call;
    HmLayer *layer = &call->layer[l], *upper = layer + 1, *lower = layer - 1;
    const int64_t B = call->rows;
    if (t >= 0)
        begin_layer(me, l, t);
    if (t + 1 < call->steps) {
        const int64_t first = layer->starts[t + 2], count = layer->starts[t + 3] - first;
        multiply(&work->matrices[l].hidden, count, layer->d_sums + first * 4 * layer->units, work->from_own, 0, me->scratch,
                 me->member, me->team);
        if (l > 0 && lower->w_above) {
            const int64_t flushed = lower->starts[t + 2] + lower->plain[t + 1];
            multiply(&work->matrices[l - 1].above, lower->starts[t + 3] - flushed,
                     lower->d_sums + flushed * 4 * lower->units, work->from_below, 0, me->scratch, me->member, me->team);
        }
    }
    if (t >= 0 && !is_top(call, l)) {
        const int64_t begin = upper->starts[t + 1];
        multiply(&work->matrices[l + 1].below, upper->starts[t + 2] - begin, upper->d_sums + begin * 4 * upper->units,
                 work->from_above, 0, me->scratch, me->member, me->team);
    }
    meet(&work->barrier, me->team);
    for (int64_t r = share(B, me->member, me->team); r < share(B, me->member + 1, me->team); r++)
        if (t >= 0)
            row_backward(me, l, t, r);
        else
            gather(me, l, t, r);
    meet(&work->barrier, me->team);
}

/* -------------------------------------------------------------------------------------------------------- jobs */

typedef struct {
    HmWork work;
    int backward;
} HmJob;

static void pack_layer(const Member *me, int l, int backward)
{
    const HmCall *call = me->call;
    const HmLayer *layer = &call->layer[l];
    Matrices *matrices = &me->work->matrices[l];
    pack_matrix(&matrices->hidden, layer->w_hidden, layer->units, !backward, me->member, me->team);
    if (l > 0)
        pack_matrix(&matrices->below, layer->w_below, layer->below, !backward, me->member, me->team);
    if (layer->w_above)
        pack_matrix(&matrices->above, layer->w_above, layer[1].units, !backward, me->member, me->team);
}

static void hm_member(void *data)
{
    HmJob *job = data;
    HmWork *work = &job->work;
    HmCall *call = work->call;
    const int member = team_member();
    const int64_t B = call->rows;
    Member me = {.work = work, .call = call, .member = member, .team = team_size()};
    me.scratch = work->scratch + member * B * MOST_WIDTH * LANES;
    me.order = work->order + member * B;
    for (int kind = 0; kind < 2; kind++)
        me.row_words[kind] = work->row_words + (member * 2 + kind) * 2 * B;
    for (int l = 0; l < call->layers; l++)
        pack_layer(&me, l, job->backward);
    meet(&work->barrier, me.team);
    if (!job->backward)
        for (int64_t t = 0; t < call->steps; t++)
            for (int l = 0; l < call->layers; l++)
                hm_forward_step(&me, l, t);
    else
        for (int64_t t = call->steps - 1; t >= -1; t--)
            for (int l = call->layers - 1; l >= 0; l--)
                hm_backward_step(&me, l, t);
}

/* The next bytes of an arena, on a boundary of 64; the first time there is none, which tells how much is needed. */
static void *next(char **arena, int64_t bytes)
{
    char *begin = *arena;
    *arena += (bytes + 63) / 64 * 64;
    return begin;
}

static int64_t lay_out(HmJob *job, char *arena)
{
    HmWork *work = &job->work;
    const HmCall *call = work->call;
    const int64_t B = call->rows, size = (int64_t)sizeof(real);
    char *end = arena;
    int64_t widest = 0;
    work->matrices = next(&end, call->layers * (int64_t)sizeof(Matrices));
    for (int l = 0; l < call->layers; l++) {
        const HmLayer *layer = &call->layer[l];
        const int64_t H = layer->units, above = layer->w_above ? layer[1].units : 0;
        Matrices made = {
            .below = job->backward ? matrix_of(4 * H, layer->below, call->threads) : matrix_of(layer->below, 4 * H, call->threads),
            .hidden = job->backward ? matrix_of(4 * H, H, call->threads) : matrix_of(H, 4 * H, call->threads),
            .above = job->backward ? matrix_of(4 * H, above, call->threads) : matrix_of(above, 4 * H, call->threads),
        };
        made.below.packed = next(&end, l > 0 ? matrix_size(&made.below) * size : 0);
        made.hidden.packed = next(&end, matrix_size(&made.hidden) * size);
        made.above.packed = next(&end, above ? matrix_size(&made.above) * size : 0);
        if (arena)
            work->matrices[l] = made;
        widest = H > widest ? H : widest;
    }
    work->from_own = next(&end, B * widest * size);
    work->from_below = next(&end, B * widest * size);
    work->from_above = next(&end, B * widest * size);
    work->d_detector = next(&end, call->layers * B * size);
    work->scratch = next(&end, call->threads * B * MOST_WIDTH * LANES * size);
    work->order = next(&end, call->threads * B * (int64_t)sizeof(int32_t));
    work->row_words = next(&end, call->threads * 4 * B * (int64_t)sizeof(uint32_t));
    return end - arena;
}

/* The initial states are events too. */
static void begin(HmCall *call)
{
    const int64_t B = call->rows;
    for (int l = 0; l < call->layers; l++) {
        HmLayer *layer = &call->layer[l];
        layer->starts[0] = 0;
        layer->starts[1] = B;
        memcpy(layer->h, layer->h0, (size_t)(B * layer->units) * sizeof(real));
        memcpy(layer->c, layer->c0, (size_t)(B * layer->units) * sizeof(real));
        for (int64_t r = 0; r < B; r++)
            layer->event[r] = (int32_t)r;
    }
}

static int run(HmCall *call, int backward)
{
    HmJob job = {.work = {.call = call}, .backward = backward};
    const int64_t bytes = lay_out(&job, NULL);
    char *arena = aligned_alloc(64, (size_t)bytes);
    if (!arena)
        return 1;
    lay_out(&job, arena);
    if (!backward)
        begin(call);
    run_team(hm_member, &job, call->threads);
    free(arena);
    return 0;
}

EXPORT(hm_forward)(HmCall *call) { return run(call, 0); }
EXPORT(hm_backward)(HmCall *call) { return run(call, 1); }
