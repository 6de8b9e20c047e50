/* Recurrences over a whole sequence, forward and backward: LSTM, GRU and the simple network, with zoneout, recurrent
   dropout, layer norm and weights of low rank, the LSTM with batch norm too. The file is compiled for each type of number
   and each instruction set. */

#include "export.h"
#include "gru.h"
#include "lstm.h"
#include "rnn.h"

typedef enum { LSTM, GRU, RNN } Cell;

static const int GATES[] = {4, 3, 1};

typedef struct {
    Work work;
    Cell cell;
    int backward;
    Thread *threads;
} Job;

static int two_stages(const Job *job) { return job->cell == GRU && job->work.call->variant; }

/* The memory that a job needs, taken from the arena; the first time there is none, which tells how much is needed. */
static void lay_out(Job *job)
{
    Work *work = &job->work;
    const Call *call = work->call;
    const int64_t vector = LANES * (int64_t)sizeof(real), B = call->rows, H = call->units;
    const int stages = 1 + two_stages(job), packs = job->backward || B * call->steps >= FEW;
    work->taken = 0;
    if (stages == 1)
        add_stage(work, &work->stages[0], 0, work->gates, work->gates == 3 ? 2 : work->gates);
    else {
        add_stage(work, &work->stages[0], RESET, 2, 2);
        add_stage(work, &work->stages[1], CANDIDATE, 1, 1);
    }
    int64_t widest = 0;
    for (int s = 0; s < stages; s++) {
        Stage *stage = &work->stages[s];
        if (call->rank)
            add_factors(work, stage, job->backward, packs);
        const int64_t narrow = stage->sources * call->rank;
        if (job->backward)
            plan_panels(work, stage, 1, 1, call->rank ? narrow : stage->gates * H, 1);
        else
            plan_panels(work, stage, stage->gates, stage->sources, call->rank ? call->rank : H, packs);
        int64_t width = B * (stage->blocks * stage->gates > MOST_WIDTH ? stage->blocks * stage->gates : MOST_WIDTH);
        widest = width > widest ? width : widest;
    }
    if (widest < work->blocks * 4)
        widest = work->blocks * 4;
    work->bias = take(work, work->blocks * work->gates * vector);
    work->candidate_bias = take(work, work->blocks * vector);
    work->cell_gain = take(work, work->blocks * vector);
    work->cell_bias = take(work, work->blocks * vector);
    if (two_stages(job) && !job->backward)
        work->reset = take(work, B * H * (int64_t)sizeof(real));
    if (job->backward) {
        work->d_h = take_carried(work);
        work->d_c = job->cell == LSTM ? take_carried(work) : NULL;
        work->d_reset = two_stages(job) ? take_carried(work) : NULL;
        work->d_bias = take(work, work->blocks * work->gates * vector);
        work->d_candidate_bias = take(work, work->blocks * vector);
    }
    job->threads = take_threads(work, widest);
}

/* Both biases of a gate act alike, but for the candidate of a GRU. */
static void pad_parameters(Job *job)
{
    Work *work = &job->work;
    const Call *call = work->call;
    const int64_t H = call->units;
    for (int g = 0; g < work->gates; g++) {
        pad(call, call->bias_x ? call->bias_x + g * H : NULL, work->gates, g, work->bias);
        int apart = job->cell == GRU && g == CANDIDATE;
        pad(call, call->bias_h && !apart ? call->bias_h + g * H : NULL, 1, 0, work->candidate_bias);
        for (int64_t u = 0; u < work->blocks; u++)
            add_to(work->bias + (u * work->gates + g) * LANES, load(work->candidate_bias + u * LANES, LANES));
    }
    pad(call, call->bias_h && job->cell == GRU ? call->bias_h + CANDIDATE * H : NULL, 1, 0, work->candidate_bias);
    for (int s = 0; s < 1 + two_stages(job); s++) {
        const Stage *stage = &work->stages[s];
        pad_diagonal(work, stage);
        for (int g = 0; g < stage->gates && work->norm == LAYER_NORM; g++)
            pad(call, call->gain + (stage->first_gate + g) * H, stage->gates, g, stage->gain);
    }
    pad(call, call->cell_gain, 1, 0, work->cell_gain);
    pad(call, call->cell_bias, 1, 0, work->cell_bias);
}

