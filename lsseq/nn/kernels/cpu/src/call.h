/* What the caller hands over (`Call`, mirrored by native.py), and what the threads work with (`Work`, `Thread`).

   Shape letters: T steps, B rows, H units, G gates, r rank, S sources of a stage's gates. Arrays of the caller are
   dense. Arrays of our own are padded: units stand in blocks of LANES, the gates of a block beside each other: (…,
   blocks, G, LANES). */

#ifndef CALL_H
#define CALL_H

#include <stdlib.h>

#include "matrix.h"
#include "random.h"

/* What batch norm normalises. */
enum { OF_INPUT, OF_STATE, OF_CELL, NORMALISED };

typedef struct {
    int64_t steps, rows, units;
    int64_t rank; /* of the weight L R + diag(D) of each gate; 0 where it is whole */
    int64_t sets[NORMALISED]; /* batch norm: of statistics a step that are given, 1 or one of each row; 0: the rows' own */
    int32_t tied; /* of low rank: one R for all gates */
    int32_t threads;
    int32_t variant; /* GRU: 1 resets before the product; RNN: 1 is relu */
    int32_t draws;   /* whether masks are drawn; else rates take their place */
    int32_t saves;   /* whether a backward pass follows */
    uint64_t key;
    uint32_t layer, first_row, first_step; /* of the masks: which rows and steps of the whole these are */
    double rates[KINDS];
    int64_t thresholds[KINDS];
    const real *weight;            /* (G H, H); of low rank L, (G H, r) */
    const real *right, *diagonal;  /* low rank: R, (G r, H) or (r, H); D, (G H), or absent */
    const real *bias_x, *bias_h;   /* (G H), or absent */
    const real *gain;              /* (G H): norm of the product with the state; absent without */
    const real *cell_gain, *cell_bias; /* (H): norm of an LSTM's cell */
    const real *h0, *c0;           /* (B, H) */
    const real *past_h, *past_c;   /* the output and the cells that steps but the first start from, as these; absent where they
                                      are this recurrence's own */
    real *inputs;                  /* (T, B, G H): products with the input; the gates take their place where saved */
    real *output;                  /* (T, B, H) */
    real *cells;                   /* (T, B, H), LSTM; (B, H) unless saved */
    real *candidate;               /* (T, B, H), GRU: what the reset gate multiplies; absent unless saved and `after` */
    real *narrow, *narrow_reset;   /* (T, B, S r), low rank: R times the state, and times the one that was reset */
    real *normal;                  /* normalised products. Layer norm: (T, B, padded G H), (B, …) unless saved; batch norm:
                                      (T, blocks, B, G, LANES), absent unless saved */
    real *scales;                  /* layer norm: (T, B, 4), see SCALES */
    const real *input_gain;        /* batch norm: (G H), of the products with the input; layer norm has these done before */
    real *input_normal;            /* as `normal`, of these */
    real *input_mean, *input_variance, *mean, *variance; /* (T, S, G H): of the products with input and state; S sets */
    real *cell_mean, *cell_variance; /* (T, S, H) */
    const real *d_output, *d_cells; /* (T, B, H), or absent */
    const real *d_last_h, *d_last_c; /* (B, H), or absent */
    real *d_inputs, *d_products;   /* (T, B, G H); the same where they are equal */
    real *d_narrow, *d_narrow_reset; /* (T, B, S r) */
    real *d_diagonal;              /* (G H) */
    real *d_h0, *d_c0;             /* (B, H) */
    real *d_bias_x, *d_bias_h;     /* (G H), without layer norm; absent without biases, as d_cell_bias is */
    real *d_gain, *d_cell_gain, *d_cell_bias; /* (row blocks, G H), (row blocks, H) twice: added to, by row blocks; with
                                                 batch norm one has all rows */
    real *d_input_gain;            /* (1, G H) */
} Call;

/* Rows of the batch whose gains' gradients are added up together, whatever the number of threads. */
#define ROW_BLOCK 4
/* What is normalised: a row, for which threads must meet, or a unit, which one of them has. */
enum { LAYER_NORM = 1, BATCH_NORM };
/* Of a row that is normalised: 1 / deviation of the first group of gates and of the second; of the cell mean and that. */
enum { FIRST_SCALE, SECOND_SCALE, CELL_MEAN, CELL_SCALE, SCALES };
/* Rows times steps below which packing a weight costs more than it saves. */
#define FEW 32

typedef struct {
    int drawn;
    int32_t threshold;
    real constant;
    uint32_t prefix[2];
} Mask;

/* A stage of a step: the gates [first_gate, first_gate + gates) of each unit, and the rows of the weight for them. */
typedef struct {
    int first_gate, gates;
    int group;           /* the first so many gates are normalised together, then the rest */
    int64_t depth;       /* of the products */
    int sources;         /* vectors that the gates are products of: 1 for all, or one each */
    int64_t stride;      /* of the rows of these vectors */
    int64_t panels;
    int blocks;          /* of units in a panel */
    const real *weight;  /* its first row */
    real *packed;        /* (panels, S, depth, vectors of a source); absent where the weight is used as it is */
    const real *right;   /* of low rank: its first row of R */
    Matrix inner;        /* R, (H, S r); in the backward pass L of each source, (gates H / S, r) */
    real *narrow, *d_narrow;     /* (T or 1, B, S r) */
    real *diagonal, *d_diagonal; /* (blocks, gates, LANES); absent without D */
    real *normal;        /* layer norm: normalised products, of a row (blocks, gates, LANES) within the call's */
    real *gain;          /* of that, (blocks, gates, LANES) */
} Stage;

