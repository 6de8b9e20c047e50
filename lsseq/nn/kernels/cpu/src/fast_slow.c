/* The fast-slow network over a whole sequence, forward and backward, of LSTM cells with zoneout, dropout, layer norm and
   weights of low rank. The file is compiled for each type of number and each instruction set. */

#include "export.h"
#include "fast_slow.h"

static int64_t widest(const Work *work)
{
    const int64_t of_panel = work->call->rows * MOST_WIDTH, of_row = work->blocks * 4;
    const int64_t of_stage = work->call->rows * work->stages[0].blocks * 4;
    const int64_t most = of_panel > of_stage ? of_panel : of_stage;
    return most > of_row ? most : of_row;
}

/* The memory of a cell's LSTM, taken from its arena; the first time there is none, which tells how much is needed. */
static void lay_out_lstm(const FastSlow *network, int64_t k)
{
    Cell *cell = &network->cells[k];
    Work *work = &cell->lstm;
    const Call *call = work->call;
    Stage *stage = &work->stages[0];
    const int packs = network->backward || call->rows * call->steps >= FEW;
    const int64_t vector = LANES * (int64_t)sizeof(real);
    work->taken = 0;
    add_stage(work, stage, 0, 4, 4);
    if (call->rank)
        add_factors(work, stage, network->backward, packs);
    if (network->backward)
        plan_panels(work, stage, 1, 1, call->rank ? stage->sources * call->rank : 4 * call->units, 1);
    else
        plan_panels(work, stage, 4, stage->sources, call->rank ? call->rank : call->units, packs);
    work->bias = take(work, work->blocks * 4 * vector);
    work->d_bias = take(work, work->blocks * 4 * vector);
    work->cell_gain = take(work, work->blocks * vector);
    work->cell_bias = take(work, work->blocks * vector);
    if (network->backward) {
        const Work *first = &network->cells[FIRST].lstm;
        work->d_h = k <= SLOW ? take_carried(work) : first->d_h;
        work->d_c = k <= SLOW ? take_carried(work) : first->d_c;
    }
    cell->threads = take_threads(work, widest(work));
}

/* The same of its product with what it reads. */
static void lay_out_reader(const FastSlow *network, int64_t k)
{
    Cell *cell = &network->cells[k];
    Work *work = &cell->reader;
    const Call *call = work->call;
    Stage *stage = &work->stages[0];
    const int64_t R = cell->call->reading.features;
    work->taken = 0;
    add_stage(work, stage, 0, 4, 4);
    if (network->backward) {
        plan_panels(work, stage, 1, 1, 0, 0);
        cell->weight = matrix_of(4 * call->units, R, call->threads);
        cell->weight.packed = take(work, matrix_size(&cell->weight) * (int64_t)sizeof(real));
    } else
        plan_panels(work, stage, 4, 1, R, call->rows * call->steps >= FEW);
    cell->readers = take_threads(work, widest(work));
}

/* Whether there was memory for it. */
static int take_arena(const FastSlow *network, int64_t k, Work *work, void (*lay_out)(const FastSlow *, int64_t))
{
    lay_out(network, k);
    work->arena = aligned_alloc(64, (size_t)work->taken);
    if (!work->arena)
        return 0;
    lay_out(network, k);
    for (int g = 0; g < 4 && work->norm; g++)
        pad(work->call, work->call->gain + g * work->call->units, 4, g, work->stages[0].gain);
    return 1;
}

static int prepare(const FastSlow *network, int64_t k)
{
    Cell *cell = &network->cells[k];
    const CellCall *call = cell->call;
    Work *work = &cell->lstm;
    const int64_t blocks = blocks_of(call->lstm.units);
    *work = (Work){.call = &call->lstm, .gates = 4, .blocks = blocks, .norm = call->lstm.gain ? LAYER_NORM : 0};
    work->hoisted = k == FIRST || reads(cell);
    prepare_masks(work);
    if (!take_arena(network, k, work, lay_out_lstm))
        return 0;
    for (int g = 0; g < 4; g++) {
        pad(work->call, call->lstm.bias_x ? call->lstm.bias_x + g * call->lstm.units : NULL, 4, g, work->bias);
        pad(work->call, NULL, 4, g, work->d_bias);
    }
    pad(work->call, call->lstm.cell_gain, 1, 0, work->cell_gain);
    pad(work->call, call->lstm.cell_bias, 1, 0, work->cell_bias);
    pad_diagonal(work, &work->stages[0]);
    if (!reads(cell))
        return 1;
    const Call *product = &call->reading.product;
    cell->reader = (Work){.call = product, .gates = 4, .blocks = blocks, .norm = product->gain ? LAYER_NORM : 0};
    return take_arena(network, k, &cell->reader, lay_out_reader);
}

