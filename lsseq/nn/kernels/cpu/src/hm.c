/* The HM-LSTM over a whole sequence, forward and backward (hm.h says how). The file is compiled for each type of number
   and each instruction set. */

#include <stdlib.h>

#include "export.h"
#include "hm_backward.h"
#include "hm_forward.h"

typedef struct {
    HmWork work;
    int backward;
    int64_t widest; /* units of a layer */
} HmJob;

static void pack_layer(const Member *me, int l, int backward)
{
    const HmCall *call = me->call;
    const HmLayer *layer = &call->layer[l];
    Matrices *matrices = &me->work->matrices[l];
    pack_matrix(&matrices->hidden, layer->w_hidden, layer->units, !backward, me->member, me->team);
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
    for (int k = 0; k < 3; k++)
        me.units[k] = work->units + (member * 3 + k) * job->widest;
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
    work->matrices = next(&end, call->layers * (int64_t)sizeof(Matrices));
    for (int l = 0; l < call->layers; l++) {
        const HmLayer *layer = &call->layer[l];
        const int64_t H = layer->units, above = layer->w_above ? layer[1].units : 0;
        Matrices made = {
            .below = job->backward ? matrix_of(4 * H, layer->below, call->threads) : matrix_of(layer->below, 4 * H, call->threads),
            .hidden = job->backward ? matrix_of(4 * H, H, call->threads) : matrix_of(H, 4 * H, call->threads),
            .above = job->backward ? matrix_of(4 * H, above, call->threads) : matrix_of(above, 4 * H, call->threads),
        };
        made.below.packed = next(&end, matrix_size(&made.below) * size);
        made.hidden.packed = next(&end, matrix_size(&made.hidden) * size);
        made.above.packed = next(&end, above ? matrix_size(&made.above) * size : 0);
        if (arena)
            work->matrices[l] = made;
        job->widest = H > job->widest ? H : job->widest;
    }
    work->from_own = next(&end, B * job->widest * size);
    work->from_below = next(&end, B * job->widest * size);
    work->from_above = next(&end, B * job->widest * size);
    work->for_input = next(&end, B * call->layer[0].below * size);
    work->d_detector = next(&end, call->layers * B * size);
    work->scratch = next(&end, call->threads * B * MOST_WIDTH * LANES * size);
    work->units = next(&end, call->threads * 3 * job->widest * size);
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
