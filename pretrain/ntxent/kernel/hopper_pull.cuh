// pull of ntxent.h with wgmma: a cluster owns some rows, half of them each of its blocks, and goes through its split of
// the columns.
//
// As in the forward of attention, with keys for values and no maximum, each tile of columns is loaded once and used
// twice: for dot products and, after their weighted exponentials W are rounded to bfloat16, for the product W V. Here,
// up to d = 256, each warpgroup has 64 rows of its own, W never leaves its registers, and the two take turns: while one
// takes exponentials the other has the tensor cores. hopper_pull_wide.cuh is the form for d = 512.
#pragma once

#include "hopper_plan.h"
#include "hopper_products.cuh"
#include "hopper_ring.cuh"
#include "pairs.cuh"

namespace ntxent {
namespace hopper {

// One item of a cluster's work. Items of a split follow each other, so that clusters read the same columns together.
template <class Shape>
struct PullWork {
    int first_row, split, tile, end;

    __device__ __forceinline__ PullWork(const PullPlan &plan, int k, int item) {
        const int tiles = pieces(k, Shape::COLUMNS);
        split = item / plan.row_blocks;
        first_row = (item % plan.row_blocks * CLUSTER + rank_in_cluster()) * Shape::ROWS;
        tile = first_tile(tiles, split, plan.splits), end = first_tile(tiles, split + 1, plan.splits);
    }
};

template <class Shape>
struct PullBarriers {
    Barriers<Shape::STAGES> columns;
    Barriers<1> rows;

    __device__ __forceinline__ explicit PullBarriers(uint32_t memory)
        : columns(memory + Shape::BARRIERS_AT), rows(columns.end()) {}

    __device__ __forceinline__ void make() const {
        columns.make(COLUMNS_FREE_ARRIVALS);
        rows.make(ROWS_FREE_ARRIVALS);
    }
};

// One thread: tile after tile of the columns, half of each, to both blocks; and this block's own copy of the weights.
template <class Shape>
__device__ __forceinline__ void load_columns_of_pull(const CUtensorMap &columns, const CUtensorMap &weights,
                                                     const PullPlan &plan, int k, uint32_t memory) {
    const PullBarriers<Shape> barriers(memory);
    const int items = plan.row_blocks * plan.splits, clusters = gridDim.x / CLUSTER;
    Cursor at;
    for (int item = blockIdx.x / CLUSTER; item < items; item += clusters) {
        const PullWork<Shape> work(plan, k, item);
        for (int tile = work.tile; tile < work.end; ++tile) {
            const uint32_t full = barriers.columns.start_filling(at, Shape::STAGE_BYTES);
            const uint32_t stage = memory + Shape::STAGES_AT + at.stage * Shape::TILE_BYTES;
            for (int panel = 0; panel < Shape::PANELS; ++panel)
                load_half(stage + panel * panel_offset(Shape::COLUMNS), columns, panel, tile * Shape::COLUMNS,
                          Shape::COLUMNS, full);
            load_line(memory + Shape::WEIGHTS_AT + at.stage * Shape::WEIGHT_BYTES, weights, tile * Shape::COLUMNS,
                      full);
            at.advance(Shape::STAGES);
        }
    }
}

// Another thread: the rows of each item.
template <class Shape>
__device__ __forceinline__ void load_rows_of_pull(const CUtensorMap &rows, const PullPlan &plan, int k,
                                                  uint32_t memory) {
    const PullBarriers<Shape> barriers(memory);
    const int items = plan.row_blocks * plan.splits, clusters = gridDim.x / CLUSTER;
    Cursor at;
    for (int item = blockIdx.x / CLUSTER; item < items; item += clusters) {
        const PullWork<Shape> work(plan, k, item);
        const uint32_t full = barriers.rows.start_filling(at, Shape::ROW_BYTES);
        for (int panel = 0; panel < Shape::PANELS; ++panel)
            load_box(memory + panel * panel_offset(Shape::ROWS), rows, panel * PANEL, work.first_row, full);
        at.advance(1);
    }
}

// e_ij (row_weights_i + column_weights_j) of this thread's elements of a tile, in pairs of columns, rounded.
template <int NT>
__device__ __forceinline__ void weigh(const float (&dots)[1][NT][4], const Exponential &exponential,
                                      const float (&of_rows)[2], const float *of_columns, uint32_t (&weighted)[NT][2]) {
#pragma unroll
    for (int j = 0; j < NT; ++j) {
        const float2 of_pair = *reinterpret_cast<const float2 *>(of_columns + j * 8);
#pragma unroll
        for (int y = 0; y < 2; ++y) {
            const float left = exponential(dots[0][j][y * 2]) * (of_rows[y] + of_pair.x);
            const float right = exponential(dots[0][j][y * 2 + 1]) * (of_rows[y] + of_pair.y);
            const __nv_bfloat162 pair = __floats2bfloat162_rn(left, right);
            memcpy(&weighted[j][y], &pair, sizeof pair);
        }
    }
}

// This thread's part of (64, 8 NT) results, rows of the output from `row` on; only those before `end` exist.
template <int D, int NT>
__device__ __forceinline__ void store_rows(const float (&result)[1][NT][4], float *out, int row, int column, int end) {
#pragma unroll
    for (int y = 0; y < 2; ++y) {
        if (row + y * 8 >= end) continue;
        float *const to = out + static_cast<int64_t>(row + y * 8) * D + column;
#pragma unroll
        for (int j = 0; j < NT; ++j)
            *reinterpret_cast<float2 *>(to + j * 8) = make_float2(result[0][j][y * 2], result[0][j][y * 2 + 1]);
    }
}

// A thread of the two warpgroups that compute, for d up to 256.
template <int D>
struct Pulling {
    using Shape = PullShape<D>;
    static constexpr int NT = Shape::COLUMNS / 8, WIDTH = D / 8;  // fragments of a tile, and of the output