/* The calling thread as one of these. */
static Thread *one_of(Thread *threads)
{
    Thread *me = &threads[team_member()];
    me->member = team_member();
    me->team = team_size();
    return me;
}

static void forward_member(void *data)
{
    const FastSlow *network = data;
    const int64_t K = network->call->cells, T = network->call->turns[FIRST].lstm.steps;
    for (int64_t k = 0; k < K; k++) {
        Cell *cell = &network->cells[k];
        Thread *me = one_of(cell->threads);
        pack_forward(me, &cell->lstm.stages[0]);
        pack_inner(me, &cell->lstm.stages[0], 0);
        if (reads(cell))
            pack_forward(one_of(cell->readers), &cell->reader.stages[0]);
    }
    for (int64_t t = 0; t < T; t++)
        for (int64_t k = 0; k < K; k++) {
            const Cell *cell = &network->cells[k];
            Thread *me = one_of(cell->threads);
            if (reads(cell))
                read_forward(cell, one_of(cell->readers), t);
            begin_step(me, t);
            run_stage(me, t, &cell->lstm.stages[0], state_before(me->work->call, t), lstm_forward);
        }
}

static void backward_member(void *data)
{
    const FastSlow *network = data;
    const int64_t K = network->call->cells, T = network->call->turns[FIRST].lstm.steps;
    for (int64_t k = 0; k < K; k++) {
        Cell *cell = &network->cells[k];
        Thread *me = one_of(cell->threads);
        const Work *work = me->work;
        pack_backward(me, &cell->lstm.stages[0]);
        pack_inner(me, &cell->lstm.stages[0], 1);
        if (k <= SLOW) {
            carry(me, work->d_h, work->call->d_last_h, NULL);
            carry(me, work->d_c, work->call->d_last_c, NULL);
        }
        if (!reads(cell))
            continue;
        me = one_of(cell->readers);
        pack_matrix(&cell->weight, me->work->call->weight, cell->call->reading.features, 0, me->member, me->team);
    }
    Thread *me = one_of(network->cells[FIRST].threads);
    meet(&me->work->barrier, me->team);
    for (int64_t t = T - 1; t >= 0; t--)
        for (int64_t k = K - 1; k >= 0; k--) {
            const Cell *cell = &network->cells[k];
            const int64_t next = follower(network, k);
            const Stage *stage = &network->cells[next].lstm.stages[0];
            /* The products of the cell that went on from the state which this one left. */
            me = one_of(network->cells[next].threads);
            run_stage_backward(me, stage, next > k ? t : t + 1, me->work->d_h, 0, NULL, NULL);
            stage = &cell->lstm.stages[0];
            me = one_of(cell->threads);
            begin_step(me, t);
            run_stage_backward(me, stage, T, NULL, t, lstm_backward, stage);
            if (reads(cell))
                read_backward(cell, one_of(cell->readers), t);
        }
    for (int64_t k = 0; k <= SLOW; k++) {
        me = one_of(network->cells[k].threads);
        const Work *work = me->work;
        run_stage_backward(me, &work->stages[0], 0, work->d_h, 0, NULL, NULL);
        carry(me, work->d_h, NULL, work->call->d_h0);
        carry(me, work->d_c, NULL, work->call->d_c0);
    }
}

static int run(const FastSlowCall *call, int backward)
{
    FastSlow network = {.call = call, .backward = backward};
    network.cells = calloc((size_t)call->cells, sizeof(Cell));
    int ready = network.cells != NULL;
    for (int64_t k = 0; k < call->cells && ready; k++) {
        network.cells[k].call = &call->turns[k];
        ready = prepare(&network, k);
    }
    if (ready)
        run_team(backward ? backward_member : forward_member, &network, call->turns[FIRST].lstm.threads);
    for (int64_t k = 0; k < call->cells && network.cells; k++) {
        const Work *work = &network.cells[k].lstm;
        const Call *own = &call->turns[k].lstm;
        for (int g = 0; g < 4 && ready && backward && own->d_bias_x; g++)
            unpad(own, work->d_bias, 4, g, own->d_bias_x + g * own->units);
        if (ready && backward)
            unpad_diagonal(work, &work->stages[0]);
        free(work->arena);
        free(network.cells[k].reader.arena);
    }
    free(network.cells);
    return !ready;
}

EXPORT(fast_slow_forward)(const FastSlowCall *call) { return run(call, 0); }
EXPORT(fast_slow_backward)(const FastSlowCall *call) { return run(call, 1); }
