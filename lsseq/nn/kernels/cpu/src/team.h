/* Threads: those of the OpenMP runtime that PyTorch has loaded, so that no second pool competes with it for the cores.
   Where there is none, the calling thread does all. */

#ifndef TEAM_H
#define TEAM_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#define TEAM_INLINE static inline __attribute__((unused))

#if defined(__APPLE__)
#define MAYBE __attribute__((weak_import))
#else
#define MAYBE __attribute__((weak))
#endif

extern void GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags) MAYBE;
extern int omp_get_thread_num(void) MAYBE;
extern int omp_get_num_threads(void) MAYBE;

typedef struct {
    atomic_int waiting, round;
} Barrier;

TEAM_INLINE void run_team(void (*work)(void *), void *data, int threads)
{
    if (threads > 1 && GOMP_parallel)
        GOMP_parallel(work, data, (unsigned)threads, 0);
    else
        work(data);
}

TEAM_INLINE int team_size(void) { return GOMP_parallel ? omp_get_num_threads() : 1; }
TEAM_INLINE int team_member(void) { return GOMP_parallel ? omp_get_thread_num() : 0; }

/* Waits until all of the team are here. It spins, because the steps are short, and yields where a core is shared. */
TEAM_INLINE void meet(Barrier *barrier, int team)
{
    if (team == 1)
        return;
    int round = atomic_load_explicit(&barrier->round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&barrier->waiting, 1, memory_order_acq_rel) == team - 1) {
        atomic_store_explicit(&barrier->waiting, 0, memory_order_relaxed);
        atomic_store_explicit(&barrier->round, round + 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&barrier->round, memory_order_acquire) == round; spins++) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
        if (spins > 4000)
            sched_yield();
    }
}

/* The part [begin, end) of `all` that a member has. */
TEAM_INLINE int64_t share(int64_t all, int member, int team) { return all * member / team; }

#endif