    const Operands &of;
    const PullPlan &plan;
    const float *const row_weights;
    float *const out;
    const uint32_t memory = shared_address(dynamic_memory());
    const PullBarriers<Shape> barriers{memory};
    const int thread = threadIdx.x % WARPGROUP, group = threadIdx.x / WARPGROUP - 1, lane = threadIdx.x % 32;
    const Exponential exponential{of.t};
    Cursor columns{}, used_columns{}, rows{};

    __device__ __forceinline__ void run() {
        const int items = plan.row_blocks * plan.splits, clusters = gridDim.x / CLUSTER;
        if (group == 1) pass_turn();
        for (int item = blockIdx.x / CLUSTER; item < items; item += clusters) pull({plan, of.pairs.k, item});
        if (group == 0) take_turn();  // the last one that was passed
    }

    // The turn to take dot products. The named barrier of a group counts its threads and those that pass the turn.
    __device__ __forceinline__ void take_turn() { synchronise(1 + group, 2 * WARPGROUP); }
    __device__ __forceinline__ void pass_turn() { arrive_only(1 + (group ^ 1), 2 * WARPGROUP); }

    __device__ __forceinline__ void pull(const PullWork<Shape> &work) {
        const int first_row = work.first_row + group * 64, row = first_row + thread / 32 * 16 + lane / 4;
        const float of_rows[2] = {row_weights[min(row, of.pairs.m - 1)], row_weights[min(row + 8, of.pairs.m - 1)]};
        float result[1][WIDTH][4] = {};
        barriers.rows.wait_until_full(0, rows.phase);
#pragma unroll 1
        for (int tile = work.tile; tile < work.end; ++tile) {
            float dots[1][NT][4];
            barriers.columns.wait_until_full(columns.stage, columns.phase);
            take_turn();
            begin_products();
            multiply_tile<Shape::PANELS, Shape::ROWS, Shape::COLUMNS>(dots, memory + group * 64 * LINE_BYTES, stage());
            end_products();
            if (tile > work.tile) {
                wait_for_products<1>();
                give_back_columns();
            }
            wait_for_products<0>();
            pass_turn();
            hold(dots);

            const int column = tile * Shape::COLUMNS;
            keep_negatives(dots, of, first_row, 64, column, Shape::COLUMNS, row, column + lane % 4 * 2);
            uint32_t weighted[NT][2];
            weigh(dots, exponential, of_rows, weights_of_columns(), weighted);
            add_weighted(result, weighted);
            columns.advance(Shape::STAGES);
        }
        wait_for_products<0>();
        hold(result);
        give_back_columns();
        barriers.rows.give_back(0, lane);
        rows.advance(1);
        store_rows<D>(result, out + static_cast<int64_t>(work.split) * of.pairs.m * D, row, lane % 4 * 2, of.pairs.m);
    }

    // Under way when it returns.
    __device__ __forceinline__ void add_weighted(float (&result)[1][WIDTH][4], const uint32_t (&weighted)[NT][2]) {
        const uint64_t b = descriptor(stage(), panel_offset(Shape::COLUMNS), GROUP_OFFSET);
        begin_products();
#pragma unroll
        for (int step = 0; step < NT / 2; ++step) {
            const uint32_t a[4] = {weighted[step * 2][0], weighted[step * 2][1], weighted[step * 2 + 1][0],
                                   weighted[step * 2 + 1][1]};
            add_product(result, a, b + step * STEP_IN_LINES / DESCRIPTOR_UNIT);
        }
        end_products();
    }

    __device__ __forceinline__ uint32_t stage() const {
        return memory + Shape::STAGES_AT + columns.stage * Shape::TILE_BYTES;
    }

    __device__ __forceinline__ const float *weights_of_columns() const {
        return reinterpret_cast<const float *>(dynamic_memory() + Shape::WEIGHTS_AT) + columns.stage * Shape::COLUMNS +
               lane % 4 * 2;
    }

    __device__ __forceinline__ void give_back_columns() {
        barriers.columns.give_back_to_both(used_columns.stage, lane);
        used_columns.advance(Shape::STAGES);
    }
};

template <class Consumer>
NTXENT_HOPPER_KERNEL(CLUSTER, THREADS)
    cluster_pull(const __grid_constant__ CUtensorMap rows, const __grid_constant__ CUtensorMap columns,
                 const __grid_constant__ CUtensorMap column_weights, Operands of, PullPlan plan,
                 const float *row_weights, float *out) {
#ifdef NTXENT_HOPPER_CODE
    using Shape = typename Consumer::Shape;
    const uint32_t memory = shared_address(dynamic_memory());
    start_cluster(PullBarriers<Shape>(memory));
    if (threadIdx.x < WARPGROUP) {
        give_up_registers<PRODUCER_REGISTERS>();
        if (threadIdx.x == 0) load_columns_of_pull<Shape>(columns, column_weights, plan, of.pairs.k, memory);
        if (threadIdx.x == 32) load_rows_of_pull<Shape>(rows, plan, of.pairs.k, memory);
        __syncwarp();
    } else {
        take_registers<CONSUMER_REGISTERS>();
        Consumer{of, plan, row_weights, out}.run();
    }
    synchronise_cluster();  // the other block may still send its arrivals here
#endif
}

}  // namespace hopper
}  // namespace ntxent