typedef struct {
    const Call *call;
    int gates;      /* G */
    int64_t blocks; /* of units */
    int norm;       /* of the two above; 0 without */
    int hoisted;    /* whether the products with the input are there before the first step, in call->inputs */
    Mask masks[KINDS];
    real drop_scale;
    Barrier barrier;
    Stage stages[2];
    real *bias, *candidate_bias, *cell_gain, *cell_bias; /* padded: (blocks, G, LANES), (blocks, LANES) */
    real *reset; /* (B, H): the state as the reset gate of a GRU leaves it to the product */
    real *d_h, *d_c, *d_reset; /* gradients carried to the step before, (panels, B, width) */
    real *d_bias, *d_candidate_bias;
    int64_t taken; /* bytes of the arena */
    char *arena;
} Work;

typedef struct {
    Work *work;
    int member, team;
    uint32_t *row_words[KINDS];
    real *products; /* of a panel, or of a row */
    real *cells;    /* a value of each unit of a row; with batch norm of each row and unit of a panel */
    real *block;    /* batch norm: gradients of a unit block's gates, (B, G, LANES) */
} Thread;

INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t blocks_of(int64_t units) { return (units + LANES - 1) / LANES; }
INLINE int64_t lanes_of(const Call *call, int64_t block) { return at_most(call->units - block * LANES, LANES); }

/* How much of the old value is kept (zoneout), or whether the candidate is dropped: 1 and 0, or the rate. */
INLINE vec event(const Thread *me, int kind, int64_t r, int64_t block)
{
    const Mask *mask = &me->work->masks[kind];
    if (!mask->drawn)
        return all(mask->constant);
    const uint32_t *row_words = me->row_words[kind];
    return draw(row_words[r], row_words[me->work->call->rows + r], (uint32_t)(block * LANES), mask->threshold);
}

/* The factor of recurrent dropout. */
INLINE vec dropped(const Thread *me, int64_t r, int64_t block)
{
    return (1 - event(me, RECURRENT_DROPOUT, r, block)) * me->work->drop_scale;
}

INLINE vec keep(vec kept, vec old, vec new) { return kept * old + (1 - kept) * new; }

INLINE void add_to(real *sum_at, vec v) { store(sum_at, load(sum_at, LANES) + v, LANES); }

/* The output that a step starts from, (B, H). */
INLINE const real *state_before(const Call *call, int64_t t)
{
    const real *past = call->past_h ? call->past_h : call->output;
    return t == 0 ? call->h0 : past + (t - 1) * call->rows * call->units;
}

/* Memory from the arena, on a boundary of 64 bytes. */
static void *take(Work *work, int64_t bytes)
{
    void *begin = work->arena ? work->arena + work->taken : NULL;
    work->taken += (bytes + 63) / 64 * 64;
    return begin;
}

/* The threads of a call, each with memory for a panel's products, `widest` vectors; masks should be prepared. */
static Thread *take_threads(Work *work, int64_t widest)
{
    const Call *call = work->call;
    const int64_t vector = LANES * (int64_t)sizeof(real);
    const int over_rows = work->norm == BATCH_NORM;
    Thread *threads = take(work, call->threads * (int64_t)sizeof(Thread));
    for (int i = 0; i < call->threads; i++) {
        Thread thread = {.work = work};
        for (int kind = 0; kind < KINDS; kind++)
            thread.row_words[kind] = take(work, work->masks[kind].drawn ? 2 * call->rows * (int64_t)sizeof(uint32_t) : 0);
        thread.products = take(work, widest * vector);
        thread.cells = take(work, (over_rows ? call->rows * work->stages[0].blocks : work->blocks) * vector);
        thread.block = take(work, over_rows ? call->rows * work->gates * vector : 0);
        if (work->arena)
            threads[i] = thread;
    }
    return threads;
}

static void prepare_masks(Work *work)
{
    const Call *call = work->call;
    for (int kind = 0; kind < KINDS; kind++) {
        Mask *mask = &work->masks[kind];
        int64_t threshold = call->thresholds[kind];
        mask->drawn = call->draws && threshold > INT32_MIN && threshold <= INT32_MAX;
        mask->threshold = mask->drawn ? (int32_t)threshold : 0;
        if (call->draws)
            mask->constant = threshold > INT32_MAX ? 1 : 0;
        else
            mask->constant = kind == RECURRENT_DROPOUT ? 0 : (real)call->rates[kind];
        draw_prefix(call->key, call->layer, (uint32_t)kind, mask->prefix);
    }
    double dropout = call->draws ? call->rates[RECURRENT_DROPOUT] : 0;
    work->drop_scale = dropout < 1 ? (real)(1 / (1 - dropout)) : 0;
}

static void begin_step(Thread *me, int64_t t)
{
    const Work *work = me->work;
    for (int kind = 0; kind < KINDS; kind++)
        if (work->masks[kind].drawn)
            draw_words(work->masks[kind].prefix, work->call->first_step + (uint32_t)t, work->call->first_row,
                       work->call->rows, me->row_words[kind]);
}

/* A vector of each gate of each unit block out of (G H), padded with zeros; absent arrays are zero. */
static void pad(const Call *call, const real *from, int gates, int gate, real *to)
{
    for (int64_t u = 0; u < blocks_of(call->units); u++)
        store(to + (u * gates + gate) * LANES, from ? load(from + u * LANES, lanes_of(call, u)) : all(0), LANES);
}

static void unpad(const Call *call, const real *from, int gates, int gate, real *to)
{
    for (int64_t u = 0; u < blocks_of(call->units); u++)
        store(to + u * LANES, load(from + (u * gates + gate) * LANES, LANES), lanes_of(call, u));
}

#endif
