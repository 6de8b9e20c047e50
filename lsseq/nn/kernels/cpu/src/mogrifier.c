/* The Mogrifier LSTM over a whole sequence, forward and backward (mogrifier.h says how). The file is compiled for each type
   of number and each instruction set. */

#include "export.h"
#include "mogrifier.h"

static Weight take_weight(Work *work, const real *weight, int64_t stride, int64_t depth, int64_t columns, int packs)
{
    Weight made = {.matrix = matrix_of(depth, columns, work->call->threads), .weight = weight, .stride = stride};
    if (packs)
        made.matrix.packed = take(work, matrix_size(&made.matrix) * (int64_t)sizeof(real));
    return made;
}

/* The products of round i: by the rows of its weights, or going back by their columns. */
static Round take_round(Work *work, const MogrifierCall *call, int64_t i, int backward, int packs)
{
    const Gating *gating = &call->gatings[i - 1];
    const int64_t to = units_of(call, i), from = units_of(call, i - 1), k = call->rank, inner = k ? k : backward ? to : from;
    Round made = {.first = {.weight = backward ? gating->out : gating->in}};
    if (k)
        made.first = take_weight(work, made.first.weight, backward ? k : from, backward ? to : from, k, packs);
    if (backward)
        made.last = take_weight(work, k ? gating->in : gating->out, from, inner, from, packs);
    else
        made.last = take_weight(work, gating->out, inner, inner, to, packs);
    return made;
}

static real *take_gradient(Work *work, const Matrix *matrix)
{
    return take(work, matrix->panels * work->call->rows * matrix->width * LANES * (int64_t)sizeof(real));
}

/* The memory that a job needs, taken from the arena; the first time there is none, which tells how much is needed. */
static void lay_out(Mogrifier *job)
{
    Work *work = &job->work;
    const MogrifierCall *call = job->call;
    const int64_t B = call->lstm.rows, H = call->lstm.units, R = call->rounds;
    const int packs = job->backward || B * call->lstm.steps >= FEW;
    work->taken = 0;
    job->rounds = take(work, R * (int64_t)sizeof(Round));
    for (int64_t i = 1; i <= R; i++) {
        Round made = take_round(work, call, i, job->backward, packs);
        if (work->arena)
            job->rounds[i - 1] = made;
    }
    for (int64_t b = 0; b < 2; b++) {
        const int64_t units = units_of(call, R - 1 + b);
        Stage *stage = &work->stages[b];
        add_stage(work, stage, 0, 4, 4);
        stage->weight = weight_of(call, R - 1 + b);
        if (!job->backward) {
            plan_panels(work, stage, 4, 1, units, packs);
            stage->stride = row_size(call);
            continue;
        }
        job->read[b] = take_weight(work, stage->weight, units, 4 * H, units, 1);
        job->gradients[(R - 1 + b) % 2] = take_gradient(work, &job->read[b].matrix);
    }
    if (job->backward) {
        const Matrix *hidden = &job->read[R % 2 ? 0 : 1].matrix;
        work->stages[0].blocks = hidden->width;
        work->stages[0].panels = hidden->panels;
        job->values = call->values;
        work->d_h = take_carried(work);
        work->d_c = take_carried(work);
        work->d_bias = take(work, work->blocks * 4 * LANES * (int64_t)sizeof(real));
    } else {
        job->values = take(work, 2 * B * row_size(call) * (int64_t)sizeof(real));
        work->bias = take(work, work->blocks * 4 * LANES * (int64_t)sizeof(real));
    }
    job->threads = take_threads(work, B * MOST_WIDTH);
}

static void pack(Thread *me, Weight *w, int rows)
{
    if (w->matrix.packed)
        pack_matrix(&w->matrix, w->weight, w->stride, rows, me->member, me->team);
}

static Thread *begin(Mogrifier *job)
{
    Thread *me = &job->threads[team_member()];
    me->member = team_member();
    me->team = team_size();
    for (int64_t i = 0; i < job->call->rounds; i++) {
        pack(me, &job->rounds[i].first, !job->backward);
        pack(me, &job->rounds[i].last, !job->backward);
    }
    return me;
}

static void forward_member(void *data)
{
    Mogrifier *job = data;
    Thread *me = begin(job);
    const Stage *stage = &job->work.stages[0];
    const MogrifierCall *call = job->call;
    pack_forward(me, &job->work.stages[0]);
    pack_forward(me, &job->work.stages[1]);
    take_state(me, 0, first_panel(me, stage) * stage->blocks, end_panel(me, stage) * stage->blocks);
    meet(&job->work.barrier, me->team);
    for (int64_t t = 0; t < call->lstm.steps; t++) {
        begin_step(me, t);
        for (int64_t i = 1; i <= call->rounds; i++)
            round_forward(me, t, i);
        step_forward(me, t);
    }
}

static void backward_member(void *data)
{
    Mogrifier *job = data;
    Thread *me = begin(job);
    Work *work = &job->work;
    const Stage *stage = &work->stages[0];
    const Call *lstm = &job->call->lstm;
    pack(me, &job->read[0], 0);
    pack(me, &job->read[1], 0);
    carry(me, work->d_h, lstm->d_last_h, NULL);
    carry(me, work->d_c, lstm->d_last_c, NULL);
    begin_backward(me, lstm->steps - 1);
    for (int64_t p = first_panel(me, stage); p < end_panel(me, stage); p++)
        step_backward(me, lstm->steps - 1, p);
    meet(&work->barrier, me->team);
    for (int64_t t = lstm->steps - 1; t >= 0; t--) {
        read_backward(me, t);
        for (int64_t i = job->call->rounds; i > 0; i--)
            product_backward(me, t, i);
    }
    carry(me, work->d_h, NULL, lstm->d_h0);
    carry(me, work->d_c, NULL, lstm->d_c0);
}

static int run(const MogrifierCall *call, int backward)
{
    Mogrifier job = {.work = {.call = &call->lstm, .gates = 4}, .call = call, .backward = backward};
    Work *work = &job.work;
    work->blocks = blocks_of(call->lstm.units);
    prepare_masks(work);
    lay_out(&job);
    work->arena = aligned_alloc(64, (size_t)work->taken);
    if (!work->arena)
        return 1;
    lay_out(&job);
    for (int g = 0; g < 4; g++)
        pad(&call->lstm, backward ? NULL : call->lstm.bias_x + g * call->lstm.units, 4, g, backward ? work->d_bias : work->bias);
    run_team(backward ? backward_member : forward_member, &job, call->lstm.threads);
    for (int g = 0; g < 4 && backward; g++)
        unpad(&call->lstm, work->d_bias, 4, g, call->lstm.d_bias_x + g * call->lstm.units);
    free(work->arena);
    return 0;
}

EXPORT(mogrifier_forward)(const MogrifierCall *call) { return run(call, 0); }
EXPORT(mogrifier_backward)(const MogrifierCall *call) { return run(call, 1); }
