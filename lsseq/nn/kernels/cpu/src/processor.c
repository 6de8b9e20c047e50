/* What the library is, and what of it this machine can use. */

#include "team.h"

#define EXPORT __attribute__((visibility("default")))

/* What the sources were when it was compiled (build.py). */
EXPORT const char *digest(void) { return DIGEST; }

/* The best of the compiled instruction sets that this processor has. */
EXPORT const char *instruction_set(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return "avx512";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return "avx2";
#endif
    return "plain";
}

/* Whether the threads of an OpenMP runtime are there to be used. */
EXPORT int has_threads(void) { return GOMP_parallel != NULL; }
