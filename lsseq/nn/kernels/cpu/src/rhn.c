/* The recurrent highway network over a whole sequence, forward and backward, with zoneout, dropout, layer norm and weights
   of low rank. The file is compiled for each type of number and each instruction set. */

#include "export.h"
#include "rhn.h"

static int has_parameters(const MicroLayer *layer) { return layer->k == 0 || !layer->network->call->tied; }

/* The memory that a micro-layer needs, taken from its arena; the first time there is none, which tells how much is needed.
   The first one has what all need. */
static void lay_out(Rhn *network, MicroLayer *layer)
{
    Work *work = &layer->work;
    const Work *first = &network->layers[0].work;
    const Call *call = work->call;
    Stage *stage = &work->stages[0];
    const int64_t padded = work->blocks * 2 * LANES * (int64_t)sizeof(real), B = call->rows;
    work->taken = 0;
    if (has_parameters(layer)) {
        const int64_t uses = B * call->steps * (network->call->tied ? network->call->depth : 1);
        const int packs = network->backward || uses >= FEW;
        add_stage(work, stage, 0, 2, 2);
        if (call->rank)
            add_factors(work, stage, network->backward, packs);
        if (network->backward)
            plan_panels(work, stage, 1, 1, call->rank ? stage->sources * call->rank : 2 * call->units, 1);
        else
            plan_panels(work, stage, 2, stage->sources, call->rank ? call->rank : call->units, packs);
        work->bias = take(work, padded);
        work->d_bias = take(work, padded);
    } else {
        *stage = first->stages[0];
        stage->narrow = call->narrow;
        stage->d_narrow = call->d_narrow;
        stage->normal = call->normal;
        work->bias = first->bias;
        work->d_bias = first->d_bias;
    }
    if (layer->k > 0)
        return;
    if (network->backward) {
        network->d_state = take_carried(work);
        network->d_read = take_carried(work);
        network->d_kept = take_carried(work);
    }
    int64_t widest = B * (stage->blocks * 2 > MOST_WIDTH ? stage->blocks * 2 : MOST_WIDTH);
    network->threads = take_threads(work, widest > work->blocks * 2 ? widest : work->blocks * 2);
}

/* Whether there was memory for it. */
static int prepare(Rhn *network, MicroLayer *layer)
{
    Work *work = &layer->work;
    const Call *call = work->call;
    const Stage *stage = &work->stages[0];
    prepare_masks(work);
    work->masks[ZONEOUT_HIDDEN] = network->layers[0].work.masks[ZONEOUT_HIDDEN]; /* that of the whole step */
    lay_out(network, layer);
    work->arena = aligned_alloc(64, (size_t)work->taken);
    if (!work->arena && work->taken)
        return 0;
    lay_out(network, layer);
    if (!has_parameters(layer))
        return 1;
    for (int g = 0; g < 2; g++) {
        pad(call, call->bias_h + g * call->units, 2, g, work->bias);
        pad(call, NULL, 2, g, work->d_bias);
        if (work->norm)
            pad(call, call->gain + g * call->units, 2, g, stage->gain);
    }
    pad_diagonal(work, stage);
    return 1;
}

static Thread *begin(Rhn *network)
{
    Thread *me = &network->threads[team_member()];
    me->member = team_member();
    me->team = team_size();
    return me;
}

/* From now on the thread works at this micro-layer's part of a step. */
static Stage *turn_to(Thread *me, MicroLayer *layer)
{
    me->work = &layer->work;
    return &layer->work.stages[0];
}

/* Does to each row of the units of this thread what becomes of the initial state, or of its gradient. */
static void at_the_start(Thread *me, int backward)
{
    const MicroLayer *first = layer_of(me);
    const Rhn *network = first->network;
    const Call *call = first->work.call;
    const Stage *stage = &first->work.stages[0];
    for (int64_t u = first_panel(me, stage) * stage->blocks; u < end_panel(me, stage) * stage->blocks; u++)
        for (int64_t r = 0; r < call->rows && u < first->work.blocks; r++) {
            const int64_t n = lanes_of(call, u), at = r * call->units + u * LANES;
            if (!backward)
                show(first, 0, r, u, load(network->call->h0 + at, n));
            else
                store(network->call->d_h0 + at,
                      load(carried(me->work, network->d_state, r, u), LANES) +
                          seen(first, r, u) * load(carried(me->work, network->d_read, r, u), LANES),
                      n);
        }
    meet(&me->work->barrier, me->team);
}

