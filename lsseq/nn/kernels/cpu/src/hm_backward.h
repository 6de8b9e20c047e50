/* The HM-LSTM's backward pass: a layer's step, from the gradients of its outputs and boundaries to those of the sums of
   its gates and detector, and of the states before. Weight gradients are left to the caller. */

#ifndef HM_BACKWARD_H
#define HM_BACKWARD_H

#include "hm_norm.h"

/* Leaves in me->units[1] the tanh of an event's normalised cell, and in me->units[2] the gradient of its new cell that
   comes through it. */
static void normal_cell_backward(const Member *me, int l, int64_t r, int64_t e, int flush)
{
    const HmLayer *layer = &me->call->layer[l];
    const int64_t H = layer->units, source = layer->source[e];
    real *normal = me->units[0], *squashed = me->units[1], *d = me->units[2], *d_bias = layer->d_cell_bias + r * H;
    for (int64_t k = 0; k < H; k += LANES) {
        const real *gates = layer->gates + e * 4 * H + k;
        vec c = load(gates, H - k) * load(gates + 2 * H, H - k);
        if (!flush)
            c += load(gates + H, H - k) * load(layer->c + source * H + k, H - k);
        store(normal + k, c, H - k);
    }
    const real scale = normalise(normal, H);
    for (int64_t k = 0; k < H; k += LANES) {
        const int64_t n = H - k;
        vec seen = tanh_of(normal_cell(me, layer, k));
        vec d_h = (1 - kept(me, HIDDEN, r, k)) * load(layer->d_h + r * H + k, n);
        vec d_seen = d_h * load(layer->gates + e * 4 * H + 3 * H + k, n) * (1 - seen * seen);
        store(squashed + k, seen, n);
        store(d + k, d_seen, n);
        store(d_bias + k, load(d_bias + k, n) + d_seen, n);
    }
    normalise_backward(d, normal, scale, layer->cell_gain, d, layer->d_cell_gain + r * H, H);
}

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
    if (layer->cell_gain) {
        memcpy(me->units[0], layer->c + source * H, (size_t)H * sizeof(real));
        normalise(me->units[0], H);
    }
    vec below = {0}, own = {0};
    for (int64_t k = 0; k < H; k += LANES) {
        const int64_t n = H - k;
        vec gate[4];
        for (int j = 0; j < 4; j++) {
            gate[j] = scaled(sums, layer->hidden_gain, j * H + k, n) + load(layer->bias + j * H + k, n);
            if (above)
                gate[j] += scaled(above, layer->above_gain, j * H + k, n);
            gate[j] = j == 2 ? tanh_of(gate[j]) : sigmoid(gate[j]);
        }
        vec i = gate[0], f = gate[1], g = gate[2], o = gate[3];
        vec c = load(layer->c + source * H + k, n), h = load(layer->h + source * H + k, n);
        vec d_c = (1 - kept(me, CELL, r, k)) * load(layer->d_c + r * H + k, n);
        vec d_h = (1 - kept(me, HIDDEN, r, k)) * load(layer->d_h + r * H + k, n);
        /* Both operations would make h anew from the cell that is copied. */
        vec seen = layer->cell_gain ? normal_cell(me, layer, k) : c;
        vec through_h = d_h * (o * tanh_of(seen) - h);
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
    if (layer->cell_gain)
        normal_cell_backward(me, l, r, e, flush);
    vec below = {0}, own = {0};
    for (int64_t k = 0; k < H; k += LANES) {
        const int64_t n = H - k;
        const real *gates = layer->gates + e * 4 * H + k;
        vec i = load(gates, n), f = load(gates + H, n), g = load(gates + 2 * H, n), o = load(gates + 3 * H, n);
        vec old_c = load(layer->c + source * H + k, n), old_h = load(layer->h + source * H + k, n);
        vec keep_c = kept(me, CELL, r, k), keep_h = kept(me, HIDDEN, r, k);
        vec all_c = load(layer->d_c + r * H + k, n), all_h = load(layer->d_h + r * H + k, n);
        vec d_h = (1 - keep_h) * all_h, d_c = (1 - keep_c) * all_c, squashed;
        if (layer->cell_gain) {
            squashed = load(me->units[1] + k, n);
            d_c += load(me->units[2] + k, n);
        } else {
            squashed = tanh_of(flush ? i * g : i * g + f * old_c);
            d_c += d_h * o * (1 - squashed * squashed);
        }
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
        if (!upper->below_gain) /* else it is there already */
            layer->d_z[r] += dot(work->from_above + above * H, h, H);
        add_scaled(d_h, z, work->from_above + above * H, H);
    }
    if (!is_top(call, l + 1)) {
        const real d_sum = work->d_detector[(l + 1) * B + r], *weight = upper->w_below + 4 * upper->units * H;
        layer->d_z[r] += d_sum * dot(weight, h, H);
        add_scaled(d_h, z * d_sum, weight, H);
    }
}

/* The gradient of the detector's sum, from that of the boundary, of its probability and of the sum itself. */
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
    d = p > 0 && p < 1 ? d * (real)call->slope / 2 : 0;
    return call->d_detector_sums ? d + call->d_detector_sums[at] : d;
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
    if (is_event && layer->hidden_gain)
        products_backward(me, l, t, r, e, &d_below, &d_own);
    else if (is_event && layer->w_above)
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
}

/* The gradient of the input at a step. */
static void input_gradient(const Member *me, int64_t t, int64_t r)
{
    const HmWork *work = me->work;
    const HmCall *call = me->call;
    const HmLayer *layer = call->layer;
    const int64_t I = layer->below, B = call->rows, place = layer->event[(t + 1) * B + r] - layer->starts[t + 1];
    real *to = call->d_x + (t * B + r) * I;
    memcpy(to, work->for_input + place * I, (size_t)I * sizeof(real));
    add_scaled(to, work->d_detector[r], layer->w_below + 4 * layer->units * I, I);
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
        multiply(&work->matrices[l].hidden, count, layer->d_from_hidden + first * 4 * layer->units, work->from_own, me->scratch,
                 me->member, me->team);
        if (l == 0 && call->d_x)
            multiply(&work->matrices[0].below, count, layer->d_from_below + first * 4 * layer->units, work->for_input,
                     me->scratch, me->member, me->team);
        if (l > 0 && lower->w_above) {
            const int64_t flushed = lower->starts[t + 2] + lower->plain[t + 1];
            multiply(&work->matrices[l - 1].above, lower->starts[t + 3] - flushed,
                     lower->d_from_above + flushed * 4 * lower->units, work->from_below, me->scratch, me->member, me->team);
        }
    }
    if (t >= 0 && !is_top(call, l)) {
        const int64_t begin = upper->starts[t + 1];
        multiply(&work->matrices[l + 1].below, upper->starts[t + 2] - begin, upper->d_from_below + begin * 4 * upper->units,
                 work->from_above, me->scratch, me->member, me->team);
    }
    meet(&work->barrier, me->team);
    for (int64_t r = share(B, me->member, me->team); r < share(B, me->member + 1, me->team); r++) {
        if (l == 0 && t + 1 < call->steps && call->d_x)
            input_gradient(me, t + 1, r);
        if (t >= 0)
            row_backward(me, l, t, r);
        else
            gather(me, l, t, r);
    }
    meet(&work->barrier, me->team);
}

#endif
