/* The HM-LSTM's forward pass: a layer's step, and the events that it makes. */

#ifndef HM_FORWARD_H
#define HM_FORWARD_H

#include "hm_norm.h"

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

/* Where W h_below of each event stands; where no backward pass needs it, its gates take its place. */
INLINE real *products_below(const HmLayer *layer) { return layer->from_below ? layer->from_below : layer->gates; }

/* Stores n units from k on of an event's new h: zoneout of the old one and of what it would be without. */
INLINE void store_h(const Member *me, int l, int64_t t, int64_t e, int64_t r, int64_t k, vec h)
{
    const HmLayer *layer = &me->call->layer[l];
    const int64_t H = layer->units, n = H - k;
    vec keep = kept(me, HIDDEN, r, k);
    h = keep * load(layer->h + layer->source[e] * H + k, n) + (1 - keep) * h;
    store(layer->h + e * H + k, h, n);
    store(layer->output + (t * me->call->rows + r) * H + k, h, n);
}

/* The new state of an event. */
static void make_event(Member *me, int l, int64_t t, int64_t e, int64_t r)
{
    const HmCall *call = me->call;
    HmLayer *layer = &call->layer[l];
    const int64_t H = layer->units, B = call->rows, source = layer->event[t * B + r];
    const real z = own_boundary(call, l, t, r), flush = call->flushes ? z : 0;
    const int reads = boundary_below(call, l, t, r) != 0, top_down = layer->w_above && z != 0;
    const real *below = products_below(layer) + e * 4 * H;
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
            gate[g] = scaled(layer->from_hidden + source * 4 * H, layer->hidden_gain, at, n) + load(layer->bias + at, n);
            if (reads)
                gate[g] += scaled(below, layer->below_gain, at, n);
            if (top_down)
                gate[g] += scaled(above, layer->above_gain, at, n);
            gate[g] = g == 2 ? tanh_of(gate[g]) : sigmoid(gate[g]);
            store(layer->gates + e * 4 * H + at, gate[g], n);
        }
        vec old_c = load(layer->c + source * H + k, n), keep = kept(me, CELL, r, k), c = gate[0] * gate[2];
        if (flush == 0)
            c += gate[1] * old_c;
        store(layer->c + e * H + k, keep * old_c + (1 - keep) * c, n);
        if (layer->cell_gain)
            store(me->units[0] + k, c, n);
        else
            store_h(me, l, t, e, r, k, gate[3] * tanh_of(c));
    }
    if (!layer->cell_gain)
        return;
    normalise(me->units[0], H);
    for (int64_t k = 0; k < H; k += LANES)
        store_h(me, l, t, e, r, k, load(layer->gates + e * 4 * H + 3 * H + k, H - k) * tanh_of(normal_cell(me, layer, k)));
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
    if (below != 0)
        s += dot(layer->w_below + 4 * H * layer->below, read_by(call, l, t, r), layer->below);
    call->detector_sums[at] = s;
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

/* Where only the last events are kept: moves those that are a row's state after step t to the other half of the memory,
   once the half that they are in may not hold another step's. What step t made comes last, as if nothing had moved. */
static void keep_states(Member *me, int l, int64_t t, int64_t active)
{
    const HmCall *call = me->call;
    HmLayer *layer = &call->layer[l];
    const int64_t B = call->rows, H = layer->units, half = call->half, last = layer->starts[t + 2] - 1;
    if (half == 0 || last % half + 1 + B <= half)
        return;
    const int64_t to = last < half ? half : 0, copies = B - active, of_below = l > 0 ? 4 * call->layer[l - 1].units : 0;
    for (int64_t i = share(B, me->member, me->team); i < share(B, me->member + 1, me->team); i++) {
        int32_t *event = &layer->event[(t + 1) * B + me->order[i]];
        const int64_t from = *event, e = to + (i < active ? copies + i : i - active);
        memcpy(layer->h + e * H, layer->h + from * H, (size_t)H * sizeof(real));
        memcpy(layer->c + e * H, layer->c + from * H, (size_t)H * sizeof(real));
        if (i >= active) { /* the others have no products yet */
            memcpy(layer->from_hidden + e * 4 * H, layer->from_hidden + from * 4 * H, (size_t)(4 * H) * sizeof(real));
            if (layer->for_below)
                memcpy(layer->for_below + e * of_below, layer->for_below + from * of_below, (size_t)of_below * sizeof(real));
        }
        *event = (int32_t)e;
    }
    meet(&me->work->barrier, me->team);
    if (me->member == 0) {
        layer->starts[t + 1] = to + copies;
        layer->starts[t + 2] = to + B;
    }
    meet(&me->work->barrier, me->team);
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
    const int64_t reads = end[1], active = end[2], read = layer->from_below ? active : reads;
    for (int64_t i = share(active, me->member, me->team); i < share(active, me->member + 1, me->team); i++) {
        real *to = layer->input + (first + i) * layer->below;
        if (i < read)
            memcpy(to, read_by(call, l, t, me->order[i]), (size_t)layer->below * sizeof(real));
        else
            memset(to, 0, (size_t)layer->below * sizeof(real));
    }
    meet(&work->barrier, me->team);
    const int64_t before = layer->starts[t];
    multiply(&matrices->hidden, first - before, layer->h + before * H, layer->from_hidden + before * 4 * H, me->scratch,
             me->member, me->team);
    if (layer->w_above) {
        const int64_t begin = upper->starts[t], count = upper->starts[t + 1] - begin;
        multiply(&matrices->above, count, upper->h + begin * upper->units, upper->for_below + begin * 4 * H, me->scratch,
                 me->member, me->team);
    }
    multiply(&matrices->below, read, layer->input + first * layer->below, products_below(layer) + first * 4 * H,
             me->scratch, me->member, me->team);
    meet(&work->barrier, me->team);
    for (int64_t i = share(active, me->member, me->team); i < share(active, me->member + 1, me->team); i++) {
        const int64_t r = me->order[i];
        normalise_states(me, l, t, r);
        if (i < read && layer->below_gain)
            layer->below_scale[first + i] = normalise(products_below(layer) + (first + i) * 4 * H, 4 * H);
        make_event(me, l, t, first + i, r);
        if (!is_top(call, l))
            detect(me, l, t, r, 0);
    }
    const int64_t copies = B - active;
    for (int64_t i = share(copies, me->member, me->team); i < share(copies, me->member + 1, me->team); i++) {
        const int64_t r = me->order[active + i], source = layer->event[t * B + r];
        normalise_states(me, l, t, r);
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
    keep_states(me, l, t, active);
}

#endif
