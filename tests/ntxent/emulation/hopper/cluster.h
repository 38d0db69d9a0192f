/* A cluster of two thread blocks on the host: every thread a fiber, one running at a time, in an order drawn at random.
 *
 * Copies of the copy engine and products of the tensor cores are made later than they are asked for, as late as the
 * kernel's barriers and waits let them be, and until then their place holds NaN. So a wait that is missing shows as a
 * wrong result, whatever the order, and waits that never end as a deadlock.
 */
#pragma once

#include <ucontext.h>

#include <cstdio>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "cuda_runtime.h"

namespace emulation {

constexpr int WARP = 32, BLOCKS = 2, BLOCK_THREADS = 384, CLUSTER_THREADS = BLOCKS * BLOCK_THREADS;
constexpr int WARPS = CLUSTER_THREADS / WARP, STACK_BYTES = 128 * 1024, LARGEST_SHARED = 227 * 1024;

struct Barrier { /* of warps, blocks and the cluster */
    int arrived = 0, generation = 0;
};

struct PhaseBarrier { /* an mbarrier */
    int arrivals = 0, missing = 0, bytes = 0;
    unsigned phase = 0;
};

struct Product { /* of a warp's 16 rows, seen from one lane */
    float *c;
    int nt;
    bool first, right_transposed, left_in_registers;
    uint64_t left, right;
    uint32_t registers[4];
    int group;
};

struct Thread {
    Index index;
    int block = 0;
    ucontext_t context;
    std::vector<unsigned char> stack = std::vector<unsigned char>(STACK_BYTES);
    std::function<bool()> waits_for;
    bool done = false;
    int letter = 0;
    std::deque<Product> products;
    int groups = 0;
    std::map<float *, std::vector<float>> sums; /* of accumulators with products under way */

    bool can_run() const { return !done && (!waits_for || waits_for()); }
};

struct Mail {
    uint32_t words[4];
};
struct Warp {
    Barrier barrier;
    Mail mail[2][WARP];
};

struct Copy { /* to one block; asked for and not yet made */
    std::function<void()> make;
};

struct Block {
    alignas(1024) unsigned char memory[LARGEST_SHARED];
    std::map<uint32_t, PhaseBarrier> phases;
    Barrier named[16];
};

struct Cluster {
    Block blocks[BLOCKS];
    Thread threads[CLUSTER_THREADS];
    Warp warps[WARPS];
    Barrier all;
    std::vector<Copy> copies;
    ucontext_t scheduler;
    std::mt19937 order;
    std::string broken; /* the first rule that was */
};

extern Cluster cluster;
extern std::function<void()> kernel_of_thread;

inline int thread_in_cluster() { return static_cast<int>(running - cluster.threads); }
inline Block &own_block() { return cluster.blocks[running->block]; }
inline Warp &own_warp() { return cluster.warps[thread_in_cluster() / WARP]; }

inline void require(bool kept, const char *rule) {
    if (!kept && cluster.broken.empty()) cluster.broken = rule;
}

inline void wait_until(std::function<bool()> condition) {
    if (condition()) return;
    running->waits_for = std::move(condition);
    swapcontext(&running->context, &cluster.scheduler);
    running->waits_for = nullptr;
}

/* True for the last of `expected` to come. */
inline bool come(Barrier &barrier, int expected) {
    require(barrier.arrived < expected, "a barrier is used with different numbers of threads");
    if (++barrier.arrived < expected) return false;
    barrier.arrived = 0;
    ++barrier.generation;
    return true;
}

inline void meet(Barrier &barrier, int expected) {
    const int generation = barrier.generation;
    if (!come(barrier, expected)) wait_until([&barrier, generation] { return barrier.generation != generation; });
}

/* What each lane of the warp brought. */
inline const Mail *exchange(const Mail &mine) {
    Mail *const all = own_warp().mail[running->letter ^= 1];
    all[running->index.x % WARP] = mine;
    meet(own_warp().barrier, WARP);
    return all;
}

inline void thread_main() {
    kernel_of_thread();
    running->done = true;
    swapcontext(&running->context, &cluster.scheduler);
}

inline void start_threads(int first_block) {
    for (Block &each : cluster.blocks) {
        std::memset(each.memory, 0xff, sizeof each.memory);
        each.phases.clear();
        for (Barrier &barrier : each.named) barrier = {};
    }
    for (Warp &warp : cluster.warps) warp.barrier = {};
    cluster.all = {};
    cluster.copies.clear();
    block.x = first_block;
    for (int n = 0; n < CLUSTER_THREADS; ++n) {
        Thread &thread = cluster.threads[n];
        thread.index.x = n % BLOCK_THREADS;
        thread.block = n / BLOCK_THREADS;
        thread.waits_for = nullptr;
        thread.done = false;
        thread.products.clear();
        thread.groups = 0;
        thread.sums.clear();
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.data();
        thread.context.uc_stack.ss_size = thread.stack.size();
        thread.context.uc_link = nullptr;
        makecontext(&thread.context, thread_main, 0);
    }
}

/* Runs lanes in turn until the warp waits; false if none can. */
inline bool run_warp(int warp, int first_block) {
    bool ran_any = false;
    for (bool ran = true; ran;) {
        ran = false;
        for (int n = warp * WARP; n < (warp + 1) * WARP; ++n) {
            if (!cluster.threads[n].can_run()) continue;
            running = &cluster.threads[n];
            block.x = first_block + running->block;
            swapcontext(&cluster.scheduler, &running->context);
            ran = ran_any = true;
        }
    }
    return ran_any;
}

inline bool make_a_copy() {
    if (cluster.copies.empty()) return false;
    const size_t at = cluster.order() % cluster.copies.size();
    const Copy copy = cluster.copies[at];
    cluster.copies.erase(cluster.copies.begin() + static_cast<std::ptrdiff_t>(at));
    copy.make();
    return true;
}

/* Some runs have warps that always go first and others last, others do not; in some, copies are never made while a
 * warp can run. False: the threads wait for each other for ever. */
inline bool run_threads(int first_block) {
    std::vector<int> turns(WARPS);
    for (int warp = 0; warp < WARPS; ++warp) turns[warp] = warp;
    std::shuffle(turns.begin(), turns.end(), cluster.order);
    const bool fixed = cluster.order() % 2;
    const unsigned copies_in_ten = cluster.order() % 3 * 4;
    for (;;) {
        if (cluster.order() % 10 < copies_in_ten && make_a_copy()) continue;
        if (!fixed) std::shuffle(turns.begin(), turns.end(), cluster.order);
        bool ran = false;
        for (int n = 0; n < WARPS && !ran; ++n) ran = run_warp(turns[n], first_block);
        if (ran || make_a_copy()) continue;
        for (const Thread &thread : cluster.threads)
            if (!thread.done) return false;
        return true;
    }
}

}  // namespace emulation

inline float __shfl_xor_sync(unsigned, float value, int lanes) {
    emulation::Mail mine{};
    std::memcpy(mine.words, &value, 4);
    const emulation::Mail *const all = emulation::exchange(mine);
    std::memcpy(&value, all[(emulation::running->index.x % emulation::WARP) ^ lanes].words, 4);
    return value;
}

inline void __syncwarp() { emulation::meet(emulation::own_warp().barrier, emulation::WARP); }
