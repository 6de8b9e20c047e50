/* Threads: those of the OpenMP runtime that PyTorch has loaded, so that no second pool competes with it for the cores.
   Where there is none, the calling thread does all. */

#ifndef TEAM_H
#define TEAM_H

#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

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
    atomic_int waiting, round, asleep;
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

/* How often a waiting thread looks before it lets go of its core: some ten microseconds, longer than steps differ. */
#define SPINS 1000

TEAM_INLINE void sleep_through(Barrier *barrier, int round)
{
#if defined(__linux__)
    atomic_fetch_add(&barrier->asleep, 1);
    while (atomic_load(&barrier->round) == round)
        syscall(SYS_futex, &barrier->round, FUTEX_WAIT_PRIVATE, round, NULL, NULL, 0);
    atomic_fetch_sub(&barrier->asleep, 1);
#else
    while (atomic_load(&barrier->round) == round)
        sched_yield();
#endif
}

/* Waits until all of the team are here. It spins at first, because steps are short, and then sleeps, because on a busy
   machine the core that it holds may be the one that another of the team needs. */
TEAM_INLINE void meet(Barrier *barrier, int team)
{
    if (team == 1)
        return;
    int round = atomic_load(&barrier->round);
    if (atomic_fetch_add(&barrier->waiting, 1) == team - 1) {
        atomic_store(&barrier->waiting, 0);
        atomic_store(&barrier->round, round + 1);
#if defined(__linux__)
        if (atomic_load(&barrier->asleep))
            syscall(SYS_futex, &barrier->round, FUTEX_WAKE_PRIVATE, team, NULL, NULL, 0);
#endif
        return;
    }
    for (int spins = 0; spins < SPINS; spins++) {
        if (atomic_load(&barrier->round) != round)
            return;
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
    }
    sleep_through(barrier, round);
}

/* The part [begin, end) of `all` that a member has. */
TEAM_INLINE int64_t share(int64_t all, int member, int team) { return all * member / team; }

#endif
