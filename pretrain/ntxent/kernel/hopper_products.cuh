// Products of tiles in shared memory that are made of panels, as in hopper_plan.h.
#pragma once

#include "hopper_plan.h"
#include "hopper_wgmma.cuh"

namespace ntxent {
namespace hopper {

constexpr int DESCRIPTOR_UNIT = 16;  // bytes: a descriptor's address may be moved on by adding to it

// Over the 64 numbers of a panel: dots = those of 64 vectors at `a` with 8 NT vectors at `b` if `first`, else +=.
template <int NT>
__device__ __forceinline__ void multiply_panel(float (&dots)[1][NT][4], uint32_t a_at, uint32_t b_at, bool first) {
    const uint64_t a = descriptor(a_at, 0, GROUP_OFFSET), b = descriptor(b_at, 0, GROUP_OFFSET);
#pragma unroll
    for (int step = 0; step < PANEL / 16; ++step) {
        const int on = step * STEP_IN_LINE / DESCRIPTOR_UNIT;
        if (first && step == 0)
            first_dot_product(dots, a, b);
        else
            add_dot_product(dots, a + on, b + on);
    }
}

// Over all panels, of tiles with so many vectors.
template <int PANELS, int ROWS, int COLUMNS>
__device__ __forceinline__ void multiply_tile(float (&dots)[1][COLUMNS / 8][4], uint32_t a_at, uint32_t b_at) {
#pragma unroll
    for (int panel = 0; panel < PANELS; ++panel)
        multiply_panel(dots, a_at + panel * panel_offset(ROWS), b_at + panel * panel_offset(COLUMNS), panel == 0);
}

}  // namespace hopper
}  // namespace ntxent
