/* Which of the compiled instruction sets this processor has, the best first. */

#include <stddef.h>

__attribute__((visibility("default"))) const char *instruction_set(void)
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

extern void GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags)
#if defined(__APPLE__)
    __attribute__((weak_import));
#else
    __attribute__((weak));
#endif

/* Whether the threads of an OpenMP runtime are there to be used. */
__attribute__((visibility("default"))) int has_threads(void) { return GOMP_parallel != NULL; }
