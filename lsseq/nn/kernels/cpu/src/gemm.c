/* out = a b or out += a b, for matrices of many rows: what a sequence multiplies at once. The file is compiled for each
   type of number and each instruction set. */

#include <stdlib.h>

#include "export.h"
#include "matrix.h"

/* Of a, at most so many numbers are used at a time, in whole tiles: they stay in the second-level cache. */
#define BLOCK_SIZE 65536
#define MOST_BLOCK_ROWS (32 * MOST_ROWS)

typedef struct {
    int64_t rows, depth, columns;
    int64_t a_stride, a_step;    /* of a's rows, and of the numbers in a row; one of them is 1 */
    int64_t b_stride, out_stride;
    int32_t b_turned;            /* b stands as (columns, depth) */
    int32_t add, threads;
    const real *a, *b;           /* (rows, depth), (depth, columns) */
    real *out;                   /* (rows, columns) */
} Product;

typedef struct {
    const Product *product;
    Matrix b;
    int64_t block_rows, blocks;
    real *scratch; /* of each thread: a panel's columns of out, then a block of a */
    int64_t scratch_size;
    Barrier barrier;
} GemmJob;

/* The columns of a block of a follow each other: where its rows are far apart, tiles would read all over the memory. */
static void pack_block(const Product *product, int64_t row, int64_t rows, real *to)
{
    for (int64_t k = 0; k < product->depth; k++)
        memcpy(to + k * rows, product->a + row + k * product->a_step, (size_t)rows * sizeof(real));
}

/* Each member has its share of the blocks of rows, and within these of the panels of columns. */
static void gemm_member(void *data)
{
    GemmJob *job = data;
    const Product *product = job->product;
    const int member = team_member(), team = team_size(), turned = product->a_step != 1;
    const int64_t panels = job->b.panels, all = job->blocks * panels, size = job->b.width * LANES;
    real *columns = job->scratch + member * job->scratch_size, *block = columns + job->block_rows * size;
    pack_matrix(&job->b, product->b, product->b_stride, product->b_turned, member, team);
    meet(&job->barrier, team);
    for (int64_t i = share(all, member, team), end = share(all, member + 1, team), packed = -1; i < end; i++) {
        const int64_t row = i / panels * job->block_rows, p = i % panels, left = product->rows - row;
        const int64_t rows = left < job->block_rows ? left : job->block_rows;
        if (turned && packed != row)
            pack_block(product, packed = row, rows, block);
        multiply_panel(&job->b, p, rows, turned ? block : product->a + row * product->a_stride,
                       turned ? 1 : product->a_stride, turned ? rows : 1, product->out + row * product->out_stride,
                       product->out_stride, product->add, columns);
    }
}

EXPORT(gemm)(const Product *product)
{
    GemmJob job = {.product = product, .b = matrix_of(product->depth, product->columns, 1)};
    int64_t rows = BLOCK_SIZE / product->depth, even = (product->rows + product->threads - 1) / product->threads;
    rows = rows < MOST_BLOCK_ROWS ? rows : MOST_BLOCK_ROWS;
    rows = (rows < even ? rows : even) / TILE_ROWS * TILE_ROWS;
    job.block_rows = rows < TILE_ROWS ? TILE_ROWS : rows;
    job.blocks = (product->rows + job.block_rows - 1) / job.block_rows;
    job.scratch_size = job.block_rows * (job.b.width * LANES + product->depth);
    job.scratch_size = (job.scratch_size + LANES - 1) / LANES * LANES;
    const int64_t count = matrix_size(&job.b) + product->threads * job.scratch_size;
    real *arena = aligned_alloc(64, ((size_t)count * sizeof(real) + 63) / 64 * 64);
    if (!arena)
        return 1;
    job.b.packed = arena;
    job.scratch = arena + matrix_size(&job.b);
    run_team(gemm_member, &job, product->threads);
    free(arena);
    return 0;
}
