/* A thread block on the host: every thread a fiber, one running at a time, in an order that the test chooses.
 *
 * A thread runs until it waits for others. Which warp goes next is drawn at random, so that a warp may run far ahead of
 * the others, as far as the barriers of the kernel let it: a missing barrier shows as a wrong result.
 */
#pragma once

#include <ucontext.h>

#include <random>
#include <vector>

#include "cuda_runtime.h"

namespace emulation {

constexpr int WARP = 32, LARGEST_BLOCK = 256, STACK_BYTES = 64 * 1024, LARGEST_SHARED = 227 * 1024;

struct Barrier {
    int arrived = 0, generation = 0;
};

struct Copy { /* of 16 bytes, asked for and not yet made */
    unsigned char *to;
    const void *from;
};

struct Thread {
    Index index;
    ucontext_t context;
    std::vector<unsigned char> stack = std::vector<unsigned char>(STACK_BYTES);
    const Barrier *waits_for = nullptr;
    int generation = 0;
    bool done = false;
    unsigned parity = 0;
    std::vector<Copy> copies;

    bool can_run() const { return !done && !(waits_for && waits_for->generation == generation); }
};

struct Mail {
    uint32_t words[8];
};
struct Warp {
    Barrier barrier;
    Mail mail[2][WARP]; /* two sets, so that a fast lane's next letter does not hide its last */
};

extern Thread threads[LARGEST_BLOCK];
extern Warp warps[LARGEST_BLOCK / WARP];
extern Barrier barriers[16];
extern ucontext_t scheduler;
extern std::mt19937 order;
extern int bank_conflicts;

inline void meet(Barrier &barrier, unsigned expected) {
    if (++barrier.arrived == static_cast<int>(expected)) {
        barrier.arrived = 0;
        ++barrier.generation;
        return;
    }
    running->waits_for = &barrier;
    running->generation = barrier.generation;
    swapcontext(&running->context, &scheduler);
}

/* What each lane of the warp brought; all lanes must take part. */
inline const Mail *exchange(const Mail &mine) {
    Warp &warp = warps[running->index.x / WARP];
    Mail *const all = warp.mail[running->parity ^= 1];
    all[running->index.x % WARP] = mine;
    meet(warp.barrier, WARP);
    return all;
}

/* Runs lanes in turn until the whole warp waits for other warps or is done. */
inline void run_warp(int first) {
    for (bool ran = true; ran;) {
        ran = false;
        for (int lane = first; lane < first + WARP; ++lane) {
            if (!threads[lane].can_run()) continue;
            running = &threads[lane];
            running->waits_for = nullptr;
            swapcontext(&scheduler, &running->context);
            ran = true;
        }
    }
}

/* False: the threads wait for each other for ever. */
inline bool run_threads(int count) {
    for (;;) {
        std::vector<int> ready;
        bool all_done = true;
        for (int first = 0; first < count; first += WARP) {
            bool can_run = false;
            for (int lane = first; lane < first + WARP; ++lane) {
                can_run = can_run || threads[lane].can_run();
                all_done = all_done && threads[lane].done;
            }
            if (can_run) ready.push_back(first);
        }
        if (all_done || ready.empty()) return all_done;
        run_warp(ready[order() % ready.size()]);
    }
}

}  // namespace emulation

inline void __syncthreads() { meet(emulation::barriers[0], emulation::block_size.x); }

inline float __shfl_xor_sync(unsigned, float value, int lanes) {
    emulation::Mail mine{};
    std::memcpy(mine.words, &value, 4);
    const emulation::Mail *const all = emulation::exchange(mine);
    std::memcpy(&value, all[(emulation::running->index.x % emulation::WARP) ^ lanes].words, 4);
    return value;
}
