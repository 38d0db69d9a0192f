// Stages of shared memory that the copy engine fills and warps empty, again and again, and their barriers.
#pragma once

#include "hopper_plan.h"
#include "hopper_tma.cuh"

namespace ntxent {
namespace hopper {

// For each stage a barrier that says it is full, and one that says it is free.
template <int STAGES>
struct Barriers {
    uint32_t first;

    __device__ __forceinline__ explicit Barriers(uint32_t at) : first(at) {}
    __device__ __forceinline__ uint32_t full(int stage) const { return first + stage * BARRIER_BYTES; }
    __device__ __forceinline__ uint32_t free(int stage) const { return first + (STAGES + stage) * BARRIER_BYTES; }
    __device__ __forceinline__ uint32_t end() const { return first + 2 * STAGES * BARRIER_BYTES; }

    __device__ __forceinline__ void make(int free_arrivals) const {
        for (int stage = 0; stage < STAGES; ++stage) {
            make_barrier(full(stage), FULL_ARRIVALS);
            make_barrier(free(stage), free_arrivals);
        }
    }

    // Waits until the stage is free, which it is at first, and returns the barrier for the copies into it.
    __device__ __forceinline__ uint32_t start_filling(const Cursor &at, int bytes) const {
        wait(free(at.stage), at.phase ^ 1);
        arrive_and_expect(full(at.stage), bytes);
        return full(at.stage);
    }

    __device__ __forceinline__ void wait_until_full(int stage, unsigned phase) const { wait(full(stage), phase); }

    // All lanes of a warp call it when they have read the stage.
    __device__ __forceinline__ void give_back(int stage, int lane) const {
        __syncwarp();
        if (lane == 0) arrive(free(stage));
    }

    __device__ __forceinline__ void give_back_to_both(int stage, int lane) const {
        __syncwarp();
        if (lane < CLUSTER) arrive_in_block(free(stage), lane);
    }
};

// This block's half of a panel of a tile with so many vectors from `first` on.
__device__ __forceinline__ void load_half(uint32_t to, const CUtensorMap &map, int panel, int first, int vectors,
                                          uint32_t barrier) {
    const int half = rank_in_cluster() * (vectors / CLUSTER);
    load_box_to_both(to + half * LINE_BYTES, map, panel * PANEL, first + half, barrier);
}

// Nobody may use a barrier of either block before this.
template <class AllBarriers>
__device__ __forceinline__ void start_cluster(const AllBarriers &barriers) {
    if (threadIdx.x == 0) {
        barriers.make();
        publish_barriers();
    }
    synchronise_cluster();
}

}  // namespace hopper
}  // namespace ntxent
