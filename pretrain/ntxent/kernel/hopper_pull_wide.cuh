// pull for d = 512, where the output of 64 rows is more than a warpgroup's registers hold: both warpgroups own the same
// rows, and each half of the output's width. Of a tile each takes half of the columns' dot products and exponentials;
// then they exchange W through shared memory, where it is the left operand of the second product.
#pragma once

#include "hopper_pull.cuh"

namespace ntxent {
namespace hopper {

struct PullingWide {
    static constexpr int D = 512;
    using Shape = PullShape<D>;
    static constexpr int NT = Shape::COLUMNS / CONSUMER_GROUPS / 8, WIDTH = D / CONSUMER_GROUPS / 8;  // a group's

    const Operands &of;
    const PullPlan &plan;
    const float *const row_weights;
    float *const out;
    const uint32_t memory = shared_address(dynamic_memory());
    const PullBarriers<Shape> barriers{memory};
    const int thread = threadIdx.x % WARPGROUP, group = threadIdx.x / WARPGROUP - 1, lane = threadIdx.x % 32;
    const Exponential exponential{of.t};
    Cursor columns{}, used_columns{}, rows{};
    int turn = 0;  // of the two places for W

    __device__ __forceinline__ void run() {
        const int items = plan.row_blocks * plan.splits, clusters = gridDim.x / CLUSTER;
        for (int item = blockIdx.x / CLUSTER; item < items; item += clusters) pull({plan, of.pairs.k, item});
    }

    __device__ __forceinline__ void pull(const PullWork<Shape> &work) {
        const int row = work.first_row + row_in_block();
        const float of_rows[2] = {row_weights[min(row, of.pairs.m - 1)], row_weights[min(row + 8, of.pairs.m - 1)]};
        float result[1][WIDTH][4] = {};
        barriers.rows.wait_until_full(0, rows.phase);
#pragma unroll 1
        for (int tile = work.tile; tile < work.end; ++tile) {
            float dots[1][NT][4];
            barriers.columns.wait_until_full(columns.stage, columns.phase);
            begin_products();
#pragma unroll
            for (int panel = 0; panel < Shape::PANELS; ++panel)
                multiply_panel(dots, memory + panel * panel_offset(Shape::ROWS),
                               stage(panel) + group * NT * 8 * LINE_BYTES, panel == 0);
            end_products();
            if (tile > work.tile) {
                wait_for_products<1>();
                give_back_columns();
            }
            wait_for_products<0>();
            hold(dots);

            const int column = tile * Shape::COLUMNS + group * NT * 8;
            keep_negatives(dots, of, work.first_row, Shape::ROWS, column, NT * 8, row, column + lane % 4 * 2);
            uint32_t weighted[NT][2];
            weigh(dots, exponential, of_rows, weights_of_columns(), weighted);
            exchange(weighted);
            add_weighted(result);
            turn ^= 1;
            columns.advance(Shape::STAGES);
        }
        wait_for_products<0>();
        hold(result);
        give_back_columns();
        barriers.rows.give_back(0, lane);
        rows.advance(1);
        store_rows<D>(result, out + static_cast<int64_t>(work.split) * of.pairs.m * D, row,
                      group * WIDTH * 8 + lane % 4 * 2, of.pairs.m);
    }

    // The products that last read this place for W, two tiles ago, were done when the groups met at the last exchange.
    __device__ __forceinline__ void exchange(const uint32_t (&weighted)[NT][2]) {
        unsigned char *const w = dynamic_memory() + products() - memory + lane % 4 * 4;
#pragma unroll
        for (int j = 0; j < NT; ++j)
#pragma unroll
            for (int y = 0; y < 2; ++y)
                memcpy(w + place_in_panel(row_in_block() + y * 8, group * NT + j), &weighted[j][y], sizeof(uint32_t));
        publish_stores();
        synchronise(1, CONSUMER_GROUPS * WARPGROUP);
    }

    // Under way when it returns.
    __device__ __forceinline__ void add_weighted(float (&result)[1][WIDTH][4]) {
        const uint64_t a = descriptor(products(), 0, GROUP_OFFSET);
        const uint64_t b =
            descriptor(stage(group * (Shape::PANELS / CONSUMER_GROUPS)), panel_offset(Shape::COLUMNS), GROUP_OFFSET);
        begin_products();
#pragma unroll
        for (int step = 0; step < Shape::COLUMNS / 16; ++step)
            add_product(result, a + step * STEP_IN_LINE / DESCRIPTOR_UNIT, b + step * STEP_IN_LINES / DESCRIPTOR_UNIT);
        end_products();
    }

    __device__ __forceinline__ int row_in_block() const { return thread / 32 * 16 + lane / 4; }

    __device__ __forceinline__ uint32_t stage(int panel) const {
        return memory + Shape::STAGES_AT + columns.stage * Shape::TILE_BYTES + panel * panel_offset(Shape::COLUMNS);
    }

    __device__ __forceinline__ uint32_t products() const {
        return memory + Shape::PRODUCTS_AT + turn * Shape::PRODUCT_BYTES;
    }

    __device__ __forceinline__ const float *weights_of_columns() const {
        return reinterpret_cast<const float *>(dynamic_memory() + Shape::WEIGHTS_AT) + columns.stage * Shape::COLUMNS +
               group * NT * 8 + lane % 4 * 2;
    }

    __device__ __forceinline__ void give_back_columns() {
        barriers.columns.give_back_to_both(used_columns.stage, lane);
        used_columns.advance(Shape::STAGES);
    }
};

}  // namespace hopper
}  // namespace ntxent
