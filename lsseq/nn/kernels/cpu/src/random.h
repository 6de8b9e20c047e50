/* The masks of lsseq/nn/random.py, which documents the function: the same events for the same integers. */

#ifndef RANDOM_H
#define RANDOM_H

#include "vector.h"

#define GOLDEN 0x9E3779B9u
#define FIRST_FACTOR 0x7FEB352Du
#define SECOND_FACTOR 0x846CA68Bu

enum { ZONEOUT_CELL, ZONEOUT_HIDDEN, RECURRENT_DROPOUT, KINDS };

INLINE uint32_t mix_word(uint32_t x)
{
    x ^= x >> 16;
    x *= FIRST_FACTOR;
    x ^= x >> 15;
    x *= SECOND_FACTOR;
    return x ^ x >> 16;
}

/* Both words of a row and step after key, layer and kind. */
INLINE void draw_prefix(uint64_t key, uint32_t layer, uint32_t kind, uint32_t prefix[2])
{
    const uint32_t start[2] = {0x243F6A88u, 0x85A308D3u}, chain[4] = {(uint32_t)key, (uint32_t)(key >> 32), layer, kind};
    for (int i = 0; i < 2; i++) {
        prefix[i] = start[i];
        for (int j = 0; j < 4; j++)
            prefix[i] = mix_word((prefix[i] ^ chain[j]) + GOLDEN);
    }
}

/* The words that key the units of each row at a step: two arrays, one after the other. */
static void draw_words(const uint32_t prefix[2], uint32_t step, uint32_t first_row, int64_t rows, uint32_t *row_words)
{
    for (int i = 0; i < 2; i++) {
        uint32_t by_step = mix_word((step ^ prefix[i]) + GOLDEN);
        for (int64_t r = 0; r < rows; r++)
            row_words[i * rows + r] = mix_word((by_step ^ (first_row + (uint32_t)r)) + GOLDEN);
    }
}

/* 1 where the event happens and 0 elsewhere, for LANES units from `unit` on. */
INLINE vec draw(uint32_t a, uint32_t b, uint32_t unit, int32_t threshold)
{
    words x;
    for (int i = 0; i < LANES; i++)
        x[i] = (unit + (uint32_t)i) * GOLDEN;
    x ^= a;
    x ^= x >> 16;
    x *= FIRST_FACTOR;
    x ^= b;
    x ^= x >> 15;
    x *= SECOND_FACTOR;
    signed_words hit = (signed_words)x < threshold;
    return __builtin_convertvector(-hit, vec);
}

#endif