static void forward_member(void *data)
{
    Rhn *network = data;
    Thread *me = begin(network);
    const int64_t K = network->call->depth, T = network->layers[0].work.call->steps;
    for (int64_t k = 0; k < K && has_parameters(&network->layers[k]); k++) {
        Stage *stage = turn_to(me, &network->layers[k]);
        pack_forward(me, stage);
        pack_inner(me, stage, 0);
    }
    turn_to(me, &network->layers[0]);
    at_the_start(me, 0);
    for (int64_t t = 0; t < T; t++)
        for (int64_t k = 0; k < K; k++) {
            const Stage *stage = turn_to(me, &network->layers[k]);
            begin_step(me, t);
            run_stage(me, t, stage, read_of(&network->layers[k], t), rhn_forward);
        }
}

static void backward_member(void *data)
{
    Rhn *network = data;
    Thread *me = begin(network);
    const int64_t K = network->call->depth, T = network->layers[0].work.call->steps;
    for (int64_t k = 0; k < K && has_parameters(&network->layers[k]); k++) {
        Stage *stage = turn_to(me, &network->layers[k]);
        pack_backward(me, stage);
        pack_inner(me, stage, 1);
    }
    const Stage *stage = turn_to(me, &network->layers[0]);
    carry(me, network->d_state, network->call->d_last_h, NULL);
    carry(me, network->d_read, NULL, NULL);
    meet(&me->work->barrier, me->team);
    for (int64_t t = T - 1; t >= 0; t--)
        for (int64_t k = K - 1; k >= 0; k--) {
            /* The products of what comes after, which made its own gradients in its turn. */
            const int64_t after = (k + 1) % K;
            stage = turn_to(me, &network->layers[after]);
            run_stage_backward(me, stage, after > 0 ? t : t + 1, network->d_read, 0, NULL, NULL);
            stage = turn_to(me, &network->layers[k]);
            begin_step(me, t);
            run_stage_backward(me, stage, T, NULL, t, rhn_backward, stage);
        }
    stage = turn_to(me, &network->layers[0]);
    run_stage_backward(me, stage, 0, network->d_read, 0, NULL, NULL);
    at_the_start(me, 1);
}

static int run(const RhnCall *call, int backward)
{
    Rhn network = {.call = call, .backward = backward};
    network.layers = calloc((size_t)call->depth, sizeof(MicroLayer));
    int ready = network.layers != NULL;
    for (int64_t k = 0; k < call->depth && ready; k++) {
        const Call *own = &call->layers[k].call;
        MicroLayer *layer = &network.layers[k];
        *layer = (MicroLayer){.network = &network, .call = &call->layers[k], .k = k};
        layer->work = (Work){.call = own, .gates = 2, .blocks = blocks_of(own->units), .norm = call->layers[0].call.gain != NULL};
        ready = prepare(&network, layer);
    }
    if (ready)
        run_team(backward ? backward_member : forward_member, &network, call->layers[0].call.threads);
    for (int64_t k = 0; k < call->depth && network.layers; k++) {
        const Work *work = &network.layers[k].work;
        if (ready && backward && has_parameters(&network.layers[k])) {
            for (int g = 0; g < 2 && work->call->d_bias_h; g++)
                unpad(work->call, work->d_bias, 2, g, work->call->d_bias_h + g * work->call->units);
            unpad_diagonal(work, &work->stages[0]);
        }
        free(work->arena);
    }
    free(network.layers);
    return !ready;
}

EXPORT(rhn_forward)(const RhnCall *call) { return run(call, 0); }
EXPORT(rhn_backward)(const RhnCall *call) { return run(call, 1); }
