/* Layer norm of the HM-LSTM: of each product's 4H gates, once an event, and of the cell inside the output's tanh. */

#ifndef HM_NORM_H
#define HM_NORM_H

#include "hm.h"

/* n values from k on, times a gain where there is one: what the gates see of a product. */
INLINE vec scaled(const real *product, const real *gain, int64_t k, int64_t n)
{
    vec value = load(product + k, n);
    return gain ? value * load(gain + k, n) : value;
}

/* A row with mean 0 and deviation 1 (biased), in place. Gives 1 / deviation. */
static real normalise(real *row, int64_t n)
{
    vec total = {0}, squares = {0};
    for (int64_t k = 0; k < n; k += LANES)
        total += load(row + k, n - k);
    const real mean = sum(total) / (real)n;
    for (int64_t k = 0; k < n; k += LANES) {
        store(row + k, load(row + k, n - k) - mean, n - k);
        vec centred = load(row + k, n - k);
        squares += centred * centred;
    }
    const real scale = 1 / (real)__builtin_sqrt((double)(sum(squares) / (real)n) + EPSILON);
    for (int64_t k = 0; k < n; k += LANES)
        store(row + k, load(row + k, n - k) * scale, n - k);
    return scale;
}

/* `to` becomes the gradient of what was normalised from the gradient d of the normalised values times the gain, which
   may be the same array; that of the gain is added to d_gain. Gives the gradient of a factor of all the values. */
static real normalise_backward(const real *d, const real *normal, real scale, const real *gain, real *to, real *d_gain,
                               int64_t n)
{
    vec total = {0}, along = {0};
    for (int64_t k = 0; k < n; k += LANES) {
        vec given = load(d + k, n - k), value = load(normal + k, n - k), inner = given * load(gain + k, n - k);
        store(d_gain + k, load(d_gain + k, n - k) + given * value, n - k);
        total += inner;
        along += inner * value;
    }
    const real factor = sum(along), mean = sum(total) / (real)n, slope = factor / (real)n;
    for (int64_t k = 0; k < n; k += LANES) {
        vec inner = load(d + k, n - k) * load(gain + k, n - k);
        store(to + k, scale * (inner - mean - slope * load(normal + k, n - k)), n - k);
    }
    return factor;
}

/* That factor's gradient alone. */
static real factor_gradient(const real *d, const real *normal, const real *gain, int64_t n)
{
    vec along = {0};
    for (int64_t k = 0; k < n; k += LANES)
        along += load(d + k, n - k) * scaled(normal, gain, k, n - k);
    return sum(along);
}

/* Normalises the products that were made at this step of the states of a row: its own, and of the layer above for it. */
static void normalise_states(const Member *me, int l, int64_t t, int64_t r)
{
    const HmCall *call = me->call;
    const HmLayer *layer = &call->layer[l], *upper = layer + 1;
    const int64_t H = layer->units, at = t * call->rows + r;
    if (!layer->hidden_gain)
        return;
    if (layer->event[at] >= layer->starts[t])
        layer->hidden_scale[layer->event[at]] = normalise(layer->from_hidden + (int64_t)layer->event[at] * 4 * H, 4 * H);
    if (layer->w_above && upper->event[at] >= upper->starts[t])
        upper->for_below_scale[upper->event[at]] = normalise(upper->for_below + (int64_t)upper->event[at] * 4 * H, 4 * H);
}

/* The cell that the output's tanh sees, of what me->units[0] has normalised. */
INLINE vec normal_cell(const Member *me, const HmLayer *layer, int64_t k)
{
    return scaled(me->units[0], layer->cell_gain, k, layer->units - k) + load(layer->cell_bias + k, layer->units - k);
}

/* The gradients of an event's products from that of its sums; those of the boundaries that gate them are added. */
static void products_backward(const Member *me, int l, int64_t t, int64_t r, int64_t e, real *d_below, real *d_own)
{
    const HmCall *call = me->call;
    const HmLayer *layer = &call->layer[l], *upper = layer + 1;
    const int64_t rows = 4 * layer->units, source = layer->event[t * call->rows + r];
    const real *d = layer->d_sums + e * rows;
    normalise_backward(d, layer->from_hidden + source * rows, layer->hidden_scale[source], layer->hidden_gain,
                       layer->d_from_hidden + e * rows, layer->d_hidden_gain + r * rows, rows);
    const real *below = layer->from_below + e * rows;
    if (boundary_below(call, l, t, r) != 0)
        *d_below += normalise_backward(d, below, layer->below_scale[e], layer->below_gain, layer->d_from_below + e * rows,
                                       layer->d_below_gain + r * rows, rows);
    else {
        *d_below += factor_gradient(d, below, layer->below_gain, rows);
        memset(layer->d_from_below + e * rows, 0, (size_t)rows * sizeof(real));
    }
    if (layer->w_above) {
        const int64_t above = upper->event[t * call->rows + r];
        const real *product = upper->for_below + above * rows;
        if (layer->above[e] >= 0)
            *d_own += normalise_backward(d, product, upper->for_below_scale[above], layer->above_gain,
                                         layer->d_from_above + e * rows, layer->d_above_gain + r * rows, rows);
        else
            *d_own += factor_gradient(d, product, layer->above_gain, rows);
    }
}

#endif
