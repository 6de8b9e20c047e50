/* Vectors of real numbers, and the functions that gates need.

   `real` is float or double and a `vec` holds LANES of them; the width is that of the instruction set that the file is
   compiled for. The compiler's vector extension is used and one intrinsic, `multiply_add`, where a processor has it, so
   that every processor is served. */

#ifndef VECTOR_H
#define VECTOR_H

#include <stdint.h>
#include <string.h>
#if defined(__FMA__)
#include <immintrin.h>
#endif

#ifdef DOUBLE
typedef double real;
typedef int64_t whole; /* the integer of the same size */
#else
typedef float real;
typedef int32_t whole;
#endif

#define LANES ((int)(VECTOR_BYTES / sizeof(real)))

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef whole ivec __attribute__((vector_size(VECTOR_BYTES)));
typedef real unaligned_vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));
typedef uint32_t words __attribute__((vector_size(LANES * 4)));
typedef int32_t signed_words __attribute__((vector_size(LANES * 4)));

#define INLINE static inline __attribute__((always_inline, unused))
/* Of a header that not every file uses all of. */
#define PART static __attribute__((unused))

/* a b + c, rounded once where the processor can. Compilers take that for an expression in one loop and two operations in
   another, by what they know of its speed; but results must not depend on which loop computes them. */
INLINE vec multiply_add(vec a, vec b, vec c)
{
#if !defined(__FMA__) || VECTOR_BYTES < 32
    return a * b + c;
#elif VECTOR_BYTES == 64 && defined(DOUBLE)
    return (vec)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif VECTOR_BYTES == 64
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(DOUBLE)
    return (vec)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#endif
}

/* The first n lanes from memory, zeros behind. */
INLINE vec load(const real *from, int64_t n)
{
    if (n >= LANES)
        return *(const unaligned_vec *)from;
    vec v = {0};
    memcpy(&v, from, (size_t)n * sizeof(real));
    return v;
}

/* The first n lanes to memory. */
INLINE void store(real *to, vec v, int64_t n)
{
    if (n >= LANES)
        *(unaligned_vec *)to = v;
    else
        memcpy(to, &v, (size_t)n * sizeof(real));
}

INLINE vec all(real x) { return x - (vec){0}; }

INLINE vec choose(ivec which, vec yes, vec no) { return (vec)((which & (ivec)yes) | (~which & (ivec)no)); }

INLINE real sum(vec v)
{
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            v[i] += v[i + half];
    return v[0];
}

/* Added to a variance before it divides. */
#define EPSILON 1e-5

/* 1 / √v of each lane. */
INLINE vec inverse_root(vec v)
{
    for (int i = 0; i < LANES; i++)
#ifdef DOUBLE
        v[i] = __builtin_sqrt(v[i]);
#else
        v[i] = __builtin_sqrtf(v[i]);
#endif
    return 1 / v;
}

/* exp(x) = scale (1 + rest): x = n ln 2 + r with |r| <= ln 2 / 2, scale = 2^n, rest = exp(r) - 1 by its series. Exact to
   about an ulp; x is held inside the range of normal numbers; NaN stays NaN. */
INLINE vec exp_parts(vec x, vec *scale)
{
#ifdef DOUBLE
    const real most = 708.0, magic = 0x1.8p52, ln2_high = 0x1.62e42fefa3800p-1, ln2_low = 0x1.ef35793c76730p-45;
    const int mantissa = 52;
    const whole one = (whole)0x3FF0000000000000;
#else
    const real most = 87.0f, magic = 0x1.8p23f, ln2_high = 0x1.62e400p-1f, ln2_low = 0x1.7f7d1cp-20f;
    const int mantissa = 23;
    const whole one = 0x3F800000;
#endif
    x = choose(x > most, all(most), x);
    x = choose(x < -most, all(-most), x);
    /* Adding the magic number rounds to an integer, which then stands in the low bits. */
    vec shifted = x * (real)1.4426950408889634074 + magic, n = shifted - magic;
    vec r = x - n * ln2_high;
    r = r - n * ln2_low;
    *scale = (vec)(((ivec)shifted << mantissa) + one);
#ifdef DOUBLE
    vec p = r * (1.0 / 6227020800.0) + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
#else
    vec p = r * (1.0f / 5040.0f) + 1.0f / 720.0f;
#endif
    p = p * r + (real)(1.0 / 120.0);
    p = p * r + (real)(1.0 / 24.0);
    p = p * r + (real)(1.0 / 6.0);
    p = p * r + (real)0.5;
    return p * (r * r) + r;
}

INLINE vec sigmoid(vec x)
{
    vec scale, rest = exp_parts(-x, &scale);
    return 1 / (1 + (scale + scale * rest));
}

/* By exp(2x) - 1, which keeps small values exact. */
INLINE vec tanh_of(vec x)
{
    const real most = 20; /* tanh is 1 there, in double precision too */
    x = choose(x > most, all(most), x);
    x = choose(x < -most, all(-most), x);
    vec scale, rest = exp_parts(x + x, &scale);
    vec less = scale * rest + (scale - 1);
    return less / (less + 2);
}

#endif