static void forward_member(void *data)
{
    Job *job = data;
    Thread *me = &job->threads[team_member()];
    Work *work = &job->work;
    const Call *call = work->call;
    me->member = team_member();
    me->team = team_size();
    for (int s = 0; s < 1 + two_stages(job); s++) {
        pack_forward(me, &work->stages[s]);
        pack_inner(me, &work->stages[s], 0);
    }
    for (int64_t t = 0; t < call->steps; t++) {
        begin_step(me, t);
        if (two_stages(job)) {
            run_stage(me, t, &work->stages[0], state_before(call, t), gru_gates_forward);
            run_stage(me, t, &work->stages[1], work->reset, gru_candidate_forward);
        } else
            run_stage(me, t, &work->stages[0], state_before(call, t),
                      job->cell == LSTM ? lstm_forward : job->cell == GRU ? gru_forward : rnn_forward);
    }
}

static void backward_member(void *data)
{
    Job *job = data;
    Thread *me = &job->threads[team_member()];
    Work *work = &job->work;
    const Call *call = work->call;
    const Stage *first = &work->stages[0], *second = &work->stages[1];
    me->member = team_member();
    me->team = team_size();
    for (int s = 0; s < 1 + two_stages(job); s++) {
        pack_backward(me, &work->stages[s]);
        pack_inner(me, &work->stages[s], 1);
    }
    carry(me, work->d_h, call->d_last_h, NULL);
    if (job->cell == LSTM)
        carry(me, work->d_c, call->d_last_c, NULL);
    if (two_stages(job))
        carry(me, work->d_reset, NULL, NULL);
    meet(&work->barrier, me->team);
    Pointwise *pointwise = job->cell == LSTM ? lstm_backward : job->cell == GRU ? gru_backward : rnn_backward;
    for (int64_t t = call->steps - 1; t >= 0; t--) {
        begin_step(me, t);
        run_stage_backward(me, first, t + 1, work->d_h, t, pointwise, two_stages(job) ? second : first);
        if (two_stages(job))
            run_stage_backward(me, second, t, work->d_reset, t, gru_reset_backward, first);
    }
    run_stage_backward(me, first, 0, work->d_h, 0, NULL, NULL);
    carry(me, work->d_h, NULL, call->d_h0);
    if (job->cell == LSTM)
        carry(me, work->d_c, NULL, call->d_c0);
}

static int run(const Call *call, Cell cell, int backward)
{
    Job job = {.work = {.call = call, .hoisted = 1}, .cell = cell, .backward = backward};
    Work *work = &job.work;
    work->gates = GATES[cell];
    work->blocks = blocks_of(call->units);
    work->norm = !call->gain ? 0 : call->mean ? BATCH_NORM : LAYER_NORM;
    prepare_masks(work);
    lay_out(&job);
    work->arena = aligned_alloc(64, (size_t)work->taken);
    if (!work->arena)
        return 1;
    lay_out(&job);
    pad_parameters(&job);
    if (backward) {
        memset(work->d_bias, 0, (size_t)(work->blocks * work->gates * LANES) * sizeof(real));
        memset(work->d_candidate_bias, 0, (size_t)(work->blocks * LANES) * sizeof(real));
    }
    run_team(backward ? backward_member : forward_member, &job, call->threads);
    for (int g = 0; g < work->gates && backward && call->d_bias_x; g++) {
        unpad(call, work->d_bias, work->gates, g, call->d_bias_x + g * call->units);
        int apart = cell == GRU && g == CANDIDATE;
        unpad(call, apart ? work->d_candidate_bias : work->d_bias, apart ? 1 : work->gates, apart ? 0 : g,
              call->d_bias_h + g * call->units);
    }
    for (int s = 0; s < 1 + two_stages(&job); s++)
        unpad_diagonal(work, &work->stages[s]);
    free(work->arena);
    return 0;
}

EXPORT(lstm_forward)(const Call *call) { return run(call, LSTM, 0); }
EXPORT(lstm_backward)(const Call *call) { return run(call, LSTM, 1); }
EXPORT(gru_forward)(const Call *call) { return run(call, GRU, 0); }
EXPORT(gru_backward)(const Call *call) { return run(call, GRU, 1); }
EXPORT(rnn_forward)(const Call *call) { return run(call, RNN, 0); }
EXPORT(rnn_backward)(const Call *call) { return run(call, RNN, 1); }
EXPORT(padded_units)(int64_t units) { return (int)(blocks_of(units) * LANES); }
